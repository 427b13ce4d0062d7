"""What is a finished run on disk? Its files, how they come there whole, and how they are read.

A run is the folder that ``skdcec cluster`` writes. From Python::

    Run.load("paintings-clusters").labels
    load_model("paintings-clusters").model.predict(images)
"""

from __future__ import annotations

import contextlib
import datetime
import difflib
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from skdcec._callers import caller_level
from skdcec._files import (
    as_table,
    parse_json,
    read_json,
    versions,
    why_not_written,
    write_json,
    write_table,
)
from skdcec._folders import (
    ARRAYS,
    CLUSTERS,
    DUPLICATES,
    MODEL,
    NAMES,
    PAGE,
    RECORD,
    SKIPPED,
    SUMMARY,
    TEXTS,
    Mixed,
    Snapshot,
    no_run,
    read_together,
)
from skdcec._run_contents import check_values, parse_arrays

if TYPE_CHECKING:
    import numpy as np
    from sklearn.utils import Bunch

    from skdcec._recipes import Model
    from skdcec.novelty import NoveltyDetector
    from skdcec.report import Report
    from skdcec.report.edits import Edits

    Names = dict[int, dict[str, str]]
    Progress = Callable[[str, int, int], None]

# The setting that counts images which somebody moved to other clusters.
MOVED = "moved by hand"

__all__ = [
    "MOVED",
    "Run",
    "SavedModel",
    "StoredNames",
    "cache_folder",
    "default_out",
    "load_model",
    "load_model_and_run",
    "n_copies",
    "previous_run",
    "save_model",
    "stored_names",
    "write_record",
]

# What is kept with a model: a companion and a note.
_DETECTOR = "novelty"
_READING = "image_loading"


# What was found


