"""What is known about the images beside the pixels, and how does it agree with the clusters?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from skdcec._analysis.contingency import (
    adjusted_residuals,
    agreement,
    cross_table,
    expected_counts,
)
from skdcec._files import as_number
from skdcec.report.checks import check_labels, check_length

MAX_LEVELS = 40
# Values of several columns that so many of their images share, and columns that know so much of
# each other where both are known, say the same: an artist, the folder, the year of death.
_SAME_IMAGES = 0.9
_SAME_COLUMN = 0.98
# A table of values and clusters has to be in memory as a whole.
_MAX_CATEGORIES = 10_000


def metadata_agreement(labels: Any, values: Sequence[Any], *, random_state: Any = 0) -> dict:
    """Compare clusters with one metadata column.

    Numbers with more than 12 different values are cut into up to 8 groups of about equal
    size. A column in which more than half of the values differ, or more than 10 000, is text:
    nothing to compare.

    Parameters
    ----------
    labels : array-like of shape (n,) of int
        Images of cluster -1 are left out, and so are those without a value.
    values : sequence of n values
        What is known of each image.
    random_state : int, RandomState instance or None, default=0
        Of the 20 permutations of the labels behind `chance`.

    Returns
    -------
    agreement : dict
        `kind` ("category", "number" or "text"), `n_values`, `n_missing` and, where there is
        something to compare, `nmi` (the same number as the V-measure), `chance` (its mean over
        permuted labels), `homogeneity`, `completeness`, `levels`, `clusters` and, as nested
        lists of shape (levels, clusters), `counts`, the counts `expected` under independence
        and the adjusted `residuals`. Beyond 40 levels the rarest are one row.

    See Also
    --------
    skdcec.inspection.ContingencyDisplay : The same as a picture.

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


class Standout(NamedTuple):
    """A value that a cluster has more often than independence would give."""

    column: str
    value: str
    size: int
    lift: float


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
    numbers = {text: as_number(text) for text in present}
    if len(present) > 12 and all(number is not None for number in numbers.values()):
        array = np.array([numbers.get(text, math.nan) for text in texts], dtype=np.float64)
        return Column(name, "number", texts, *_bins(array))
    most = min(_MAX_CATEGORIES, sum(1 for text in texts if text) / 2)
    if len(present) > max(12, most):
        return Column(name, "text", texts, [], np.full(len(texts), -1))
    levels = sorted(present)
    position = {level: i for i, level in enumerate(levels)}
    codes = np.array([position.get(text, -1) for text in texts])
    return Column(name, "category", texts, levels, codes)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    text = "" if value is None else str(value)
    if text in ("nan", "NaN", "NaT", "<NA>"):
        return ""
    # A column of whole numbers with a gap is float in pandas: 1890.0.
    return text[:-2] if isinstance(value, (float, np.floating)) and text.endswith(".0") else text


def _bins(numbers: np.ndarray, n_bins: int = 8) -> tuple[list[str], np.ndarray]:
    """Cut numbers into groups of about equal size; return their names, and the group of each."""
    present = np.isfinite(numbers)
    edges = np.unique(np.quantile(numbers[present], np.arange(1, n_bins) / n_bins))
    groups = np.searchsorted(edges, numbers[present], side="left")
    used, groups = np.unique(groups, return_inverse=True)
    codes = np.full(len(numbers), -1)
    codes[present] = groups
    spans = [numbers[codes == i] for i in range(len(used))]
    ends = [(f"{span.min():.10g}", f"{span.max():.10g}") for span in spans]
    return [low if low == high else f"{low} to {high}" for low, high in ends], codes


