"""``skdcec choose-k``: how many clusters are there, if any?"""

from __future__ import annotations

import argparse
import datetime
import io
import math
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._cli.console import Clock, note, print_json, printable, say, title_of
from skdcec._cli.images import (
    image_settings,
    load_bunch,
    source_options,
    tell_skipped,
    without_own_files,
)
from skdcec._files import as_rows, versions, write_json
from skdcec._recipes import (
    Plan,
    choose_backbone,
    choose_encoder,
    kept_folder,
    make_plan,
    model_inputs,
    new_model,
)
from skdcec._runs import (
    CHOICE_PAGE,
    CHOICE_PICTURE,
    CHOICE_TABLE,
    RUN,
    check_device,
    claim,
    default_out,
    staged,
)

if TYPE_CHECKING:
    import numpy as np
    from sklearn.utils import Bunch

    from skdcec import (
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
    )

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering


def run(args: argparse.Namespace) -> None:
    from skdcec.model_selection import NClustersSearch

    clock = Clock()
    out = Path(args.out) if args.out else default_out(args.folder, "choose-k")
    claim(out, args)
    check_device(args.device)
    backbone = choose_backbone(args)
    bunch = load_bunch(args, args.folder, image_settings(args), **source_options(args))
    skipped = without_own_files(bunch.skipped, args.folder, out)
    tell_skipped(skipped, args.strict)
    args.encoder = choose_encoder(args, len(bunch.images))
    numbers = [k for k in args.k if k < len(bunch.images)]
    if not numbers:
        raise ValueError(
            f"--k {args.k[0]}..{args.k[-1]}: {len(bunch.images)} images are too few for that."
        )
    clock.lap("loading")
    inputs = model_inputs(args, backbone, bunch.images)
    clock.lap("features")

    # Up to three numbers are trained, which costs about as much again as one training in all.
    half = argparse.Namespace(**vars(args) | {"minutes": args.minutes / 2})
    plan, digest = make_plan(half, inputs, clock.elapsed)
    note(args, f"{len(bunch.images)} images, {len(numbers)} numbers of clusters to compare.")
    search = NClustersSearch(
        new_model(args, numbers[0], plan).set_params(verbose=False),
        numbers,
        n_runs=args.runs,
        screen=None if args.all else "plausible",
        memory=kept_folder(args, "pretraining"),
        random_state=args.seed,
        verbose=not args.quiet,
    ).fit(inputs)
    clock.lap("search")
    with staged(out) as folder:
        _draw_choice(args, search, inputs, bunch, folder)
        write_json(folder / RUN, _choice_record(args, search, plan, clock, digest))
    _tell_choice(args, out, search)


def _draw_choice(
    args: argparse.Namespace, search: Any, inputs: np.ndarray, bunch: Bunch, folder: Path
) -> None:
    """Write the page, the picture and the table into a folder."""
    from skdcec.report import write_table
    from skdcec.report.choice import write_choice_page

    results = search.results_
    write_table(folder / CHOICE_TABLE, _choice_table(results))
    picture = _choice_picture(search)
    if picture is not None:
        (folder / CHOICE_PICTURE).write_bytes(picture)
    best = search.best_n_clusters_
    shown = {int(k) for k in results["n_clusters"][results["plausible"]]} | {best}
    write_choice_page(
        folder / CHOICE_PAGE,
        bunch.filenames.tolist(),
        search.best_estimator_.encoder_.transform(inputs),
        {k: _by_size(search.labels_of_[k]) for k in shown},
        results,
        best=best,
        verdict=search.verdict_,
        title=title_of(args.folder),
        picture=picture,
        n_jobs=args.jobs,
    )


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Return labels of which 0 is the largest cluster."""
    import numpy as np

    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return np.argsort(np.argsort(-sizes, kind="stable"))[codes]


def _choice_picture(search: Any) -> bytes | None:
    """Return a PNG, or None without matplotlib."""
    from skdcec.inspection import NClustersSearchDisplay

    try:
        from matplotlib.figure import Figure
    except ImportError:
        say("No picture is drawn: pip install 'skdcec[plot]' brings what it needs.")
        return None
    # A figure of its own, so that no window system is asked for.
    figure = Figure(figsize=(7, 4), layout="constrained")
    display = NClustersSearchDisplay(search.results_, best_n_clusters=search.best_n_clusters_)
    display.plot(figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _choice_table(results: Mapping[str, np.ndarray]) -> dict[str, list]:
    """Return the results as plain values, None for what is not known."""
    return {
        name: [
            None if isinstance(value, float) and math.isnan(value) else value
            for value in column.tolist()
        ]
        for name, column in results.items()
    }


def _choice_record(
    args: argparse.Namespace, search: Any, plan: Plan, clock: Clock, digest: str
) -> dict[str, Any]:
    arguments = {name: value for name, value in vars(args).items() if name != "run"}
    return {
        "program": "skdcec",
        "state": "finished",
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "arguments": arguments | {"folder": os.path.abspath(args.folder)},
        "epochs": {"pretraining": plan.pretraining, "joint": plan.joint},
        "best_n_clusters": search.best_n_clusters_,
        "evidence": search.evidence_,
        "verdict": search.verdict_,
        "seconds": {name: round(value, 1) for name, value in clock.laps.items()},
        "versions": versions(),
        "hashes": {"images": digest},
    }


def _tell_choice(args: argparse.Namespace, out: Path, search: Any) -> None:
    rows = as_rows(_choice_table(search.results_))
    if args.json:
        print_json(
            {
                "out": str(out),
                "page": str(out / CHOICE_PAGE),
                "best_n_clusters": search.best_n_clusters_,
                "evidence": search.evidence_,
                "verdict": search.verdict_,
                "results": rows,
            }
        )
        return
    print(f"{'k':>4}  silhouette  above chance  plausible  trained")
    for row in rows:
        mark = "*" if row["n_clusters"] == search.best_n_clusters_ else " "
        numbers = (row["silhouette"], row["excess_silhouette"])
        first, second = ("-" if value is None else f"{value:.3f}" for value in numbers)
        flags = ("yes" if row[name] else "" for name in ("plausible", "trained"))
        line = f"{row['n_clusters']:>3}{mark}  {first:>10}  {second:>12}  {{:>9}}  {{:>7}}"
        print(printable(f"{line.format(*flags)}  {row['error']}").rstrip())
    print("\n".join(textwrap.wrap(search.verdict_, 88)))
    print(f"Page: {out / CHOICE_PAGE}")
