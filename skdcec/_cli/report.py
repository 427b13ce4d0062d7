"""``skdcec report``: page and tables again, without training."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._cli.console import note, open_page, print_json, printable, result_file, say
from skdcec._cli.corrections import edited_run, pins_of
from skdcec._cli.options import ClusterOptions, ReportOptions
from skdcec._cli.progress import current
from skdcec._files import as_rows, as_table, read_json, write_table
from skdcec._folders import PAGE, RECORD, holding, staged
from skdcec._runs import Run

if TYPE_CHECKING:
    from skdcec.report import Report

# So many pictures of a cluster show its format.
_N_LOOKED_AT = 20


def run(options: ReportOptions) -> None:
    """Run the command."""
    out = Path(options.out)
    if not out.is_dir():
        raise ValueError(f"There is no folder {printable(str(out))}; skdcec cluster writes one.")
    check_export_file(options)
    result_file(options.draft_names, (".csv",), force=options.force)
    with holding(out):
        report = _draw_again(options, out)
    if options.json:
        rows = as_rows(report.summary)
        print_json({"out": str(out), "page": str(out / PAGE), "clusters": rows})
    else:
        page = printable(str((out / PAGE).absolute()))
        print(f"Page ({report.n_bytes / 1e6:.1f} MB{sampled(report)}): {page}")
    if options.edits:
        words = ["--out", options.out, "--edits", options.edits]
        again = f"skdcec cluster {_source(out)} {printable(shlex.join(words))}"
        note(f"To let the clusters learn from them: {again}", quiet=options.quiet)
    if options.open:
        open_page(out / PAGE)


def _source(out: Path) -> str:
    """Return what was clustered, as it is typed."""
    arguments: Any = None
    with contextlib.suppress(OSError, ValueError):
        arguments = read_json(out / RECORD).get("arguments")
    folder = arguments.get("folder") if isinstance(arguments, dict) else None
    if isinstance(folder, str) and os.path.exists(folder):
        return printable(shlex.quote(folder))
    return "FOLDER"


def _draw_again(options: ReportOptions, out: Path) -> Report:
    from skdcec.report import read_names

    result, names = edited_run(out, options.edits)
    if options.title:
        result.title = options.title
    if options.images:
        moved = os.path.abspath(options.images)
        result.filenames = [os.path.join(moved, path) for path in result.paths]
    if options.images or options.edits:
        result.pins = pins_of(result)
    if options.names:
        names |= _of_clusters(read_names(options.names), options.names, int(result.labels.max()))
    renamed = bool(options.names or options.edits)
    with staged(out) as folder:
        report = draw(result, folder, out, options, names=names, write_names=renamed)
        if options.title or options.images or options.edits:
            result.save(folder)
    export(options, result, report, names)
    if options.draft_names:
        _write_drafts(options.draft_names, result, report)
    return report


def _of_clusters(
    given: dict[int, dict[str, str]], path: str, last: int
) -> dict[int, dict[str, str]]:
    """Return the names as they are, if all are of clusters that there are."""
    unknown = sorted(cluster for cluster in given if cluster > last)
    if unknown:
        raise ValueError(
            f"{path} names cluster {unknown[0]}, but the clusters are 0 to {last}: correct the "
            "number, or leave the row out."
        )
    return given


def _write_drafts(path: str, result: Run, report: Report) -> None:
    """Write names that could be given to clusters, as a table that --names reads."""
    import numpy as np

    from skdcec.datasets.decode import UnusableImage, read_picture
    from skdcec.report import draft_names

    sizes: dict[int, list[tuple[int, int]]] = {}
    for cluster in np.unique(result.labels).tolist():
        members = np.flatnonzero(result.labels == cluster)
        some = members[:: max(1, len(members) // _N_LOOKED_AT)][:_N_LOOKED_AT]
        for i in some:
            with contextlib.suppress(UnusableImage):
                picture = read_picture(result.filenames[i], side=1)
                sizes.setdefault(cluster, []).append(picture.size)
    drafts = draft_names(report.summary, sizes=sizes)
    rows = [(cluster, entry["name"], entry["note"]) for cluster, entry in drafts.items()]
    write_table(path, as_table(("cluster", "name", "note"), rows))
    say(f"{len(rows)} names to correct and give to --names: {path}")


def check_export_file(options: ClusterOptions | ReportOptions) -> None:
    """Say before the work has begun why the file of --export cannot be written."""
    if options.export is None:
        return
    from skdcec.report.export import check_export

    result_file(options.export, (".parquet", ".csv"), force=options.force)
    check_export(options.export)


def export(
    options: ClusterOptions | ReportOptions,
    result: Run,
    report: Report,
    names: dict[int, dict[str, str]],
) -> None:
    """Write the file of --export, if one is asked for."""
    if options.export is None:
        return
    from skdcec.report import export_table

    export_table(options.export, report.table, embedding=result.embedding, cluster_names=names)
    note(f"{len(result.paths)} rows: {options.export}", quiet=options.quiet)


def sampled(report: Report) -> str:
    """Say of how many images the page has a sample, if it does not show all."""
    total = len(report.table["file"])
    return f", a sample of {report.n_images} of {total} images" if report.n_images < total else ""


def draw(
    result: Run,
    folder: Path,
    out: Path,
    options: ClusterOptions | ReportOptions,
    *,
    names: dict[int, dict[str, str]],
    write_names: bool = False,
) -> Report:
    """Write page, tables and new names into a folder, for `out`, and say which images are gone."""
    missing = result.missing
    if missing:
        n, here = len(result.filenames), printable(shlex.quote(str(out)))
        text = (
            f"{len(missing)} of {n} images are no longer where they were, such as "
            f"{printable(missing[0])}: skdcec report {here} --images FOLDER says where they are"
        )
        if len(missing) == n:
            # A page of nothing but gray tiles would replace one that shows them.
            raise ValueError(f"{text}. The page stays as it is.")
        say(f"{text}.")
    return result.draw(
        folder,
        names,
        max_images=options.page_images,
        max_bytes=int(options.max_mb * 1e6),
        n_jobs=options.jobs,
        progress=current().drawing,
        write_names=write_names,
        page_folder=out,
    )
