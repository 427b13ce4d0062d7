"""``skdcec similar``: the images nearest to given ones."""

from __future__ import annotations

import difflib
import math
import os
import shlex
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from skdcec._cli.captions import caption_font, drawable
from skdcec._cli.console import note, printable, result_file, say, write_results
from skdcec._cli.images import load_bunch, model_inputs, reading_of, tell_skipped
from skdcec._cli.options import SimilarOptions
from skdcec._cli.words import WHICH
from skdcec._files import as_table, identity, replacing
from skdcec._folders import SHEETS, SIMILAR_COLUMNS
from skdcec._named import knows_words
from skdcec._runs import Run, SavedModel, cache_folder, load_model, load_model_and_run

if TYPE_CHECKING:
    import numpy as np

    from skdcec._backbones import Backbone

# A line of a contact sheet, and so many that every format can hold them.
_SHEET_COLUMNS = 10
_MAX_SHEET_LINES = 98


class _Searched(NamedTuple):
    """Images among which similar ones are sought."""

    paths: list[str]
    filenames: list[str]
    embedding: np.ndarray


class _Found(NamedTuple):
    """What is nearest to an image or a text: names, files, and distances or similarities."""

    query: str
    others: list[tuple[str, str, float]]


def run(options: SimilarOptions) -> None:
    """Run the command."""
    target = result_file(options.out, (".csv",), force=options.force)
    sheet = options.sheet or (target.with_suffix(".jpg") if target else None)
    sheet = result_file(sheet, SHEETS, force=options.force)
    if options.folder:
        saved, result = load_model(options.model), None
    else:
        saved, result = load_model_and_run(options.model)
        if result is None:
            raise ValueError(
                f"{options.model} is a model without the images it was trained on: say by --in "
                "FOLDER where to look, or name the folder that skdcec cluster wrote."
            )
    found = _by_text(options, saved, result) if options.text else _by_images(options, saved, result)
    rows = [
        (query, rank, name, round(value, 6))
        for query, others in found
        for rank, (name, _, value) in enumerate(others, start=1)
    ]
    table = as_table(SIMILAR_COLUMNS["text" if options.text else "image"], rows)
    write_results(table, target, as_json=options.json)
    if sheet is not None:
        _write_sheet(options, sheet, found)


def _by_images(options: SimilarOptions, saved: SavedModel, result: Run | None) -> list[_Found]:
    """Return what is nearest to the images asked about."""
    from skdcec._analysis.spaces import metric_of, pretrained_embedding

    cache = cache_folder(options.cache)
    settings, backbone = reading_of(saved, options, cache)
    _check_there(options)
    queries = load_bunch(options, list(dict.fromkeys(options.images)), settings, cache=None)
    tell_skipped(queries.skipped, options.strict)
    inputs = model_inputs(backbone, queries.images, quiet=options.quiet)
    return _nearest(
        queries.filenames.tolist(),
        pretrained_embedding(saved.model, inputs),
        _searched(options, saved, result, settings, backbone, cache),
        metric_of(saved.model.encoder_),
        options.top,
    )


def _check_there(options: SimilarOptions) -> None:
    """Say what may be meant where none of the images asked about is a file."""
    from skdcec.datasets.within import is_there

    if folder := next((path for path in options.images if os.path.isdir(path)), None):
        here = printable(shlex.quote(folder.rstrip("/")))
        raise ValueError(
            f"{here} is a folder, and images are needed to find similar ones of: {here}/NAME.jpg "
            f"is one, {here}/*.jpg are several. To look in it, --in {here}."
        )
    if any(map(is_there, options.images)):
        return
    asked = options.images[0]
    where, name = os.path.split(os.path.abspath(asked))
    names = os.listdir(where) if os.path.isdir(where) else []
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    if near:
        hint = f"is {printable(os.path.join(os.path.dirname(asked), near[0]))} meant?"
    elif not os.path.splitext(name)[1]:
        hint = "to look for what words describe, put --text before them."
    else:
        hint = "a file that is dragged into the terminal types its whole path."
    raise ValueError(f"No image {printable(asked)!r} is there; {hint}")


def _by_text(options: SimilarOptions, saved: SavedModel, result: Run | None) -> list[_Found]:
    """Return what is nearest to the texts asked about, for the network that knows words."""
    import numpy as np
    from sklearn.preprocessing import normalize

    network = saved.reading.get("network")
    if not isinstance(network, str) or not knows_words(network):
        raise ValueError(
            f"--text: the clusters in {printable(options.model)} were not found by a network that "
            f"knows words; skdcec cluster with {WHICH} does that."
        )
    cache = cache_folder(options.cache)
    settings, backbone = reading_of(saved, options, cache)
    assert backbone is not None
    texts = list(dict.fromkeys(options.text or ()))
    asked = normalize(backbone.text_rows(texts))
    # Features of the same images are there from before.
    source = options.folder or (result.filenames if result else [])
    bunch = load_bunch(options, source, settings, cache=cache)
    tell_skipped(bunch.skipped, options.strict)
    rows = backbone.image_rows(model_inputs(backbone, bunch.images, quiet=options.quiet))
    similarity = asked @ normalize(rows).T
    files, names = bunch.filenames.tolist(), bunch.paths.tolist()
    if result is not None:
        called = dict(zip(result.filenames, result.paths, strict=True))
        names = [called.get(file, name) for file, name in zip(files, names, strict=True)]
    found = []
    for text, values in zip(texts, similarity, strict=True):
        best = np.argsort(-values, kind="stable")[: options.top].tolist()
        found.append(_Found(text, [(names[i], files[i], float(values[i])) for i in best]))
    return found


