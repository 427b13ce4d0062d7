"""What is known of each number of clusters: screened by k-means, trained, and compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score, pairwise_distances_argmin

from skdcec._analysis.samples import sample_rows
from skdcec._analysis.silhouette import distance_matrix, silhouettes
from skdcec._analysis.spaces import Space, within_range
from skdcec._analysis.stability import Stability, cluster_stability
from skdcec.model_selection.evidence import MAX_POINTS, collect, support_of, supported
from skdcec.model_selection.null import (
    GAP_SPLITS,
    cluster_by_k_means,
    gap_p_value,
    gaussian_null,
    paired_differences,
)
from skdcec.model_selection.progress import SCREENING, Bar
from skdcec.model_selection.trainings import Run

# A k is as good as the best unless its silhouettes, paired point by point, are lower on average by
# more than this many standard errors.
_STANDARD_ERRORS = 2
# With three, a search over nine numbers costs less than two fits.
MAX_TRAINED = 3
_SCREEN_N_INIT = 10
_NULL_N_INIT = 3


@dataclass
class Table:
    """What is known of each candidate, as the search goes on."""

    space: Space
    rows: np.ndarray
    candidates: list[int]
    screened: dict[int, np.ndarray]
    found: dict[int, np.ndarray]
    errors: dict[int, str]
    distances: np.ndarray
    null: np.ndarray
    views: dict[str, np.ndarray]
    values: dict[int, np.ndarray] = field(default_factory=dict)
    runs: dict[int, list[Run]] = field(default_factory=dict)
    best: dict[int, Run] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labellings = [labels[self.rows] for labels in self.screened.values()]
        of_screened = silhouettes(self.distances, labellings)
        self.values = dict(zip(self.screened, of_screened, strict=True))

    def add(self, run: Run) -> None:
        """Take in a training that is done; of the models of one k only the best is kept."""
        if run.error:
            self.errors[run.n_clusters] = run.error
            return
        if run.own_space is not None:
            distances = distance_matrix(run.own_space.points[self.rows], run.own_space.metric)
            own = silhouettes(distances, [run.labels[self.rows]])
            run.own_silhouette, run.own_space = float(own.mean()), None
        elif run.is_in_shared_space:
            run.own_silhouette = self._score(run)
        self.runs.setdefault(run.n_clusters, []).append(run)
        former = self.best.setdefault(run.n_clusters, run)
        if former is run:
            return
        better, other = self._score(run), self._score(former)
        if not np.isnan(better) and (np.isnan(other) or better > other):
            self.best[run.n_clusters], former.model = run, None
        else:
            run.model = None

    def _score(self, run: Run) -> float:
        return float(silhouettes(self.distances, [run.labels[self.rows]]).mean())

    @property
    def screened_scores(self) -> np.ndarray:
        """Mean silhouettes of the k-means labels, NaN where there are none."""
        return np.array(
            [self.values[k].mean() if k in self.values else np.nan for k in self.candidates]
        )

    @property
    def null_scores(self) -> np.ndarray:
        """Mean silhouettes of points without clusters, one row for each draw."""
        columns = np.full((len(self.null), len(self.candidates)), np.nan)
        columns[:, np.isin(self.candidates, list(self.screened))] = self.null
        return columns

    def compare_screened(self) -> tuple[np.ndarray, np.ndarray]:
        """Return differences of the k-means labels to the best ones, and their standard errors."""
        nothing = np.full(len(self.rows), np.nan)
        return _compare([self.values.get(k, nothing) for k in self.candidates])

    @property
    def support(self) -> np.ndarray:
        """How much all evidence together supports each k, the best with 1."""
        return support_of(np.array(self.candidates), self.views)

    @property
    def order(self) -> list[int]:
        """Positions of the candidates that may be trained, the chosen one first."""
        support = self.support
        chosen, _ = supported(support)
        if chosen is None:
            support = self.screened_scores
        ranked = np.argsort(-np.nan_to_num(support, nan=-np.inf), kind="stable")
        order = [int(i) for i in ranked if np.isfinite(support[i])]
        return order if chosen is None else [chosen, *(i for i in order if i != chosen)]

    @property
    def plausible(self) -> np.ndarray:
        """Whether each k may be the best: the evidence supports it about as well."""
        chosen, as_good = supported(self.support)
        if chosen is not None:
            return as_good
        # Nothing exceeds points without clusters: by the silhouettes alone.
        good = as_good_as_best(*self.compare_screened())
        numbers = np.array(self.candidates)
        near = np.abs(numbers[:, None] - numbers[good]).min(axis=1, initial=2**31) <= 1
        return near & np.isfinite(self.screened_scores)

    @property
    def best_index(self) -> int:
        """Position of the candidate that is chosen, of those whose training succeeded."""
        trained = [i for i in self.order if self.candidates[i] in self.best]
        for i in trained:
            if np.isfinite(self._score(self.best[self.candidates[i]])):
                return i
        # Every model put all into one cluster, so no k is better than another.
        return trained[0] if trained else self.candidates.index(min(self.best))

    def stability(self, labels: np.ndarray, seed: int) -> Stability:
        """Return how firm clusters are in the shared space."""
        rows = self.rows
        return cluster_stability(self.space.points[rows], labels[rows], random_state=seed)

    @property
    def null_p_value(self) -> float:
        """How often the largest excess of a draw over the null is as large as that of the data."""
        null = self.null_scores[:, np.isfinite(self.screened_scores)]
        observed = self.screened_scores[np.isfinite(self.screened_scores)]
        if not observed.size:
            return float("nan")
        largest = (observed - null.mean(axis=0)).max()
        drawn = (null - null.mean(axis=0)).max(axis=1)
        return float((1 + (drawn >= largest).sum()) / (1 + len(drawn)))

    def gap_p_value(self, seed: int) -> float:
        """Test for gaps between the groups of the best k."""
        if not np.isfinite(self.screened_scores).any():
            return float("nan")
        best = self.candidates[int(np.nanargmax(self.screened_scores))]
        return gap_p_value(self.space.points[self.rows], best, n_splits=GAP_SPLITS, seed=seed)

    def results(self) -> dict[str, np.ndarray]:
        """Return the columns of ``results_``."""
        difference, error = self.compare_screened()
        null = self.null_scores.mean(axis=0)
        results = {
            "n_clusters": np.array(self.candidates),
            "screened_silhouette": self.screened_scores,
            "screened_difference": difference,
            "screened_standard_error": error,
            "null_silhouette": null,
            "excess_silhouette": self.screened_scores - null,
            **self.views,
            "support": self.support,
            "plausible": self.plausible,
            "trained": np.array([k in self.best for k in self.candidates]),
        }
        final = [self._final_values(k) for k in self.candidates]
        results["silhouette"] = np.array([values.mean() for values in final])
        results["difference"], results["standard_error"] = _compare(final)
        rows = [self._diagnostics(k) for k in self.candidates]
        return results | {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _final_values(self, k: int) -> np.ndarray:
        """Return the silhouette of each point: of the runs on average, or of k-means."""
        if k in self.runs:
            labellings = [run.labels[self.rows] for run in self.runs[k]]
            values = silhouettes(self.distances, labellings)
            scored = np.isfinite(values[:, 0])
            if scored.any():
                return values[scored].mean(axis=0)
        elif k in self.values:
            return self.values[k]
        return np.full(len(self.rows), np.nan)

    def _diagnostics(self, k: int) -> dict[str, Any]:
        runs, best = self.runs.get(k, []), self.best.get(k)
        labels = self.screened.get(k) if best is None else best.labels
        sizes = np.array([]) if labels is None else np.unique(labels, return_counts=True)[1]
        pairs = [adjusted_rand_score(a.labels, b.labels) for a, b in combinations(runs, 2)]
        return {
            "n_found": len(sizes),
            "smallest_share": sizes.min() / sizes.sum() if sizes.size else np.nan,
            "agreement": np.mean(pairs) if pairs else np.nan,
            "own_silhouette": np.nan if best is None else best.own_silhouette,
            "fit_time": sum(run.seconds for run in runs),
            "error": self.errors.get(k, ""),
        }


def _compare(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return differences to the best, paired point by point, and their standard errors."""
    stacked = np.array(values)
    means = stacked.mean(axis=1)
    if not np.isfinite(means).any():
        return means, means.copy()
    return paired_differences(stacked, stacked[int(np.nanargmax(means))])


