"""Clusterings of paintings: thirteen methods, any number of clusters, scored in spaces they share.

Each finished (method, seed, number of clusters) is a line in results/paintings.jsonl, with what it
depends on; a line that is there already is not computed again, so a run that was stopped can be
taken up, and a table grows with the time there is. The pretrained networks are kept in
scratch/paintings, and serve every number of clusters.

FOLDER holds the images. What is known of them is read from --metadata, by default the table
FOLDER.csv beside it, else the names of the sub-folders; its columns "artist" and "style" only score
the finished clusters. Without those columns the agreement is left out.
"""

import argparse
import csv
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _common import (
    HERE,
    Stopwatch,
    append_line,
    environment,
    is_done,
    params_that_matter,
    print_table,
    read_lines,
    settings_of,
)
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import spectral_embedding
from sklearn.metrics import (
    calinski_harabasz_score,
    euclidean_distances,
    normalized_mutual_info_score,
    silhouette_score,
)
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec.datasets import load_images
from skdcec.features import ColorEdgeFeatures

# From the styles of the data set to nine periods, in their order. Neighbouring styles that are
# taught as one period are joined; those after Impressionism, all within 1885-1920, are one.
PERIODS = {
    "Byzantine Art": "Middle Ages",
    "Proto Renaissance": "Middle Ages",
    "Early Renaissance": "Early Renaissance",
    "Northern Renaissance": "Northern Renaissance",
    "High Renaissance": "High Renaissance and Mannerism",
    "Mannerism": "High Renaissance and Mannerism",
    "Baroque": "Baroque",
    "Romanticism": "Romanticism",
    "Realism": "Realism",
    "Impressionism": "Impressionism",
    "Post-Impressionism": "Post-Impressionism and early modern",
    "Symbolism": "Post-Impressionism and early modern",
    "Primitivism": "Post-Impressionism and early modern",
    "Expressionism": "Post-Impressionism and early modern",
}
N_COMPONENTS = 32  # of the autoencoders, as published for paintings
JOINT_EPOCHS = 20  # by default, behind an autoencoder without an augmentation
N_NEIGHBORS = 10
MAX_CLUSTERS = 10
TIMED = (500, 1000, 2000, 4000, 6108)


# The methods: a space, which does not depend on the number of clusters, and labels in it.


def pixels(images, args, seed):
    return images.reshape(len(images), -1) / np.float32(255)


def pca(images, args, seed):
    return PCA(50, random_state=seed).fit_transform(pixels(images, args, seed))


def spectrum(images, args, seed):
    """Return eigenvectors of a graph of 10 neighbours, as many as the most clusters asked for."""
    graph = kneighbors_graph(pixels(images, args, seed), N_NEIGHBORS, include_self=True)
    graph = 0.5 * (graph + graph.T)
    return spectral_embedding(
        graph, n_components=MAX_CLUSTERS, drop_first=False, random_state=seed
    ).astype(np.float32)


def handmade(images, args, seed):
    return ColorEdgeFeatures().fit_transform(images)


def autoencoder(images, args, seed):
    return default_model(args, 2, seed).fit_encoder(images).transform(images)


def contrastive(images, args, seed):
    return contrastive_model(args, 2, seed).fit_encoder(images).transform(images)


def k_means(space, k, seed):
    return KMeans(k, n_init=20, random_state=seed).fit_predict(space), space


def leading_k_means(space, k, seed):
    return k_means(space[:, :k], k, seed)


SPACES = {
    "k-means on pixels": (pixels, k_means),
    "PCA + k-means": (pca, k_means),
    "spectral clustering": (spectrum, leading_k_means),
    "colours and edges + k-means": (handmade, k_means),
    "autoencoder + k-means": (autoencoder, k_means),
    "contrastive encoder + k-means": (contrastive, k_means),
}


def default_model(args, k, seed):
    """Return the library's defaults, but for the components and, to save time, the epochs."""
    epochs = {"max_epochs": args.epochs} if args.epochs else {}
    model = DeepConvEmbeddingClustering(
        k,
        encoder=ConvAutoencoder(N_COMPONENTS, callbacks=[Stopwatch()], **epochs),
        memory=str(args.cache),
        random_state=seed,
    )
    if args.epochs:
        default = ConvAutoencoder().max_epochs
        model.set_params(max_epochs=max(1, round(args.epochs * JOINT_EPOCHS / default)))
    return model


