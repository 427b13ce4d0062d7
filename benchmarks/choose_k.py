"""How well the number of clusters is found, on image sets with a known one and on sets with none.

Every number of clusters is judged on each labelled set, from one pretraining per seed, by
`NClustersSearch` and by the indices that people use instead. Labels only score what came out. A set
with 10 kinds may well fall into other clusters than its kinds, so the number that agrees best with
the labels (NMI-best) stands beside the true one.

Each finished run is a line in results/choose_k.jsonl, and is passed over when the script is started
again. The parts:

evidence  which k is chosen, which range is called as good, and what each index alone would take,
          on twelve sets (three seeds); nothing is trained but the encoder
labelled  the comparison of criteria with trained labels, on nine sets and two seeds
own       all of nine numbers trained, to compare the silhouette in each model's own embedding
null      40 fresh sets without clusters: what is the verdict?
cost      the search over 9 numbers, and GridSearchCV, beside one fit; not with --jobs
"""

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import torch
from _common import HERE, append_line, environment, print_table, read_lines
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import (
    adjusted_mutual_info_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    normalized_mutual_info_score,
)
from sklearn.model_selection import GridSearchCV
from zoo import read

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec._analysis.samples import sample_rows
from skdcec._analysis.silhouette import distance_matrix, silhouettes
from skdcec._analysis.spaces import Space
from skdcec.model_selection import NClustersSearch, TransductiveSplit, silhouette_scorer
from skdcec.model_selection.null import cluster_by_k_means
from skdcec.model_selection.progress import Bar
from skdcec.model_selection.table import screen

NUMBERS = range(2, 19)
FEW_NUMBERS = (2, 3, 4, 5, 6, 8, 10, 12, 14)
N_IMAGES, N_NULL_IMAGES = 1000, 600
LETTERS = "AEHKMORSTVXZ2?&"
GLYPHS = {f"glyphs {k}": k for k in (3, 4, 5, 7, 8, 12, 15)}
LABELLED = ("digits", "usps", "mnist_test", "blobs 7", *(f"glyphs {k}" for k in (3, 5, 8, 12, 15)))
# USPS was only scored: nothing was chosen by it.
REAL = {
    "digits": 10,
    "usps": 10,
    "mnist_test": 10,
    "orl": 40,
    "coil20": 20,
    "greek": 24,
    "letters": 26,
    "fashion": 10,
}
EVIDENCE = (*REAL, *(f"glyphs {k}" for k in (3, 4, 7, 12)))
OWN = ("digits", "usps", "glyphs 5", "glyphs 12")
NULLS = ("noise", "smooth fields", "one texture", "one glyph")
TRUE = {**REAL, "blobs 7": 7, **GLYPHS}


# The sets


def glyph(letter, rng, side=16):
    """Draw a letter, shifted, turned and scaled a little, with noise."""
    canvas = Image.new("L", (64, 64))
    font = ImageFont.load_default(44)
    ImageDraw.Draw(canvas).text((32, 32), letter, fill=255, font=font, anchor="mm")
    scale = 1 / rng.uniform(0.92, 1.06)
    angle = np.deg2rad(rng.uniform(-6, 6))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    dx, dy = rng.uniform(-2, 2, size=2)
    moved = canvas.transform(
        (64, 64),
        Image.Transform.AFFINE,
        (cos, sin, 32 - 32 * (cos + sin) + dx, -sin, cos, 32 - 32 * (cos - sin) + dy),
        Image.Resampling.BILINEAR,
    ).resize((side, side), Image.Resampling.BOX)
    return np.clip(np.asarray(moved) + rng.normal(0, 12, (side, side)), 0, 255).astype(np.uint8)