@dataclass
class Run:
    """What was found in a folder of images, as far as page and similar images need it.

    Parameters
    ----------
    labels : ndarray of shape (n_images,)
        Clusters, 0 being the largest.
    embedding : ndarray of shape (n_images, n_components)
        In the space of the pretrained encoder.
    probabilities, distances : ndarray of shape (n_images, n_clusters)
        Soft assignment, and distances to the centers of the clusters.
    map : ndarray of shape (n_images, 2)
        Where images lie on the map.
    paths, filenames : list of str
        Names of the images within their folder, and where the files are.
    metadata : dict of str to list of str
        Columns of what else is known of the images.
    skipped : list of (str, str)
        Files that cannot be used, and why.
    duplicates : list of list of int
        Groups of images that are equal.
    history : dict of str to dict
        Losses per epoch of each phase of training.
    settings : dict
        What the page says of how the clusters came about.
    title : str
    metric : {"euclidean", "cosine"}
        The distance that the embedding is made for.
    by_hand : list of int, default=[]
        Images that somebody moved to the cluster that they are in.
    pins : dict of str to int, default={}
        The cluster of each of their files, by its content.
    """

    labels: np.ndarray
    embedding: np.ndarray
    probabilities: np.ndarray
    distances: np.ndarray
    map: np.ndarray
    paths: list[str]
    filenames: list[str]
    metadata: dict[str, list[str]]
    skipped: list[tuple[str, str]]
    duplicates: list[list[int]]
    history: dict[str, Any]
    settings: dict[str, Any]
    title: str
    metric: str
    by_hand: list[int] = field(default_factory=list)
    pins: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_model(
        cls,
        model: Model,
        inputs: np.ndarray,
        bunch: Bunch,
        *,
        title: str,
        skipped: Iterable[tuple[str, str]] = (),
        previous: Run | None = None,
    ) -> Self:
        """Collect what a fitted model says of the images it was fitted on.

        Parameters
        ----------
        model : fitted DeepConvEmbeddingClustering or DeepEmbeddingClustering
        inputs : ndarray
            What the model was fitted on: the images of `bunch`, or features of them.
        bunch : Bunch
            As of :func:`skdcec.datasets.load_images`.
        title : str
        skipped : iterable of (str, str)
        previous : Run, default=None
            An earlier run, whose map is taken where the embedding is the same.

        Returns
        -------
        run : Run
        """
        import numpy as np

        from skdcec._analysis.projection import map_projection
        from skdcec._analysis.spaces import center_distances, space_of

        space = space_of(model, inputs, "pretrained")
        # Threads may add up in another order, so the same map is best not computed again.
        if previous is not None and np.array_equal(previous.embedding, space.points):
            positions = previous.map
        else:
            positions = map_projection(space.points, labels=model.labels_)
        return cls(
            labels=model.labels_,
            embedding=space.points,
            probabilities=model.predict_proba(inputs),
            distances=center_distances(model, inputs),
            map=positions,
            paths=bunch.paths.tolist(),
            filenames=bunch.filenames.tolist(),
            metadata={name: column.tolist() for name, column in bunch.metadata.items()},
            skipped=list(skipped),
            duplicates=[group.tolist() for group in bunch.duplicates],
            history={
                "Pretraining": getattr(model.encoder_, "history_", {}),
                "Joint training": model.history_,
            },
            settings={},
            title=title,
            metric=space.metric,
        )

    @classmethod
    def load(cls, out: str | os.PathLike) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ValueError
            If the folder holds no finished run, or a damaged one.
        """
        return read_together(Path(out), cls.from_snapshot)

    @classmethod
    def from_snapshot(cls, files: Snapshot) -> Self:
        """Read what :meth:`save` wrote, with what else is of the same run."""
        out = files.out
        if not (out / TEXTS).exists() or not (out / ARRAYS).exists():
            raise ValueError(no_run(out))
        if (out / MODEL).exists():
            # Not read here, but other commands would show what is here as its.
            files.check(MODEL)
        try:
            texts = parse_json(files.read(TEXTS), out / TEXTS)
            # Runs of earlier versions do not say what was moved.
            arrays = parse_arrays(files.read(ARRAYS), out / ARRAYS)
            values = {"by_hand": [], "pins": {}, **texts, **arrays}
            check_values(values)
            run = cls(**values)
        except Mixed:
            raise
        except ValueError as error:
            raise ValueError(
                f"{out} is damaged, or from another version of skdcec ({error}): run skdcec "
                "cluster again."
            ) from error
        from skdcec.datasets.within import found_beside

        return replace(run, filenames=found_beside(out, run.filenames, run.paths))

    def save(self, folder: Path) -> None:
        """Write arrays and texts into a folder."""
        import numpy as np

        values = {one.name: getattr(self, one.name) for one in fields(self)}
        arrays: dict[str, Any] = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
        with open(folder / ARRAYS, "wb") as file:
            np.savez(file, **arrays)
        write_json(folder / TEXTS, {k: v for k, v in values.items() if k not in arrays})

    @property
    def n_joint_epochs(self) -> int:
        """Fewer than planned where the labels settled."""
        return len(self.history["Joint training"]["loss"])

    @property
    def missing(self) -> list[str]:
        """The files of images that are no longer where they were, or whose archives are not."""
        from skdcec.datasets.within import is_there

        return [path for path in self.filenames if not is_there(path)]

    def edited(self, edits: Edits) -> Run:
        """Return the run with images in the clusters that somebody moved them to.

        Raises
        ------
        ValueError
            If the edits were made on the page of another run.
        """
        from skdcec.report.edits import edited_clusters

        labels, probabilities, distances = edited_clusters(
            self.labels, self.paths, self.embedding, edits
        )
        moved = {i for i, path in enumerate(self.paths) if path in edits.moves}
        by_hand = sorted(moved.union(self.by_hand))
        moved_run = replace(self, labels=labels, probabilities=probabilities, distances=distances)
        return replace(moved_run, by_hand=by_hand, settings=self.settings | {MOVED: len(by_hand)})

    def digest(self) -> str:
        """Return what names given to the clusters hold for."""
        labels = [int(label) for label in self.labels]
        return hashlib.sha256(json.dumps([self.paths, labels]).encode()).hexdigest()

    def kept_names(self, out: Path) -> Names:
        """Return the names in a folder, if they were given to these very clusters.

        Warns
        -----
        UserWarning
            If they were given to others, or are damaged.
        """
        stored = stored_names(out)
        if stored is None or not stored.names:
            return {}
        if stored.clustering == self.digest() and max(stored.names) < self.probabilities.shape[1]:
            return stored.names
        path = out / NAMES
        warnings.warn(
            f"The names in {path} belong to other clusters and are not used; skdcec report {out} "
            f"--names {path} uses them all the same.",
            UserWarning,
            stacklevel=caller_level(),
        )
        return {}

    def draw(
        self,
        folder: Path,
        names: Names | None = None,
        *,
        max_images: int | None = 20_000,
        max_bytes: int = 25_000_000,
        n_jobs: int = -1,
        progress: Progress | None = None,
        write_names: bool = True,
        page_folder: Path | None = None,
    ) -> Report:
        """Write the page, the tables and the names into a folder.

        Parameters
        ----------
        folder : Path
        names : dict of int to dict, default=None
            Name and note of each cluster that has one.
        max_images, max_bytes, n_jobs, progress
            As of :func:`skdcec.report.write_report`.
        write_names : bool, default=True
            Whether the names are new. Those that came from a file in the folder of the run stay
            there as they are, since the user may be editing it.
        page_folder : Path, default=None
            Where the page will lie, if not in `folder`: its links to the images start there.

        Returns
        -------
        report : Report
        """
        from skdcec.report import write_report

        report = write_report(
            folder / PAGE,
            self.filenames,
            self.labels,
            paths=self.paths,
            embedding=self.embedding,
            metric=self.metric,
            probabilities=self.probabilities,
            distances=self.distances,
            metadata=self.metadata,
            cluster_names=names,
            by_hand=self.by_hand,
            skipped=self.skipped,
            duplicates=self.duplicates,
            map_coordinates=self.map,
            history=self.history,
            settings=self.settings,
            title=self.title,
            link_originals=True if page_folder is None else page_folder,
            max_images=max_images,
            max_bytes=max_bytes,
            n_jobs=n_jobs,
            progress=progress,
        )
        write_table(folder / CLUSTERS, report.table)
        write_table(folder / SUMMARY, report.summary)
        write_table(folder / SKIPPED, as_table(("file", "reason"), self.skipped))
        copies = [
            (group, self.paths[i]) for group, rows in enumerate(self.duplicates) for i in rows
        ]
        write_table(folder / DUPLICATES, as_table(("group", "file"), copies))
        if names and write_names:
            rows = [{"cluster": cluster, **entry} for cluster, entry in sorted(names.items())]
            write_json(
                folder / NAMES,
                {"format": "skdcec cluster names", "clustering": self.digest(), "clusters": rows},
            )
        return report


def previous_run(out: Path) -> Run | None:
    """Return the finished run in a folder, if there is one."""
    with contextlib.suppress(ValueError, OSError):
        return Run.load(out)
    return None


class StoredNames(NamedTuple):
    """Names of clusters, and the digest of the run that they were given to."""

    names: Names
    clustering: str | None


def stored_names(out: Path) -> StoredNames | None:
    """Return the names in a folder, whatever run they are of, or None if there are none to use.

    Warns
    -----
    UserWarning
        If they are damaged.
    """
    from skdcec.report import read_names

    path = out / NAMES
    if not os.path.lexists(path):
        return None
    try:
        clustering = read_json(path).get("clustering")
        return StoredNames(read_names(path), clustering)
    except (OSError, ValueError) as error:
        # Not worth losing a training for.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        text = reason if str(path) in reason else f"{path}: {reason}"
        warnings.warn(f"The names are not used: {text}", UserWarning, stacklevel=caller_level())
        return None


def n_copies(groups: Iterable[Sequence[int]]) -> int:
    """Return how many images are copies of others, by groups of equal ones."""
    return sum(len(group) - 1 for group in groups)


# The model


class SavedModel(NamedTuple):
    """A model from a file, and what was kept with it.

    Parameters
    ----------
    model : fitted DeepConvEmbeddingClustering or DeepEmbeddingClustering
    reading : dict
        How images were read for it: ``size``, ``resize``, and ``network`` and ``weights``
        where it was trained behind a network of torchvision. Empty for a model saved in Python.
    detector : NoveltyDetector or None
        What tells images unlike those that the model was fitted on.
    out : Path or None
        The folder of the run that the file is part of.
    """

    model: Model
    reading: dict[str, Any]
    detector: NoveltyDetector | None
    out: Path | None


def save_model(
    model: Model,
    path: Path,
    *,
    reading: Mapping[str, Any],
    detector: NoveltyDetector | None = None,
) -> None:
    """Write a fitted model, and what is needed to use it on other files.

    Parameters
    ----------
    model : fitted DeepConvEmbeddingClustering or DeepEmbeddingClustering
    path : Path
    reading : mapping
        How images were read for it, as of :class:`SavedModel`.
    detector : NoveltyDetector, default=None
        Fitted, on the same model.
    """
    from skdcec import _persistence

    companions = {} if detector is None else {_DETECTOR: detector}
    _persistence.save(model, path, companions=companions, notes={_READING: dict(reading)})


def load_model(source: str | os.PathLike) -> SavedModel:
    """Read the model of a run, or a model that was saved in Python.

    Parameters
    ----------
    source : str or path-like
        The folder of a run, or a file.

    Returns
    -------
    saved : SavedModel

    Raises
    ------
    ValueError
        If there is none.
    """
    path = Path(source)
    if path.is_dir():
        return read_together(path, _model_of)
    return _read_model(path, None)


def load_model_and_run(source: str | os.PathLike) -> tuple[SavedModel, Run | None]:
    """Read a model, and what was found by it where it is part of a run: both of the same run."""
    path = Path(source)
    if path.is_dir():
        return read_together(path, lambda files: (_model_of(files), Run.from_snapshot(files)))
    return _read_model(path, None), None


def _model_of(files: Snapshot) -> SavedModel:
    if not (files.out / MODEL).exists():
        raise ValueError(no_run(files.out, MODEL))
    return _read_model(files.check(MODEL), files.out)


def _read_model(path: Path, out: Path | None) -> SavedModel:
    from skdcec import DeepConvEmbeddingClustering, DeepEmbeddingClustering
    from skdcec._persistence import load_bundle
    from skdcec.novelty import NoveltyDetector

    if not path.exists():
        near = os.listdir(path.parent) if path.parent.is_dir() else []
        meant = difflib.get_close_matches(path.name, near, n=1, cutoff=0.75)
        hint = f"is {path.with_name(meant[0])} meant?" if meant else "skdcec cluster writes one."
        raise FileNotFoundError(
            f"{path} does not exist, as a model or as a folder with one; {hint}"
        )
    bundle = load_bundle((DeepConvEmbeddingClustering, DeepEmbeddingClustering), path)
    reading, detector = bundle.notes.get(_READING), bundle.companions.get(_DETECTOR)
    return SavedModel(
        bundle.estimator,
        reading if isinstance(reading, dict) else {},
        detector if isinstance(detector, NoveltyDetector) else None,
        out,
    )


# The folder


def default_out(source: str, kind: str = "clusters") -> Path:
    """Return the folder beside a source of images that takes what is found there.

    Examples
    --------
    >>> from skdcec._runs import default_out
    >>> default_out("no such folder/*.jpg")
    PosixPath('skdcec-clusters')
    """
    path = Path(os.path.abspath(source))
    if not path.exists():
        # A pattern; load_images will say if it is not.
        return Path(f"skdcec-{kind}")
    if not path.name:
        raise ValueError(f"{source} has no folder beside it to write into: name one by --out.")
    return path.with_name(f"{path.stem if path.is_file() else path.name}-{kind}")


def write_record(folder: Path, arguments: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
    """Write, and return, what was done: its arguments, versions, and further facts."""
    record = {
        "program": "skdcec",
        "state": "finished",
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "arguments": dict(arguments),
        **facts,
        "versions": versions(),
    }
    write_json(folder / RECORD, record)
    return record


# The cache


def cache_folder(path: str | os.PathLike | None = None) -> Path | None:
    """Return the folder that decoded images, plans and pretrained encoders are kept in.

    Parameters
    ----------
    path : str or path-like, default=None
        None is the user's cache, ``~/.cache/skdcec``.

    Returns
    -------
    folder : Path or None
        None where nothing can be kept.

    Warns
    -----
    UserWarning
        If the folder cannot be used.
    """
    from skdcec.datasets.store import user_cache

    folder = Path(path or user_cache())
    try:
        (folder / "pretraining").mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("you may not write there")
    except OSError as error:
        warnings.warn(
            f"The cache cannot be used: {why_not_written(error)} ({folder}). This run goes "
            "on without, and the next reads all images again; --cache FOLDER takes another folder.",
            stacklevel=caller_level(),
        )
        return None
    return folder
