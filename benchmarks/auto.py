"""What does encoder="auto" see in many collections, and what does it take?

Each set of zoo.py as it is and in other colours: shapes tinted, each by a shade of its own, and
paintings made gray. For each, by how much clusters hold together pixel by pixel and in what the
painting encoder sees (the modularity of k-means clusters beyond that of points without any). With
--weights-am and --weights-nz, encoders that were trained on half of the artists, collections are
looked at by the one that has not seen them. Nothing is trained and no labels are used.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from _common import HERE, write_results
from zoo import DRAWS, SHAPES, read

from skdcec import ContrastiveEncoder
from skdcec._analysis.views import look
from skdcec.features import SideBySide
from skdcec.features.side_by_side import painting_parts

TABLE = HERE.parent / "docs" / "guide" / "which_method" / "auto.csv"
NAMES = {"True": "paintings", "False": "autoencoder"}
GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[10_000, 100], help="images of each"
    )
    parser.add_argument("--weights-am", type=Path, help="an encoder trained on the artists A to M")
    parser.add_argument("--weights-nz", type=Path, help="an encoder trained on the artists N to Z")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results, sizes = {}, options.sizes
    for name in (SHAPES[0], DRAWS[0]) if options.quick else (*SHAPES, *DRAWS):
        images, _ = read(name, options.data)
        weights = options.weights_nz if "A-M" in name else options.weights_am
        other = "tinted" if images.ndim == 3 else "gray"
        for how, given in {"as it is": images, other: recoloured(images)}.items():
            for size in sizes:
                some = np.random.default_rng(1).permutation(len(given))[:size]
                seen = given[some].reshape(len(some), *images.shape[1:3], -1)
                found = look(seen, space(weights if name in DRAWS else None))
                taken = str(found.encoder_shows_more)
                results[f"{name}, {how}, {len(some)}"] = found._asdict() | {"encoder more": taken}
                print(name, how, len(some), found, taken, flush=True)
    write_results("auto", results, quick=options.quick)
    if not options.quick:
        write_table(results)


def write_table(results):
    """Write the table of the docs: all of a set, and the range over collections of paintings."""
    groups = defaultdict(list)
    for name, found in results.items():
        name, how, size = name.split(", ")
        if size != "100":
            name = f"{name[:-2]}, 5 draws" if name in DRAWS else name
            groups[f"{name}, {how}".removesuffix(", as it is")].append(found)
    with TABLE.open("w", newline="") as file:
        write = csv.writer(file, lineterminator="\n").writerow
        write(["", "in pixels", "in the painting encoder", "taken"])
        for name, found in groups.items():
            row = [name]
            for view in ("pixels", "encoder"):
                values = [one[view] for one in found]
                low, high = (f"{value:.2f}".lstrip("0") for value in (min(values), max(values)))
                row.append(low if low == high else f"{low} to {high}")
            taken = {one["encoder more"] for one in found}
            row.append(" or ".join(sorted(NAMES[one] for one in taken)))
            write(row)


def recoloured(images):
    """Return gray images each in a shade of its own, and images in colour as gray ones."""
    if images.ndim == 4:
        return (images @ GRAY).astype(np.uint8)
    shades = np.random.default_rng(0).uniform(0.5, 1, (len(images), 1, 1, 3))
    return (images[..., None] / images.max() * shades * 255).astype(np.uint8)


def space(weights):
    """Return what comes with the library, or the same with other weights."""
    encoder, *others = painting_parts()
    if weights is not None:
        encoder = ContrastiveEncoder(weights=weights, max_epochs=0)
    return SideBySide([encoder, *others])


if __name__ == "__main__":
    main()
