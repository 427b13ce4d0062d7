"""``skdcec pretrain``: an encoder from a folder of images, for collections of other images."""

from __future__ import annotations

import hashlib
from pathlib import Path

from skdcec._cli.console import print_json, result_file
from skdcec._cli.images import load_bunch, source_options, tell_skipped
from skdcec._cli.options import PretrainOptions
from skdcec._runs import cache_folder


def run(options: PretrainOptions) -> None:
    """Run the command."""
    target = result_file(options.out, (".safetensors",), force=options.force)
    assert target is not None
    from skdcec import ContrastiveEncoder
    from skdcec._nn.device import resolve_device

    # What is wrong with it is said before the images are read rather than after.
    resolve_device(options.device)
    bunch = load_bunch(
        options,
        options.folder,
        {"size": options.size, "resize": options.resize},
        cache=cache_folder(options.cache),
        **source_options(options),
    )
    tell_skipped(bunch.skipped, options.strict)
    encoder = ContrastiveEncoder(
        options.components,
        weights=options.start,
        max_epochs=options.epochs,
        random_state=options.seed,
        device=options.device,
        verbose=not options.quiet,
    ).fit(bunch.images)
    # Whoever fits the loaded encoder again may not have the file where this one started.
    encoder.set_params(weights=None).save(target)
    digest = hashlib.sha256(Path(target).read_bytes()).hexdigest()
    if options.json:
        made = {"out": str(target), "images": len(bunch.images), "sha256": digest}
        print_json(made | {"loss": encoder.history_["loss"]})
    else:
        print(f"Encoder of {len(bunch.images)} images: {target}\nSHA-256 {digest}")
