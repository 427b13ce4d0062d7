"""How does the page become one file? Data, pictures, style and scripts, all inline."""

import base64
import hashlib
import html
import importlib.resources
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from skdcec._analysis.palette import MAX_CLUSTERS, NO_CLUSTER, cluster_colors
from skdcec._analysis.stability import FIRM, Stability
from skdcec._files import Table, as_rows, versions
from skdcec.report.metadata import MAX_LEVELS, Column, Standout
from skdcec.report.shown import Examples, Shown
from skdcec.report.thumbnails import CELL, CELLS_PER_SIDE, Thumbnails

# One scope, in this order: from file:// no module can be imported.
SCRIPTS = (
    "elements.js",
    "copy.js",
    "data.js",
    "thumbnails.js",
    "names.js",
    "meanings.js",
    "edits.js",
    "files.js",
    "cards.js",
    "state.js",
    "drawing.js",
    "layout.js",
    "labels.js",
    "pointer.js",
    "map.js",
    "gallery.js",
    "similar.js",
    "image.js",
    "metadata.js",
    "training.js",
    "table.js",
    "start.js",
)
CHUNK = 256
# The map colours so many values of a metadata column, the others are gray.
N_CATEGORIES = 12
# Colours for so many clusters that readers make themselves.
N_ADDED = 24
# So many files are named that were not used, or are copies; the tables beside the page have all.
N_NAMED = 200


class Page:
    """The page without its single thumbnails, whose size decides what these may need."""

    def __init__(self, payload: dict, sheets: list[bytes]):
        style = viewer_file("viewer.css")
        script = '"use strict";\n\n' + "\n".join(map(viewer_file, SCRIPTS))
        policy = (
            f"default-src 'none'; script-src '{source_hash(script)}'; "
            f"style-src '{source_hash(style)}'; "
            "img-src 'self' file: data: blob:; base-uri 'none'; form-action 'none'"
        )
        self.payload = payload
        self.sheets = "".join(_data_element(f"sheet-{i}", [s]) for i, s in enumerate(sheets))
        self.pieces = re.split(r"\{\{(\w+)\}\}", viewer_file("template.html"))
        self.values = {
            "title": html.escape(payload["title"]),
            "policy": policy,
            "style": style,
            "script": script,
        }
        # A thousand bytes more for the size of the thumbnails, known only later.
        self.n_bytes = 1_000 + sum(map(len, self.render(Thumbnails(0, []))))
        self.n_bytes += 60 * math.ceil(len(payload["files"]) / CHUNK)

    def render(self, thumbnails: Thumbnails) -> list[bytes]:
        """Return the file in pieces."""
        size, singles = thumbnails
        self.payload["thumbnails"] = {
            "size": size,
            "chunk": CHUNK,
            "cell": CELL,
            "per_side": CELLS_PER_SIDE,
        }
        chunks = (singles[start : start + CHUNK] for start in range(0, len(singles), CHUNK))
        images = [_data_element(f"thumbnails-{i}", chunk) for i, chunk in enumerate(chunks)]
        values = self.values | {
            "data": safe_json(self.payload),
            "images": "".join([self.sheets, *images]),
        }
        pieces = self.pieces.copy()
        pieces[1::2] = [values[name] for name in pieces[1::2]]
        # Lone surrogates, from file names that are not UTF-8, have no other encoding.
        return [piece.encode("utf-8", "xmlcharrefreplace") for piece in pieces]


def viewer_file(name: str) -> str:
    """Return one of the files that pages are made of."""
    file = importlib.resources.files("skdcec.report") / "viewer" / name
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")


def _data_element(name: str, files: list[bytes]) -> str:
    lines = "\n".join(base64.b64encode(file).decode() for file in files)
    return f'<script type="text/plain" id="{name}">{lines}</script>\n'


def source_hash(text: str) -> str:
    """Return what a Content-Security-Policy calls this script or style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def safe_json(value: Any) -> str:
    """Serialise for a script element: ASCII only, and nothing that ends or opens a tag."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@np.errstate(under="ignore")
