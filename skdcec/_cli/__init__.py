"""The command ``skdcec``: a folder of images in, clusters to look at out.

Results go to stdout or to files, everything else to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import errno
import hashlib
import io
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import textwrap
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

# What takes seconds to import is imported where it is used: the help must not wait for it.
if TYPE_CHECKING:
    import numpy as np
    from sklearn.utils import Bunch

    from skdcec import (
        ContrastiveEncoder,
        ConvAutoencoder,
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
        DenseAutoencoder,
    )
    from skdcec._backbone import Backbone
    from skdcec.report import Report

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering

DEFAULT_CLUSTERS = 7
DEFAULT_SIZE = 64
NETWORK_SIZE = 224  # which most networks of torchvision were trained on
N_COMPONENTS = 32  # as published for paintings; ten, the library's default, is for digits

MODEL = "model.safetensors"
ARRAYS = "data.npz"
TEXTS = "data.json"
NAMES = "names.json"
RUN = "run.json"
PAGE = "report.html"
CLUSTERS = "clusters.csv"
SUMMARY = "cluster_summary.csv"
SKIPPED = "skipped.csv"
DUPLICATES = "duplicates.csv"
CHOICE_PAGE = "choose_k.html"
CHOICE_TABLE = "choose_k.csv"
CHOICE_PICTURE = "choose_k.png"
OWN_FILES = (PAGE, CLUSTERS, SUMMARY, SKIPPED, DUPLICATES, RUN, MODEL, ARRAYS, TEXTS, NAMES)
CHOICE_FILES = (CHOICE_PAGE, CHOICE_TABLE, CHOICE_PICTURE)
STAGING = ".skdcec-unfinished"

# Pretraining epochs that a plan may choose: far enough apart for two measurements of the same
# machine's speed to end at the same number. None is above the default of the encoder.
EPOCHS = (1, 2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75)
MIN_STEPS = 200
# Fewer images are compared by an autoencoder unless asked otherwise: a contrastive encoder learns
# by telling images from each other, and was measured on thousands.
CONTRASTIVE_MIN_IMAGES = 1000


@dataclass(frozen=True)
class _Joint:
    """What joint training is planned as.

    `share` is its epochs for each of pretraining: as the library's defaults have it, and few
    where the metric is learned, since on paintings the time does more in pretraining. `step` and
    `embedding` are what a step with the clustering loss, and embedding a batch, cost in steps of
    pretraining.
    """

    share: float
    step: float
    embedding: float


ENCODERS = {"autoencoder": _Joint(0.4, 1.1, 0.15), "contrastive": _Joint(0.1, 1.9, 0.3)}
# Of what is trained on the features of a network of torchvision.
ON_FEATURES = _Joint(0.4, 0.8, 0.4)

MAX_SHEET_ROWS = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, default=None
        The arguments, by default those of the process.

    Returns
    -------
    status : int
        0 when something usable was found or written, 1 when not, 130 after Ctrl-C. Wrong
        arguments end the process with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names may hold what the terminal's encoding lacks.
            stream.reconfigure(errors="backslashreplace")
    args = _parser().parse_args(argv)
    try:
        with _warnings_as_messages():
            args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _message("Stopped. What was decoded and pretrained is kept: the same command goes on.")
        return 130
    except BrokenPipeError:
        # Whoever read our results, `head` for one, has seen enough. Nothing is left to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError:
        _message("error: not enough memory; try --sample N or a smaller --size.")
        return 1
    except (ValueError, OSError, ImportError) as error:
        _message(f"error: {_describe(error)}")
        return 1
    return 0


# skdcec cluster


def _cluster(args: argparse.Namespace) -> None:
    from skdcec.novelty import learn_strangers

    clock = _Clock()
    out = Path(args.out) if args.out else _default_out(args.folder)
    _claim(out, args)
    _check_device(args.device)
    backbone = _choose_backbone(args)
    bunch = _load(args, args.folder, _image_settings(args), **_source_options(args))
    skipped = _without_own_files(bunch.skipped, args.folder, out)
    _tell_skipped(skipped, args.strict)
    _tell_duplicates(bunch, args)
    args.encoder = _choose_encoder(args, len(bunch.images))
    n_clusters = _choose_clusters(args.clusters, len(bunch.images))
    clock.lap("loading")
    inputs = _inputs(args, backbone, bunch.images)
    clock.lap("features")

    plan, digest = _plan(args, inputs, clock.elapsed)
    _tell_plan(args, bunch, n_clusters, plan, clock.elapsed)
    model = _train(args, inputs, n_clusters, plan)
    clock.lap("training")
    _note(args, f"Map and page follow, about {_duration(_page_seconds(len(bunch.images)))}.")

    found = _Found.from_model(model, inputs, bunch, skipped, _title(args.folder), _previous(out))
    found.settings = _page_settings(args, found, n_clusters, plan)
    clock.lap("map")
    model.image_loading_ = _image_settings(args) | (backbone.known if backbone else {})
    learn_strangers(model, found.labels, found.embedding, inputs)
    with _staged(out) as folder:
        _save_model(model, folder / MODEL)
        found.save(folder)
        names = _kept_names(out, found)
        report = _draw(args, found, folder, names)
        clock.lap("page")
        run = _run_record(args, found, plan, clock, digest, folder / MODEL)
        _write_json(folder / RUN, run)
    _tell_result(args, out, found, report, run)


def _tell_plan(
    args: argparse.Namespace, bunch: Bunch, n_clusters: int, plan: _Plan, elapsed: float
) -> None:
    n, side = len(bunch.images), bunch.images.shape[1]
    expected = plan.training_seconds + _page_seconds(n)
    end = datetime.datetime.now() + datetime.timedelta(seconds=expected)
    known = "; less if what an earlier run pretrained is still there" if plan.is_reused else ""
    _note(
        args,
        f"{n} images at {side} x {side} pixels into {n_clusters} clusters: {plan.pretraining} "
        f"epochs of pretraining ({args.encoder}) and {plan.joint} of clustering, then map and "
        f"page, about {_duration(expected)} (until {end:%H:%M}){known}.",
    )
    if elapsed + expected > 1.2 * 60 * args.minutes and args.epochs is None:
        _message(
            f"{_duration(elapsed + expected)} are more than --minutes {args.minutes:g}, but fewer "
            "epochs would not be worth it: --sample N or a smaller --size is faster."
        )


def _tell_result(
    args: argparse.Namespace, out: Path, found: _Found, report: Report, run: dict[str, Any]
) -> None:
    summary = report.summary
    if args.json:
        _print_json(
            {
                "out": str(out),
                "page": str(out / PAGE),
                "n_images": len(found.paths),
                "n_skipped": len(found.skipped),
                "n_duplicates": _n_copies(found.duplicates),
                "clusters": _as_rows(summary),
                "epochs": run["epochs"],
                "seconds": run["seconds"],
            }
        )
        return
    print(f"{len(found.paths)} images in {len(summary['cluster'])} clusters")
    for row in _as_rows(summary):
        name = f"{row['name']}  " if row["name"] else ""
        sizes = f"{row['cluster']:>4}  {row['size']:>7} images {row['share']:>6.1%}  "
        print(_plain(f"{sizes}{name}{row['metadata']}").rstrip())
    seconds = sum(run["seconds"].values())
    print(f"Page ({report.n_bytes / 1e6:.1f} MB, after {_duration(seconds)}): {out / PAGE}")


# skdcec report


def _report(args: argparse.Namespace) -> None:
    from skdcec.report import read_names

    out = Path(args.out)
    found = _Found.load(out)
    if args.title:
        found.title = args.title
    if args.images:
        found.filenames = [os.path.abspath(os.path.join(args.images, path)) for path in found.paths]
    names = _kept_names(out, found)
    if args.names:
        names |= read_names(args.names)
    with _staged(out) as folder:
        report = _draw(args, found, folder, names)
        if args.title or args.images:
            found.save(folder)
    if args.json:
        rows = _as_rows(report.summary)
        _print_json({"out": str(out), "page": str(out / PAGE), "clusters": rows})
    else:
        print(f"Page ({report.n_bytes / 1e6:.1f} MB): {out / PAGE}")


def _draw(
    args: argparse.Namespace, found: _Found, folder: Path, names: dict[int, dict[str, str]]
) -> Report:
    """Write the page, the tables and the names into a folder."""
    from skdcec.report import write_report, write_table

    missing = [path for path in found.filenames if not os.path.exists(path)]
    if missing:
        _message(
            f"{len(missing)} of {len(found.filenames)} images are no longer where they were, such "
            f"as {_plain(missing[0])}: skdcec report OUT --images FOLDER says where they are."
        )
    with _bars(args) as progress:
        report = write_report(
            folder / PAGE,
            found.filenames,
            found.labels,
            paths=found.paths,
            embedding=found.embedding,
            metric=found.metric,
            probabilities=found.probabilities,
            distances=found.distances,
            metadata=found.metadata,
            cluster_names=names,
            map_coordinates=found.map,
            history=found.history,
            settings=found.settings,
            title=found.title,
            max_bytes=int(args.max_mb * 1e6),
            n_jobs=args.jobs,
            progress=progress,
        )
    write_table(folder / CLUSTERS, report.table)
    write_table(folder / SUMMARY, report.summary)
    write_table(folder / SKIPPED, _columns(("file", "reason"), found.skipped))
    copies = [(group, found.paths[i]) for group, rows in enumerate(found.duplicates) for i in rows]
    write_table(folder / DUPLICATES, _columns(("group", "file"), copies))
    if names:
        rows = [{"cluster": cluster, **entry} for cluster, entry in sorted(names.items())]
        _write_json(
            folder / NAMES,
            {"format": "skdcec cluster names", "clustering": found.digest(), "clusters": rows},
        )
    return report


def _kept_names(out: Path, found: _Found) -> dict[int, dict[str, str]]:
    """Return the names given before, if they were given to these very clusters."""
    from skdcec.report import read_names

    path = out / NAMES
    if not path.exists():
        return {}
    try:
        if _read_json(path).get("clustering") == found.digest():
            return read_names(path)
    except ValueError as error:
        # Not worth losing a training for.
        _message(f"The names are not used: {error}")
        return {}
    _message(
        f"The names in {path} belong to other clusters and are not used; skdcec report OUT "
        f"--names {path} uses them all the same."
    )
    return {}


# skdcec choose-k


def _choose_k(args: argparse.Namespace) -> None:
    from skdcec.model_selection import NClustersSearch

    clock = _Clock()
    out = Path(args.out) if args.out else _default_out(args.folder, "choose-k")
    _claim(out, args)
    _check_device(args.device)
    backbone = _choose_backbone(args)
    bunch = _load(args, args.folder, _image_settings(args), **_source_options(args))
    skipped = _without_own_files(bunch.skipped, args.folder, out)
    _tell_skipped(skipped, args.strict)
    args.encoder = _choose_encoder(args, len(bunch.images))
    numbers = [k for k in args.k if k < len(bunch.images)]
    if not numbers:
        raise ValueError(
            f"--k {args.k[0]}..{args.k[-1]}: {len(bunch.images)} images are too few for that."
        )
    clock.lap("loading")
    inputs = _inputs(args, backbone, bunch.images)
    clock.lap("features")

    # Up to three numbers are trained, which costs about as much again as one training in all.
    half = argparse.Namespace(**vars(args) | {"minutes": args.minutes / 2})
    plan, digest = _plan(half, inputs, clock.elapsed)
    _note(args, f"{len(bunch.images)} images, {len(numbers)} numbers of clusters to compare.")
    search = NClustersSearch(
        _new_model(args, numbers[0], plan).set_params(verbose=False),
        numbers,
        n_runs=args.runs,
        screen=None if args.all else "plausible",
        memory=_kept(args, "pretraining"),
        random_state=args.seed,
        verbose=not args.quiet,
    ).fit(inputs)
    clock.lap("search")
    with _staged(out) as folder:
        _draw_choice(args, search, inputs, bunch, folder)
        _write_json(folder / RUN, _choice_record(args, search, plan, clock, digest))
    _tell_choice(args, out, search)


def _draw_choice(
    args: argparse.Namespace, search: Any, inputs: np.ndarray, bunch: Bunch, folder: Path
) -> None:
    """Write the page, the picture and the table into a folder."""
    from skdcec.report import write_table
    from skdcec.report.choice import write_choice_page

    results = search.results_
    write_table(folder / CHOICE_TABLE, _choice_table(results))
    picture = _choice_picture(search)
    if picture is not None:
        (folder / CHOICE_PICTURE).write_bytes(picture)
    best = search.best_n_clusters_
    shown = {int(k) for k in results["n_clusters"][results["plausible"]]} | {best}
    write_choice_page(
        folder / CHOICE_PAGE,
        bunch.filenames.tolist(),
        search.best_estimator_.encoder_.transform(inputs),
        {k: _by_size(search.labels_of_[k]) for k in shown},
        results,
        best=best,
        verdict=search.verdict_,
        title=_title(args.folder),
        picture=picture,
        n_jobs=args.jobs,
    )


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Return labels of which 0 is the largest cluster."""
    import numpy as np

    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return np.argsort(np.argsort(-sizes, kind="stable"))[codes]


