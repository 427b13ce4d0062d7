"""Which clusters did somebody correct, and how does a training go on from them?"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from skdcec._cli.console import note, printable, say
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


def corrected_folder(options: ClusterOptions) -> Path | None:
    """Return the run that --edits corrects: the one in OUT or, with a new OUT, in the usual one."""
    if options.edits is None:
        return None
    usual = default_out(options.folder)
    out = Path(options.out) if options.out else usual
    for folder in (out, usual):
        if previous_run(folder) is not None:
            return folder
    where = " nor in ".join(dict.fromkeys(map(str, (out, usual))))
    raise ValueError(
        f"{f'--edits {options.edits}'.rstrip()} changes a run, and there is none in {where}: --out "
        "names its folder."
    )


def corrected_run(options: ClusterOptions, folder: Path) -> tuple[Run, Names]:
    """Return a run as --edits corrects it, or as it stands where no file is named."""
    from skdcec.report.edits import OtherRun

    try:
        return edited_run(folder, options.edits)
    except OtherRun as error:
        raise ValueError(
            f"{error} If they are in {printable(str(folder))} already, --edits without a file goes "
            "on from there."
        ) from error


def check_nothing_by_hand(out: Path) -> None:
    """Refuse to find new clusters in the place of those that somebody corrected."""
    previous = previous_run(out)
    moved = previous.settings.get(MOVED) if previous else None
    if moved:
        here = printable(str(out))
        raise ValueError(
            f"{here} holds clusters in which somebody moved images by hand "
            f"({printable(str(moved))}): --edits goes on from them, with new images, too; another "
            f"--out keeps them; and --force finds others in their place."
        )


def with_metadata_of(options: ClusterOptions, folder: Path) -> ClusterOptions:
    """Read the table of an earlier run where --edits goes on from it, and no other is named."""
    path, column = _metadata_of(folder)
    if options.metadata is not None or path is None:
        return options
    if not os.path.exists(path):
        say(
            f"The table of that run, {printable(path)}, is gone: --metadata FILE.csv says where it "
            "is."
        )
        return options
    note(f"Metadata: {printable(path)}, as in that run.", quiet=options.quiet)
    return replace(options, metadata=path, file_column=options.file_column or column)


def tell_metadata(options: ClusterOptions, out: Path) -> None:
    """Say that a run knows less of the images than the one that it replaces."""
    path, _ = _metadata_of(out)
    if options.metadata is None and path is not None:
        note(
            f"The run in {printable(str(out))} had --metadata {printable(shlex.quote(path))}, and "
            "this one has not.",
            quiet=options.quiet,
        )


def _metadata_of(folder: Path) -> tuple[str | None, str | None]:
    """Return the table that a run read, and its column of files."""
    arguments = None
    with contextlib.suppress(OSError, ValueError):
        arguments = read_json(folder / RECORD).get("arguments")
    known = arguments if isinstance(arguments, dict) else {}
    path, column = known.get("metadata"), known.get("file_column")
    return (
        path if isinstance(path, str) else None,
        column if isinstance(column, str) else None,
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
            f"Starts from the {self.n_clusters} clusters of {printable(self.run.title)} as they "
            f"were corrected; moved by hand, and staying where they are: {len(self.by_hand)}{new}.",
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
