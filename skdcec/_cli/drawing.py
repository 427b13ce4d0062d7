"""Page, tables and names of a run, drawn into a folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from skdcec._cli.console import bars, printable, say
from skdcec._files import as_table, read_json, write_json
from skdcec._runs import CLUSTERS, DUPLICATES, NAMES, PAGE, SKIPPED, SUMMARY, Found

if TYPE_CHECKING:
    from skdcec import (
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
    )
    from skdcec.report import Report

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering


def draw_run(
    args: argparse.Namespace, found: Found, folder: Path, names: dict[int, dict[str, str]]
) -> Report:
    """Write the page, the tables and the names into a folder."""
    from skdcec.report import write_report, write_table

    missing = [path for path in found.filenames if not os.path.exists(path)]
    if missing:
        say(
            f"{len(missing)} of {len(found.filenames)} images are no longer where they were, such "
            f"as {printable(missing[0])}: skdcec report OUT --images FOLDER says where they are."
        )
    with bars(args) as progress:
        report = write_report(
            folder / PAGE,
            found.filenames,
            found.labels,
            paths=found.paths,
            embedding=found.embedding,
            metric=found.metric,
            probabilities=found.probabilities,
            distances=found.distances,
            metadata=found.metadata,
            cluster_names=names,
            map_coordinates=found.map,
            history=found.history,
            settings=found.settings,
            title=found.title,
            max_bytes=int(args.max_mb * 1e6),
            n_jobs=args.jobs,
            progress=progress,
        )
    write_table(folder / CLUSTERS, report.table)
    write_table(folder / SUMMARY, report.summary)
    write_table(folder / SKIPPED, as_table(("file", "reason"), found.skipped))
    copies = [(group, found.paths[i]) for group, rows in enumerate(found.duplicates) for i in rows]
    write_table(folder / DUPLICATES, as_table(("group", "file"), copies))
    if names:
        rows = [{"cluster": cluster, **entry} for cluster, entry in sorted(names.items())]
        write_json(
            folder / NAMES,
            {"format": "skdcec cluster names", "clustering": found.digest(), "clusters": rows},
        )
    return report


def kept_names(out: Path, found: Found) -> dict[int, dict[str, str]]:
    """Return the names given before, if they were given to these very clusters."""
    from skdcec.report import read_names

    path = out / NAMES
    if not path.exists():
        return {}
    try:
        if read_json(path).get("clustering") == found.digest():
            return read_names(path)
    except ValueError as error:
        # Not worth losing a training for.
        say(f"The names are not used: {error}")
        return {}
    say(
        f"The names in {path} belong to other clusters and are not used; skdcec report OUT "
        f"--names {path} uses them all the same."
    )
    return {}