def labelled_set(name, seed, folder, n):
    """Return images and labels, shuffled."""
    rng = np.random.default_rng(seed)
    if name in GLYPHS:
        target = np.arange(n) % GLYPHS[name]
        images = np.stack([glyph(LETTERS[kind], rng) for kind in target])
    elif name == "digits":
        images, target = load_digits().images, load_digits().target
    elif name == "blobs 7":
        rows, target = make_blobs(n, 256, centers=7, cluster_std=6.0, random_state=seed)
        images = np.clip(128 + 5 * rows, 0, 255).astype(np.uint8).reshape(-1, 16, 16)
    else:
        with np.load(folder / f"{name}.npz") as data:
            images, target = data["x"], data["y"]
    chosen = rng.permutation(len(images))[:n]
    images, target = images[chosen], target[chosen]
    if images.shape[1] == 28:
        images = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).astype(np.uint8)
    return images, target


def whole_set(name, seed, folder, n):
    """Return images of their own size, as the zoo reads them, and their labels."""
    return read(name, folder) if name in REAL else labelled_set(name, seed, folder, n)


def null_set(name, seed, n):
    """Return images without clusters."""
    rng = np.random.default_rng(1000 + seed)
    if name == "one glyph":
        return np.stack([glyph("R", rng) for _ in range(n)])
    if name == "one texture":
        texture = gaussian_filter(rng.normal(size=(400, 400)), 2) * 7
        corners = rng.integers(400 - 16, size=(n, 2))
        crops = [texture[i : i + 16, j : j + 16] for i, j in corners]
        return np.clip(128 + 50 * np.stack(crops), 0, 255).astype(np.uint8)
    images = rng.normal(size=(n, 16, 16))
    if name == "smooth fields":
        images = gaussian_filter(images, (0, 2.5, 2.5)) * 9
    return np.clip(128 + 50 * images, 0, 255).astype(np.uint8)


def new_model(seed, quick, **params):
    """Return the default clusterer."""
    epochs = {"max_epochs": 1} if quick else {}
    encoder = ConvAutoencoder(**epochs)
    return DeepConvEmbeddingClustering(encoder=encoder, random_state=seed, **{**epochs, **params})


# The parts: each returns what goes into one line


def run_labelled(name, seed, args):
    """Judge all numbers of clusters by several criteria."""
    images, target = labelled_set(name, seed, args.data, args.n_images)
    search = NClustersSearch(new_model(seed, args.quick), NUMBERS).fit(images)
    results = search.results_
    embedding = search.best_estimator_.encoder_.transform(images)
    # The labels that are judged are those of k-means, so all criteria see the same.
    labels = [cluster_by_k_means(embedding, k, 10, seed) for k in NUMBERS]
    shared = distance_matrix(embedding, "euclidean")
    pixels = distance_matrix(images.reshape(len(images), -1), "euclidean")
    trained = results["n_clusters"][results["trained"]]
    return {
        "nmi": [float(normalized_mutual_info_score(target, some)) for some in labels],
        "criteria": {
            "silhouette, shared": silhouettes(shared, labels).mean(axis=1).tolist(),
            "excess over null": results["excess_silhouette"].tolist(),
            "Calinski-Harabasz": [calinski_harabasz_score(embedding, some) for some in labels],
            "Davies-Bouldin": [-davies_bouldin_score(embedding, some) for some in labels],
            "silhouette, pixels": silhouettes(pixels, labels).mean(axis=1).tolist(),
        },
        "plausible": results["n_clusters"][results["plausible"]].tolist(),
        "trained": trained.tolist(),
        "trained_nmi": [
            float(normalized_mutual_info_score(target, search.labels_of_[k])) for k in trained
        ],
        "chosen": search.best_n_clusters_,
        **verdict(search),
    }


