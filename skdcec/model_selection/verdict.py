"""What does a search show? In short, in words, and in words that nobody has to know."""

from typing import NamedTuple

import numpy as np

# Deep embeddings of noise are not quite normal, so a smaller excess than this is no evidence, even
# where it is significant.
_MIN_EXCESS = 0.02
_NULL_LEVEL = 0.05
_GAP_LEVEL = 0.01


class _Wording(NamedTuple):
    """How what a search shows is said to some readers."""

    unknown: str
    none: str
    separated: str
    structure: str
    higher: str
    of_chance: str
    smallest: str
    careful: str
    alone: str
    edge: str


_WITH_NUMBERS = _Wording(
    unknown="Nothing to compare: no number of clusters has a silhouette, which needs at least two "
    "clusters, and fewer than there are images.",
    none="No evidence of clusters: points without any, of the same spread, are grouped about as "
    "well as these (silhouette at best {excess:.3f} {side}). k = {best} is the best of those "
    "tried, and means little.",
    separated="Separated groups: k = {best} fits best{good}. The silhouette is up to {excess:.2f} "
    "above that of points without clusters, and there are gaps between some groups "
    "(p = {gap:.2g}), which does not say between all of them.",
    structure="Structure, but no gap shown: there is more to see than in points without clusters "
    "(their silhouette is up to {excess:.2f} less), but groups pass into each other "
    "(p = {gap:.2g}). k is a choice of resolution, of how finely to look; k = {best} fits "
    "best{good}.",
    higher="k = {top} has a higher silhouette {of} ({value:.3f}; k = {best}: {its_value:.3f})",
    of_chance=", but so have points without clusters there ({chance:.3f} and {its_chance:.3f}).",
    smallest="; of numbers that are as good but for noise, the smallest is taken.",
    careful="; the choice goes by clusters that are sought with more care, how far apart they are "
    "and how few near neighbours they part, both beyond what chance gives.",
    alone="Only one k was tried.",
    edge="The best k is at the edge of the list",
)
_PLAIN = _Wording(
    unknown="Nothing to compare: that takes at least two clusters, and fewer than there are "
    "images.",
    none="No evidence of clusters: points without any, as widely spread, are grouped about as well "
    "as these images. {best} is the best number of those tried, and means little.",
    separated="Separated groups: {best} clusters fit best{good}. They lie farther apart than "
    "clusters of points that have none, and there are gaps between some of them, more than chance "
    "would make. That does not say between all.",
    structure="Structure, but no gap shown: there is more to see than in points without clusters, "
    "but groups pass into each other. So the number is a choice, of how finely to look; {best} "
    "clusters fit best{good}.",
    # The numbers are in the table.
    higher="{top} clusters {of} lie farther apart",
    of_chance=", but so do {top} clusters of points that have none.",
    smallest=", hardly: of numbers that are as good, the smallest is taken.",
    careful="; more careful measures speak for {best}.",
    alone="Only one number was tried.",
    edge="The best number is at the edge of those tried",
)


def judge(
    results: dict[str, np.ndarray],
    *,
    best_n_clusters: int,
    n_found: int,
    null_p_value: float,
    gap_p_value: float,
) -> tuple[str, str]:
    """Return what a search shows, in short and in words.

    Parameters
    ----------
    results : dict of ndarray
        The ``results_`` of the search.
    best_n_clusters : int
    n_found : int
        How many of these clusters have members.
    null_p_value, gap_p_value : float
        Of the comparison with points without clusters, and of the test for gaps.

    Returns
    -------
    evidence : {"separated groups", "structure", "none", "unknown"}
    verdict : str
    """
    excess = _excess(results)
    if excess is None:
        evidence = "unknown"
    elif not (excess >= _MIN_EXCESS and null_p_value <= _NULL_LEVEL):
        evidence = "none"
    else:
        evidence = "separated groups" if gap_p_value < _GAP_LEVEL else "structure"
    text = _said(
        results, best_n_clusters, n_found, evidence, _WITH_NUMBERS, gap_p_value=gap_p_value
    )
    return evidence, text


def explained(
    results: dict[str, np.ndarray], *, best_n_clusters: int, n_found: int, evidence: str
) -> str:
    """Return what :func:`judge` says to readers who know neither p-values nor what k is.

    Parameters
    ----------
    results : dict of ndarray
        The ``results_`` of the search.
    best_n_clusters : int
    n_found : int
        How many of these clusters have members.
    evidence : str
        As of :func:`judge`.
    """
    return _said(results, best_n_clusters, n_found, evidence, _PLAIN)