def contrastive_model(args, k, seed):
    """Return the contrastive encoder with as many joint epochs as `skdcec cluster` plans."""
    return DeepConvEmbeddingClustering(
        k,
        encoder=ContrastiveEncoder(callbacks=[Stopwatch()], max_epochs=args.contrastive_epochs),
        max_epochs=max(1, round(0.1 * args.contrastive_epochs)),
        memory=str(args.cache),
        random_state=seed,
    )


def paper_weights(args, k, seed):
    """Return the painting paper's joint phase, from our pretraining."""
    return default_model(args, k, seed).set_params(**paper_joint(args))


def paper_model(args, k, seed):
    """Return the painting paper's settings throughout."""
    encoder = ConvAutoencoder(
        N_COMPONENTS,
        activation="elu",
        max_epochs=args.paper_epochs,
        lr=1e-3,
        lr_schedule="constant",
        batch_size=128,
        callbacks=[Stopwatch()],
    )
    model = DeepConvEmbeddingClustering(
        k, encoder=encoder, memory=str(args.cache), random_state=seed
    )
    return model.set_params(**paper_joint(args))


def paper_joint(args):
    return {
        "init": "k-means",
        "n_init": 20,
        "gamma": 0.9,
        "reconstruction_weight": 0.1,
        "max_epochs": args.joint_limit,
        "update_interval": 140,
        "tol": 1e-3,
        "lr": 1e-3,
        "lr_schedule": "constant",
        "batch_size": 128,
    }


def dec(args, k, seed, **weights):
    epochs = {"max_epochs": args.epochs} if args.epochs else {}
    model = DeepEmbeddingClustering(
        k,
        encoder=DenseAutoencoder(batch_size=256, callbacks=[Stopwatch()], **epochs),
        memory=str(args.cache),
        random_state=seed,
        **weights,
    )
    if args.epochs:
        default = DenseAutoencoder().max_epochs
        model.set_params(max_epochs=max(1, round(args.epochs * model.max_epochs / default)))
    return model


def auto_model(args, k, seed):
    """Return what `encoder="auto"` takes for paintings: an encoder that has seen these ones."""
    return DeepConvEmbeddingClustering(k, encoder="auto", random_state=seed)


OURS = "DCEC, defaults"
MODELS = {
    "DEC": dec,
    "IDEC": partial(dec, gamma=0.1, reconstruction_weight=1.0),
    OURS: default_model,
    "DCEC, contrastive encoder": contrastive_model,
    "encoder auto": auto_model,
    "DCEC, the paper's weights": paper_weights,
    "DCEC, the paper": paper_model,
}
METHODS = (*SPACES, *MODELS)


def run(method, images, args, k, seed, kept):
    """Return labels, own space, seconds and, of trained models, epochs."""
    if method in SPACES:
        make, cluster = SPACES[method]
        if kept.get("space of") != (method, seed):
            start = time.perf_counter()
            kept["space"] = make(images, args, seed)
            kept["space of"] = (method, seed)
            kept["space seconds"] = time.perf_counter() - start
        start = time.perf_counter()
        labels, space = cluster(kept["space"], k, seed)
        return labels, space, {"cluster": time.perf_counter() - start}
    model = MODELS[method](args, k, seed)
    data = images if isinstance(model, DeepConvEmbeddingClustering) else pixels(images, args, seed)
    start = time.perf_counter()
    model.fit(data)
    seconds = {"cluster": time.perf_counter() - start}
    callbacks = getattr(model.encoder_, "callbacks", None)
    if callbacks and hasattr(callbacks[0], "seconds_"):
        # This fit pretrained; the others found the result.
        seconds["pretraining"] = callbacks[0].seconds_
        seconds["cluster"] -= callbacks[0].seconds_
    epochs = {
        "pretraining": len(model.encoder_.history_["loss"]) if callbacks else 0,
        "joint": model.n_iter_,
        "settled": model.converged_,
    }
    return model.labels_, model.transform(data), {**seconds, "epochs": epochs}


# The scores