def run_evidence(name, seed, args):
    """Choose k in the pretrained embedding, and ask each index alone."""
    images, target = whole_set(name, seed, args.data, N_IMAGES)
    if args.quick:
        images, target = images[:200], target[:200]
    true = TRUE[name]
    numbers = [*range(2, 21), *range(22, 2 * true + 1, 2)]
    model = new_model(seed, args.quick)
    if not args.quick:
        model.set_params(encoder="auto", memory=str(HERE / "scratch" / "zoo"))
    start = time.perf_counter()
    encoder = model.fit_encoder(images)
    pretraining = time.perf_counter() - start
    space = Space(encoder.transform(images), "euclidean")
    start = time.perf_counter()
    rows = sample_rows(len(images), 3000, 0)
    table = screen(space, rows, numbers, 19, 0, Bar())
    seconds = time.perf_counter() - start
    results, best = table.results(), table.order[0]
    scores = [float(adjusted_mutual_info_score(target, table.screened[k])) for k in numbers]
    alone = {
        "bic": -results["bic"],
        "modularity": results["modularity"],
        "eigengap": results["eigengap"],
        "resampled": results["resampled"],
        "silhouette": results["screened_silhouette"],
        "excess_silhouette": results["excess_silhouette"],
        "excess_found_silhouette": results["excess_found_silhouette"],
        "excess_modularity": results["excess_modularity"],
    }
    return {
        "chosen": numbers[best],
        "plausible": results["n_clusters"][results["plausible"]].tolist(),
        "alone": {index: numbers[int(np.nanargmax(of_k))] for index, of_k in alone.items()},
        "ami": scores[best],
        "ami_lost": max(scores) - scores[best],
        "pretraining": round(pretraining, 1),
        "screening": round(seconds, 1),
        "support": np.round(results["support"], 3).tolist(),
    }


def run_own(name, seed, args):
    """Train all of a few numbers, for the silhouette in each model's own embedding."""
    images, target = labelled_set(name, seed, args.data, args.n_images)
    search = NClustersSearch(new_model(seed, args.quick), FEW_NUMBERS, screen=None).fit(images)
    results = search.results_
    return {
        "nmi": [
            float(normalized_mutual_info_score(target, search.labels_of_[k])) for k in FEW_NUMBERS
        ],
        "criteria": {
            "silhouette, shared": results["silhouette"].tolist(),
            "silhouette, own": results["own_silhouette"].tolist(),
        },
    }


def run_null(name, seed, args):
    """Ask for the verdict on a set without clusters; it does not depend on joint training."""
    images = null_set(name, seed, args.n_null_images)
    model = new_model(seed, args.quick, max_epochs=1)
    if not args.quick:
        model.set_params(encoder="auto")
    return verdict(NClustersSearch(model, range(2, 11)).fit(images))


def verdict(search):
    return {
        "evidence": search.evidence_,
        "excess": float(np.nanmax(search.results_["excess_silhouette"])),
        "null_p": search.null_p_value_,
        "gap_p": search.gap_p_value_,
    }


def run_cost(repeat, args):
    """Time the three in turn, in one process."""
    images = load_digits().images[: args.n_images if args.quick else None]
    numbers = range(6, 15)
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        model = new_model(repeat, args.quick, n_clusters=10)
        runs = {
            "one fit": model,
            "NClustersSearch": NClustersSearch(model, numbers),
            "NClustersSearch, n_jobs=2": NClustersSearch(model, numbers, n_jobs=2),
            "GridSearchCV with memory": GridSearchCV(
                new_model(repeat, args.quick, memory=folder),
                {"n_clusters": numbers},
                scoring=silhouette_scorer,
                cv=TransductiveSplit(),
            ),
        }
        for name, estimator in runs.items():
            start = time.perf_counter()
            estimator.fit(images)
            seconds[name] = time.perf_counter() - start
            print(f"{name}: {seconds[name]:.1f} s", flush=True)
    return {"images": len(images), "seconds": seconds, "threads": torch.get_num_threads()}


# Running and reporting


