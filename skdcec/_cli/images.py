"""The images that a command reads, and what is said of those that it cannot."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._cli.console import note, printable, say
from skdcec._recipes import cache_folder, kept_folder
from skdcec._runs import CHOICE_FILES, DUPLICATES, OWN_FILES, n_copies

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from skdcec import (
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
    )
    from skdcec._backbone import Backbone

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering


def load_bunch(
    args: argparse.Namespace,
    source: Any,
    settings: Mapping[str, Any],
    *,
    use_cache: bool = True,
    **options: Any,
) -> Bunch:
    from skdcec.datasets import load_images

    return load_images(
        source,
        **settings,
        **options,
        cache=cache_folder(args) if use_cache else None,
        n_jobs=args.jobs,
        verbose=not args.quiet,
    )


def image_settings(args: argparse.Namespace) -> dict[str, Any]:
    return {"size": args.size, "resize": args.resize}


def settings_of_model(
    args: argparse.Namespace, model: Model
) -> tuple[dict[str, Any], Backbone | None]:
    """Return how to load images as those were that the model was trained on.

    Also returns the network whose features it was trained on, if there is one.
    """
    from skdcec._backbone import Backbone

    kept = getattr(model, "image_loading_", None)
    kept = kept if isinstance(kept, dict) else {}
    shape = getattr(model, "image_shape_", None)
    settings: dict[str, Any] = {"resize": kept.get("resize", "pad")}
    if shape is None:
        if "network" not in kept:
            raise ValueError("The model was trained on vectors, not on images.")
        memory = kept_folder(args, "features")
        backbone = Backbone.of_model(kept, weights=args.weights, memory=memory)
        return settings | {"size": kept["size"]}, backbone
    if args.weights is not None:
        raise ValueError("--weights: the model was trained on images, not behind a network.")
    height, width, channels = shape
    if channels != 3:
        raise ValueError(
            f"The model was trained on images of {channels} channel(s); files are read as RGB, "
            "of 3 channels."
        )
    return settings | {"size": (height, width)}, None


def source_options(args: argparse.Namespace) -> dict[str, Any]:
    # A table as the source brings metadata of its own.
    folders = os.path.splitext(args.folder)[1].lower() not in (".csv", ".tsv", ".txt")
    return {
        "metadata": args.metadata or ("folders" if folders else None),
        "file_column": args.file_column,
        "sample": args.sample,
    }


def without_own_files(
    skipped: list[tuple[str, str]], source: str, out: Path
) -> list[tuple[str, str]]:
    """Leave out what an earlier run wrote, where OUT is inside the folder."""
    own = {os.path.abspath(out / name) for name in (*OWN_FILES, *CHOICE_FILES)}
    return [
        (name, reason)
        for name, reason in skipped
        if os.path.abspath(os.path.join(source, name)) not in own
    ]


def tell_skipped(skipped: list[tuple[str, str]], strict: bool) -> None:
    if not skipped:
        return
    named = ", ".join(f"{printable(name)} ({printable(reason)})" for name, reason in skipped[:5])
    more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    summary = f"{len(skipped)} file(s) cannot be used: {named}{more}."
    if strict:
        raise ValueError(f"{summary} Without --strict they are skipped.")
    say(summary)


def tell_duplicates(bunch: Bunch, args: argparse.Namespace) -> None:
    if not bunch.duplicates:
        return
    first = ", ".join(printable(bunch.paths[i]) for i in bunch.duplicates[0][:3])
    note(
        args,
        f"{n_copies(bunch.duplicates)} of {len(bunch.paths)} images are exact copies of others, "
        f"such as {first}; {DUPLICATES} lists them.",
    )
