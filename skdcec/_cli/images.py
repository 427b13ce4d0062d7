"""The images that a command reads, and what is said of those that it cannot."""

from __future__ import annotations

import contextlib
import difflib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from skdcec._backbones import Backbone
from skdcec._cli.console import Clock, printable, say, was_told
from skdcec._cli.options import (
    AssignOptions,
    ChooseKOptions,
    Options,
    ReadingOptions,
    SimilarOptions,
    TrainingOptions,
)
from skdcec._cli.progress import current
from skdcec._files import read_json
from skdcec._folders import MODEL, RECORD, OtherFiles, claim, holding, is_recorded
from skdcec._named import JOINT, NETWORKS, words_of
from skdcec._recipes import (
    ENCODERS,
    GIVEN,
    LEARNED,
    Plan,
    choose_encoder,
    image_size,
    plan_training,
)
from skdcec._runs import SavedModel, cache_folder, default_out
from skdcec._timing import drawing_seconds, slowdown

if TYPE_CHECKING:
    import numpy as np
    from sklearn.utils import Bunch

    from skdcec.datasets.vectors import Vectors


# Of files that people may expect to get.
_FILE_ENDINGS = {
    *(".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf", ".html", ".htm", ".zip"),
    *(".csv", ".tsv", ".txt", ".json", ".parquet", ".xls", ".xlsx", ".safetensors", ".npz"),
}


