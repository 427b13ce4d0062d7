"""What could clusters be called, by what is known of them? Drafts, for people to correct."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skdcec._files import Table, as_rows
from skdcec.report.colours import to_lab
from skdcec.report.names import MAX_NAME

# What a draft begins with, so that nobody takes it for what somebody has seen.
MARK = "draft: "
NOTE = "From lightness, colours, format and metadata; nobody has looked."

# In L* of CIELAB: what is seen at once, beside the other clusters.
_LIGHTER = 7
_PALE = 65
_GRAY = 6
_STRONG = 25
# How far the hues of a palette point one way.
_ONE_HUE = 0.6
# Hues of CIELAB in degrees, up to which a word holds: of weak colours, and of strong ones.
_WEAK = (
    *((25, "rosy"), (65, "brown"), (95, "sepia"), (125, "olive"), (175, "greenish")),
    *((220, "gray-green"), (310, "bluish"), (345, "mauve"), (360, "rosy")),
)
_VIVID = (
    *((50, "red"), (75, "orange"), (95, "golden"), (125, "yellow-green"), (175, "green")),
    *((230, "teal"), (312, "blue"), (345, "violet"), (360, "red")),
)
_MOST = 0.7
_STANDOUT = re.compile(r".+?=(?P<value>.+?) (?P<size>\d+)/(?P<of>\d+) lift [\d.]+(?:; |$)")


def draft_names(
    summary: Table, *, sizes: Mapping[int, Sequence[tuple[int, int]]] | None = None
) -> dict[int, dict[str, str]]:
    """Propose names of clusters from what is known of them: "draft: pale, sepia; Hokusai".

    Words that hold for all clusters are left out, since they tell none from another.

    Parameters
    ----------
    summary : dict of str to list
        What :func:`cluster_summary` returns, with colours, or the ``summary`` of a :class:`Report`.
    sizes : mapping of int to sequence of (width, height), default=None
        Of some pictures of each cluster; None says nothing of their format.

    Returns
    -------
    names : dict of int to dict
        As :func:`read_names` returns them, for `cluster_names` of :func:`write_report`. Those that
        clusters have already are kept. Each draft begins with "draft: ", and has a note.

    See Also
    --------
    cluster_summary : What the names are made from.
    read_names : Reads names that people gave.

    Examples
    --------
    >>> from skdcec.report import draft_names
    >>> summary = {
    ...     "cluster": [0, 1],
    ...     "name": ["", ""],
    ...     "note": ["", ""],
    ...     "lightness": [75.0, 30.0],
    ...     "palette": ["#d8c8a8 60% #f0e8d8 40%", "#20304a 100%"],
    ...     "metadata": ["artist=Hokusai 41/50 lift 3.2", ""],
    ... }
    >>> [entry["name"] for entry in draft_names(summary).values()]
    ['draft: pale, sepia; Hokusai', 'draft: dark, bluish']
    """
    rows = [row for row in as_rows(summary) if row["cluster"] >= 0]
    usual = float(np.mean([row.get("lightness", 0) for row in rows])) if rows else 0.0
    words = [
        [
            _lightness(row.get("lightness", usual), usual),
            _colour(row.get("palette", "")),
            _format((sizes or {}).get(row["cluster"], ())),
        ]
        for row in rows
    ]
    if len(words) > 1:
        # One word for all of them.
        shared = {i for i in range(3) if len({found[i] for found in words}) == 1}
        words = [[word for i, word in enumerate(found) if i not in shared] for found in words]
    return {row["cluster"]: _entry(row, found) for row, found in zip(rows, words, strict=True)}


def _entry(row: dict[str, Any], words: list[str]) -> dict[str, str]:
    if row.get("name"):
        return {"name": row["name"], "note": row.get("note", "")}
    value = _value(row.get("metadata", ""))
    parts = [", ".join(filter(None, words)), value]
    text = "; ".join(filter(None, parts)) or "nothing stands out"
    return {"name": (MARK + text)[:MAX_NAME], "note": row.get("note") or NOTE}


def _lightness(value: float, usual: float) -> str:
    if value > usual + _LIGHTER:
        return "pale" if value >= _PALE else "light"
    return "dark" if value < usual - _LIGHTER else ""


def _colour(palette: str) -> str:
    """Return a word for a palette such as "#20304a 60% #f0e8d8 40%"."""
    entries = re.findall(r"#([0-9a-f]{6}) (\d+)%", palette)
    if not entries:
        return ""
    rgb = np.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code, _ in entries])
    shares = np.array([max(1, int(share)) for _, share in entries], dtype=float)
    lab = to_lab(rgb)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    mean = float(np.average(chroma, weights=shares))
    if mean < _GRAY:
        return "gray"
    a, b = np.average(lab[:, 1:], axis=0, weights=shares)
    if np.hypot(a, b) < _ONE_HUE * mean:
        return "many colours" if mean >= _STRONG else ""
    hue = float(np.degrees(np.arctan2(b, a))) % 360
    words = _VIVID if mean >= _STRONG else _WEAK
    return next(word for end, word in words if hue <= end)


def _format(sizes: Sequence[tuple[int, int]]) -> str:
    """Return a word for what most pictures are."""
    kinds = [
        "upright" if width < 0.9 * height else "wide" if height < 0.9 * width else "square"
        for width, height in sizes
    ]
    best = max(set(kinds), key=kinds.count, default="")
    return best if best and kinds.count(best) >= _MOST * len(kinds) else ""


def _value(metadata: str) -> str:
    """Return the value that stands out most, if it is that of a good part of the cluster."""
    found = _STANDOUT.match(metadata)
    if found is None or int(found["size"]) < 0.4 * int(found["of"]):
        return ""
    return found["value"]
