"""``skdcec assign``: the clusters of new images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skdcec._cli.console import note, result_file, say, write_results
from skdcec._cli.images import load_bunch, model_inputs, reading_of, source_options, tell_skipped
from skdcec._cli.options import AssignOptions
from skdcec._files import Table
from skdcec._folders import NAMES
from skdcec._runs import SavedModel, cache_folder, load_model, load_model_and_run

if TYPE_CHECKING:
    import numpy as np

    from skdcec._runs import Names


def run(options: AssignOptions) -> None:
    """Run the command."""
    from skdcec._analysis.spaces import center_distances
    from skdcec.report import image_table

    target = result_file(options.out, (".csv",), force=options.force)
    saved, names = _load(options.model)
    cache = cache_folder(options.cache)
    settings, backbone = reading_of(saved, options, cache)
    bunch = load_bunch(options, options.folder, settings, cache=cache, **source_options(options))
    tell_skipped(bunch.skipped, options.strict)
    inputs = model_inputs(backbone, bunch.images, quiet=options.quiet)
    probabilities = saved.model.predict_proba(inputs)
    table = image_table(
        probabilities.argmax(axis=1),
        paths=bunch.paths.tolist(),
        probabilities=probabilities,
        distances=center_distances(saved.model, inputs),
    )
    for column in ("x", "y", "flag"):
        del table[column]
    table["name"] = [names.get(cluster, {}).get("name", "") for cluster in table["cluster"]]
    table |= _novelty(saved, inputs)
    write_results(table, target, as_json=options.json)
    n_unlike = table["flag"].count("unlike")
    if n_unlike:
        text = f"{n_unlike} of {len(bunch.paths)} images are unlike any cluster."
        note(text, quiet=options.quiet)


def _load(source: str) -> tuple[SavedModel, Names]:
    """Return the model, and the names that were given to its clusters."""
    out = Path(source)
    # Most runs have no names, and those of earlier versions may lack what else is compared.
    if not out.is_dir() or not (out / NAMES).exists():
        return load_model(source), {}
    saved, result = load_model_and_run(source)
    return saved, result.kept_names(out) if result else {}


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