def standouts(
    labels: np.ndarray, columns: list[Column], n_best: int = 4
) -> dict[int, list[Standout]]:
    """Return the values of metadata that are most over-represented in each cluster.

    Of values that the same images have, in several columns, only the first is one.
    """
    clusters, position = np.unique(labels, return_inverse=True)
    found: dict[int, list[_Candidate]] = {c: [] for c in clusters.tolist()}
    for column in columns:
        known = column.codes >= 0
        shape = (len(column.levels), len(clusters))
        counts = cross_table(column.codes[known], position[known], shape)
        residuals, expected = adjusted_residuals(counts), expected_counts(counts)
        for level, place in np.argwhere((residuals > 3) & (counts >= 3)).tolist():
            size = int(counts[level, place])
            lift = float(size / expected[level, place])
            standout = Standout(column.name, column.levels[level], size, lift)
            candidate = _Candidate(float(residuals[level, place]), standout, column.codes, level)
            found[int(clusters[place])].append(candidate)
    return {
        cluster: _of_different_images(sorted(values, key=lambda one: -one.residual), n_best)
        for cluster, values in found.items()
    }


class _Candidate(NamedTuple):
    residual: float
    standout: Standout
    codes: np.ndarray
    level: int


def _of_different_images(values: list[_Candidate], n_best: int) -> list[Standout]:
    """Return the first values, without those that the same images have as an earlier one."""
    kept: list[Standout] = []
    told: list[np.ndarray] = []
    for one in values:
        having = one.codes == one.level
        if any((having & other).sum() >= _SAME_IMAGES * (having | other).sum() for other in told):
            continue
        kept.append(one.standout)
        told.append(having)
        if len(kept) == n_best:
            break
    return kept


def agreements_of(labels: np.ndarray, columns: list[Column], random_state: Any) -> list[dict]:
    """Return what :func:`agreement_of` does of each column, and which earlier one is `like` it."""
    found = [agreement_of(labels, column, random_state) for column in columns]
    compared = [
        (one, column) for one, column in zip(found, columns, strict=True) if "counts" in one
    ]
    for i, (one, column) in enumerate(compared):
        for earlier, other in compared[:i]:
            if "like" not in earlier and _divide_alike(column.codes, other.codes):
                one["like"] = earlier["column"]
                break
    return found


def _divide_alike(codes: np.ndarray, others: np.ndarray) -> bool:
    both, either = (codes >= 0) & (others >= 0), (codes >= 0) | (others >= 0)
    if both.sum() < _SAME_IMAGES * either.sum():
        return False
    return normalized_mutual_info_score(codes[both], others[both]) >= _SAME_COLUMN


def agreement_of(labels: np.ndarray, column: Column, random_state: Any) -> dict:
    """Compare clusters with a column, and count how often each value occurs in each."""
    described = {
        "column": column.name,
        "kind": column.kind,
        "n_values": len({text for text in column.texts if text}),
        "n_missing": sum(1 for text in column.texts if not text),
    }
    known = (column.codes >= 0) & (labels >= 0)
    codes, kept = column.codes[known], labels[known]
    if len(np.unique(codes)) < 2 or len(np.unique(kept)) < 2:
        return described
    clusters, position = np.unique(kept, return_inverse=True)
    counts = cross_table(codes, position, (len(column.levels), len(clusters)))
    levels, counts = _most_frequent(column.levels, counts)
    numbers = agreement(codes, kept, random_state=random_state)
    return (
        described
        | {name: round(value, 4) for name, value in numbers._asdict().items()}
        | {
            "levels": levels,
            "clusters": clusters.tolist(),
            "counts": counts.tolist(),
            "expected": expected_counts(counts).round(1).tolist(),
            "residuals": adjusted_residuals(counts).round(2).tolist(),
        }
    )


def _most_frequent(levels: list[str], counts: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Add up the rows of rare values."""
    if len(levels) <= MAX_LEVELS:
        return levels, counts
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    rare = counts[order[MAX_LEVELS:]].sum(axis=0, keepdims=True)
    names = [levels[i] for i in order[:MAX_LEVELS]] + [f"{len(order) - MAX_LEVELS} others"]
    return names, np.concatenate([counts[order[:MAX_LEVELS]], rare])
