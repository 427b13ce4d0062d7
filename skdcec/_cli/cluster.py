"""``skdcec cluster``: a folder of images in, clusters to look at out."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._cli.console import Clock, duration, note, print_json, printable, say, title_of
from skdcec._cli.drawing import draw_run, kept_names
from skdcec._cli.images import (
    image_settings,
    load_bunch,
    source_options,
    tell_duplicates,
    tell_skipped,
    without_own_files,
)
from skdcec._files import as_rows, write_json
from skdcec._recipes import (
    Plan,
    choose_backbone,
    choose_clusters,
    choose_encoder,
    make_plan,
    model_inputs,
    page_seconds,
    train,
)
from skdcec._runs import (
    MODEL,
    PAGE,
    RUN,
    Found,
    check_device,
    claim,
    default_out,
    n_copies,
    page_settings,
    previous_run,
    run_record,
    save_model,
    staged,
)

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from skdcec import (
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
    )
    from skdcec.report import Report

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering


def run(args: argparse.Namespace) -> None:
    from skdcec.novelty import learn_strangers

    clock = Clock()
    out = Path(args.out) if args.out else default_out(args.folder)
    claim(out, args)
    check_device(args.device)
    backbone = choose_backbone(args)
    bunch = load_bunch(args, args.folder, image_settings(args), **source_options(args))
    skipped = without_own_files(bunch.skipped, args.folder, out)
    tell_skipped(skipped, args.strict)
    tell_duplicates(bunch, args)
    args.encoder = choose_encoder(args, len(bunch.images))
    n_clusters = choose_clusters(args.clusters, len(bunch.images))
    clock.lap("loading")
    inputs = model_inputs(args, backbone, bunch.images)
    clock.lap("features")

    plan, digest = make_plan(args, inputs, clock.elapsed)
    _tell_plan(args, bunch, n_clusters, plan, clock.elapsed)
    model = train(args, inputs, n_clusters, plan)
    clock.lap("training")
    note(args, f"Map and page follow, about {duration(page_seconds(len(bunch.images)))}.")

    found = Found.from_model(
        model, inputs, bunch, skipped, title_of(args.folder), previous_run(out)
    )
    found.settings = page_settings(args, found, n_clusters, plan)
    clock.lap("map")
    model.image_loading_ = image_settings(args) | (backbone.known if backbone else {})
    learn_strangers(model, found.labels, found.embedding, inputs)
    with staged(out) as folder:
        save_model(model, folder / MODEL)
        found.save(folder)
        names = kept_names(out, found)
        report = draw_run(args, found, folder, names)
        clock.lap("page")
        run = run_record(args, found, plan, clock, digest, folder / MODEL)
        write_json(folder / RUN, run)
    _tell_result(args, out, found, report, run)


def _tell_plan(
    args: argparse.Namespace, bunch: Bunch, n_clusters: int, plan: Plan, elapsed: float
) -> None:
    n, side = len(bunch.images), bunch.images.shape[1]
    expected = plan.training_seconds + page_seconds(n)
    end = datetime.datetime.now() + datetime.timedelta(seconds=expected)
    known = "; less if what an earlier run pretrained is still there" if plan.is_reused else ""
    note(
        args,
        f"{n} images at {side} x {side} pixels into {n_clusters} clusters: {plan.pretraining} "
        f"epochs of pretraining ({args.encoder}) and {plan.joint} of clustering, then map and "
        f"page, about {duration(expected)} (until {end:%H:%M}){known}.",
    )
    if elapsed + expected > 1.2 * 60 * args.minutes and args.epochs is None:
        say(
            f"{duration(elapsed + expected)} are more than --minutes {args.minutes:g}, but fewer "
            "epochs would not be worth it: --sample N or a smaller --size is faster."
        )


def _tell_result(
    args: argparse.Namespace, out: Path, found: Found, report: Report, run: dict[str, Any]
) -> None:
    summary = report.summary
    if args.json:
        print_json(
            {
                "out": str(out),
                "page": str(out / PAGE),
                "n_images": len(found.paths),
                "n_skipped": len(found.skipped),
                "n_duplicates": n_copies(found.duplicates),
                "clusters": as_rows(summary),
                "epochs": run["epochs"],
                "seconds": run["seconds"],
            }
        )
        return
    print(f"{len(found.paths)} images in {len(summary['cluster'])} clusters")
    for row in as_rows(summary):
        name = f"{row['name']}  " if row["name"] else ""
        sizes = f"{row['cluster']:>4}  {row['size']:>7} images {row['share']:>6.1%}  "
        print(printable(f"{sizes}{name}{row['metadata']}").rstrip())
    seconds = sum(run["seconds"].values())
    print(f"Page ({report.n_bytes / 1e6:.1f} MB, after {duration(seconds)}): {out / PAGE}")