class Judge:
    """Scores labels and spaces; keeps the distances within the common spaces."""

    def __init__(self, images, targets, args):
        self.targets = targets
        self.common = {
            "pixels": pixels(images, args, 0),
            "pretrained": autoencoder(images, args, 0),
        }
        self.distances = {name: distances_in(space) for name, space in self.common.items()}
        self.own = (None, None, {})

    def scores(self, method, seed, labels, space):
        distances, accuracy = self.look_at(method, seed, space)
        result = {"found": len(np.unique(labels)), "own": indices_in(space, labels, distances)}
        for name, common in self.common.items():
            result[name] = indices_in(common, labels, self.distances[name])
        result["NMI"] = {
            name: float(normalized_mutual_info_score(target, labels))
            for name, target in self.targets.items()
        }
        result["accuracy"] = accuracy
        return result

    def look_at(self, method, seed, space):
        """Return distances within a space, and how often 10 neighbours in it name each target."""
        key = (method, seed, space.shape[1])
        # Only the spaces of trained models depend on more than that.
        if self.own[0] != key or method in MODELS:
            distances = distances_in(space)
            self.own = (key, distances, neighbour_accuracy(distances, self.targets))
        return self.own[1:]


def neighbour_accuracy(distances, targets):
    """Return how often 10 neighbours name each target, of all images and within two parts."""
    vote = KNeighborsClassifier(N_NEIGHBORS, weights="distance", metric="precomputed")
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    accuracy = {}
    for part, rows in {"": np.arange(len(distances)), **two_parts(targets)}.items():
        among = distances[np.ix_(rows, rows)]
        for name, target in targets.items():
            found = cross_val_score(vote, among, target[rows], cv=folds).mean()
            accuracy[f"{name}, {part}" if part else name] = float(found)
    return accuracy


def two_parts(targets):
    """Return two sets of artists: the first may serve to choose settings, the second not."""
    letters = np.array([artist[:1].upper() for artist in targets.get("artist", [])])
    parts = {"artists A to M": letters < "N", "artists N to Z": letters >= "N"}
    return {name: np.flatnonzero(rows) for name, rows in parts.items() if rows.any()}


def distances_in(space):
    distances = euclidean_distances(space.astype(np.float32))
    np.fill_diagonal(distances, 0)
    return distances


def indices_in(space, labels, distances):
    if len(np.unique(labels)) < 2:
        return {"silhouette": None, "CH": None}
    return {
        "silhouette": float(silhouette_score(distances, labels, metric="precomputed")),
        "CH": float(calinski_harabasz_score(space, labels)),
    }


# Time against the number of images


def k_means_of_7(images, args):
    k_means(pixels(images, args, 0), 7, 0)


def pca_and_k_means(images, args):
    k_means(pca(images, args, 0), 7, 0)


def dense_spectral(images, args):
    """Run it on similarities of all pairs: memory and time grow with n squared and more."""
    distances = euclidean_distances(pixels(images, args, 0), squared=True)
    affinity = np.exp(distances / -np.median(distances))
    k_means(spectral_embedding(affinity, n_components=7, drop_first=False, random_state=0), 7, 0)


def sparse_spectral(images, args):
    leading_k_means(spectrum(images, args, 0), 7, 0)


def one_epoch(images, args):
    ConvAutoencoder(N_COMPONENTS, max_epochs=1, random_state=0).fit(images)


TIMES = {
    "k-means on pixels": k_means_of_7,
    "PCA + k-means": pca_and_k_means,
    "spectral clustering, all pairs": dense_spectral,
    "spectral clustering, neighbours": sparse_spectral,
    "autoencoder, one epoch": one_epoch,
}


def time_methods(images, args, path, done):
    for method, function in TIMES.items():
        for n in sorted({min(n, len(images)) for n in TIMED}):
            key = {"kind": "time", "method": method, "n": n, "settings": settings(images, args)}
            if is_done(key, done):
                continue
            some = images[np.linspace(0, len(images) - 1, n).astype(int)]
            start = time.perf_counter()
            function(some, args)
            seconds = time.perf_counter() - start
            append_line(path, {**key, "seconds": seconds, "load": environment()["load_average"]})
            print(f"{method}, {n} images: {seconds:.1f} s", flush=True)


# What a line of results depends on


def settings(images, args, method=None, k=None, seed=None):
    known = {"images": len(images), "size": args.size}
    if method in MODELS:
        known["params"] = params_that_matter(MODELS[method](args, k, seed))
    elif method == "autoencoder + k-means":
        known["epochs"] = default_model(args, 2, 0).encoder.max_epochs
    elif method == "contrastive encoder + k-means":
        known["epochs"] = args.contrastive_epochs
    return settings_of(known)


