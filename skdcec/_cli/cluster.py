"""``skdcec cluster``: a folder of images in, clusters to look at out."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._cli.console import (
    Clock,
    counted,
    duration,
    note,
    open_page,
    print_json,
    printable,
    say,
    until,
)
from skdcec._cli.corrections import (
    Corrections,
    check_nothing_by_hand,
    corrected_folder,
    corrected_run,
    tell_metadata,
    with_metadata_of,
)
from skdcec._cli.images import (
    Collection,
    Prepared,
    collecting,
    kept,
    prepare,
    recorded_arguments,
    target_of,
    title_of,
)
from skdcec._cli.options import ClusterOptions
from skdcec._cli.progress import PAGE_STAGES, current
from skdcec._cli.report import check_export_file, draw, export, sampled
from skdcec._cli.words import Words, asked_terms, drafted, names_for
from skdcec._files import as_rows
from skdcec._folders import DUPLICATES, MODEL, PAGE, file_digest, staged
from skdcec._recipes import (
    DEFAULT_CLUSTERS,
    Plan,
    choose_n_clusters,
    make_model,
    number_by_size,
)
from skdcec._runs import (
    Run,
    n_copies,
    previous_run,
    save_model,
    stored_names,
    write_record,
)
from skdcec._timing import note_drawing

if TYPE_CHECKING:
    import numpy as np
    from sklearn.utils import Bunch

    from skdcec._recipes import Model
    from skdcec.report import Report


def run(options: ClusterOptions) -> None:
    """Run the command."""
    from skdcec._encoders.remembered import embeddings_remembered
    from skdcec._nn.checkpoints import kept_until_stored

    clock = Clock()
    check_export_file(options)
    terms = asked_terms(options)
    # What is wrong with it is said before the images are read rather than after.
    folder, out = corrected_folder(options), target_of(options)
    corrected = corrected_run(options, folder) if folder else None
    if folder:
        options = with_metadata_of(options, folder)
    else:
        if not options.force:
            check_nothing_by_hand(out)
        tell_metadata(options, out)
    with (
        collecting(options, "clusters", needed_bytes=3e6 * options.max_mb) as found,
        # Whatever ends the drawing does not cost the training.
        kept_until_stored(),
        embeddings_remembered(),
    ):
        start = Corrections.of(*corrected, found.bunch.paths.tolist()) if corrected else None
        result, report, record = _cluster(options, found, clock, terms, start)
    _tell_result(options, found.out, result, report, record)
    if options.open:
        open_page(found.out / PAGE)


def _cluster(
    options: ClusterOptions,
    found: Collection,
    clock: Clock,
    terms: list[str] | None,
    start: Corrections | None,
) -> tuple[Run, Report, dict[str, Any]]:
    """Train, and write what was found."""
    from skdcec.novelty import NoveltyDetector

    # What is wrong with files in OUT is said before the training.
    previous, stored = previous_run(found.out), stored_names(found.out)
    if start:
        start.tell(quiet=options.quiet)
    n_images = len(found.bunch.images)
    _tell_duplicates(found.bunch, quiet=options.quiet)
    n_clusters = _n_clusters(options, n_images, start)
    words = Words.read_by(found.backbone, terms)
    prepared = prepare(options, found, clock, minutes=options.minutes)
    inputs, plan, drawing, slowdown = prepared
    _tell_plan(options, found, n_clusters, prepared, clock.elapsed)
    current().plan(plan.seconds_of_phases | dict.fromkeys(("map", *PAGE_STAGES), drawing / 3))
    # Where nothing is trained, nothing else tells what takes so long.
    silent = not (plan.pretraining or plan.joint)
    with current().make(1, "clusters") if silent else contextlib.nullcontext():
        model = _train(options, found, inputs, n_clusters, plan, start)
    clock.lap("training")
    mapping = current().make(1, "map")
    title = title_of(options.folder)
    result = Run.from_model(
        model,
        inputs,
        found.bunch,
        title=title,
        skipped=found.skipped,
        previous=previous or (start.run if start else None),
    )
    result.settings = _page_settings(options, found, result, n_clusters, plan)
    if start:
        start.keep_in(result)
    clock.lap("map")
    detector = NoveltyDetector(model).fit(inputs)
    clock.lap("novelty")
    mapping.close()
    with staged(found.out) as folder:
        save_model(model, folder / MODEL, reading=found.reading, detector=detector)
        result.save(folder)
        drafts = words.names(result, inputs) if words else None
        if start:
            names, new = drafted(start.names, drafts, start.n_clusters, quiet=options.quiet), True
        else:
            names, new = names_for(result, found.out, stored, drafts, quiet=options.quiet)
        report = draw(result, folder, found.out, options, names=names, write_names=new)
        clock.lap("page")
        record = _write_record(options, found, plan, clock, result, folder)
    export(options, result, report, names)
    if previous is None or result.map is not previous.map:
        seconds = sum(clock.laps[name] for name in ("map", "novelty", "page"))
        note_drawing(n_images, seconds, cache=found.cache, slowdown=slowdown)
    return result, report, record


def _train(
    options: ClusterOptions,
    found: Collection,
    inputs: np.ndarray,
    n_clusters: int,
    plan: Plan,
    start: Corrections | None,
) -> Model:
    model = make_model(
        plan,
        n_clusters,
        blocks=found.backbone.blocks if found.backbone else None,
        memory=kept(found.cache, "pretraining"),
        device=options.device,
        random_state=options.seed,
        verbose=not options.quiet,
    )
    if start:
        # They keep their numbers, by which somebody knows them.
        return model.set_params(init=start.labels).fit(inputs)
    return number_by_size(model.fit(inputs))


def _n_clusters(options: ClusterOptions, n: int, start: Corrections | None) -> int:
    if n < 2:
        raise ValueError(
            f"{options.folder} gives {n} image, and groups take several: name the folder that it "
            "is in, with the others."
        )
    if start:
        if options.clusters not in (None, start.n_clusters):
            raise ValueError(
                f"-k {options.clusters}: with --edits there are {start.n_clusters} clusters, as "
                "somebody left them; leave -k out."
            )
        return start.n_clusters
    if options.clusters is None:
        usual = choose_n_clusters(n)
        if usual < DEFAULT_CLUSTERS:
            note(
                f"{n} images are few: {counted(usual)}, or as many as -k says.", quiet=options.quiet
            )
        return usual
    if options.clusters > n:
        raise ValueError(f"-k {options.clusters} clusters are more than the {n} images.")
    return options.clusters


def _page_settings(
    options: ClusterOptions, found: Collection, result: Run, n_clusters: int, plan: Plan
) -> dict[str, Any]:
    """Return what the page says of how its clusters came about."""
    size, resize = found.settings["size"], found.settings["resize"]
    trained = {"pretraining epochs": plan.pretraining, "joint epochs": result.n_joint_epochs}
    return {
        "images": len(result.paths),
        "clusters": n_clusters,
        "encoder": plan.encoder + (f" ({options.features})" if options.features else ""),
        "size": f"{size} x {size} pixels ({resize})",
        **{name: epochs for name, epochs in trained.items() if epochs},
        "embedding": f"{result.embedding.shape[1]} numbers per image",
        "seed": options.seed,
        "sample": options.sample or "all images",
    }


def _write_record(
    options: ClusterOptions,
    found: Collection,
    plan: Plan,
    clock: Clock,
    result: Run,
    folder: Path,
) -> dict[str, Any]:
    """Write, and return, what was done."""
    import torch

    return write_record(
        folder,
        recorded_arguments(options, found),
        epochs={"pretraining": plan.pretraining, "joint": result.n_joint_epochs},
        threads=torch.get_num_threads(),
        n_images=len(result.paths),
        n_skipped=len(result.skipped),
        n_duplicates=n_copies(result.duplicates),
        cluster_sizes=[int((result.labels == c).sum()) for c in sorted({*result.labels})],
        seconds=clock.rounded,
        hashes={
            "images": plan.digest,
            "clusters": result.digest(),
            MODEL: file_digest(folder / MODEL),
        },
    )


def _tell_duplicates(bunch: Bunch, *, quiet: bool) -> None:
    if not bunch.duplicates:
        return
    first = ", ".join(printable(bunch.paths[i]) for i in bunch.duplicates[0][:3])
    copies = n_copies(bunch.duplicates)
    are = "is an exact copy of another:" if copies == 1 else "are exact copies of others, such as"
    note(
        f"{copies} of {len(bunch.paths)} images {are} {first}; {DUPLICATES} lists them.",
        quiet=quiet,
    )


def _tell_plan(
    options: ClusterOptions,
    found: Collection,
    n_clusters: int,
    prepared: Prepared,
    elapsed: float,
) -> None:
    _, plan, drawing, slowdown = prepared
    n, side = len(found.bunch.images), found.bunch.images.shape[1]
    expected = plan.training_seconds + drawing
    known = "; less if what an earlier run pretrained is still there" if plan.is_reused else ""
    training = f"nothing to train (--encoder {plan.encoder})"
    if plan.pretraining:
        training = (
            f"{plan.pretraining} passes to learn to compare them (--encoder {plan.encoder}) and "
            f"{plan.joint} to form clusters"
        )
    note(
        f"{n} images at {side} x {side} pixels into {counted(n_clusters)}: {training}, then map "
        f"and page, {until(expected, slowdown)}{known}.",
        quiet=options.quiet,
    )
    if elapsed + expected > 1.2 * 60 * options.minutes and options.epochs is None:
        say(
            f"{duration(elapsed + expected)} are more than --minutes {options.minutes:g}, but "
            "fewer epochs would not be worth it: --sample N or a smaller --size is faster."
        )


def _tell_result(
    options: ClusterOptions, out: Path, result: Run, report: Report, record: dict[str, Any]
) -> None:
    rows = as_rows(report.summary)
    if options.json:
        print_json(
            {
                "out": str(out),
                "page": str(out / PAGE),
                "n_images": len(result.paths),
                "n_skipped": len(result.skipped),
                "n_duplicates": n_copies(result.duplicates),
                "clusters": rows,
                "agreement": None if math.isnan(report.agreement) else round(report.agreement, 2),
                "epochs": record["epochs"],
                "seconds": record["seconds"],
            }
        )
        return
    print(f"{len(result.paths)} images in {counted(len(rows))}")
    for row in rows:
        name = f"{row['name']}  " if row["name"] else ""
        sizes = f"{row['cluster']:>4}  {row['size']:>7} images {row['share']:>6.1%}  "
        loose = "loose  " if _is_loose(row["stability"]) else ""
        print(printable(f"{sizes}{loose}{name}{row['metadata']}").rstrip())
    if any(row["metadata"] for row in rows):
        note("lift 2.0: twice as often as among all images.", quiet=options.quiet)
    _tell_agreement(report.agreement, any(_is_loose(row["stability"]) for row in rows))
    seconds = sum(record["seconds"].values())
    page = (out / PAGE).absolute()
    print(
        f"Page ({report.n_bytes / 1e6:.1f} MB{sampled(report)}, after {duration(seconds)}): "
        f"{printable(str(page))}"
    )
    if not options.open:
        note("Open it in a browser, or add --open next time.", quiet=options.quiet)


def _is_loose(stability: float | None) -> bool:
    from skdcec._analysis.stability import FIRM

    return stability is not None and stability < FIRM


def _tell_agreement(agreement: float, any_loose: bool) -> None:
    """Say how much of the clusters would be the same in another run."""
    if math.isnan(agreement):
        return
    loose = " Those called loose would not come back." if any_loose else ""
    print(
        f"Two runs on halves of these images agree by {agreement:.2f} (1 is alike, 0 is "
        f"chance).{loose}"
    )