def as_good_as_best(difference: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Whether each is the best or not clearly worse."""
    return np.nan_to_num(difference, nan=-np.inf) >= -_STANDARD_ERRORS * np.nan_to_num(error)


def screen(
    space: Space,
    rows: np.ndarray,
    candidates: list[int],
    n_draws: int,
    seed: int,
    bar: Bar,
) -> Table:
    """Cluster the shared space by k-means, and points without clusters as well."""
    points = within_range(np.asarray(space.points, dtype=np.float64))
    screened: dict[int, np.ndarray] = {}
    errors = {}
    for k in candidates:
        try:
            labels = cluster_by_k_means(points, k, _SCREEN_N_INIT, seed)
        except ValueError as error:
            errors[k] = f"ValueError: {error}"
        else:
            screened[k] = labels
        bar.done(SCREENING / 8 / len(candidates))
    sample = points[rows]
    few_rows = rows[sample_rows(len(sample), MAX_POINTS, seed)]
    few = points[few_rows]
    ks = [k for k in screened if 1 < k < len(few)]
    null = np.full((n_draws, len(screened)), np.nan)
    null[:, np.isin(list(screened), ks)] = gaussian_null(
        few,
        ks,
        metric=space.metric,
        n_draws=n_draws,
        n_init=_NULL_N_INIT,
        seed=seed,
        on_draw=lambda: bar.done(SCREENING / 4 / n_draws),
    )
    seen = collect(
        few, candidates, seed=seed, on_done=lambda share: bar.done(SCREENING * 5 / 8 * share)
    )
    found = _of_nearest(points, few_rows, seen.labels)
    distances = distance_matrix(sample, space.metric)
    return Table(space, rows, candidates, screened, found, errors, distances, null, seen.columns)


def _of_nearest(
    points: np.ndarray, few_rows: np.ndarray, labels_of: dict[int, np.ndarray]
) -> dict[int, np.ndarray]:
    """Give each point the labels of the nearest of those that have some."""
    nearest = pairwise_distances_argmin(points, points[few_rows])
    # Copies of each other may have other labels.
    nearest[few_rows] = np.arange(len(few_rows))
    return {k: labels[nearest] for k, labels in labels_of.items()}


def choose(table: Table, screen: str | None) -> list[int]:
    """Return the numbers of clusters to train."""
    if screen is None:
        return list(table.candidates)
    plausible = table.plausible
    chosen = [table.candidates[i] for i in table.order if plausible[i]][:MAX_TRAINED]
    # Where nothing can be scored, there still is something to fit.
    return sorted(chosen) or table.candidates[:1]
