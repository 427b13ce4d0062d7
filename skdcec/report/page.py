"""How does the page become one file? Data, pictures, style and script, all inline."""

import base64
import hashlib
import html
import importlib.resources
import json
import math
import re
from typing import Any

import numpy as np

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
