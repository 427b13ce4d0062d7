"""``skdcec assign``: the clusters of new images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from skdcec._cli.console import is_terminal, note, printable, result_file, say, write_results
from skdcec._cli.corrections import is_trained_from, put_by_hand
from skdcec._cli.images import load_bunch, model_inputs, reading_of, source_options, tell_skipped
from skdcec._cli.options import AssignOptions
from skdcec._files import Table
from skdcec._folders import NAMES
from skdcec._runs import (
    SavedModel,
    cache_folder,
    default_out,
    load_model,
    load_model_and_run,
    previous_run,
)

if TYPE_CHECKING:
    import numpy as np

    from skdcec._runs import Names


# So many clusters are named; the table has all.
_N_COUNTED = 8


class _Known(NamedTuple):
    """A model, names of its clusters, and where somebody put files, by their content."""

    saved: SavedModel
    names: Names
    pins: Mapping[str, int]


def run(options: AssignOptions) -> None:
    """Run the command."""
    target = result_file(options.out or _usual_file(options), (".csv",), force=options.force)
    saved, names, pins = _load(options.model)
    cache = cache_folder(options.cache)
    settings, backbone = reading_of(saved, options, cache)
    bunch = load_bunch(options, options.folder, settings, cache=cache, **source_options(options))
    tell_skipped(bunch.skipped, options.strict)
    inputs = model_inputs(backbone, bunch.images, quiet=options.quiet)
    places = put_by_hand(bunch.filenames, pins)
    table = _assigned(saved, inputs, bunch.paths.tolist(), places)
    table["name"] = [names.get(cluster, {}).get("name", "") for cluster in table["cluster"]]
    table |= _novelty(saved, inputs)
    write_results(table, target, as_json=options.json)
    note(_counts(table), quiet=options.quiet)
    n = len(bunch.paths)
    if places:
        text = f"Known again, and where somebody put them by hand: {len(places)} of {n} images."
        note(text, quiet=options.quiet)
    unlike = [
        printable(path)
        for path, flag in zip(bunch.paths.tolist(), table["flag"], strict=True)
        if flag == "unlike"
    ]
    if unlike:
        named = ", ".join(unlike[:3]) + (" and others" if len(unlike) > 3 else "")
        are = "is" if len(unlike) == 1 else "are"
        text = f"{len(unlike)} of {n} images {are} unlike any cluster: {named}."
        note(text, quiet=options.quiet)


def _usual_file(options: AssignOptions) -> Path | None:
    """Return the file beside FOLDER, where a terminal would show a table that nobody can read."""
    if options.json or not is_terminal():
        return None
    target = default_out(options.folder, "assigned.csv")
    if not os.access(target.absolute().parent, os.W_OK):
        raise ValueError(
            f"Nothing can be written beside {printable(options.folder)}: --out FILE.csv says where "
            "else the table goes."
        )
    return target


def _counts(table: Table) -> str:
    """Say how many images went to the clusters that took most."""
    sizes = Counter(zip(table["cluster"], table["name"], strict=True))
    counted = sorted(sizes.items(), key=lambda one: (-one[1], one[0]))
    several = [
        f"{n} in cluster {cluster}" + (f" ({printable(name)})" if name else "")
        for (cluster, name), n in counted[:_N_COUNTED]
    ]
    rest = ", the others in others" if len(counted) > _N_COUNTED else ""
    return f"{', '.join(several)}{rest}."


def _assigned(
    saved: SavedModel, inputs: np.ndarray, paths: list[str], places: Mapping[int, int]
) -> Table:
    """Return the cluster of each image: where somebody put it, else where the model does."""
    from skdcec._analysis.spaces import center_distances
    from skdcec.report import image_table

    probabilities = saved.model.predict_proba(inputs)
    labels = probabilities.argmax(axis=1)
    # Somebody may have made clusters that the model does not have.
    others = {i: cluster for i, cluster in places.items() if cluster >= probabilities.shape[1]}
    for i in places.keys() - others.keys():
        labels[i] = places[i]
    table = image_table(
        labels,
        paths=paths,
        probabilities=probabilities,
        distances=center_distances(saved.model, inputs),
        by_hand=[*places],
    )
    for i, cluster in others.items():
        table["cluster"][i], table["second_cluster"][i] = cluster, int(labels[i])
        for column in ("confidence", "margin", "distance"):
            table[column][i] = None
    for column in ("x", "y", "flag"):
        del table[column]
    return table


def _load(source: str) -> _Known:
    """Return the model, and what somebody said of its clusters."""
    out = Path(source)
    earlier = previous_run(out) if out.is_dir() else None
    # Most runs have neither, and those of earlier versions may lack what else is compared.
    if not out.is_dir() or not ((out / NAMES).exists() or (earlier and earlier.by_hand)):
        return _Known(load_model(source), {}, {})
    saved, result = load_model_and_run(source)
    if result is None:
        return _Known(saved, {}, {})
    if result.by_hand and not is_trained_from(result, out):
        say(
            f"Moved by hand after the training (images: {len(result.by_hand)}): these are found "
            "where they were put, but the model knows nothing of that. skdcec cluster FOLDER "
            "--edits FILE trains it on."
        )
    return _Known(saved, result.kept_names(out), result.pins)


def _novelty(saved: SavedModel, inputs: np.ndarray) -> Table:
    """Return how unlike the training images each image is, and which are flagged for it."""
    import numpy as np

    if saved.detector is None or not np.isfinite(saved.detector.offset_):
        say("The model holds no limits, so no image is flagged as unlike any cluster.")
        return {"unlikeness": [None] * len(inputs), "flag": [""] * len(inputs)}
    # In units of the limit; both are negative.
    unlikeness = saved.detector.score_samples(inputs) / saved.detector.offset_
    flags = ["unlike" if value > 1 else "" for value in unlikeness]
    return {"unlikeness": unlikeness.round(4).tolist(), "flag": flags}