def score_all(images, targets, args, path, done):
    judge, kept = None, {}
    for method in args.methods:
        for seed in args.seeds:
            for k in args.k:
                key = {"method": method, "seed": seed, "k": k}
                key["settings"] = settings(images, args, **key)
                if is_done(key, done):
                    continue
                # Built only now: a run that finds everything done needs no distances.
                judge = judge or Judge(images, targets, args)
                labels, space, how = run(method, images, args, k, seed, kept)
                if method in SPACES:
                    how["space"] = kept["space seconds"]
                result = judge.scores(method, seed, labels, space)
                sizes = np.bincount(labels, minlength=k).tolist()
                line = {"kind": "score", **key, **result, "sizes": sizes, "seconds": how}
                if method == OURS and seed == 0:
                    line["labels"] = "".join(map(str, labels)) if k <= 10 else None
                append_line(path, {**line, "load": environment()["load_average"]})
                print(
                    f"{method}, k = {k}, seed {seed}: silhouette {result['own']['silhouette']} in "
                    f"its own space, {result['pretrained']['silhouette']} in the pretrained one",
                    flush=True,
                )


# The tables and curves, from the file of results alone


def latest(path, args):
    """Return the last line of each method, seed and k, and of each time."""
    scores, times = {}, {}
    for line in read_lines(path):
        if line["settings"]["size"] != args.size or line["settings"]["images"] != args.n_images:
            continue
        if line["kind"] == "time":
            times[line["method"], line["n"]] = line
        else:
            scores[line["method"], line["seed"], line["k"]] = line
    return scores, times


def tables(scores, times):
    """Return the tables by name, each a header and rows of texts."""
    result = {}
    for k in sorted({k for _, _, k in scores}):
        lines = {m: [s for key, s in scores.items() if key[::2] == (m, k)] for m in METHODS}
        result[f"k{k}"] = (
            [
                f"k = {k}",
                *("silhouette: own", "pixels", "pretrained"),
                *("CH: own", "pixels", "pretrained"),
                *("NMI: artist", "style", "period", "epochs", "seeds"),
            ],
            [
                [
                    name_of(method, found),
                    *(mean(found, s, "silhouette") for s in ("own", "pixels", "pretrained")),
                    *(mean(found, s, "CH", 0) for s in ("own", "pixels", "pretrained")),
                    *(mean(found, "NMI", c) for c in ("artist", "style", "period")),
                    epochs_of(found[-1]),
                    str(len(found)),
                ]
                for method, found in lines.items()
                if found
            ],
        )
    rows = []
    for method in METHODS:
        for k in (3, 7):
            found = [s for key, s in scores.items() if key[::2] == (method, k)]
            if found and not (method in SPACES and "spectral" not in method and k == 3):
                name = f"{method}, k = {k}" if method in MODELS or "spectral" in method else method
                accuracies = [mean(found, "accuracy", c) for c in ("artist", "style", "period")]
                rows.append([name, *accuracies])
    result["spaces"] = (["10-NN accuracy in the space of", "artist", "style", "period"], rows)
    numbers = sorted({n for _, n in times})
    result["times"] = (
        ["seconds, number of images", *map(str, numbers)],
        [
            [m, *(f"{times[m, n]['seconds']:.1f}" if (m, n) in times else "" for n in numbers)]
            for m in TIMES
            if any((m, n) in times for n in numbers)
        ],
    )
    return {name: table for name, table in result.items() if table[1]}


def mean(lines, space, name, digits=3):
    values = [line[space].get(name) for line in lines]
    if not values or None in values:
        return ""
    text = f"{np.mean(values):,.{digits}f}"
    return text.replace("0.", ".", 1) if abs(np.mean(values)) < 1 else text


def name_of(method, lines):
    """Return the method's name, and how many clusters it found where they are fewer than asked."""
    found = min(line["found"] for line in lines)
    return method if found == lines[0]["k"] else f"{method} (only {found} found)"


def epochs_of(line):
    epochs = line["seconds"].get("epochs")
    if epochs:
        return f"{epochs['pretraining']} + {epochs['joint']}"
    return str(line["settings"].get("epochs", ""))


