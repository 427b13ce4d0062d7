"""``skdcec choose-k``: how many clusters are there, if any?"""

from __future__ import annotations

import io
import math
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from skdcec._cli.arguments import parse
from skdcec._cli.console import Clock, counted, note, print_json, printable, say, until
from skdcec._cli.images import (
    Collection,
    Prepared,
    collecting,
    kept,
    prepare,
    recorded_arguments,
    title_of,
)
from skdcec._cli.options import ChooseKOptions, TrainingOptions
from skdcec._cli.progress import current
from skdcec._files import Table, as_rows, write_table
from skdcec._folders import CHOICE_FILES, CHOICE_PAGE, CHOICE_PICTURE, CHOICE_TABLE, staged
from skdcec._recipes import Plan, make_model
from skdcec._runs import write_record

if TYPE_CHECKING:
    import numpy as np

    from skdcec.model_selection import NClustersSearch

_NEEDED_BYTES = 75e6
_SCREENING_SECONDS = 0.5  # for each number of clusters, on one core
# Options that clusters do not depend on, or that are of this command's time and place.
_NOT_OF_CLUSTERS = ("folder", "out", "force", "minutes", "jobs", "json", "quiet", "progress")


def run(options: ChooseKOptions) -> None:
    """Run the command."""
    clock = Clock()
    with collecting(options, "choose-k", needed_bytes=_NEEDED_BYTES) as found:
        search = _compare(options, found, clock)
    _tell_result(options, found.out, search)


def _compare(options: ChooseKOptions, found: Collection, clock: Clock) -> NClustersSearch:
    """Search, and write what was found."""
    n_images = len(found.bunch.images)
    numbers = [k for k in options.k if k < n_images]
    if not numbers:
        raise ValueError(
            f"--k {options.k[0]}..{options.k[-1]}: {n_images} images are too few for that."
        )
    # Up to three numbers are trained, which costs about as much again as one training in all.
    prepared = prepare(options, found, clock, minutes=options.minutes / 2)
    _tell_plan(options, n_images, numbers, prepared)
    plan = prepared.plan
    search = _search(options, found, prepared.inputs, numbers, plan)
    clock.lap("search")
    with current().make(1, "reading"), staged(found.out, replaces=CHOICE_FILES) as folder:
        _draw(options, found, search, folder)
        write_record(
            folder,
            recorded_arguments(options, found),
            epochs={"pretraining": plan.pretraining, "joint": plan.joint},
            best_n_clusters=search.best_n_clusters_,
            evidence=search.evidence_,
            verdict=search.verdict_,
            seconds=clock.rounded,
            hashes={"images": plan.digest},
        )
    return search


def _search(
    options: ChooseKOptions,
    found: Collection,
    inputs: np.ndarray,
    numbers: list[int],
    plan: Plan,
) -> NClustersSearch:
    from skdcec.model_selection import NClustersSearch

    memory = kept(found.cache, "pretraining")
    search = NClustersSearch(
        make_model(
            plan,
            numbers[0],
            blocks=found.backbone.blocks if found.backbone else None,
            memory=memory,
            device=options.device,
            random_state=options.seed,
            verbose=False,
        ),
        numbers,
        n_runs=options.runs,
        screen=None if options.all else "plausible",
        memory=None if memory is None else str(memory),
        random_state=options.seed,
        verbose=not options.quiet,
    )
    return search.fit(inputs)


def _draw(
    options: ChooseKOptions,
    found: Collection,
    search: NClustersSearch,
    folder: Path,
) -> None:
    """Write the page, the picture and the table into a folder."""
    from skdcec.report.choice import write_choice_page

    results = search.results_
    write_table(folder / CHOICE_TABLE, _table(results))
    picture = _picture(search)
    if picture is not None:
        (folder / CHOICE_PICTURE).write_bytes(picture)
    best = search.best_n_clusters_
    shown = {int(k) for k in results["n_clusters"][results["plausible"]]} | {best}
    trained = {int(k) for k in results["n_clusters"][results["trained"]]}
    labels_of = search.labels_of_ | {
        k: labels for k, labels in search.found_labels_of_.items() if k not in trained
    }
    write_choice_page(
        folder / CHOICE_PAGE,
        found.bunch.filenames.tolist(),
        search.embedding_,
        {k: _by_size(labels_of[k]) for k in shown},
        results,
        best=best,
        verdict=_explained(search),
        title=title_of(options.folder),
        answer=_answer(search),
        command=_next_command(options, best),
        n_jobs=options.jobs,
    )


