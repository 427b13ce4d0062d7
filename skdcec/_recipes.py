"""Which encoder, and how long? The plan of a training, and the model made from it."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._files import read_json, write_json

if TYPE_CHECKING:
    import numpy as np

    from skdcec import (
        ContrastiveEncoder,
        ConvAutoencoder,
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
        DenseAutoencoder,
    )
    from skdcec._backbone import Backbone

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering


DEFAULT_CLUSTERS = 7

DEFAULT_SIZE = 64

NETWORK_SIZE = 224  # which most networks of torchvision were trained on

N_COMPONENTS = 32  # as published for paintings; ten, the library's default, is for digits

# Pretraining epochs that a plan may choose: far enough apart for two measurements of the same
# machine's speed to end at the same number. None is above the default of the encoder.
EPOCHS = (1, 2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75)

MIN_STEPS = 200

# Fewer images are compared by an autoencoder unless asked otherwise: a contrastive encoder learns
# by telling images from each other, and was measured on thousands.
CONTRASTIVE_MIN_IMAGES = 1000


@dataclass(frozen=True)
class _Joint:
    """What joint training is planned as.

    `share` is its epochs for each of pretraining: as the library's defaults have it, and few
    where the metric is learned, since on paintings the time does more in pretraining. `step` and
    `embedding` are what a step with the clustering loss, and embedding a batch, cost in steps of
    pretraining.
    """

    share: float
    step: float
    embedding: float


ENCODERS = {"autoencoder": _Joint(0.4, 1.1, 0.15), "contrastive": _Joint(0.1, 1.9, 0.3)}

# Of what is trained on the features of a network of torchvision.
ON_FEATURES = _Joint(0.4, 0.8, 0.4)


def choose_backbone(args: argparse.Namespace) -> Backbone | None:
    """Load the network that --encoder names, if it does, and settle --size."""
    if args.encoder in ("auto", *ENCODERS):
        if args.weights is not None:
            raise ValueError(f"--weights are those of a network, not of --encoder {args.encoder}.")
        args.size = args.size or DEFAULT_SIZE
        return None
    from skdcec._backbone import Backbone

    args.size = args.size or NETWORK_SIZE
    try:
        return Backbone(
            args.encoder,
            weights=args.weights,
            size=args.size,
            device=args.device,
            memory=kept_folder(args, "features"),
        )
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"--encoder {args.encoder} is none of auto, {' and '.join(ENCODERS)}, and cannot be "
            f"had from torchvision: {error}"
        ) from error


def model_inputs(
    args: argparse.Namespace, backbone: Backbone | None, images: np.ndarray
) -> np.ndarray:
    """Return what the model is given for images."""
    return images if backbone is None else backbone.features(images, verbose=not args.quiet)


def choose_clusters(asked: int | None, n: int) -> int:
    if asked is None:
        return max(1, min(DEFAULT_CLUSTERS, n // 5))
    if asked > n:
        raise ValueError(f"-k {asked} clusters are more than the {n} images.")
    return asked


@dataclass(frozen=True)
class Plan:
    """How long to train; `seconds_per_step` is what was measured."""

    pretraining: int
    joint: int
    seconds_per_step: float
    training_seconds: float
    is_reused: bool = False


def make_plan(args: argparse.Namespace, images: np.ndarray, elapsed: float) -> tuple[Plan, str]:
    """Choose the epochs, or take those of an earlier run with equal settings.

    Also returns the digest of the images.
    """
    import torch

    from skdcec._encoders.cache import content_digest

    digest = content_digest(images)
    cache = cache_folder(args)
    # What the speed depends on, and what decides how much of it there is time for.
    encoder = _encoder(args, 1).get_params()
    key = [digest, args.minutes, args.epochs, args.device, torch.get_num_threads(), args.encoder]
    key.append(encoder["n_components"])
    name = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
    path = None if cache is None else cache / "plans" / f"{name}.json"
    if path is not None:
        # A damaged plan is made again.
        with contextlib.suppress(OSError, ValueError, TypeError):
            return replace(Plan(**read_json(path)), is_reused=True), digest
    plan = _choose_epochs(args, images, elapsed)
    if path is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, asdict(plan))
    return plan, digest


def _choose_epochs(args: argparse.Namespace, images: np.ndarray, elapsed: float) -> Plan:
    from skdcec._nn.batches import plan_batches

    batch_size, n_passes = plan_batches(len(images), "auto")
    steps = math.ceil(len(images) / batch_size) * n_passes
    seconds_per_step = _measure_step(args, images, batch_size)
    most = type(_encoder(args, 1))().max_epochs
    planned = ENCODERS.get(args.encoder, ON_FEATURES)

    def joint(pretraining: int) -> int:
        return max(1, round(pretraining * planned.share))

    def seconds(pretraining: int) -> float:
        joint_epoch = planned.step * steps + planned.embedding * steps / n_passes
        in_steps = pretraining * steps + joint(pretraining) * joint_epoch
        return in_steps * seconds_per_step

    available = 60 * args.minutes - elapsed - page_seconds(len(images))
    epochs_to_choose = [epochs for epochs in EPOCHS if epochs <= most]
    worth_it = [epochs for epochs in epochs_to_choose if epochs * steps >= MIN_STEPS] or [most]
    fitting = [epochs for epochs in worth_it if seconds(epochs) <= available]
    chosen = args.epochs or max(fitting, default=worth_it[0])
    return Plan(chosen, joint(chosen), seconds_per_step, seconds(chosen))


def _measure_step(args: argparse.Namespace, images: np.ndarray, batch_size: int) -> float:
    """Time the first steps of a training that is thrown away."""
    import numpy as np
    from skorch.callbacks import Callback

    ends: list[float] = []

    class Stopwatch(Callback):
        def on_batch_end(self, net: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    some = images[: 6 * batch_size]
    epochs = math.ceil(7 * batch_size / len(some)) if len(some) < 6 * batch_size else 1
    encoder = _encoder(args, epochs).set_params(
        batch_size=batch_size, device=args.device, callbacks=[Stopwatch()], random_state=0
    )
    encoder.fit(some)
    return float(np.median(np.diff(ends)))


def page_seconds(n: int) -> float:
    """Return what map, page and tables will take, as measured on two busy cores."""
    return 5 + 0.006 * min(n, 6_000) + 0.012 * n


def choose_encoder(args: argparse.Namespace, n_images: int) -> str:
    if args.encoder != "auto":
        return args.encoder
    return "contrastive" if n_images >= CONTRASTIVE_MIN_IMAGES else "autoencoder"


def _encoder(
    args: argparse.Namespace, epochs: int
) -> ConvAutoencoder | ContrastiveEncoder | DenseAutoencoder:
    from skdcec import ContrastiveEncoder, ConvAutoencoder, DenseAutoencoder

    if args.encoder == "contrastive":
        return ContrastiveEncoder(max_epochs=epochs)
    if args.encoder == "autoencoder":
        return ConvAutoencoder(N_COMPONENTS, max_epochs=epochs)
    # What the network knows is there already: wide and shallow keeps it.
    return DenseAutoencoder(64, hidden_layer_sizes=(512,), max_epochs=epochs)


def train(args: argparse.Namespace, inputs: np.ndarray, n_clusters: int, plan: Plan) -> Model:
    return _number_by_size(new_model(args, n_clusters, plan).fit(inputs))


def new_model(args: argparse.Namespace, n_clusters: int, plan: Plan) -> Model:
    from skdcec import DeepConvEmbeddingClustering, DeepEmbeddingClustering

    settings: dict[str, Any] = {
        "encoder": _encoder(args, plan.pretraining),
        "max_epochs": plan.joint,
        "memory": kept_folder(args, "pretraining"),
        "device": args.device,
        "random_state": args.seed,
        "verbose": not args.quiet,
    }
    if args.encoder in ENCODERS:
        return DeepConvEmbeddingClustering(n_clusters, **settings)
    # With so many dimensions, a mixture has clusters of a handful of images.
    return DeepEmbeddingClustering(n_clusters, init="k-means", **settings)


def kept_folder(args: argparse.Namespace, kind: str) -> str | None:
    """Return the folder of the cache for what is worth keeping."""
    cache = cache_folder(args)
    return None if cache is None else str(cache / kind)


def _number_by_size(model: Model) -> Model:
    """Make 0 the largest cluster, in the model itself, so that `predict` agrees."""
    import numpy as np

    sizes = np.bincount(model.labels_, minlength=len(model.cluster_centers_))
    order = np.argsort(-sizes, kind="stable")
    model.cluster_centers_ = model.cluster_centers_[order]
    model.labels_ = np.argsort(order)[model.labels_]
    return model


def cache_folder(args: argparse.Namespace) -> Path | None:
    """Return the folder that decoded images and pretrained encoders are kept in."""
    from skdcec.datasets import _user_cache

    folder = Path(args.cache or _user_cache())
    try:
        (folder / "pretraining").mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"no permission to write into {folder}")
    except OSError as error:
        warnings.warn(
            f"The cache cannot be used ({error}); the next run starts from nothing.", stacklevel=2
        )
        return None
    return folder
