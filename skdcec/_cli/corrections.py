"""Which clusters did somebody correct, and how does a training go on from them?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from skdcec._cli.console import note, printable
from skdcec._cli.options import ClusterOptions
from skdcec._files import read_json
from skdcec._folders import RECORD
from skdcec._runs import MOVED, Run, default_out, previous_run

if TYPE_CHECKING:
    import numpy as np

    Names = dict[int, dict[str, str]]


def edited_run(out: Path, edits_file: str | None) -> tuple[Run, Names]:
    """Read a run, and the names of its clusters, with the changes that a page saved.

    Parameters
    ----------
    out : Path
        The folder of the run.
    edits_file : str or None
        None leaves both as they are.
    """
    from skdcec.report import read_edits

    result = Run.load(out)
    names = result.kept_names(out)
    if edits_file:
        edits = read_edits(edits_file)
        result = result.edited(edits)
        # Clusters that were merged into others may have been the last.
        names |= edits.names
        names = {cluster: name for cluster, name in names.items() if cluster <= result.labels.max()}
    return result, names


def corrected_run(options: ClusterOptions) -> tuple[Run, Names] | None:
    """Return the run that --edits corrects: the one in OUT or, with a new OUT, in the usual one."""
    if options.edits is None:
        return None
    usual = default_out(options.folder)
    out = Path(options.out) if options.out else usual
    for folder in (out, usual):
        if previous_run(folder) is not None:
            return edited_run(folder, options.edits)
    where = " nor in ".join(dict.fromkeys(map(str, (out, usual))))
    raise ValueError(
        f"--edits {options.edits} changes a run, and there is none in {where}: --out names its "
        "folder."
    )


@dataclass
class Corrections:
    """Clusters to start from, in the order of the images that are trained on.

    Parameters
    ----------
    labels : ndarray of shape (n_images,)
        Clusters from 0, without gaps; -1 for images that the earlier run did not have.
    names : dict of int to dict
        Of these clusters.
    by_hand : list of int
        Images that were moved, which stay where they were put.
    run : Run
        The earlier one.
    renumbered : dict of int to int
        The new numbers of clusters that cannot keep theirs.
    """

    labels: np.ndarray
    names: Names
    by_hand: list[int]
    run: Run
    renumbered: dict[int, int]

    @classmethod
    def of(cls, run: Run, names: Names, paths: list[str]) -> Self:
        """Find the images of a corrected run among those with these names.

        Raises
        ------
        ValueError
            If there are fewer than two clusters of them.
        """
        import numpy as np

        place = {path: i for i, path in enumerate(run.paths)}
        rows = [place.get(path, -1) for path in paths]
        labels = np.where(np.array(rows) < 0, -1, run.labels[rows].astype(np.int64))
        kinds = np.unique(labels[labels >= 0]).tolist()
        if len(kinds) < 2:
            raise ValueError(f"--edits leaves {len(kinds)} cluster of these images; it takes two.")
        renumbered = without_gaps(kinds)
        number = {kind: kind for kind in kinds} | renumbered | {-1: -1}
        by_hand = {*run.by_hand}
        return cls(
            np.array([number[label] for label in labels.tolist()]),
            {number[cluster]: name for cluster, name in names.items() if cluster in number},
            [i for i, row in enumerate(rows) if row in by_hand],
            run,
            renumbered,
        )

    @property
    def n_clusters(self) -> int:
        """As many as somebody left or made."""
        return int(self.labels.max()) + 1

    def tell(self, *, quiet: bool) -> None:
        """Say what the training starts from."""
        n_new = int((self.labels < 0).sum())
        new = f"; new images: {n_new}" if n_new else ""
        note(
            f"Training starts from the {self.n_clusters} clusters of "
            f"{printable(self.run.title)} as they were corrected; moved by hand, and staying where "
            f"they are: {len(self.by_hand)}{new}.",
            quiet=quiet,
        )
        if self.renumbered:
            note(f"Numbers run without gaps: {self.changed_numbers}.", quiet=quiet)

    @property
    def changed_numbers(self) -> str:
        """Which clusters have other numbers now, in words."""
        pairs = (f"cluster {old} is {new} now" for old, new in self.renumbered.items())
        return ", ".join(pairs)

    def keep_in(self, result: Run) -> None:
        """Leave images that were moved by hand where they were put, whatever was found since."""
        labels = result.labels.copy()
        labels[self.by_hand] = self.labels[self.by_hand]
        result.labels, result.by_hand = labels, self.by_hand
        result.pins = pins_of(result)
        result.settings |= {MOVED: len(self.by_hand)}
        if self.renumbered:
            result.settings["renumbered"] = self.changed_numbers


def without_gaps(kinds: list[int]) -> dict[int, int]:
    """Return new numbers for as few clusters as must have them: the last fill the gaps.

    Parameters
    ----------
    kinds : list of int
        Clusters that have members, increasing.

    Examples
    --------
    >>> from skdcec._cli.corrections import without_gaps
    >>> without_gaps([0, 2, 3, 4, 6])
    {6: 1}
    """
    gaps = sorted({*range(len(kinds))}.difference(kinds))
    return dict(zip((kind for kind in kinds if kind >= len(kinds)), gaps, strict=True))


def pins_of(run: Run) -> dict[str, int]:
    """Return where files that somebody moved were put, by their content."""
    pins: dict[str, int] = {}
    unclear = set()
    for i in run.by_hand:
        digest, cluster = _content(run.filenames[i]), int(run.labels[i])
        if digest is not None and pins.setdefault(digest, cluster) != cluster:
            unclear.add(digest)
    return {digest: cluster for digest, cluster in pins.items() if digest not in unclear}


def is_trained_from(run: Run, out: Path) -> bool:
    """Whether the clusters of a run are those that its training ended with."""
    hashes = read_json(out / RECORD).get("hashes")
    return isinstance(hashes, dict) and hashes.get("clusters") == run.digest()


def put_by_hand(filenames: Iterable[str], pins: Mapping[str, int]) -> dict[int, int]:
    """Return, by its place among the files, the cluster that somebody put each known one into."""
    if not pins:
        return {}
    clusters = ((i, pins.get(_content(path) or "")) for i, path in enumerate(filenames))
    return {i: cluster for i, cluster in clusters if cluster is not None}


def _content(path: str) -> str | None:
    """Return what tells a file from others, if it can be read."""
    from skdcec.datasets.decode import UnusableImage
    from skdcec.datasets.within import content_digest

    with contextlib.suppress(OSError, UnusableImage):
        return content_digest(path)
    return None
