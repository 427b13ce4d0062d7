"""What does a search show? In short, and in words."""

import numpy as np

# Deep embeddings of noise are not quite normal, so a smaller excess than this is no evidence, even
# where it is significant.
_MIN_EXCESS = 0.02
_NULL_LEVEL = 0.05
_GAP_LEVEL = 0.01


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
    best = best_n_clusters
    numbers = results["n_clusters"]
    scored = np.isfinite(results["screened_silhouette"])
    if not scored.any():
        return "unknown", (
            "Nothing to compare: no number of clusters has a silhouette, which needs at least two "
            "clusters, and fewer than there are images."
        )
    excess = np.nanmax(results["excess_silhouette"])
    good = _as_good(numbers[results["plausible"]], best)
    if not (excess >= _MIN_EXCESS and null_p_value <= _NULL_LEVEL):
        evidence = "none"
        text = (
            "No evidence of clusters: points without any, of the same spread, are grouped about as "
            f"well as these (silhouette at best {abs(excess):.3f} "
            f"{'less' if excess < 0 else 'more'}). k = {best} is the best of those tried, and "
            "means little."
        )
    elif gap_p_value < _GAP_LEVEL:
        evidence = "separated groups"
        text = (
            f"Separated groups: k = {best} fits best{good}. The silhouette is up to {excess:.2f} "
            "above that of points without clusters, and there are gaps between some groups "
            f"(p = {gap_p_value:.2g}), which does not say between all of them."
        )
    else:
        evidence = "structure"
        text = (
            "Structure, but no gap shown: there is more to see than in points without clusters "
            f"(their silhouette is up to {excess:.2f} less), but groups pass into each other "
            f"(p = {gap_p_value:.2g}). k is a choice of resolution, of how finely to look; k = "
            f"{best} fits best{good}."
        )
    return evidence, text + _why_not_higher(results, best) + _edge(numbers, best, n_found)


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


def _why_not_higher(results: dict[str, np.ndarray], best: int) -> str:
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
        text = (
            f" k = {numbers[top]} has a higher silhouette {of} ({silhouette[top]:.3f}; k = {best}: "
            f"{silhouette[at]:.3f})"
        )
        if chance - its_own >= silhouette[top] - silhouette[at]:
            return text + (
                f", but so have points without clusters there ({chance:.3f} and {its_own:.3f})."
            )
        if results["support"][top] >= results["support"][at] and numbers[top] > best:
            return text + "; of numbers that are as good but for noise, the smallest is taken."
        return text + (
            "; the choice goes by clusters that are sought with more care, how far apart they are "
            "and how few near neighbours they part, both beyond what chance gives."
        )
    return ""


def _edge(numbers: np.ndarray, best: int, n_found: int) -> str:
    text = ""
    if len(numbers) == 1:
        text += " Only one k was tried."
    elif best == numbers[-1] or (best == numbers[0] and best > 2):
        more = "larger" if best == numbers[-1] else "smaller"
        text += f" The best k is at the edge of the list: try {more} ones."
    if n_found < best:
        text += f" Of {best} clusters, {n_found} have members."
    return text