def write_docs(folder, scores, times):
    """Write the tables and curves that the page *Paintings* of the documentation shows."""
    target = folder / "guide" / "paintings"
    target.mkdir(exist_ok=True)
    for name, (header, rows) in tables(scores, times).items():
        if name in ("k3", "k7", "spaces", "times"):
            with (target / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([header, *rows])
    draw_curves(folder / "_static" / "paintings.png", scores, times)


def draw_curves(path, scores, times):
    from matplotlib.figure import Figure

    n_panels = 3 if times else 2
    figure = Figure(figsize=(3.7 * n_panels, 3.4), layout="constrained")
    panels = figure.subplots(1, n_panels)
    curves = {
        "Silhouette in the pretrained space": ("pretrained", "silhouette"),
        "NMI of labels and style": ("NMI", "style"),
    }
    for panel, (title, (space, name)) in zip(panels, curves.items(), strict=False):
        for style, methods in (("o-", SPACES), ("s--", MODELS)):
            for i, method in enumerate(methods):
                found = defaultdict(list)
                for (m, _, k), line in scores.items():
                    if m == method:
                        found[k].append(line[space][name])
                points = sorted((k, np.mean(values)) for k, values in found.items())
                if points:
                    columns = zip(*points, strict=True)
                    panel.plot(*columns, style, color=f"C{i}", markersize=3.5, label=method)
        panel.set(title=title, xlabel="number of clusters")
    if times:
        draw_times(panels[2], times)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=7.5)
    figure.savefig(path, dpi=110)


def draw_times(panel, times):
    for method in TIMES:
        points = sorted((n, line["seconds"]) for (m, n), line in times.items() if m == method)
        if points:
            panel.loglog(*zip(*points, strict=True), marker="o", markersize=3.5, label=method)
    panel.set(title="Seconds (one core)", xlabel="number of images")
    panel.set_xticks(TIMED, [str(n) for n in TIMED])
    panel.minorticks_off()
    panel.set_ylim(bottom=0.003)  # leaves room for the names
    panel.legend(fontsize=7, loc="lower right")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder of the images")
    parser.add_argument("--metadata", type=Path, metavar="FILE", help="table with a row per image")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD")
    parser.add_argument("--k", type=int, nargs="+", default=list(range(2, MAX_CLUSTERS + 1)))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, default=64, help="pixels of a side (default: 64)")
    parser.add_argument("--sample", type=int, help="only so many images, evenly spaced")
    parser.add_argument("--epochs", type=int, help="of pretraining, clustering in proportion")
    default = ContrastiveEncoder().max_epochs
    parser.add_argument("--contrastive-epochs", type=int, default=default, help="of that encoder")
    parser.add_argument("--paper-epochs", type=int, default=200, help="the paper's pretraining")
    parser.add_argument("--joint-limit", type=int, default=417, help="of the paper's joint phase")
    parser.add_argument("--times", action="store_true", help="time against the number of images")
    parser.add_argument("--table", action="store_true", help="only print what was found before")
    parser.add_argument("--n-images", type=int, default=6108, help="the collection of --table")
    parser.add_argument("--docs", type=Path, help="write tables and curves into this docs folder")
    parser.add_argument("--threads", type=int, help="of PyTorch (default: its own choice)")
    parser.add_argument("--cache", type=Path, default=HERE / "scratch" / "paintings")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.quick:
        args.sample, args.epochs, args.paper_epochs, args.joint_limit = 200, 1, 1, 1
        args.contrastive_epochs = 1
        args.k = args.k[:2]
    path = HERE / ("scratch" if args.quick else "results") / "paintings.jsonl"
    path.parent.mkdir(exist_ok=True)

    if not args.table:
        if args.data is None:
            parser.error("--data FOLDER is needed, or --table")
        images, targets = load(args)
        args.n_images = len(images)
        done = read_lines(path)
        if args.times:
            time_methods(images, args, path, done)
        else:
            score_all(images, targets, args, path, done)
    scores, times = latest(path, args)
    for header, rows in tables(scores, times).values():
        print()
        print_table(header, rows)
    if args.docs:
        write_docs(args.docs, scores, times)
    if args.quick:
        print("A quick run: the figures mean nothing.")


def load(args):
    """Return the images, and what each of them is labelled with."""
    table = args.metadata or args.data.with_name(f"{args.data.name}.csv")
    bunch = load_images(
        args.data,
        size=args.size,
        sample=args.sample,
        metadata=table if table.exists() else "folders",
        n_jobs=-1,
    )
    targets = {name: bunch.metadata[name] for name in ("artist", "style") if name in bunch.metadata}
    styles = targets.get("style", [])
    if len(styles) and set(styles) <= set(PERIODS):
        targets["period"] = np.array([PERIODS[style] for style in styles])
    return bunch.images, targets


if __name__ == "__main__":
    main()