def _excess(results: dict[str, np.ndarray]) -> float | None:
    """Return the largest excess over points without clusters, if anything has a silhouette."""
    if not np.isfinite(results["screened_silhouette"]).any():
        return None
    return float(np.nanmax(results["excess_silhouette"]))


def _said(
    results: dict[str, np.ndarray],
    best: int,
    n_found: int,
    evidence: str,
    words: _Wording,
    *,
    gap_p_value: float = float("nan"),
) -> str:
    excess = _excess(results)
    if excess is None:
        return words.unknown
    numbers = results["n_clusters"]
    form = {
        "none": words.none,
        "separated groups": words.separated,
        "structure": words.structure,
    }[evidence]
    text = form.format(
        best=best,
        good=_as_good(numbers[results["plausible"]], best),
        excess=abs(excess) if evidence == "none" else excess,
        side="less" if excess < 0 else "more",
        gap=gap_p_value,
    )
    return text + _why_not_higher(results, best, words) + _edge(numbers, best, n_found, words)


def answer(results: dict[str, np.ndarray], *, best_n_clusters: int, evidence: str) -> str:
    """Return what a search comes to, in a few words.

    Parameters
    ----------
    results : dict of ndarray
        The ``results_`` of the search.
    best_n_clusters : int
    evidence : str
        As of :func:`judge`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdcec.model_selection.verdict import answer
    >>> results = {
    ...     "n_clusters": np.array([9, 10, 11]),
    ...     "plausible": np.array([True, False, True]),
    ...     "silhouette": np.array([0.2, 0.1, 0.3]),
    ... }
    >>> answer(results, best_n_clusters=11, evidence="structure")
    'No natural number. 11 and 9 look best.'
    """
    if evidence == "unknown":
        return "Nothing to compare."
    numbers, scores = results["n_clusters"], results["silhouette"]
    # What was chosen by, where it is known: silhouettes of models and of k-means are not alike.
    if np.isfinite(results.get("support", np.nan)).any():
        scores = results["support"]
    good = [int(k) for k in numbers[np.argsort(-scores, kind="stable")] if k != best_n_clusters]
    plausible = set(numbers[results["plausible"]].tolist())
    shown = [best_n_clusters, *[k for k in good if k in plausible][:2]]
    first, last = shown[:-1], shown[-1]
    listed = f"{', '.join(map(str, first))} and {last} look best" if first else f"{last} looks best"
    if evidence == "separated groups":
        others = f", {' or '.join(map(str, shown[1:]))} about as good" if first else ""
        return f"{best_n_clusters} groups{others}."
    if evidence == "none":
        return f"No groups to be seen. If it has to be a number, {listed}."
    return f"No natural number. {listed}."


def _as_good(plausible: np.ndarray, best: int) -> str:
    others = plausible[plausible != best]
    if not others.size:
        return ", and no other of those tried as well"
    if others.size == 1:
        return f", and {others[0]} about as well"
    return f", and any of {plausible.min()} to {plausible.max()} about as well"


def _why_not_higher(results: dict[str, np.ndarray], best: int, words: _Wording) -> str:
    """Say why a number that is seen to have a higher silhouette is not the one that is chosen."""
    numbers = results["n_clusters"]
    models = np.where(results["trained"], results["silhouette"], np.nan)
    at = int(np.flatnonzero(numbers == best)[0])
    for of, silhouette in ("by k-means", results["screened_silhouette"]), ("as trained", models):
        if not np.isfinite(silhouette[at]):
            continue
        top = int(np.nanargmax(silhouette))
        # What is shown has three digits.
        if results["error"][top] or silhouette[top] - silhouette[at] < 0.001:
            continue
        chance, its_own = results["null_silhouette"][[top, at]]
        if chance - its_own >= silhouette[top] - silhouette[at]:
            reason = words.of_chance
        elif results["support"][top] >= results["support"][at] and numbers[top] > best:
            reason = words.smallest
        else:
            reason = words.careful
        return f" {words.higher}{reason}".format(
            top=numbers[top],
            best=best,
            of=of,
            value=silhouette[top],
            its_value=silhouette[at],
            chance=chance,
            its_chance=its_own,
        )
    return ""


def _edge(numbers: np.ndarray, best: int, n_found: int, words: _Wording) -> str:
    text = ""
    if len(numbers) == 1:
        text += f" {words.alone}"
    elif best == numbers[-1] or (best == numbers[0] and best > 2):
        more = "larger" if best == numbers[-1] else "smaller"
        text += f" {words.edge}: try {more} ones."
    if n_found < best:
        text += f" Of {best} clusters, {n_found} have members."
    return text