def _tell_plan(
    options: ChooseKOptions, n_images: int, numbers: list[int], prepared: Prepared
) -> None:
    from skdcec.model_selection.progress import JOINT, PRETRAINING, SCREENING

    _, plan, drawing, slowdown = prepared
    screening = slowdown * _SCREENING_SECONDS
    n_trained = len(numbers) if options.all else min(3, len(numbers))
    # The embedding is made once, and the joint phases are what that is not.
    phases, n_fits = plan.seconds_of_phases, n_trained * options.runs
    course = (
        (PRETRAINING, phases["clusters"] + phases["pretraining"]),
        (SCREENING, screening * len(numbers)),
        (JOINT * n_fits, (screening + phases["joint"]) * n_fits),
    )
    search = sum(seconds for _, seconds in course)
    seconds = search + drawing
    current().plan({"search": search, "pictures": drawing}, {"search": course})
    steps = [
        f"{plan.pretraining} passes to learn to compare them (--encoder {plan.encoder})"
        if plan.pretraining
        else f"nothing to train (--encoder {plan.encoder})",
        "clusters for each",
        f"up to {n_trained} of them trained by {plan.joint} passes more" if plan.joint else "",
        "the page",
    ]
    many = f"{len(numbers)} numbers of clusters ({numbers[0]} to {numbers[-1]}) to compare"
    asked = many if len(numbers) > 1 else f"{counted(numbers[0])}, and nothing to compare them with"
    note(
        f"{n_images} images, {asked}: {', '.join(filter(None, steps))}; "
        f"{until(seconds, slowdown)}.",
        quiet=options.quiet,
    )


def _answer(search: NClustersSearch) -> str:
    from skdcec.model_selection.verdict import answer

    return answer(
        search.results_, best_n_clusters=search.best_n_clusters_, evidence=search.evidence_
    )


def _explained(search: NClustersSearch) -> str:
    import numpy as np

    from skdcec.model_selection.verdict import explained

    return explained(
        search.results_,
        best_n_clusters=search.best_n_clusters_,
        n_found=len(np.unique(search.labels_)),
        evidence=search.evidence_,
    )


def _next_command(options: ChooseKOptions, best: int) -> str:
    """Return what to type for the clusters that look best, as they were looked for."""
    _, usual = parse(["choose-k", "."])
    words = ["skdcec", "cluster", options.folder, "-k", str(best)]
    for name in (field.name for field in fields(TrainingOptions)):
        value = getattr(options, name)
        if name not in _NOT_OF_CLUSTERS and value != getattr(usual, name):
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    return shlex.join(words)


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Return labels of which 0 is the largest cluster."""
    import numpy as np

    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return np.argsort(np.argsort(-sizes, kind="stable"))[codes]


def _picture(search: NClustersSearch) -> bytes | None:
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


def _table(results: Mapping[str, np.ndarray]) -> Table:
    """Return the results as plain values, None for what is not known."""
    return {
        name: [
            None if isinstance(value, float) and math.isnan(value) else value
            for value in column.tolist()
        ]
        for name, column in results.items()
    }


def _tell_result(options: ChooseKOptions, out: Path, search: NClustersSearch) -> None:
    rows = as_rows(_table(search.results_))
    if options.json:
        print_json(
            {
                "out": str(out),
                "page": str(out / CHOICE_PAGE),
                "best_n_clusters": search.best_n_clusters_,
                "evidence": search.evidence_,
                "answer": _answer(search),
                "next": _next_command(options, search.best_n_clusters_),
                "verdict": search.verdict_,
                "results": rows,
            }
        )
        return
    print(_answer(search))
    print(f"Next: {printable(_next_command(options, search.best_n_clusters_))}\n")
    print(
        "How far the clusters lie apart, from -1 to 1 (the silhouette): those of k-means, a plain\n"
        "method, those of a model, and how much higher k-means is than without any clusters."
    )
    print("clusters  k-means    model  above chance  plausible   (* looks best)")
    for row in rows:
        mark = "*" if row["n_clusters"] == search.best_n_clusters_ else " "
        refined = row["silhouette"] if row["trained"] else None
        values = (row["screened_silhouette"], refined, row["excess_silhouette"])
        first, second, third = ("-" if value is None else f"{value:.3f}" for value in values)
        plausible = "yes" if row["plausible"] else ""
        line = f"{row['n_clusters']:>7}{mark}  {first:>7}  {second:>7}  {third:>12}  {plausible:>9}"
        print(printable(f"{line}  {row['error']}").rstrip())
    print("\n".join(textwrap.wrap(_explained(search), 88)))
    print(f"Page: {printable(str((out / CHOICE_PAGE).absolute()))}")
