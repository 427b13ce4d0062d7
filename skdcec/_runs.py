"""What is a finished run on disk? Its files, and how they come there whole."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import errno
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._files import read_json, versions, write_json
from skdcec._recipes import Plan

if TYPE_CHECKING:
    import numpy as np
    from sklearn.utils import Bunch

    from skdcec import (
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
    )

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering


MODEL = "model.safetensors"

ARRAYS = "data.npz"

TEXTS = "data.json"

NAMES = "names.json"

RUN = "run.json"

PAGE = "report.html"

CLUSTERS = "clusters.csv"

SUMMARY = "cluster_summary.csv"

SKIPPED = "skipped.csv"

DUPLICATES = "duplicates.csv"

CHOICE_PAGE = "choose_k.html"

CHOICE_TABLE = "choose_k.csv"

CHOICE_PICTURE = "choose_k.png"

OWN_FILES = (PAGE, CLUSTERS, SUMMARY, SKIPPED, DUPLICATES, RUN, MODEL, ARRAYS, TEXTS, NAMES)

CHOICE_FILES = (CHOICE_PAGE, CHOICE_TABLE, CHOICE_PICTURE)

STAGING = ".skdcec-unfinished"


def n_copies(groups: Iterable[Sequence[int]]) -> int:
    return sum(len(group) - 1 for group in groups)


@dataclass
class Found:
    """What `cluster` found, as far as drawing the page again and `similar` need it."""

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

    @classmethod
    def from_model(
        cls,
        model: Model,
        inputs: np.ndarray,
        bunch: Bunch,
        skipped: list[tuple[str, str]],
        title: str,
        previous: Found | None,
    ) -> Found:
        import numpy as np
        from sklearn.metrics import euclidean_distances

        from skdcec.report import map_projection

        embedding = model.encoder_.transform(inputs)
        # Threads may add up in another order, so the same map is best not computed again.
        if previous is not None and np.array_equal(previous.embedding, embedding):
            positions = previous.map
        else:
            positions = map_projection(embedding)
        return cls(
            labels=model.labels_,
            embedding=embedding,
            probabilities=model.predict_proba(inputs),
            distances=euclidean_distances(model.transform(inputs), model.cluster_centers_),
            map=positions,
            paths=bunch.paths.tolist(),
            filenames=bunch.filenames.tolist(),
            metadata={name: column.tolist() for name, column in bunch.metadata.items()},
            skipped=skipped,
            duplicates=[group.tolist() for group in bunch.duplicates],
            history={"Pretraining": model.encoder_.history_, "Joint training": model.history_},
            settings={},
            title=title,
            metric=model.encoder_.metric_,
        )

    def save(self, folder: Path) -> None:
        import numpy as np

        values = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays: dict[str, Any] = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
        with open(folder / ARRAYS, "wb") as file:
            np.savez(file, **arrays)
        write_json(folder / TEXTS, {k: v for k, v in values.items() if k not in arrays})

    @classmethod
    def load(cls, out: Path) -> Found:
        import numpy as np

        if not (out / TEXTS).exists() or not (out / ARRAYS).exists():
            raise ValueError(f"{out} holds no finished result of skdcec cluster.")
        try:
            texts = read_json(out / TEXTS)
            with np.load(out / ARRAYS, allow_pickle=False) as arrays:
                found = cls(**texts, **arrays)
            per_image = ("labels", "embedding", "probabilities", "map", "paths", "filenames")
            if len({len(getattr(found, name)) for name in per_image}) != 1:
                raise ValueError("its parts differ in length")
        except (TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{out} is damaged, or from another version of skdcec ({error}): run skdcec "
                "cluster again."
            ) from error
        return found

    @property
    def n_joint_epochs(self) -> int:
        """Fewer than planned where the labels settled."""
        return len(self.history["Joint training"]["loss"])

    def digest(self) -> str:
        """Return what names given to the clusters hold for."""
        labels = [int(label) for label in self.labels]
        return hashlib.sha256(json.dumps([self.paths, labels]).encode()).hexdigest()


def previous_run(out: Path) -> Found | None:
    with contextlib.suppress(ValueError, OSError):
        return Found.load(out)
    return None


def default_out(source: str, kind: str = "clusters") -> Path:
    path = Path(os.path.abspath(source))
    if not path.exists():
        # A pattern; load_images will say if it is not.
        return Path(f"skdcec-{kind}")
    return path.with_name(f"{path.stem if path.is_file() else path.name}-{kind}")


def claim(out: Path, args: argparse.Namespace) -> None:
    """Make the folder ours, or say now, and not after the training, why it cannot be."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; a folder is needed.")
    found = {path.name for path in out.iterdir()} if out.exists() else set()
    if not _is_ours(out):
        taken = sorted(found.intersection((*OWN_FILES, *CHOICE_FILES)))
        if taken:
            raise ValueError(
                f"--out {out} holds {', '.join(taken)}, not written by skdcec: move it away, or "
                "choose another folder."
            )
        if any(not name.startswith(".") for name in found) and not args.force:
            raise ValueError(
                f"--out {out} exists and holds other files: choose another folder, or --force to "
                "write beside them."
            )
    out.mkdir(parents=True, exist_ok=True)
    if not _is_ours(out):
        write_json(out / RUN, {"program": "skdcec", "state": "unfinished"})
    needed = 3 * 1e6 * args.max_mb
    free = shutil.disk_usage(out).free
    if free < needed:
        raise OSError(
            f"--out {out} is on a disk with {free / 1e6:.0f} MB left; {needed / 1e6:.0f} MB may be "
            "needed."
        )
    with tempfile.TemporaryFile(dir=out):
        pass