@contextlib.contextmanager
def leaving_nothing(options: Options) -> Iterator[None]:
    """Take away what a failed run has made: a folder that holds no result."""
    made: list[Path] = []
    if isinstance(options, TrainingOptions):
        out = target_of(options)
        made = [folder for folder in (out, *out.absolute().parents) if not folder.exists()]
    try:
        yield
    except Exception:
        if made:
            _remove_unused(made[0])
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _remove_unused(folder: Path) -> None:
    """Take away what the note of a run that has begun is all of, if no other run has begun it."""
    with contextlib.suppress(OSError, ValueError), holding(folder, wait=0):
        if _holds_no_result(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _holds_no_result(folder: Path) -> bool:
    """Whether there is nothing in a folder but the note that a run has begun."""
    others = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return others == {RECORD} and read_json(folder / RECORD).get("state") == "unfinished"


def what_is_kept(options: Options) -> str:
    """Return what a command that was stopped goes on from, in words."""
    if not isinstance(options, TrainingOptions):
        return ""
    if was_told("The cache cannot be used"):
        return " Nothing is kept: the same command begins anew."
    if was_told("No unfinished training can be kept"):
        return " The same command goes on, but for what was being trained, which begins anew."
    return (
        " What was decoded and trained is kept, but for the last half minute or so: the same "
        "command goes on."
    )


def target_of(options: TrainingOptions) -> Path:
    """Return the folder that a run writes."""
    kind = "choose-k" if isinstance(options, ChooseKOptions) else "clusters"
    return Path(options.out) if options.out else default_out(options.folder, kind)


@dataclass(frozen=True)
class Collection:
    """Images that were read to train on.

    Parameters
    ----------
    encoder : str
        As of :func:`skdcec._recipes.choose_encoder`; "auto" is settled.
    settings : dict
        How the images were read.
    bunch : Bunch
    skipped : list of (str, str)
        Files that cannot be used, and why.
    out : Path
        The folder to write into.
    cache : Path or None
    backbone : Backbone, GivenFeatures or None
        What makes vectors of the images, if these are what is trained on.
    """

    encoder: str
    settings: dict[str, Any]
    bunch: Bunch
    skipped: list[tuple[str, str]]
    out: Path
    cache: Path | None
    backbone: Backbone | GivenFeatures | None

    @property
    def reading(self) -> dict[str, Any]:
        """What has to be known to read other images for the same model."""
        return self.settings | (self.backbone.known if self.backbone else {})


class GivenFeatures:
    """Vectors that exist already, in the place of a network that makes them.

    Parameters
    ----------
    rows : ndarray of shape (n_images, n_features)
        Of the images of a bunch, in their order.
    path : str
        Where they came from.
    as_they_are : bool
        Whether nothing is learned from them.
    """

    def __init__(self, rows: np.ndarray, path: str, *, as_they_are: bool):
        self.rows = rows
        self.known = {"features": os.path.basename(path)}
        self.blocks = [(rows.shape[1], 1.0)] if as_they_are else None

    def features(self, images: np.ndarray, *, verbose: bool = False) -> np.ndarray:
        """Return the row of each image."""
        return self.rows


@contextlib.contextmanager
def collecting(options: TrainingOptions, kind: str, *, needed_bytes: float) -> Iterator[Collection]:
    """Claim OUT, which nobody else may write meanwhile, and read the images.

    Parameters
    ----------
    options : TrainingOptions
    kind : str
        Ending of the folder that is written where none is named.
    needed_bytes : float
        What may be written there.
    """
    out = Path(options.out) if options.out else default_out(options.folder, kind)
    if out.suffix.lower() in _FILE_ENDINGS and not out.is_dir():
        raise ValueError(
            f"--out {printable(str(out))} has the name of a file, and several are written: name a "
            f"folder for them, such as {printable(str(out.with_suffix('')))}."
        )
    try:
        claim(out, needed_bytes=needed_bytes, force=options.force)
    except OtherFiles as error:
        raise ValueError(f"{str(error)[:-1]}, or --force to write beside them.") from error
    current().is_planned = True
    with holding(out):
        yield _read_collection(options, out)


def _read_collection(options: TrainingOptions, out: Path) -> Collection:
    from skdcec._nn.device import resolve_device

    # What is wrong with it is said before the images are read rather than after.
    resolve_device(options.device)
    cache = cache_folder(options.cache)
    size = options.size or _likely_size(options, cache)
    backbone = _backbone(replace(options, size=size), cache)
    settings = {"size": size, "resize": options.resize}
    given = _given_vectors(options, cache)
    bunch = load_bunch(options, options.folder, settings, cache=cache, **source_options(options))
    skipped = bunch.skipped
    tell_skipped(skipped, options.strict)
    if given is None:
        encoder = choose_encoder(bunch.images, options.encoder, device=options.device)
        wanted = options.size or image_size(encoder, len(bunch.images))
        if wanted != size:
            # Those that are compared by their shapes.
            settings["size"] = wanted
            bunch = load_bunch(
                options, options.folder, settings, cache=cache, **source_options(options)
            )
        return Collection(encoder, settings, bunch, skipped, out, cache, backbone)
    encoder = GIVEN if options.encoder == "auto" else LEARNED
    features = _features_of(bunch, *given, as_they_are=encoder == GIVEN)
    return Collection(encoder, settings, bunch, skipped, out, cache, features)


def _likely_size(options: TrainingOptions, cache: Path | None) -> int:
    """Return the side of images that nobody chose one for, before they were looked at."""
    if options.features is not None:
        return image_size("autoencoder")
    encoder = "paintings" if options.encoder == "auto" else options.encoder
    if encoder != "paintings":
        return image_size(encoder)
    from skdcec.datasets.files import list_files

    listing = list_files(options.folder, options.file_column, cache, pages=options.pages)
    n_images = min(len(listing.files), options.sample or len(listing.files))
    return image_size(encoder, n_images)


def _given_vectors(
    options: TrainingOptions, cache: Path | None
) -> tuple[Vectors, Mapping[str, int]] | None:
    """Read the vectors that images are to be compared by, and find which are of which file."""
    if options.features is None:
        return None
    from skdcec.datasets.files import list_files
    from skdcec.datasets.vectors import read_vectors

    vectors = read_vectors(options.features, options.file_column)
    listing = list_files(options.folder, options.file_column, cache, pages=options.pages)
    return vectors, vectors.row_of(listing)


def _features_of(
    bunch: Bunch, vectors: Vectors, row_of: Mapping[str, int], *, as_they_are: bool
) -> GivenFeatures:
    import numpy as np

    vectors.check_complete(bunch.paths, row_of)
    rows = vectors.rows[[row_of[path] for path in bunch.paths]]
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    return GivenFeatures(rows, vectors.path, as_they_are=as_they_are)


class Prepared(NamedTuple):
    """What a model is given, the plan of its training, and the seconds of drawing the result.

    `slowdown` says how many times as long as otherwise it takes since the machine has other work.
    """

    inputs: np.ndarray
    plan: Plan
    drawing: float
    slowdown: float


def prepare(
    options: TrainingOptions, found: Collection, clock: Clock, *, minutes: float
) -> Prepared:
    """Turn images that were read into what a model is given, and plan its training."""
    clock.lap("loading")
    inputs = model_inputs(found.backbone, found.bunch.images, quiet=options.quiet)
    clock.lap("features")
    slower = slowdown()
    files = found.bunch.filenames.tolist()
    drawing = drawing_seconds(files, cache=found.cache, slowdown=slower)
    plan = plan_training(
        inputs,
        encoder=found.encoder,
        minutes=minutes,
        epochs=options.epochs,
        reserved=clock.elapsed + drawing,
        device=options.device,
        cache=found.cache,
    )
    return Prepared(inputs, plan, drawing, slower)


def _backbone(options: TrainingOptions, cache: Path | None) -> Backbone | None:
    """Return the network that --encoder names, if it does."""
    name, size = options.encoder, options.size
    if options.features is not None and name not in ("auto", "autoencoder"):
        raise ValueError(
            f"--encoder {name} looks at images: with --features, it is auto (the vectors as they "
            "are) or autoencoder."
        )
    words_of(name)
    if name in ("auto", *ENCODERS):
        if options.weights is not None:
            raise ValueError(f"--weights are those of a network, not of --encoder {name}.")
        return None
    assert size is not None
    try:
        return Backbone(
            name,
            weights=options.weights,
            size=size,
            device=options.device,
            memory=kept(cache, "features"),
        )
    except (ImportError, ValueError) as error:
        known = f"--encoder {name} is none of auto, {', '.join(ENCODERS)}"
        meant = difflib.get_close_matches(name, ENCODERS, n=1, cutoff=0.75)
        if meant and isinstance(error, ImportError):
            # Whoever has no such library asked for none of its networks.
            raise ValueError(f"{known}; is {meant[0]} meant?") from error
        raise ValueError(
            known
            + (f" (is {meant[0]} meant?)" if meant else "")
            + f", and cannot be had from {library_of(name)}: {error}"
        ) from error


def library_of(name: str) -> str:
    """Return who knows the networks of such a name."""
    if JOINT in name:
        return "what it joins"
    beginning = next((one for one in NETWORKS if name.startswith(one)), "torchvision")
    return {"timm/": "timm", "open_clip/": "open_clip", "torchvision": "torchvision"}.get(
        beginning, "Hugging Face or a folder, by timm"
    )


def reading_of(
    saved: SavedModel, options: AssignOptions | SimilarOptions, cache: Path | None
) -> tuple[dict[str, Any], Backbone | None]:
    """Return how to read images for a model, and the network that it was trained behind."""
    shape = getattr(saved.model, "image_shape_", None)
    settings: dict[str, Any] = {"resize": saved.reading.get("resize", "pad")}
    if shape is None:
        if "network" not in saved.reading:
            raise ValueError(
                "The model was trained on vectors, not on images: in Python, "
                f"DeepEmbeddingClustering.load('{MODEL}').predict takes such vectors of others."
            )
        memory = kept(cache, "features")
        backbone = Backbone.of_model(saved.reading, weights=options.weights, memory=memory)
        return settings | {"size": saved.reading["size"]}, backbone
    if options.weights is not None:
        raise ValueError("--weights: the model was trained on images, not behind a network.")
    height, width, channels = shape
    if channels != 3:
        raise ValueError(
            f"The model was trained on images of {channels} channel(s); files are read as RGB, "
            "of 3 channels."
        )
    return settings | {"size": (height, width)}, None


def load_bunch(
    options: Options,
    source: str | Sequence[str],
    settings: Mapping[str, Any],
    *,
    cache: Path | None,
    **more: Any,
) -> Bunch:
    """Read the images of a source."""
    from skdcec.datasets import load_images

    more |= {"cache": cache, "n_jobs": options.jobs, "verbose": not options.quiet}
    try:
        return load_images(source, **settings, **more)
    except ValueError as error:
        if isinstance(source, str) and is_recorded(Path(source)):
            here = printable(source)
            raise ValueError(f"{here} holds what skdcec found{_where_found(source)}") from error
        raise


def _where_found(out: str) -> str:
    """Say which images a run is of, if they are still there."""
    arguments = read_json(Path(out) / RECORD).get("arguments")
    folder = arguments.get("folder") if isinstance(arguments, dict) else None
    if isinstance(folder, str) and os.path.exists(folder):
        return f", and no images: is {printable(folder)} meant?"
    return ", and no images: the folder that they are in is needed."


def source_options(options: ReadingOptions) -> dict[str, Any]:
    """Return what is asked of the source as :func:`skdcec.datasets.load_images` takes it."""
    # A table as the source brings metadata of its own.
    folders = os.path.splitext(options.folder)[1].lower() not in (".csv", ".tsv", ".txt")
    return {
        "metadata": options.metadata or ("folders" if folders else None),
        "file_column": options.file_column,
        "sample": options.sample,
        "pages": options.pages,
    }


def model_inputs(
    backbone: Backbone | GivenFeatures | None, images: np.ndarray, *, quiet: bool
) -> np.ndarray:
    """Return what a model is given for images: themselves, or the vectors that stand for them."""
    return images if backbone is None else backbone.features(images, verbose=not quiet)


def kept(cache: Path | None, kind: str) -> Path | None:
    """Return the part of the cache that something is kept in, if anything is."""
    return None if cache is None else cache / kind


def tell_skipped(skipped: list[tuple[str, str]], strict: bool) -> None:
    """Say which files cannot be used, as an error with `strict`."""
    if not skipped:
        return
    n = len(skipped)
    named = [f"{printable(name)}: {printable(reason)}" for name, reason in skipped[:5]]
    more = [f"and {n - 5} more"] if n > 5 else []
    summary = f"{n} {'file' if n == 1 else 'files'} cannot be used"
    if strict:
        why = "; ".join([*named, *more])
        raise ValueError(f"{summary}: {why}. Without --strict they are skipped.")
    say("\n  ".join([f"{summary}:", *named, *more]))


def title_of(source: str) -> str:
    """Return what a page is called where nobody says."""
    return printable(os.path.basename(os.path.abspath(source)))


def recorded_arguments(options: TrainingOptions, found: Collection) -> dict[str, Any]:
    """Return the options as the record of a run has them, with what was settled."""
    settled = {"encoder": found.encoder, "size": found.settings["size"]}
    paths = {"folder": os.path.abspath(options.folder)}
    if options.metadata not in (None, "folders"):
        paths["metadata"] = os.path.abspath(options.metadata)
    return options.as_dict() | settled | paths
