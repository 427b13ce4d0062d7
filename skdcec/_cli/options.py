"""What is each command asked? Its options, as the command reads them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Options:
    """What all commands are asked."""

    cache: str | None
    jobs: int
    json: bool
    quiet: bool
    progress: str

    def as_dict(self) -> dict[str, Any]:
        """Return the options by name, for the record of a run."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Options):
    """What a command is asked that reads a folder of images."""

    folder: str
    metadata: str | None
    file_column: str | None
    sample: int | None
    pages: str
    strict: bool


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(ReadingOptions):
    """What a command is asked that trains on a folder of images.

    `encoder` may be "auto", and `size` None, until the images are read.
    """

    features: str | None
    encoder: str
    weights: str | None
    minutes: float
    epochs: int | None
    size: int | None
    resize: str
    seed: int
    device: str | None
    out: str | None
    force: bool


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(TrainingOptions):
    """What ``skdcec cluster`` is asked.

    `words` is a file, or empty for those that come with the package.
    """

    clusters: int | None
    edits: str | None
    words: str | None
    export: str | None
    page_images: int
    max_mb: float
    open: bool


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """What ``skdcec report`` is asked."""

    out: str
    names: str | None
    edits: str | None
    title: str | None
    images: str | None
    draft_names: str | None
    export: str | None
    force: bool
    page_images: int
    max_mb: float
    open: bool


@dataclass(frozen=True, kw_only=True)
class ChooseKOptions(TrainingOptions):
    """What ``skdcec choose-k`` is asked."""

    k: list[int]
    runs: int
    all: bool


@dataclass(frozen=True, kw_only=True)
class AssignOptions(ReadingOptions):
    """What ``skdcec assign`` is asked."""

    model: str
    weights: str | None
    out: str | None
    force: bool


@dataclass(frozen=True, kw_only=True)
class SimilarOptions(Options):
    """What ``skdcec similar`` is asked."""

    model: str
    images: list[str]
    text: list[str] | None
    folder: str | None
    top: int
    out: str | None
    sheet: str | None
    weights: str | None
    strict: bool
    force: bool


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(ReadingOptions):
    """What ``skdcec pretrain`` is asked."""

    out: str
    start: str | None
    epochs: int
    components: int
    size: int
    resize: str
    seed: int
    device: str | None
    force: bool


@dataclass(frozen=True, kw_only=True)
class FetchOptions(Options):
    """What ``skdcec fetch`` is asked."""

    manifest: str
    out: str
    size: int
    full: bool
    max_mb: float
    sample: int | None