def _searched(
    options: SimilarOptions,
    saved: SavedModel,
    result: Run | None,
    settings: dict[str, Any],
    backbone: Backbone | None,
    cache: Path | None,
) -> _Searched:
    from skdcec._analysis.spaces import pretrained_embedding

    if options.folder:
        bunch = load_bunch(options, options.folder, settings, cache=cache)
        tell_skipped(bunch.skipped, options.strict)
        inputs = model_inputs(backbone, bunch.images, quiet=options.quiet)
        embedding = pretrained_embedding(saved.model, inputs)
        return _Searched(bunch.paths.tolist(), bunch.filenames.tolist(), embedding)
    assert result is not None
    return _Searched(result.paths, result.filenames, result.embedding)


def _nearest(
    queries: list[str], embedded: np.ndarray, among: _Searched, metric: str, top: int
) -> list[_Found]:
    """Return for each query the names, files and distances of those nearest to it."""
    from sklearn.neighbors import NearestNeighbors

    # One more than asked for: the image itself is not similar to itself.
    wanted = min(top + 1, len(among.paths))
    search = NearestNeighbors(n_neighbors=wanted, metric=metric, algorithm="brute")
    distances, indices = search.fit(among.embedding).kneighbors(embedded)
    found = []
    for query, near, far in zip(queries, indices.tolist(), distances.tolist(), strict=True):
        others = [
            (among.paths[i], among.filenames[i], distance)
            for i, distance in zip(near, far, strict=True)
            if not _same_file(among.filenames[i], query)
        ]
        found.append(_Found(query, others[:top]))
    return found


def _same_file(first: str, second: str) -> bool:
    try:
        return identity(first) == identity(second)
    except OSError:
        return os.path.abspath(first) == os.path.abspath(second)


def _write_sheet(options: SimilarOptions, path: Path, found: list[_Found], side: int = 144) -> None:
    """Draw each image or text, and beside it, in as many lines as it takes, what is similar."""
    from PIL import Image, ImageDraw

    from skdcec.datasets import ImageLoader
    from skdcec.datasets.no_images import sheet_note

    found = [_Found(query, others[: _SHEET_COLUMNS * _MAX_SHEET_LINES]) for query, others in found]
    most = max(len(others) for _, others in found)
    n_lines = max(1, math.ceil(most / _SHEET_COLUMNS))
    n_rows = _MAX_SHEET_LINES // n_lines
    if len(found) > n_rows:
        say(f"The contact sheet shows the first {n_rows} of {len(found)} rows.")
        found = found[:n_rows]
    caption, gap = 14, 8
    width, height = side + gap, side + caption + gap
    # Two gaps after what was asked about.
    size = (
        (1 + min(most, _SHEET_COLUMNS)) * width + 2 * gap,
        len(found) * n_lines * height + gap,
    )
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), caption_font()
    loader = ImageLoader(size=side, on_error="blank", n_jobs=options.jobs)
    for row, (query, others) in enumerate(found):
        top = gap + row * n_lines * height
        files = [file for _, file, _ in others]
        if options.text:
            for i, line in enumerate(textwrap.wrap(drawable(query, font), 22)[: side // caption]):
                draw.text((gap, top + i * caption), line, fill="black", font=font)
        else:
            files.insert(0, query)
        for rank, pixels in enumerate(loader.transform(files), start=bool(options.text)):
            below, column = divmod(rank - 1, _SHEET_COLUMNS) if rank else (0, -1)
            x = gap + (column + 1) * width + (gap if rank else 0)
            y = top + below * height
            sheet.paste(Image.fromarray(pixels), (x, y))
            file = files[rank - bool(options.text)]
            text = drawable(f"{rank}. " * bool(rank) + os.path.basename(file), font)
            while draw.textlength(text, font=font) > side:
                text = text[:-1]
            draw.text((x, y + side + 1), text, fill="black", font=font)
    kind = Image.registered_extensions()[path.suffix.lower()]
    with replacing(path) as partial:
        sheet.save(partial, format=kind, quality=90, exif=sheet_note())
    note(f"Contact sheet: {path}", quiet=options.quiet)