def _choice_picture(search: Any) -> bytes | None:
    """Return a PNG, or None without matplotlib."""
    from skdcec.inspection import NClustersSearchDisplay

    try:
        from matplotlib.figure import Figure
    except ImportError:
        _message("No picture is drawn: pip install 'skdcec[plot]' brings what it needs.")
        return None
    # A figure of its own, so that no window system is asked for.
    figure = Figure(figsize=(7, 4), layout="constrained")
    display = NClustersSearchDisplay(search.results_, best_n_clusters=search.best_n_clusters_)
    display.plot(figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _choice_table(results: Mapping[str, np.ndarray]) -> dict[str, list]:
    """Return the results as plain values, None for what is not known."""
    return {
        name: [
            None if isinstance(value, float) and math.isnan(value) else value
            for value in column.tolist()
        ]
        for name, column in results.items()
    }


def _choice_record(
    args: argparse.Namespace, search: Any, plan: _Plan, clock: _Clock, digest: str
) -> dict[str, Any]:
    arguments = {name: value for name, value in vars(args).items() if name != "run"}
    return {
        "program": "skdcec",
        "state": "finished",
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "arguments": arguments | {"folder": os.path.abspath(args.folder)},
        "epochs": {"pretraining": plan.pretraining, "joint": plan.joint},
        "best_n_clusters": search.best_n_clusters_,
        "evidence": search.evidence_,
        "verdict": search.verdict_,
        "seconds": {name: round(value, 1) for name, value in clock.laps.items()},
        "versions": _versions(),
        "hashes": {"images": digest},
    }


def _tell_choice(args: argparse.Namespace, out: Path, search: Any) -> None:
    rows = _as_rows(_choice_table(search.results_))
    if args.json:
        _print_json(
            {
                "out": str(out),
                "page": str(out / CHOICE_PAGE),
                "best_n_clusters": search.best_n_clusters_,
                "evidence": search.evidence_,
                "verdict": search.verdict_,
                "results": rows,
            }
        )
        return
    print(f"{'k':>4}  silhouette  above chance  plausible  trained")
    for row in rows:
        mark = "*" if row["n_clusters"] == search.best_n_clusters_ else " "
        numbers = (row["silhouette"], row["excess_silhouette"])
        first, second = ("-" if value is None else f"{value:.3f}" for value in numbers)
        flags = ("yes" if row[name] else "" for name in ("plausible", "trained"))
        line = f"{row['n_clusters']:>3}{mark}  {first:>10}  {second:>12}  {{:>9}}  {{:>7}}"
        print(_plain(f"{line.format(*flags)}  {row['error']}").rstrip())
    print("\n".join(textwrap.wrap(search.verdict_, 88)))
    print(f"Page: {out / CHOICE_PAGE}")


# skdcec assign


def _assign(args: argparse.Namespace) -> None:
    from sklearn.metrics import euclidean_distances

    from skdcec.novelty import unlikeness
    from skdcec.report import image_table

    target = _target(args.out, args.force, (".csv",))
    model, out = _load_model(args.model)
    settings, backbone = _settings_of_model(args, model)
    bunch = _load(args, args.folder, settings, **_source_options(args))
    _tell_skipped(bunch.skipped, args.strict)
    inputs = _inputs(args, backbone, bunch.images)
    probabilities = model.predict_proba(inputs)
    table = image_table(
        probabilities.argmax(axis=1),
        paths=bunch.paths.tolist(),
        probabilities=probabilities,
        distances=euclidean_distances(model.transform(inputs), model.cluster_centers_),
    )
    for column in ("x", "y", "flag"):
        del table[column]
    names = {}
    if out is not None and (out / NAMES).exists():
        names = _kept_names(out, _Found.load(out))
    table["name"] = [names.get(cluster, {}).get("name", "") for cluster in table["cluster"]]
    found = unlikeness(model, inputs)
    if found is None:
        _message("The model holds no limits, so no image is flagged as unlike any cluster.")
        table["unlikeness"], table["flag"] = ([None] * len(bunch.images), [""] * len(bunch.images))
    else:
        table["unlikeness"] = found.round(4).tolist()
        table["flag"] = ["unlike" if value > 1 else "" for value in found]
    _write_results(args, table, target)
    n_unlike = table["flag"].count("unlike")
    if n_unlike:
        _note(args, f"{n_unlike} of {len(bunch.paths)} images are unlike any cluster.")


# skdcec similar


def _similar(args: argparse.Namespace) -> None:
    from sklearn.neighbors import NearestNeighbors

    target = _target(args.out, args.force, (".csv",))
    sheet = args.sheet or (target.with_suffix(".jpg") if target else None)
    sheet = _target(sheet, args.force, (".jpg", ".jpeg", ".png", ".webp"))
    model, out = _load_model(args.model)
    settings, backbone = _settings_of_model(args, model)
    queries = _load(args, list(dict.fromkeys(args.images)), settings, use_cache=False)
    _tell_skipped(queries.skipped, args.strict)
    embedded = model.encoder_.transform(_inputs(args, backbone, queries.images))
    paths, filenames, embedding = _searched(args, model, out, settings, backbone)
    metric = getattr(model.encoder_, "metric_", "euclidean")
    # One more than asked for: the image itself is not similar to itself.
    wanted = min(args.top + 1, len(paths))
    search = NearestNeighbors(n_neighbors=wanted, metric=metric, algorithm="brute").fit(embedding)
    distances, indices = search.kneighbors(embedded)
    rows, found = [], []
    for query, near, far in zip(queries.filenames, indices, distances, strict=True):
        others = [
            (i, distance)
            for i, distance in zip(near.tolist(), far.tolist(), strict=True)
            if not _same_file(filenames[i], query)
        ][: args.top]
        found.append((query, [filenames[i] for i, _ in others]))
        rows += [
            (os.fspath(query), rank, paths[i], round(distance, 6))
            for rank, (i, distance) in enumerate(others, start=1)
        ]
    _write_results(args, _columns(("image", "rank", "similar", "distance"), rows), target)
    if sheet is not None:
        _write_sheet(args, sheet, found)


def _searched(
    args: argparse.Namespace,
    model: Model,
    out: Path | None,
    settings: dict[str, Any],
    backbone: Backbone | None,
) -> tuple[list[str], list[str], np.ndarray]:
    """Return ids, files and embedding of the images among which similar ones are sought."""
    if args.folder:
        bunch = _load(args, args.folder, settings)
        _tell_skipped(bunch.skipped, args.strict)
        return (
            bunch.paths.tolist(),
            bunch.filenames.tolist(),
            model.encoder_.transform(_inputs(args, backbone, bunch.images)),
        )
    if out is None:
        raise ValueError(
            f"{args.model} is a model without the images it was trained on: say by --in FOLDER "
            "where to look, or name the folder that skdcec cluster wrote."
        )
    found = _Found.load(out)
    return found.paths, found.filenames, found.embedding


def _same_file(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.abspath(first) == os.path.abspath(second)


def _write_sheet(
    args: argparse.Namespace, path: Path, found: list[tuple[str, list[str]]], side: int = 144
) -> None:
    """Draw one row per image, itself first, then what is similar to it."""
    from PIL import Image, ImageDraw, ImageFont

    from skdcec.datasets import ImageLoader

    if len(found) > MAX_SHEET_ROWS:
        _message(f"The contact sheet shows the first {MAX_SHEET_ROWS} of {len(found)} images.")
        found = found[:MAX_SHEET_ROWS]
    caption, gap = 14, 8
    n_columns = 1 + max(len(similar) for _, similar in found)
    # Two gaps after the image that was asked about.
    size = (n_columns * (side + gap) + 2 * gap, len(found) * (side + caption + gap) + gap)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    loader = ImageLoader(size=side, on_error="blank", n_jobs=args.jobs)
    for row, (query, similar) in enumerate(found):
        files = [query, *similar]
        for column, pixels in enumerate(loader.transform(files)):
            x = gap + column * (side + gap) + (gap if column else 0)
            y = gap + row * (side + caption + gap)
            sheet.paste(Image.fromarray(pixels), (x, y))
            name = f"{column}. " * bool(column) + _plain(os.path.basename(files[column]))
            text = name.encode("latin-1", "replace").decode("latin-1")
            while draw.textlength(text, font=font) > side:
                text = text[:-1]
            draw.text((x, y + side + 1), text, fill="black", font=font)
    with _replacing(path) as partial:
        sheet.save(partial, format=Image.registered_extensions()[path.suffix.lower()], quality=90)
    _note(args, f"Contact sheet: {path}")


# Images


def _load(
    args: argparse.Namespace,
    source: Any,
    settings: Mapping[str, Any],
    *,
    use_cache: bool = True,
    **options: Any,
) -> Bunch:
    from skdcec.datasets import load_images

    return load_images(
        source,
        **settings,
        **options,
        cache=_cache_folder(args) if use_cache else None,
        n_jobs=args.jobs,
        verbose=not args.quiet,
    )


def _image_settings(args: argparse.Namespace) -> dict[str, Any]:
    return {"size": args.size, "resize": args.resize}


def _settings_of_model(
    args: argparse.Namespace, model: Model
) -> tuple[dict[str, Any], Backbone | None]:
    """Return how to load images as those were that the model was trained on.

    Also returns the network whose features it was trained on, if there is one.
    """
    from skdcec._backbone import Backbone

    kept = getattr(model, "image_loading_", None)
    kept = kept if isinstance(kept, dict) else {}
    shape = getattr(model, "image_shape_", None)
    settings: dict[str, Any] = {"resize": kept.get("resize", "pad")}
    if shape is None:
        if "network" not in kept:
            raise ValueError("The model was trained on vectors, not on images.")
        memory = _kept(args, "features")
        backbone = Backbone.of_model(kept, weights=args.weights, memory=memory)
        return settings | {"size": kept["size"]}, backbone
    if args.weights is not None:
        raise ValueError("--weights: the model was trained on images, not behind a network.")
    height, width, channels = shape
    if channels != 3:
        raise ValueError(
            f"The model was trained on images of {channels} channel(s); files are read as RGB, "
            "of 3 channels."
        )
    return settings | {"size": (height, width)}, None


def _choose_backbone(args: argparse.Namespace) -> Backbone | None:
    """Load the network that --encoder names, if it does, and settle --size."""
    if args.encoder in ("auto", *ENCODERS):
        if args.weights is not None:
            raise ValueError(f"--weights are those of a network, not of --encoder {args.encoder}.")
        args.size = args.size or DEFAULT_SIZE
        return None
    from skdcec._backbone import Backbone

    args.size = args.size or NETWORK_SIZE
    try:
        return Backbone(
            args.encoder,
            weights=args.weights,
            size=args.size,
            device=args.device,
            memory=_kept(args, "features"),
        )
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"--encoder {args.encoder} is none of auto, {' and '.join(ENCODERS)}, and cannot be "
            f"had from torchvision: {error}"
        ) from error


def _inputs(args: argparse.Namespace, backbone: Backbone | None, images: np.ndarray) -> np.ndarray:
    """Return what the model is given for images."""
    return images if backbone is None else backbone.features(images, verbose=not args.quiet)


def _source_options(args: argparse.Namespace) -> dict[str, Any]:
    # A table as the source brings metadata of its own.
    folders = os.path.splitext(args.folder)[1].lower() not in (".csv", ".tsv", ".txt")
    return {
        "metadata": args.metadata or ("folders" if folders else None),
        "file_column": args.file_column,
        "sample": args.sample,
    }


def _without_own_files(
    skipped: list[tuple[str, str]], source: str, out: Path
) -> list[tuple[str, str]]:
    """Leave out what an earlier run wrote, where OUT is inside the folder."""
    own = {os.path.abspath(out / name) for name in (*OWN_FILES, *CHOICE_FILES)}
    return [
        (name, reason)
        for name, reason in skipped
        if os.path.abspath(os.path.join(source, name)) not in own
    ]


def _tell_skipped(skipped: list[tuple[str, str]], strict: bool) -> None:
    if not skipped:
        return
    named = ", ".join(f"{_plain(name)} ({_plain(reason)})" for name, reason in skipped[:5])
    more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    summary = f"{len(skipped)} file(s) cannot be used: {named}{more}."
    if strict:
        raise ValueError(f"{summary} Without --strict they are skipped.")
    _message(summary)


def _tell_duplicates(bunch: Bunch, args: argparse.Namespace) -> None:
    if not bunch.duplicates:
        return
    first = ", ".join(_plain(bunch.paths[i]) for i in bunch.duplicates[0][:3])
    _note(
        args,
        f"{_n_copies(bunch.duplicates)} of {len(bunch.paths)} images are exact copies of others, "
        f"such as {first}; {DUPLICATES} lists them.",
    )


def _n_copies(groups: Iterable[Sequence[int]]) -> int:
    return sum(len(group) - 1 for group in groups)


def _choose_clusters(asked: int | None, n: int) -> int:
    if asked is None:
        return max(1, min(DEFAULT_CLUSTERS, n // 5))
    if asked > n:
        raise ValueError(f"-k {asked} clusters are more than the {n} images.")
    return asked


# Training


@dataclass(frozen=True)
class _Plan:
    """How long to train; `seconds_per_step` is what was measured."""

    pretraining: int
    joint: int
    seconds_per_step: float
    training_seconds: float
    is_reused: bool = False


def _plan(args: argparse.Namespace, images: np.ndarray, elapsed: float) -> tuple[_Plan, str]:
    """Choose the epochs, or take those of an earlier run with equal settings.

    Also returns the digest of the images.
    """
    import torch

    from skdcec._encoders.cache import content_digest

    digest = content_digest(images)
    cache = _cache_folder(args)
    # What the speed depends on, and what decides how much of it there is time for.
    encoder = _encoder(args, 1).get_params()
    key = [digest, args.minutes, args.epochs, args.device, torch.get_num_threads(), args.encoder]
    key.append(encoder["n_components"])
    name = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
    path = None if cache is None else cache / "plans" / f"{name}.json"
    if path is not None:
        # A damaged plan is made again.
        with contextlib.suppress(OSError, ValueError, TypeError):
            return replace(_Plan(**_read_json(path)), is_reused=True), digest
    plan = _choose_epochs(args, images, elapsed)
    if path is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_json(path, asdict(plan))
    return plan, digest


def _choose_epochs(args: argparse.Namespace, images: np.ndarray, elapsed: float) -> _Plan:
    from skdcec._nn.batches import plan_batches

    batch_size, n_passes = plan_batches(len(images), "auto")
    steps = math.ceil(len(images) / batch_size) * n_passes
    seconds_per_step = _measure_step(args, images, batch_size)
    most = type(_encoder(args, 1))().max_epochs
    planned = ENCODERS.get(args.encoder, ON_FEATURES)

    def joint(pretraining: int) -> int:
        return max(1, round(pretraining * planned.share))

    def seconds(pretraining: int) -> float:
        joint_epoch = planned.step * steps + planned.embedding * steps / n_passes
        in_steps = pretraining * steps + joint(pretraining) * joint_epoch
        return in_steps * seconds_per_step

    available = 60 * args.minutes - elapsed - _page_seconds(len(images))
    epochs_to_choose = [epochs for epochs in EPOCHS if epochs <= most]
    worth_it = [epochs for epochs in epochs_to_choose if epochs * steps >= MIN_STEPS] or [most]
    fitting = [epochs for epochs in worth_it if seconds(epochs) <= available]
    chosen = args.epochs or max(fitting, default=worth_it[0])
    return _Plan(chosen, joint(chosen), seconds_per_step, seconds(chosen))


def _measure_step(args: argparse.Namespace, images: np.ndarray, batch_size: int) -> float:
    """Time the first steps of a training that is thrown away."""
    import numpy as np
    from skorch.callbacks import Callback

    ends: list[float] = []

    class Stopwatch(Callback):
        def on_batch_end(self, net: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    some = images[: 6 * batch_size]
    epochs = math.ceil(7 * batch_size / len(some)) if len(some) < 6 * batch_size else 1
    encoder = _encoder(args, epochs).set_params(
        batch_size=batch_size, device=args.device, callbacks=[Stopwatch()], random_state=0
    )
    encoder.fit(some)
    return float(np.median(np.diff(ends)))


def _page_seconds(n: int) -> float:
    """Return what map, page and tables will take, as measured on two busy cores."""
    return 5 + 0.006 * min(n, 6_000) + 0.012 * n


def _choose_encoder(args: argparse.Namespace, n_images: int) -> str:
    if args.encoder != "auto":
        return args.encoder
    return "contrastive" if n_images >= CONTRASTIVE_MIN_IMAGES else "autoencoder"


def _encoder(
    args: argparse.Namespace, epochs: int
) -> ConvAutoencoder | ContrastiveEncoder | DenseAutoencoder:
    from skdcec import ContrastiveEncoder, ConvAutoencoder, DenseAutoencoder

    if args.encoder == "contrastive":
        return ContrastiveEncoder(max_epochs=epochs)
    if args.encoder == "autoencoder":
        return ConvAutoencoder(N_COMPONENTS, max_epochs=epochs)
    # What the network knows is there already: wide and shallow keeps it.
    return DenseAutoencoder(64, hidden_layer_sizes=(512,), max_epochs=epochs)


def _train(args: argparse.Namespace, inputs: np.ndarray, n_clusters: int, plan: _Plan) -> Model:
    return _number_by_size(_new_model(args, n_clusters, plan).fit(inputs))


def _new_model(args: argparse.Namespace, n_clusters: int, plan: _Plan) -> Model:
    from skdcec import DeepConvEmbeddingClustering, DeepEmbeddingClustering

    settings: dict[str, Any] = {
        "encoder": _encoder(args, plan.pretraining),
        "max_epochs": plan.joint,
        "memory": _kept(args, "pretraining"),
        "device": args.device,
        "random_state": args.seed,
        "verbose": not args.quiet,
    }
    if args.encoder in ENCODERS:
        return DeepConvEmbeddingClustering(n_clusters, **settings)
    # With so many dimensions, a mixture has clusters of a handful of images.
    return DeepEmbeddingClustering(n_clusters, init="k-means", **settings)


def _kept(args: argparse.Namespace, kind: str) -> str | None:
    """Return the folder of the cache for what is worth keeping."""
    cache = _cache_folder(args)
    return None if cache is None else str(cache / kind)


def _number_by_size(model: Model) -> Model:
    """Make 0 the largest cluster, in the model itself, so that `predict` agrees."""
    import numpy as np

    sizes = np.bincount(model.labels_, minlength=len(model.cluster_centers_))
    order = np.argsort(-sizes, kind="stable")
    model.cluster_centers_ = model.cluster_centers_[order]
    model.labels_ = np.argsort(order)[model.labels_]
    return model


# The folder OUT


@dataclass
class _Found:
    """What `cluster` found, as far as drawing the page again and `similar` need it."""

    labels: np.ndarray
    embedding: np.ndarray
    probabilities: np.ndarray
    distances: np.ndarray
    map: np.ndarray
    paths: list[str]
    filenames: list[str]
    metadata: dict[str, list[str]]
    skipped: list[tuple[str, str]]
    duplicates: list[list[int]]
    history: dict[str, Any]
    settings: dict[str, Any]
    title: str
    metric: str

    @classmethod
    def from_model(
        cls,
        model: Model,
        inputs: np.ndarray,
        bunch: Bunch,
        skipped: list[tuple[str, str]],
        title: str,
        previous: _Found | None,
    ) -> _Found:
        import numpy as np
        from sklearn.metrics import euclidean_distances

        from skdcec.report import map_projection

        embedding = model.encoder_.transform(inputs)
        # Threads may add up in another order, so the same map is best not computed again.
        if previous is not None and np.array_equal(previous.embedding, embedding):
            positions = previous.map
        else:
            positions = map_projection(embedding)
        return cls(
            labels=model.labels_,
            embedding=embedding,
            probabilities=model.predict_proba(inputs),
            distances=euclidean_distances(model.transform(inputs), model.cluster_centers_),
            map=positions,
            paths=bunch.paths.tolist(),
            filenames=bunch.filenames.tolist(),
            metadata={name: column.tolist() for name, column in bunch.metadata.items()},
            skipped=skipped,
            duplicates=[group.tolist() for group in bunch.duplicates],
            history={"Pretraining": model.encoder_.history_, "Joint training": model.history_},
            settings={},
            title=title,
            metric=model.encoder_.metric_,
        )

    def save(self, folder: Path) -> None:
        import numpy as np

        values = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays: dict[str, Any] = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
        with open(folder / ARRAYS, "wb") as file:
            np.savez(file, **arrays)
        _write_json(folder / TEXTS, {k: v for k, v in values.items() if k not in arrays})

    @classmethod
    def load(cls, out: Path) -> _Found:
        import numpy as np

        if not (out / TEXTS).exists() or not (out / ARRAYS).exists():
            raise ValueError(f"{out} holds no finished result of skdcec cluster.")
        try:
            texts = _read_json(out / TEXTS)
            with np.load(out / ARRAYS, allow_pickle=False) as arrays:
                found = cls(**texts, **arrays)
            per_image = ("labels", "embedding", "probabilities", "map", "paths", "filenames")
            if len({len(getattr(found, name)) for name in per_image}) != 1:
                raise ValueError("its parts differ in length")
        except (TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{out} is damaged, or from another version of skdcec ({error}): run skdcec "
                "cluster again."
            ) from error
        return found

    @property
    def n_joint_epochs(self) -> int:
        """Fewer than planned where the labels settled."""
        return len(self.history["Joint training"]["loss"])

    def digest(self) -> str:
        """Return what names given to the clusters hold for."""
        labels = [int(label) for label in self.labels]
        return hashlib.sha256(json.dumps([self.paths, labels]).encode()).hexdigest()


def _previous(out: Path) -> _Found | None:
    with contextlib.suppress(ValueError, OSError):
        return _Found.load(out)
    return None


def _default_out(source: str, kind: str = "clusters") -> Path:
    path = Path(os.path.abspath(source))
    if not path.exists():
        # A pattern; load_images will say if it is not.
        return Path(f"skdcec-{kind}")
    return path.with_name(f"{path.stem if path.is_file() else path.name}-{kind}")


def _title(source: str) -> str:
    return _plain(os.path.basename(os.path.abspath(source)))


def _claim(out: Path, args: argparse.Namespace) -> None:
    """Make the folder ours, or say now, and not after the training, why it cannot be."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; a folder is needed.")
    found = {path.name for path in out.iterdir()} if out.exists() else set()
    if not _is_ours(out):
        taken = sorted(found.intersection((*OWN_FILES, *CHOICE_FILES)))
        if taken:
            raise ValueError(
                f"--out {out} holds {', '.join(taken)}, not written by skdcec: move it away, or "
                "choose another folder."
            )
        if any(not name.startswith(".") for name in found) and not args.force:
            raise ValueError(
                f"--out {out} exists and holds other files: choose another folder, or --force to "
                "write beside them."
            )
    out.mkdir(parents=True, exist_ok=True)
    if not _is_ours(out):
        _write_json(out / RUN, {"program": "skdcec", "state": "unfinished"})
    needed = 3 * 1e6 * args.max_mb
    free = shutil.disk_usage(out).free
    if free < needed:
        raise OSError(
            f"--out {out} is on a disk with {free / 1e6:.0f} MB left; {needed / 1e6:.0f} MB may be "
            "needed."
        )
    with tempfile.TemporaryFile(dir=out):
        pass


def _is_ours(out: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return _read_json(out / RUN).get("program") == "skdcec"
    return False


@contextlib.contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Yield a folder whose files move to `out` together once all are written.

    So `out` never holds one half of this run and one of the last.
    """
    staging = out / STAGING
    # What a killed run left there must not be taken for ours.
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        for name in (*OWN_FILES, *CHOICE_FILES):
            if (staging / name).exists():
                os.replace(staging / name, out / name)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"No space left on the disk of {out}, so nothing there was changed: free some, or "
            "choose another folder. What was pretrained is kept in the cache."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _save_model(model: Model, path: Path) -> None:
    from safetensors import SafetensorError

    try:
        model.save(path)
    except SafetensorError as error:
        raise OSError(f"The model cannot be written: {error}") from error


def _check_device(device: str | None) -> None:
    """Fail before the images are read rather than after."""
    from skdcec._nn.device import resolve_device

    resolve_device(device)


def _load_model(source: str) -> tuple[Model, Path | None]:
    """Return the model, and the folder that `cluster` wrote if it lies in one."""
    from skdcec import DeepConvEmbeddingClustering, DeepEmbeddingClustering
    from skdcec._persistence import load

    path = Path(source)
    out = path if path.is_dir() else None
    if out is not None:
        path = out / MODEL
        if not path.exists():
            raise ValueError(f"{source} holds no {MODEL}; skdcec cluster writes one.")
    return load((DeepConvEmbeddingClustering, DeepEmbeddingClustering), path), out


def _page_settings(
    args: argparse.Namespace, found: _Found, n_clusters: int, plan: _Plan
) -> dict[str, Any]:
    """Return what the page says of how its clusters came about."""
    return {
        "images": len(found.paths),
        "clusters": n_clusters,
        "encoder": args.encoder,
        "size": f"{args.size} x {args.size} pixels ({args.resize})",
        "pretraining epochs": plan.pretraining,
        "joint epochs": found.n_joint_epochs,
        "embedding": f"{found.embedding.shape[1]} numbers per image",
        "seed": args.seed,
        "sample": args.sample or "all images",
    }


def _run_record(
    args: argparse.Namespace,
    found: _Found,
    plan: _Plan,
    clock: _Clock,
    images_digest: str,
    model: Path,
) -> dict[str, Any]:
    import torch

    arguments = {name: value for name, value in vars(args).items() if name != "run"}
    with open(model, "rb") as file:
        model_digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "program": "skdcec",
        "state": "finished",
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "arguments": arguments | {"folder": os.path.abspath(args.folder)},
        "epochs": {"pretraining": plan.pretraining, "joint": found.n_joint_epochs},
        "threads": torch.get_num_threads(),
        "n_images": len(found.paths),
        "n_skipped": len(found.skipped),
        "n_duplicates": _n_copies(found.duplicates),
        "cluster_sizes": [int((found.labels == c).sum()) for c in sorted({*found.labels})],
        "seconds": {name: round(value, 1) for name, value in clock.laps.items()},
        "versions": _versions(),
        "hashes": {"images": images_digest, "clusters": found.digest(), MODEL: model_digest},
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    import skdcec

    names = ("numpy", "scipy", "scikit-learn", "torch", "skorch", "pillow")
    ours = {"skdcec": skdcec.__version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in names}


def _cache_folder(args: argparse.Namespace) -> Path | None:
    """Return the folder that decoded images and pretrained encoders are kept in."""
    from skdcec.datasets.store import user_cache

    folder = Path(args.cache or user_cache())
    try:
        (folder / "pretraining").mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"no permission to write into {folder}")
    except OSError as error:
        warnings.warn(
            f"The cache cannot be used ({error}); the next run starts from nothing.", stacklevel=2
        )
        return None
    return folder


# Tables and JSON


def _columns(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, list]:
    rows = list(rows)
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _as_rows(table: Mapping[str, list]) -> list[dict[str, Any]]:
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _write_results(args: argparse.Namespace, table: dict[str, list], target: Path | None) -> None:
    """Write a table to a file, or to stdout."""
    from skdcec.report import write_table

    if target is not None:
        write_table(target, table)
    if args.json:
        _print_json(_as_rows(table))
    elif target is not None:
        print(f"{len(next(iter(table.values())))} rows: {target}")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "table.csv")
            write_table(path, table)
            with open(path, encoding="utf-8-sig", newline="") as file:
                sys.stdout.write(file.read().replace("\r\n", "\n"))


def _target(path: Any, force: bool, suffixes: Sequence[str]) -> Path | None:
    """Check a file to be written before the work that leads to it is done."""
    if path is None:
        return None
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} should end in {' or '.join(suffixes)}.")
    if path.exists() and not force:
        raise ValueError(f"{path} exists; --force replaces it.")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"The folder of {path} does not exist.")
    return path


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a file beside `path` that takes its place when all went well."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_json(path: Path, value: Any) -> None:
    with _replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="ascii")


