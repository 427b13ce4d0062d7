"""``skdcec fetch``: the images that a IIIF manifest names, into a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from skdcec._cli.console import print_json, printable, say
from skdcec._cli.options import FetchOptions
from skdcec._cli.progress import current


def run(options: FetchOptions) -> None:
    """Run the command."""
    from skdcec.datasets.fetch import FAILED, TABLE, fetch_manifest

    out = Path(options.out)
    found = fetch_manifest(
        options.manifest,
        out,
        side=None if options.full else options.size,
        max_bytes=int(options.max_mb * 1e6),
        sample=options.sample,
        progress=partial(current().drawing, "fetching"),
    )
    n_files = sum(file is not None for file in found.files)
    lost = [(p, why) for p, why in zip(found.pictures, found.reasons, strict=True) if why]
    if lost:
        picture, reason = lost[0]
        say(
            f"{len(lost)} of {len(found.files)} images cannot be had, such as {picture.name}: "
            f"{printable(reason)}; {out / FAILED} lists them."
        )
    if not n_files:
        raise ValueError(f"None of the images of {options.manifest} can be had.")
    if options.json:
        counts = {"n_images": n_files, "n_new": found.n_new, "n_failed": len(lost)}
        print_json({"out": str(out), "table": str(out / TABLE)} | counts)
    else:
        print(f"{n_files} images, {found.n_new} of them new: {out / TABLE}")
