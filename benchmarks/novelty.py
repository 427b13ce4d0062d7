"""What does a NoveltyDetector catch, and what does it flag that it should not?

FOLDER holds paintings, one folder per artist. Models are fitted on works of the artists A to M;
further works of theirs, and those of the other artists, should not be flagged. The pictures that
should be are drawn by code, see `_novel_images.py`: "first" are the renderings that the detector
was worked on with, "second" are others.

Each finished (encoder, number of images, seed) is a line in results/novelty.jsonl, with the commit,
and is not computed again. `--table` prints what was found so far. Encoders are trained for a few
epochs only, and kept in scratch/. The features of EfficientNet-Lite0 need the packages that
pretrained.py names.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import HERE, append_line, environment, print_table, read_lines
from _novel_images import KINDS, render
from PIL import Image
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec.datasets import load_images
from skdcec.features import PretrainedFeatures
from skdcec.novelty import NoveltyDetector

LITE = "EfficientNet-Lite0"
STYLES = ("first", "second")
N_NOVEL = 60
N_OTHERS = 600
SIDE = 64
# The network has never seen smaller images than these.
SIDE_FOR_NETWORK = 128
RESULTS = HERE / "results" / "novelty.jsonl"

# What networks of torchvision were trained with, and others were given here.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def autoencoder(n, seed):
    return ConvAutoencoder(32, max_epochs=15, random_state=seed)


def contrastive(n, seed):
    return ContrastiveEncoder(max_epochs=8 if n <= 1000 else 4, random_state=seed)


def dense(n, seed):
    return DenseAutoencoder(64, hidden_layer_sizes=(512,), max_epochs=15, random_state=seed)


ENCODERS = {"autoencoder": autoencoder, "contrastive": contrastive, LITE: dense}


def kept(path, compute):
    """Return the array in a file, computed and written if there is none."""
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".part.npy")
        np.save(partial, compute())
        partial.replace(path)
    return np.load(path)


def files_of(folder):
    """Return the paths of the works by artists A to M, and of those by others."""
    paths = sorted(
        folder.glob("*/*.jpg"),
        key=lambda path: (path.parent.name.lower(), int(path.stem.rpartition("_")[2])),
    )
    early = [path for path in paths if path.parent.name[0].upper() < "N"]
    late = [path for path in paths if path.parent.name[0].upper() >= "N"]
    return early, late[:: max(1, len(late) // N_OTHERS)]


def draw(kind, style, side, negatives_of):
    """Return pictures of a kind, as they come out of files."""
    rng = np.random.default_rng([KINDS.index(kind), STYLES.index(style)])
    with tempfile.TemporaryDirectory() as folder:
        for i in range(N_NOVEL):
            with Image.open(negatives_of[i]) as work:
                painting = np.asarray(work.convert("RGB"))
            render(kind, rng, style, painting).save(Path(folder) / f"{i:03}.png")
        return load_images(folder, size=side, cache=None).images


class Images:
    """The images of the benchmark, as pixels or as features of the network."""

    def __init__(self, folder, scratch, network):
        self.scratch, self.network = scratch, network
        side = SIDE_FOR_NETWORK if network else SIDE
        self.early, self.late = files_of(folder)
        self.pixels = {
            "early": kept(scratch / f"early-{side}.npy", lambda: self.load(self.early, side)),
            "late": kept(scratch / f"late-{side}.npy", lambda: self.load(self.late, side)),
        }
        for style in STYLES:
            for kind in KINDS:
                self.pixels[f"{kind}, {style}"] = kept(
                    scratch / f"{kind}-{style}-{side}.npy",
                    lambda kind=kind, style=style: draw(kind, style, side, self.late[::3]),
                )
        seen = {"mean": MEAN, "std": DEVIATION, "size": side, "resize": "stretch"}
        self.transformer = PretrainedFeatures(lite0(), **seen) if network else None

    @staticmethod
    def load(paths, side):
        return load_images(paths, size=side, cache=None).images

    def get(self, name):
        if not self.network:
            return self.pixels[name]

        def features():
            self.transformer.fit(self.pixels[name][:1])
            return normalize(self.transformer.transform(self.pixels[name]))

        return kept(self.scratch / f"{name.replace(', ', '-')}-features.npy", features)


def lite0():
    from pretrained import lite0 as network

    return network()


def model_of(name, X, n, seed, scratch):
    """Return a clusterer, briefly trained."""
    encoder = ENCODERS[name](n, seed)
    path = scratch / f"{name}-{n}-{seed}.safetensors"
    if path.exists():
        encoder = type(encoder).load(path)
    else:
        encoder.fit(X).save(path)
    cls = DeepEmbeddingClustering if name == LITE else DeepConvEmbeddingClustering
    settings = {"n_init": 2, "max_epochs": 1, "random_state": seed}
    return cls(8, encoder=FrozenEstimator(encoder), **settings).fit(X)


def measure(name, n, seed, images, scratch):
    """Return one line of results."""
    early = images.get("early")
    chosen = np.zeros(len(early), dtype=bool)
    chosen[np.random.default_rng(seed).choice(len(early), n, replace=False)] = True
    model = model_of(name, early[chosen], n, seed, scratch)
    start = time.process_time()
    detector = NoveltyDetector(model).fit(early[chosen])
    fit_seconds = time.process_time() - start
    held_out = early[~chosen][:1000]
    start = time.process_time()
    usual = detector.decision_function(held_out)
    milliseconds = 1000 * (time.process_time() - start) / len(held_out)
    others = detector.decision_function(images.get("late"))
    limit = np.quantile(usual, 0.05)
    line = {
        "fit_cpu_seconds": fit_seconds,
        "cpu_milliseconds_per_image": milliseconds,
        "flagged": {"held out": np.mean(usual < 0), "other artists": np.mean(others < 0)},
        "caught": {"other artists": np.mean(others < limit)},
        "auc": {"other artists": area(usual, others)},
    }
    for picture in images.pixels:
        if picture not in ("early", "late"):
            decision = detector.decision_function(images.get(picture))
            line["flagged"][picture] = np.mean(decision < 0)
            line["caught"][picture] = np.mean(decision < limit)
            line["auc"][picture] = area(usual, decision)
    return line


def area(usual, novel):
    novelty = -np.concatenate([usual, novel])
    return roc_auc_score(np.arange(len(novelty)) >= len(usual), novelty)


def commit():
    """Return the commit of the package, marked where its files were changed since."""

    def git(*arguments):
        command = ["git", "-C", str(HERE.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + "-dirty" * bool(
        git("diff", "HEAD", "--", "skdcec")
    )


def run(args):
    scratch = HERE / "scratch" / "novelty"
    scratch.mkdir(parents=True, exist_ok=True)
    done = read_lines(RESULTS)
    for name in args.encoders:
        images = None
        for n in args.sizes:
            for seed in args.seeds:
                key = {"encoder": name, "images": n, "seed": seed}
                if any(key.items() <= line.items() for line in done):
                    continue
                images = images or Images(args.data, scratch, name == LITE)
                line = key | measure(name, n, seed, images, scratch)
                line |= {"commit": commit(), "environment": environment()}
                append_line(RESULTS, line)
                print(f"{name}, {n} images, seed {seed}: done", flush=True)


def table():
    """Print means over seeds: what is caught at 5 % false alarms, by AUC, and by `predict`."""
    lines = read_lines(RESULTS)
    sets = sorted({(line["encoder"], line["images"]) for line in lines})
    for measured in ("caught", "auc", "flagged"):
        print(f"\n{measured}")
        rows = {}
        for one in sets:
            for line in lines:
                if (line["encoder"], line["images"]) == one:
                    for picture, value in line[measured].items():
                        rows.setdefault(picture, {}).setdefault(one, []).append(value)
        header = ["", *(f"{name[:11]} {n}" for name, n in sets)]
        print_table(
            header,
            [
                [picture, *(float(np.mean(found.get(one, [np.nan]))) for one in sets)]
                for picture, found in rows.items()
            ],
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of paintings, one folder per artist")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[300, 1000, 3000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="print what was found so far")
    args = parser.parse_args()
    if args.data:
        run(args)
    if args.table or not args.data:
        table()


if __name__ == "__main__":
    main()