def _read_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not of the form that skdcec writes.")
    return value


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


# Progress, messages


class _Clock:
    """Keeps the seconds that each stage took."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.laps: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self.last = now - self.last, now


@contextlib.contextmanager
def _bars(args: argparse.Namespace) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield what shows the stages of drawing the page, one bar for each."""
    from tqdm import tqdm

    if args.quiet:
        yield None
        return
    bars: list[tqdm] = []

    def progress(stage: str, done: int, total: int) -> None:
        if not bars or stage.capitalize() != bars[-1].desc or done < bars[-1].n:
            for bar in bars:
                bar.close()
            bars.append(tqdm(total=total, desc=stage.capitalize(), unit=" images"))
        bars[-1].update(done - bars[-1].n)

    try:
        yield progress
    finally:
        for bar in bars:
            bar.close()


@contextlib.contextmanager
def _warnings_as_messages() -> Iterator[None]:
    """Show warnings that concern users as one line each, the others not at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        # What is skipped is told in our own words.
        warnings.filterwarnings("ignore", r"\d+ file\(s\) cannot be used")
        warnings.showwarning = lambda message, *args, **kwargs: _message(str(message))
        yield


def _message(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(f"skdcec: {text}", file=sys.stderr)


def _note(args: argparse.Namespace, text: str) -> None:
    """Say what is going on, unless --quiet."""
    if not args.quiet:
        print(text, file=sys.stderr)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        file = f"{_plain(os.fsdecode(error.filename))}: " if error.filename else ""
        return file + error.strerror
    return str(error)


def _plain(text: str) -> str:
    """Return text that cannot move the cursor, colour the terminal or break the line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# The arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skdcec",
        description="Group images by what they look like, without labels.",
        epilog="Each command explains itself: skdcec cluster --help",
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_cluster(commands)
    _add_report(commands)
    _add_choose_k(commands)
    _add_assign(commands)
    _add_similar(commands)
    return parser


