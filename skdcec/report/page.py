"""How does the page become one file? Data, pictures, style and script, all inline."""

import base64
import hashlib
import html
import importlib.metadata
import importlib.resources
import json
import math
import platform
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from skdcec._files import Table
from skdcec.report.metadata import Column, outstanding
from skdcec.report.thumbnails import CELL, CELLS_PER_SIDE, Thumbnails

CHUNK = 256


class Page:
    """The page without its single thumbnails, whose size decides what these may need."""

    def __init__(self, payload: dict, sheets: list[bytes]):
        parts = importlib.resources.files("skdcec.report") / "viewer"
        template, style, script = (
            (parts / name).read_text(encoding="utf-8").replace("\r\n", "\n")
            for name in ("template.html", "viewer.css", "viewer.js")
        )
        policy = (
            f"default-src 'none'; script-src '{source_hash(script)}'; "
            f"style-src '{source_hash(style)}'; "
            "img-src data: blob:; base-uri 'none'; form-action 'none'"
        )
        self.payload = payload
        self.sheets = "".join(_data_element(f"sheet-{i}", [s]) for i, s in enumerate(sheets))
        self.pieces = re.split(r"\{\{(\w+)\}\}", template)
        self.values = {
            "title": html.escape(payload["title"]),
            "policy": policy,
            "style": style,
            "script": script,
        }
        # A thousand bytes more for the size and quality of thumbnails, known only later.
        self.n_bytes = 1_000 + sum(map(len, self.render(Thumbnails(0, 0, []))))
        self.n_bytes += 60 * math.ceil(len(payload["files"]) / CHUNK)

    def render(self, thumbnails: Thumbnails) -> list[bytes]:
        """Return the file in pieces."""
        size, quality, singles = thumbnails
        self.payload["thumbnails"] = {
            "size": size,
            "quality": quality,
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


def packed(values: Any, dtype: str) -> str:
    """Return little-endian numbers as base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=f"<{dtype}").tobytes()).decode()


def payload(table: Table, summary: Table, columns: list[Column]) -> dict:
    """Return what the page knows about images and clusters."""
    labels = np.array(table["cluster"])
    second = [-1 if other is None else other for other in table["second_cluster"]]
    coordinates = np.column_stack([table["x"], table["y"]])
    # Names typed into an older page must not hide names that came back from a file.
    named = [table["cluster"], summary["name"], summary["note"]]
    identity = hashlib.sha256(json.dumps([table["file"], named]).encode()).hexdigest()[:16]
    return {
        "id": identity,
        "files": table["file"],
        "labels": packed(labels, "i2"),
        "second": packed(second, "i2"),
        "confidence": packed(table["confidence"], "f4"),
        "margin": packed(table["margin"], "f4"),
        "distance": packed(table["distance"], "f4"),
        "positions": packed((coordinates.clip(0, 1) * 65535).round(), "u2"),
        "columns": [_packed_column(column) for column in columns],
        "clusters": [
            _card(i, table, summary, labels, columns) for i in range(len(summary["cluster"]))
        ],
        "unused": sorted(set(range(max(0, labels.max() + 1))) - set(labels.tolist())),
    }


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


def _card(
    i: int, table: Table, summary: Table, labels: np.ndarray, columns: list[Column]
) -> dict[str, Any]:
    card = {key: summary[key][i] for key in summary if key not in ("metadata", "palette")}
    members = np.flatnonzero(labels == card["cluster"])
    distance, margin = np.array(table["distance"]), np.array(table["margin"])
    orders = {"typical": distance, "borderline": margin, "odd": -distance}
    for flag, key in orders.items():
        chosen = [j for j in members.tolist() if table["flag"][j] == flag]
        card[flag] = sorted(chosen, key=lambda j: key[j])
    colours = summary["palette"][i].split()
    card["palette"] = [
        [colour, int(share.rstrip("%"))]
        for colour, share in zip(colours[::2], colours[1::2], strict=True)
    ]
    card["outstanding"] = outstanding(labels == card["cluster"], columns)
    if not math.isfinite(card["confidence"]):
        card["confidence"] = None
    return card


def history_sections(history: Mapping[str, Any] | None) -> list[dict]:
    """Return curves under the titles of their sections."""
    if not history:
        return []
    if not any(isinstance(value, Mapping) for value in history.values()):
        history = {"Training": history}
    sections = []
    for title, curves in history.items():
        lines = [
            {"name": str(name), "values": [_finite_or_none(value) for value in values]}
            for name, values in curves.items()
        ]
        if lines:
            sections.append({"title": str(title), "curves": lines})
    return sections


def _finite_or_none(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


def short(value: Any) -> str:
    """Return a setting as text that fits into a line or three."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 300 else text[:299] + "…"


def versions() -> list[list[str]]:
    """Return the versions of what took part."""
    versions = [["Python", platform.python_version()]]
    names = ["skdcec", "numpy", "scipy", "scikit-learn", "pillow"]
    names += ["torch"] if "torch" in sys.modules else []
    for name in names:
        try:
            versions.append([name, importlib.metadata.version(name)])
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