def run_one(part, name, seed, args):
    start = time.perf_counter()
    runs = {
        "evidence": run_evidence,
        "labelled": run_labelled,
        "own": run_own,
        "null": run_null,
    }
    run = runs[part]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run(name, seed, args)
    seconds = round(time.perf_counter() - start, 1)
    threads = torch.get_num_threads()
    return {
        "part": part,
        "set": name,
        "seed": seed,
        "seconds": seconds,
        "threads": threads,
    } | result


def tasks(parts):
    """Return all runs, so ordered that a part of them says something of each set."""
    wanted = []
    if "evidence" in parts:
        wanted += [("evidence", name, seed) for seed in (0, 1, 2) for name in EVIDENCE]
    if "labelled" in parts:
        wanted += [("labelled", name, seed) for seed in (0, 1) for name in LABELLED]
    if "null" in parts:
        wanted += [("null", NULLS[i % 4], i // 4) for i in range(40)]
    if "own" in parts:
        wanted += [("own", name, 0) for name in OWN]
    return wanted


def report(lines):
    evidence = [line for line in lines if line["part"] == "evidence"]
    if evidence:
        report_evidence(evidence)
    labelled = [line for line in lines if line["part"] == "labelled"]
    if labelled:
        report_criteria(labelled, list(NUMBERS))
        report_search(labelled)
    own = [line for line in lines if line["part"] == "own"]
    if own:
        print()
        report_criteria(own, list(FEW_NUMBERS))
    null = [line for line in lines if line["part"] == "null"]
    if null:
        print()
        kinds = ("separated groups", "structure", "none")
        print_table(
            ["sets without clusters", "runs", *kinds, "largest excess"],
            [
                [
                    name,
                    len(own := [line for line in null if line["set"] == name]),
                    *(sum(line["evidence"] == kind for line in own) for kind in kinds),
                    max((line["excess"] for line in own), default=float("nan")),
                ]
                for name in NULLS
            ],
        )
    cost = [line for line in lines if line["part"] == "cost"]
    if cost:
        print()
        ratios = {
            name: [line["seconds"][name] / line["seconds"]["one fit"] for line in cost]
            for name in cost[0]["seconds"]
        }
        print_table(
            [f"cost, {len(cost)} repeats", "median seconds", "one fit = 1", "least", "most"],
            [
                [
                    name,
                    statistics.median(line["seconds"][name] for line in cost),
                    statistics.median(ratio),
                    min(ratio),
                    max(ratio),
                ]
                for name, ratio in ratios.items()
            ],
        )


def is_hit(k, true):
    return abs(k - true) <= max(1, 0.1 * true)


def report_evidence(lines):
    """Print what is chosen, and what each index alone would take."""
    order = {name: i for i, name in enumerate(EVIDENCE)}
    lines = sorted(lines, key=lambda line: (order[line["set"]], line["seed"]))
    indices = list(lines[0]["alone"])
    print_table(
        ["set", "seed", "true", "chosen", "as good", *indices, "AMI lost", "seconds"],
        [
            [
                line["set"],
                line["seed"],
                TRUE[line["set"]],
                line["chosen"],
                "{}-{}".format(min(line["plausible"]), max(line["plausible"])),
                *line["alone"].values(),
                line["ami_lost"],
                line["screening"],
            ]
            for line in lines
        ],
    )
    picks = {"chosen": [line["chosen"] for line in lines]}
    picks |= {index: [line["alone"][index] for line in lines] for index in indices}
    truth = [TRUE[line["set"]] for line in lines]
    print_table(
        [f"{len(lines)} runs", "within 1 or 10 %", "within a factor 1.5"],
        [
            [
                name,
                sum(map(is_hit, chosen, truth)),
                sum(max(k / true, true / k) <= 1.5 for k, true in zip(chosen, truth, strict=True)),
            ]
            for name, chosen in picks.items()
        ],
    )
    held = sum(
        min(line["plausible"]) <= TRUE[line["set"]] <= max(line["plausible"]) for line in lines
    )
    lost = np.mean([line["ami_lost"] for line in lines])
    print(f"range holds the truth: {held} of {len(lines)}; AMI lost: {lost:.3f}")


def report_criteria(lines, numbers):
    """Print how each criterion ranks and chooses among the same labels."""
    names = list(lines[0]["criteria"])
    rows = []
    for name in names:
        chosen = [numbers[int(np.nanargmax(line["criteria"][name]))] for line in lines]
        rows.append(
            [
                name,
                np.mean([spearmanr(line["criteria"][name], line["nmi"])[0] for line in lines]),
                np.mean(
                    [
                        max(line["nmi"]) - line["nmi"][numbers.index(k)]
                        for line, k in zip(lines, chosen, strict=True)
                    ]
                ),
                sum(abs(k - TRUE[line["set"]]) <= 1 for line, k in zip(lines, chosen, strict=True)),
                " ".join(map(str, chosen)),
            ]
        )
    header = [f"{len(lines)} runs", "rank correlation", "NMI lost", "within 1 of true", "chosen"]
    print_table(header, rows)
    best = [numbers[int(np.argmax(line["nmi"]))] for line in lines]
    print("true:    ", *(TRUE[line["set"]] for line in lines))
    print("NMI-best:", *best)


def report_search(lines):
    """Print what the search as a whole came to."""
    print()
    print_table(
        ["NClustersSearch", "seed", "true", "chosen", "plausible", "NMI", "lost", "verdict"],
        [
            [
                line["set"],
                line["seed"],
                TRUE[line["set"]],
                line["chosen"],
                "{}-{}".format(min(line["plausible"]), max(line["plausible"])),
                line["trained_nmi"][line["trained"].index(line["chosen"])],
                max(line["trained_nmi"])
                - line["trained_nmi"][line["trained"].index(line["chosen"])],
                line["evidence"],
            ]
            for line in lines
        ],
    )
    within = sum(abs(line["chosen"] - TRUE[line["set"]]) <= 1 for line in lines)
    missed = sum(TRUE[line["set"]] not in line["plausible"] for line in lines)
    none = sum(line["evidence"] == "none" for line in lines)
    print(
        f"within 1 of the true k: {within} of {len(lines)}; plausible set misses it: {missed}; "
        f"called no evidence: {none}"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=("evidence", "labelled", "own", "null", "cost"),
        default=["evidence"],
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, in processes")
    parser.add_argument("--repeats", type=int, default=3, help="of the cost part")
    parser.add_argument("--minutes", type=float, default=1e9, help="start nothing after these")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    args.n_images = 200 if args.quick else N_IMAGES
    args.n_null_images = 200 if args.quick else N_NULL_IMAGES
    path = HERE / ("scratch" if args.quick else "results") / "choose_k.jsonl"
    path.parent.mkdir(exist_ok=True)
    lines = read_lines(path)
    done = {(line["part"], line.get("set"), line["seed"]) for line in lines}
    end = time.monotonic() + 60 * args.minutes
    here = {k: v for k, v in environment().items() if k not in ("load_average", "torch_threads")}

    def keep(line):
        append_line(path, line | {"environment": here})
        lines.append(line)
        print({k: v for k, v in line.items() if not isinstance(v, (dict, list))}, flush=True)

    wanted = [task for task in tasks(args.parts) if task not in done]
    while wanted and time.monotonic() < end:
        now, wanted = wanted[: args.jobs], wanted[args.jobs :]
        with joblib.Parallel(args.jobs, return_as="generator") as parallel:
            for line in parallel(joblib.delayed(run_one)(*task, args) for task in now):
                keep(line)
    if "cost" in args.parts:
        for repeat in range(args.repeats):
            if ("cost", None, repeat) not in done and time.monotonic() < end:
                keep({"part": "cost", "seed": repeat} | run_cost(repeat, args))
    print()
    report(lines)
    if args.quick:
        print("A quick run: the figures mean nothing.")
    print(f"\nEach run is a line of {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
