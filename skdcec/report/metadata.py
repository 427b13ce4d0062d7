"""What is known about the images beside the pixels, and how does it agree with the clusters?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import (
    homogeneity_completeness_v_measure,
    normalized_mutual_info_score,
)
from sklearn.utils import check_random_state

from skdcec._files import as_number
from skdcec.report.checks import check_labels, check_length

MAX_LEVELS = 40


def metadata_agreement(labels: Any, values: Sequence[Any], *, random_state: Any = 0) -> dict:
    """Compare clusters with one metadata column.

    Numbers with more than 12 different values are cut into up to 8 groups of about equal
    size. A column in which more than half of the values differ is text: nothing to compare.

    Parameters
    ----------
    labels : array-like of shape (n,) of int
        Images of cluster -1 are left out, and so are those without a value.
    values : sequence of n values
    random_state : int, RandomState instance or None, default=0
        Of the 20 permutations of the labels behind `chance`.

    Returns
    -------
    agreement : dict
        `kind` ("category", "number" or "text"), `n_values`, `n_missing` and, where there is
        something to compare, `nmi` (the same number as the V-measure), `chance` (its mean over
        permuted labels), `homogeneity`, `completeness`, `levels`, `clusters` and `counts`,
        nested lists of shape (levels, clusters). Beyond 40 levels the rarest are one row.

    Examples
    --------
    >>> from skdcec.report import metadata_agreement
    >>> agreement = metadata_agreement([0, 0, 1, 1], ["oil", "oil", "ink", "ink"])
    >>> agreement["nmi"], agreement["counts"]
    (1.0, [[0, 2], [2, 0]])
    """
    labels = check_labels(labels)
    check_length("values", values, len(labels))
    return agreement_of(labels, read_column("values", values), random_state)


class Column(NamedTuple):
    """One kind of thing known about each image."""

    name: str
    kind: str
    texts: list[str]
    levels: list[str]
    codes: np.ndarray  # -1 where the value is missing
    numbers: np.ndarray | None


def metadata_columns(metadata: Any, n: int) -> list[Column]:
    """Read a table of metadata."""
    if metadata is None:
        return []
    names = metadata.keys() if isinstance(metadata, Mapping) else getattr(metadata, "columns", None)
    if names is None:
        raise TypeError(
            f"metadata is a {type(metadata).__name__}; a DataFrame or a mapping of column names to "
            "sequences is needed."
        )
    for name in names:
        check_length(f"metadata[{str(name)!r}]", metadata[name], n)
    return [read_column(str(name), metadata[name]) for name in names]


def read_column(name: str, values: Sequence[Any]) -> Column:
    """Tell numbers, categories and free text apart."""
    texts = [_as_text(value) for value in values]
    present = {text for text in texts if text}
    numbers = [as_number(text) for text in texts]
    if len(present) > 12 and all(as_number(text) is not None for text in present):
        array = np.array([math.nan if number is None else number for number in numbers])
        return Column(name, "number", texts, *_bins(array), array)
    n_present = sum(1 for text in texts if text)
    if len(present) > max(12, n_present / 2):
        return Column(name, "text", texts, [], np.full(len(texts), -1), None)
    levels = sorted(present)
    position = {level: i for i, level in enumerate(levels)}
    codes = np.array([position.get(text, -1) for text in texts])
    return Column(name, "category", texts, levels, codes, None)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    text = "" if value is None else str(value)
    if text in ("nan", "NaN", "NaT", "<NA>"):
        return ""
    # A column of whole numbers with a gap is float in pandas: 1890.0.
    return text[:-2] if isinstance(value, (float, np.floating)) and text.endswith(".0") else text


def _bins(numbers: np.ndarray, n_bins: int = 8) -> tuple[list[str], np.ndarray]:
    present = np.isfinite(numbers)
    edges = np.unique(np.quantile(numbers[present], np.arange(1, n_bins) / n_bins))
    groups = np.searchsorted(edges, numbers[present], side="left")
    used, groups = np.unique(groups, return_inverse=True)
    codes = np.full(len(numbers), -1)
    codes[present] = groups
    spans = [numbers[codes == i] for i in range(len(used))]
    ends = [(f"{span.min():.10g}", f"{span.max():.10g}") for span in spans]
    return [low if low == high else f"{low} to {high}" for low, high in ends], codes


def outstanding(
    inside: np.ndarray, columns: list[Column], n_best: int = 4
) -> list[tuple[str, str, int, float]]:
    """Return (column, value, count, lift) of the values most over-represented in a cluster."""
    found = []
    for column in columns:
        known = column.codes >= 0
        n, size = known.sum(), (known & inside).sum()
        if len(column.levels) < 2 or size in (0, n):
            continue
        total = np.bincount(column.codes[known], minlength=len(column.levels))
        count = np.bincount(column.codes[known & inside], minlength=len(column.levels))
        expected = total * size / n
        residual = (count - expected) / np.sqrt(expected * (1 - total / n) * (1 - size / n))
        for i in np.flatnonzero((residual > 3) & (count >= 3)):
            lift = float(count[i] / expected[i])
            found.append((residual[i], column.name, column.levels[i], int(count[i]), lift))
    found.sort(key=lambda entry: -entry[0])
    return [entry[1:] for entry in found[:n_best]]


def agreement_of(labels: np.ndarray, column: Column, random_state: Any) -> dict:
    """Compare clusters with a column, and count how often each value occurs in each."""
    agreement = {
        "column": column.name,
        "kind": column.kind,
        "n_values": len({text for text in column.texts if text}),
        "n_missing": sum(1 for text in column.texts if not text),
    }
    known = (column.codes >= 0) & (labels >= 0)
    codes, kept = column.codes[known], labels[known]
    if len(np.unique(codes)) < 2 or len(np.unique(kept)) < 2:
        return agreement
    rng = check_random_state(random_state)
    chance = [normalized_mutual_info_score(codes, rng.permutation(kept)) for _ in range(20)]
    homogeneity, completeness, nmi = homogeneity_completeness_v_measure(codes, kept)
    clusters, position = np.unique(kept, return_inverse=True)
    counts = np.zeros((len(column.levels), len(clusters)), dtype=int)
    np.add.at(counts, (codes, position), 1)
    levels = list(column.levels)
    if len(levels) > MAX_LEVELS:
        order = np.argsort(-counts.sum(axis=1), kind="stable")
        rare = counts[order[MAX_LEVELS:]].sum(axis=0, keepdims=True)
        levels = [levels[i] for i in order[:MAX_LEVELS]] + [f"{len(order) - MAX_LEVELS} others"]
        counts = np.concatenate([counts[order[:MAX_LEVELS]], rare])
    return agreement | {
        "nmi": round(float(nmi), 4),
        "chance": round(float(np.mean(chance)), 4),
        "homogeneity": round(float(homogeneity), 4),
        "completeness": round(float(completeness), 4),
        "levels": levels,
        "clusters": clusters.tolist(),
        "counts": counts.tolist(),
    }