class _Version(argparse.Action):
    """Prints the version, which is not known before it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        import skdcec

        print(f"skdcec {skdcec.__version__}")
        parser.exit()


def _add_cluster(commands: Any) -> None:
    parser = _add_command(
        commands,
        "cluster",
        _cluster,
        "Group the images of a folder, and write tables and a page to look at.",
        """
        FOLDER is searched with its sub-folders. It may also be a pattern such as
        'scans/*.tif' in quotes, or a CSV table with a column of file names.

        The number of training epochs is planned from the number of images and the measured
        speed of this computer, up to the number that is enough for most collections. Decoded
        images, the plan and the pretrained network are kept in the cache, so the second run
        over a folder, one that was interrupted, and one with another -k start much faster.
        """,
        """
        skdcec cluster paintings
        skdcec cluster paintings -k 12 --out twelve --metadata paintings.csv
        skdcec cluster paintings --sample 1000 --minutes 2
        skdcec cluster 'archive/**/*.jpg' --out archive-clusters --resize crop --size 96
        """,
    )
    parser.add_argument("folder", metavar="FOLDER", help="the images")
    parser.add_argument(
        "-k",
        "--clusters",
        type=_positive_int,
        metavar="K",
        help=f"number of clusters (default: {DEFAULT_CLUSTERS}, fewer for fewer than "
        f"{5 * DEFAULT_CLUSTERS} images)",
    )
    parser.add_argument("--out", metavar="OUT", help="folder to write (default: FOLDER-clusters)")
    _add_training(parser, minutes=10.0)
    _add_page(parser)
    _add_common(parser)


def _add_report(commands: Any) -> None:
    parser = _add_command(
        commands,
        "report",
        _report,
        "Draw the page and the tables again, without training.",
        """
        Names and notes that were given to clusters on the page are saved there as a file, and
        read back with --names. They stay with OUT until the clusters change.
        """,
        """
        skdcec report paintings-clusters
        skdcec report paintings-clusters --names cluster-names.json
        skdcec report paintings-clusters --title "The collection" --max-mb 60
        skdcec report paintings-clusters --images /media/disk/paintings
        """,
    )
    parser.add_argument("out", metavar="OUT", help="the folder that skdcec cluster wrote")
    parser.add_argument(
        "--names",
        metavar="FILE",
        help="names of clusters: exported from the page, or a CSV with cluster, name and note",
    )
    parser.add_argument("--title", metavar="TEXT", help="heading of the page")
    parser.add_argument("--images", metavar="FOLDER", help="where the images have moved to")
    _add_page(parser)
    _add_common(parser)


def _add_choose_k(commands: Any) -> None:
    parser = _add_command(
        commands,
        "choose-k",
        _choose_k,
        "Compare numbers of clusters, and say whether there are clusters at all.",
        """
        All numbers are compared in one embedding that is trained once; the plausible ones are
        trained further. Writes a page with their clusters side by side, a table and a picture.
        What is trained is kept in the cache, so a search that was stopped goes on.
        """,
        """
        skdcec choose-k paintings
        skdcec choose-k paintings --k 2..30 --out how-many
        skdcec choose-k paintings --k 5,10,20 --all --runs 3
        skdcec choose-k paintings --sample 1000 --json
        """,
    )
    parser.add_argument("folder", metavar="FOLDER", help="the images")
    parser.add_argument(
        "--k",
        type=_numbers,
        default=list(range(2, 13)),
        metavar="K",
        help="numbers of clusters: 2..12 (the default), or 4,7,10",
    )
    parser.add_argument("--out", metavar="OUT", help="folder to write (default: FOLDER-choose-k)")
    parser.add_argument(
        "--runs", type=_positive_int, default=1, metavar="N", help="trainings of each (default: 1)"
    )
    parser.add_argument("--all", action="store_true", help="train all, not only the plausible")
    _add_training(parser, minutes=20.0)
    parser.set_defaults(max_mb=25.0)
    _add_common(parser)


def _add_assign(commands: Any) -> None:
    parser = _add_command(
        commands,
        "assign",
        _assign,
        "Say which of the clusters new images belong to.",
        """
        Writes a table with a row per image. Every image gets its nearest cluster; those with an
        unlikeness above 1 are flagged "unlike": they are farther from all clusters, or are
        reproduced worse by an autoencoder, than 99 % of the images it was trained on. With a
        contrastive encoder, the default for many images, only the distance is known, and images
        of another kind are often missed.
        """,
        """
        skdcec assign paintings-clusters new-scans
        skdcec assign paintings-clusters new-scans --out new-scans.csv
        skdcec assign paintings-clusters new-scans --json | jq '.[] | select(.flag == "unlike")'
        skdcec assign model.safetensors 'scans/2024-*.tif' --strict --quiet > labels.csv
        """,
    )
    parser.add_argument(
        "model", metavar="MODEL", help=f"a folder that skdcec cluster wrote, or its {MODEL}"
    )
    parser.add_argument("folder", metavar="FOLDER", help="the new images")
    parser.add_argument("--out", metavar="FILE.csv", help="where to write (default: stdout)")
    _add_weights(parser)
    _add_source(parser)
    parser.add_argument("--force", action="store_true", help="replace FILE.csv")
    _add_common(parser)


def _add_similar(commands: Any) -> None:
    parser = _add_command(
        commands,
        "similar",
        _similar,
        "Find the images that are most like given ones.",
        """
        Distances are those of the pretrained space, before it was bent towards the clusters.
        An image itself is left out of its list; copies of it in other files are not.
        """,
        """
        skdcec similar paintings-clusters paintings/monet_7.jpg
        skdcec similar paintings-clusters sketch.jpg photo.png --top 20 --out similar.csv
        skdcec similar paintings-clusters detail.jpg --in other-museum --sheet detail-found.png
        skdcec similar model.safetensors sketch.jpg --in paintings --json
        """,
    )
    parser.add_argument(
        "model", metavar="MODEL", help=f"a folder that skdcec cluster wrote, or its {MODEL}"
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="what to find the like of")
    parser.add_argument(
        "--in",
        dest="folder",
        metavar="FOLDER",
        help="where to look (default: the images that were clustered)",
    )
    parser.add_argument(
        "--top", type=_positive_int, default=10, metavar="N", help="how many (default: 10)"
    )
    parser.add_argument("--out", metavar="FILE.csv", help="where to write (default: stdout)")
    parser.add_argument(
        "--sheet",
        metavar="FILE.jpg",
        help="contact sheet, JPEG, PNG or WebP (default: beside FILE.csv; none without --out)",
    )
    _add_weights(parser)
    parser.add_argument("--strict", action="store_true", help=_STRICT)
    parser.add_argument("--force", action="store_true", help="replace FILE.csv and FILE.jpg")
    _add_common(parser)


_STRICT = "fail when a file cannot be used, instead of skipping it"


def _add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], None],
    summary: str,
    details: str,
    examples: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary}\n\n{textwrap.dedent(details).strip()}",
        epilog=f"examples:\n{textwrap.indent(textwrap.dedent(examples).strip(), '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_training(parser: argparse.ArgumentParser, *, minutes: float) -> None:
    parser.add_argument(
        "--encoder",
        metavar="NAME",
        default="auto",
        help="what images are compared by: how they can be drawn again (autoencoder), what "
        "tells them from changed views of others (contrastive; for paintings and photographs), "
        "or what a network of torchvision was taught about other images (its name, such as "
        f"densenet121). auto, the default, is contrastive for {CONTRASTIVE_MIN_IMAGES} images or "
        "more, else autoencoder",
    )
    _add_weights(parser)
    parser.add_argument(
        "--minutes",
        type=_positive_float,
        default=minutes,
        metavar="M",
        help=f"time to plan for, from the first file to the page (default: {minutes:g})",
    )
    parser.add_argument(
        "--epochs",
        type=_positive_int,
        metavar="E",
        help="epochs of pretraining, in place of a plan; two fifths as many of clustering follow "
        "(a tenth with --encoder contrastive)",
    )
    _add_source(parser)
    parser.add_argument(
        "--size",
        type=_positive_int,
        metavar="PIXELS",
        help=f"train on squares of this side (default: {DEFAULT_SIZE}, or {NETWORK_SIZE} for a "
        "network of torchvision); the page shows the files",
    )
    parser.add_argument(
        "--resize",
        choices=("pad", "crop", "stretch"),
        default="pad",
        help="how other proportions become square (default: pad, the whole picture with bars)",
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="of all that is random (default: 0)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: the fastest)")
    parser.add_argument(
        "--force", action="store_true", help="write into a folder that holds other files, too"
    )


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights of the network of torchvision (default: torchvision downloads them once)",
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metadata",
        metavar="FILE.csv",
        help="table with a row per file (default: the names of the sub-folders)",
    )
    parser.add_argument("--file-column", metavar="NAME", help="its column of file names")
    parser.add_argument(
        "--sample", type=_positive_int, metavar="N", help="take only N files, evenly spaced"
    )
    parser.add_argument("--strict", action="store_true", help=_STRICT)


def _add_page(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-mb",
        type=_positive_float,
        default=25.0,
        metavar="MB",
        help="size of the page, which decides that of its thumbnails (default: 25)",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", metavar="FOLDER", help="what is kept for the next run (default: ~/.cache/skdcec)"
    )
    parser.add_argument(
        "--jobs", type=int, default=-1, metavar="N", help="threads that read files (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print results as JSON")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _numbers(text: str) -> list[int]:
    """Read 2..12 or 4,7,10."""
    try:
        if ".." in text:
            first, last = (int(part) for part in text.split(".."))
            numbers = list(range(first, last + 1))
        else:
            numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is neither of the form 2..12 nor 4,7,10")
    return numbers


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 and 2**32 - 1")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
