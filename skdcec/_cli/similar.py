"""``skdcec similar``: the images nearest to given ones."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._cli.console import note, printable, result_file, say, write_results
from skdcec._cli.images import load_bunch, settings_of_model, tell_skipped
from skdcec._files import as_table, replacing
from skdcec._recipes import model_inputs
from skdcec._runs import Found, load_model

if TYPE_CHECKING:
    import numpy as np

    from skdcec import (
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
    )
    from skdcec._backbone import Backbone

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering


MAX_SHEET_ROWS = 100


def run(args: argparse.Namespace) -> None:
    from sklearn.neighbors import NearestNeighbors

    target = result_file(args.out, args.force, (".csv",))
    sheet = args.sheet or (target.with_suffix(".jpg") if target else None)
    sheet = result_file(sheet, args.force, (".jpg", ".jpeg", ".png", ".webp"))
    model, out = load_model(args.model)
    settings, backbone = settings_of_model(args, model)
    queries = load_bunch(args, list(dict.fromkeys(args.images)), settings, use_cache=False)
    tell_skipped(queries.skipped, args.strict)
    embedded = model.encoder_.transform(model_inputs(args, backbone, queries.images))
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
    write_results(args, as_table(("image", "rank", "similar", "distance"), rows), target)
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
        bunch = load_bunch(args, args.folder, settings)
        tell_skipped(bunch.skipped, args.strict)
        return (
            bunch.paths.tolist(),
            bunch.filenames.tolist(),
            model.encoder_.transform(model_inputs(args, backbone, bunch.images)),
        )
    if out is None:
        raise ValueError(
            f"{args.model} is a model without the images it was trained on: say by --in FOLDER "
            "where to look, or name the folder that skdcec cluster wrote."
        )
    found = Found.load(out)
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
        say(f"The contact sheet shows the first {MAX_SHEET_ROWS} of {len(found)} images.")
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
            name = f"{column}. " * bool(column) + printable(os.path.basename(files[column]))
            text = name.encode("latin-1", "replace").decode("latin-1")
            while draw.textlength(text, font=font) > side:
                text = text[:-1]
            draw.text((x, y + side + 1), text, fill="black", font=font)
    with replacing(path) as partial:
        sheet.save(partial, format=Image.registered_extensions()[path.suffix.lower()], quality=90)
    note(args, f"Contact sheet: {path}")
