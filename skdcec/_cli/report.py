"""``skdcec report``: page and tables again, without training."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from skdcec._cli.console import print_json
from skdcec._cli.drawing import draw_run, kept_names
from skdcec._files import as_rows
from skdcec._runs import PAGE, Found, staged

if TYPE_CHECKING:
    from skdcec import (
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
    )

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering


def run(args: argparse.Namespace) -> None:
    from skdcec.report import read_names

    out = Path(args.out)
    found = Found.load(out)
    if args.title:
        found.title = args.title
    if args.images:
        found.filenames = [os.path.abspath(os.path.join(args.images, path)) for path in found.paths]
    names = kept_names(out, found)
    if args.names:
        names |= read_names(args.names)
    with staged(out) as folder:
        report = draw_run(args, found, folder, names)
        if args.title or args.images:
            found.save(folder)
    if args.json:
        rows = as_rows(report.summary)
        print_json({"out": str(out), "page": str(out / PAGE), "clusters": rows})
    else:
        print(f"Page ({report.n_bytes / 1e6:.1f} MB): {out / PAGE}")