def packed(values: Any, dtype: str) -> str:
    """Return little-endian numbers as base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=f"<{dtype}").tobytes()).decode()


# What the page knows


def payload_of(
    shown: Shown,
    summary: Table,
    standing_out: Mapping[int, list[Standout]],
    originals: Sequence[str] | None = None,
) -> dict:
    """Return what the page knows about images and clusters.

    Parameters
    ----------
    shown : Shown
        The images on the page.
    summary : dict of str to list
        Of clusters.
    standing_out : mapping of int to list of Standout
        By cluster.
    originals : sequence of str, default=None
        Links from the page to the files.
    """
    table = shown.table
    labels = np.array(table["cluster"])
    second = np.array([-1 if other is None else other for other in table["second_cluster"]])
    coordinates = np.column_stack([table["x"], table["y"]])
    last = max(summary["cluster"])
    n_clusters = max(last, second.max()) + 1
    # Names typed into an older page must not hide names that came back from a file.
    named = [table["cluster"], summary["name"], summary["note"]]
    return {
        "id": _identity(table["file"], named),
        # Images moved by a reader are moved from clusters, whatever these are called.
        "clustering": _identity(table["file"], table["cluster"]),
        "files": table["file"],
        "total": shown.total,
        "max_levels": MAX_LEVELS,
        "originals": _packed_links(originals, table["file"]),
        "labels": packed(labels, "i2"),
        "second": packed(second, "i2"),
        "confidence": packed(table["confidence"], "f4"),
        "margin": packed(table["margin"], "f4"),
        "distance": packed(table["distance"], "f4"),
        "by_hand": [i for i, said in enumerate(table["by_hand"]) if said],
        "positions": packed((coordinates.clip(0, 1) * 65535).round(), "u2"),
        "columns": [_packed_column(column) for column in shown.columns],
        "clusters": _cards(shown.examples, summary, standing_out),
        "unused": sorted(set(range(last + 1)) - set(summary["cluster"])),
        "colours": {
            "clusters": cluster_colors(n_clusters),
            "added": cluster_colors(min(n_clusters + N_ADDED, MAX_CLUSTERS))[n_clusters:],
            "categories": cluster_colors(N_CATEGORIES),
            "none": NO_CLUSTER,
        },
    }


def _identity(*parts: list) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def links_to(files: Sequence[Any], folder: Any) -> list[str] | None:
    """Return relative links from a folder to files; None where there is no way, to other drives."""
    base = os.path.abspath(os.fsdecode(folder))
    try:
        relative = [os.path.relpath(os.fsdecode(file), base) for file in files]
    except ValueError:
        return None
    return [quote(os.fsencode(path.replace(os.sep, "/"))) for path in relative]


def _packed_links(links: Sequence[str] | None, names: Sequence[str]) -> dict | None:
    """Say links by what they have in common, where the rest of each is the image's name."""
    if links is None:
        return None
    ends = [quote(os.fsencode(name)) for name in names]
    prefix = links[0].removesuffix(ends[0])
    # Names that are not UTF-8 cannot be put together in a browser.
    if all(link == prefix + end for link, end in zip(links, ends, strict=True)) and (
        "\\udc" not in ascii("".join(names))
    ):
        return {"prefix": prefix}
    return {"links": list(links)}


def _packed_column(column: Column) -> dict:
    texts, codes = np.unique(np.array(column.texts, dtype=object), return_inverse=True)
    entry = {
        "name": column.name,
        "kind": column.kind,
        "texts": texts.tolist(),
        "codes": packed(codes, "u4" if len(texts) > 65_535 else "u2"),
    }
    if column.kind == "number":
        entry |= {"levels": column.levels, "groups": packed(column.codes, "i2")}
    return entry


def _cards(
    examples: Examples, summary: Table, standing_out: Mapping[int, list[Standout]]
) -> list[dict[str, Any]]:
    cards = []
    for card in as_rows(summary):
        del card["metadata"]
        colours = card["palette"].split()
        card["palette"] = [
            [colour, int(share.rstrip("%"))]
            for colour, share in zip(colours[::2], colours[1::2], strict=True)
        ]
        card |= dict(examples[card["cluster"]]) | {"outstanding": standing_out[card["cluster"]]}
        if not math.isfinite(card["confidence"]):
            card["confidence"] = None
        cards.append(card)
    return cards


def payload_of_space(embedding: np.ndarray, metric: str) -> dict:
    """Return what the page searches similar images in."""
    return {
        "embedding": packed(embedding, "f2"),
        "dimensions": embedding.shape[1],
        "metric": metric,
    }


def payload_of_stability(stability: Stability) -> dict:
    """Return how far two runs agree, and below which share a cluster would not come back."""
    agreement = stability.agreement
    return {
        "agreement": round(agreement, 2) if math.isfinite(agreement) else None,
        "firm": FIRM,
    }


def payload_of_run(
    title: str, history: Mapping[str, Any] | None, settings: Mapping[str, Any] | None
) -> dict:
    """Return title, training curves, settings and versions."""
    return {
        "title": str(title),
        "history": _history_sections(history),
        "settings": _setting_rows(settings or {}),
        "versions": _setting_rows(versions()),
    }


def payload_of_files(
    skipped: Sequence[tuple[str, str]], duplicates: Sequence[Sequence[int]], names: Sequence[str]
) -> dict:
    """Return which files were not used, and which images are equal."""
    copies: list[list[str]] = []
    room = N_NAMED
    for group in duplicates:
        copies += [[names[i] for i in group[:room]]] if room > 1 else []
        room -= len(group)
    return {
        "skipped": [list(pair) for pair in skipped[:N_NAMED]],
        "n_skipped": len(skipped),
        "copies": copies,
        "n_copies": sum(len(group) - 1 for group in duplicates),
    }


def _history_sections(history: Mapping[str, Any] | None) -> list[dict]:
    if not history:
        return []
    if not any(isinstance(value, Mapping) for value in history.values()):
        history = {"Training": history}
    sections = []
    for title, curves in history.items():
        lines = [
            {"name": str(name), "values": [_finite_or_none(value) for value in values]}
            for name, values in curves.items()
            if len(values)
        ]
        if lines:
            sections.append({"title": str(title), "curves": lines})
    return sections


def _finite_or_none(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


def _setting_rows(settings: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for key, value in settings.items():
        text = value if isinstance(value, str) else repr(value)
        rows.append([str(key), text if len(text) <= 300 else text[:299] + "…"])
    return rows
