"""``skdcec assign``: the clusters of new images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from skdcec._cli.console import note, result_file, say, write_results
from skdcec._cli.drawing import kept_names
from skdcec._cli.images import load_bunch, settings_of_model, source_options, tell_skipped
from skdcec._recipes import model_inputs
from skdcec._runs import NAMES, Found, load_model

if TYPE_CHECKING:
    from skdcec import (
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
    )

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering


def run(args: argparse.Namespace) -> None:
    from sklearn.metrics import euclidean_distances

    from skdcec.novelty import unlikeness
    from skdcec.report import image_table

    target = result_file(args.out, args.force, (".csv",))
    model, out = load_model(args.model)
    settings, backbone = settings_of_model(args, model)
    bunch = load_bunch(args, args.folder, settings, **source_options(args))
    tell_skipped(bunch.skipped, args.strict)
    inputs = model_inputs(args, backbone, bunch.images)
    probabilities = model.predict_proba(inputs)
    table = image_table(
        probabilities.argmax(axis=1),
        paths=bunch.paths.tolist(),
        probabilities=probabilities,
        distances=euclidean_distances(model.transform(inputs), model.cluster_centers_),
    )
    for column in ("x", "y", "flag"):
        del table[column]
    names = {}
    if out is not None and (out / NAMES).exists():
        names = kept_names(out, Found.load(out))
    table["name"] = [names.get(cluster, {}).get("name", "") for cluster in table["cluster"]]
    found = unlikeness(model, inputs)
    if found is None:
        say("The model holds no limits, so no image is flagged as unlike any cluster.")
        table["unlikeness"], table["flag"] = ([None] * len(bunch.images), [""] * len(bunch.images))
    else:
        table["unlikeness"] = found.round(4).tolist()
        table["flag"] = ["unlike" if value > 1 else "" for value in found]
    write_results(args, table, target)
    n_unlike = table["flag"].count("unlike")
    if n_unlike:
        note(args, f"{n_unlike} of {len(bunch.paths)} images are unlike any cluster.")