def _is_ours(out: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return read_json(out / RUN).get("program") == "skdcec"
    return False


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield a folder whose files move to `out` together once all are written.

    So `out` never holds one half of this run and one of the last.
    """
    staging = out / STAGING
    # What a killed run left there must not be taken for ours.
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        for name in (*OWN_FILES, *CHOICE_FILES):
            if (staging / name).exists():
                os.replace(staging / name, out / name)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"No space left on the disk of {out}, so nothing there was changed: free some, or "
            "choose another folder. What was pretrained is kept in the cache."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def save_model(model: Model, path: Path) -> None:
    from safetensors import SafetensorError

    try:
        model.save(path)
    except SafetensorError as error:
        raise OSError(f"The model cannot be written: {error}") from error


def check_device(device: str | None) -> None:
    """Fail before the images are read rather than after."""
    from skdcec._nn.device import resolve_device

    resolve_device(device)


def load_model(source: str) -> tuple[Model, Path | None]:
    """Return the model, and the folder that `cluster` wrote if it lies in one."""
    from skdcec import DeepConvEmbeddingClustering, DeepEmbeddingClustering
    from skdcec._persistence import load

    path = Path(source)
    out = path if path.is_dir() else None
    if out is not None:
        path = out / MODEL
        if not path.exists():
            raise ValueError(f"{source} holds no {MODEL}; skdcec cluster writes one.")
    return load((DeepConvEmbeddingClustering, DeepEmbeddingClustering), path), out


def page_settings(
    args: argparse.Namespace, found: Found, n_clusters: int, plan: Plan
) -> dict[str, Any]:
    """Return what the page says of how its clusters came about."""
    return {
        "images": len(found.paths),
        "clusters": n_clusters,
        "encoder": args.encoder,
        "size": f"{args.size} x {args.size} pixels ({args.resize})",
        "pretraining epochs": plan.pretraining,
        "joint epochs": found.n_joint_epochs,
        "embedding": f"{found.embedding.shape[1]} numbers per image",
        "seed": args.seed,
        "sample": args.sample or "all images",
    }


def run_record(
    args: argparse.Namespace,
    found: Found,
    plan: Plan,
    clock: Any,
    images_digest: str,
    model: Path,
) -> dict[str, Any]:
    import torch

    arguments = {name: value for name, value in vars(args).items() if name != "run"}
    with open(model, "rb") as file:
        model_digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "program": "skdcec",
        "state": "finished",
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "arguments": arguments | {"folder": os.path.abspath(args.folder)},
        "epochs": {"pretraining": plan.pretraining, "joint": found.n_joint_epochs},
        "threads": torch.get_num_threads(),
        "n_images": len(found.paths),
        "n_skipped": len(found.skipped),
        "n_duplicates": n_copies(found.duplicates),
        "cluster_sizes": [int((found.labels == c).sum()) for c in sorted({*found.labels})],
        "seconds": {name: round(value, 1) for name, value in clock.laps.items()},
        "versions": versions(),
        "hashes": {"images": images_digest, "clusters": found.digest(), MODEL: model_digest},
    }
