"""Which encoder, and how long? The plan of a training, and the model made from it.

The command and Python users share it::

    plan = plan_training(images, minutes=10)
    model = make_model(plan, n_clusters=7, random_state=0).fit(images)

What takes seconds to import is imported where it is used, so that the command can name the
defaults in its help at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._files import read_sealed, write_sealed
from skdcec._named import (
    JOINT,
    NAMES,
    PAINTING_SIZE,
    SMALL_SIZE,
    encoder_by_name,
    resolve_name,
    words_of,
)
from skdcec._timing import Speed, measure_embedding, measure_speed

if TYPE_CHECKING:
    import numpy as np

    from skdcec import (
        ContrastiveEncoder,
        ConvAutoencoder,
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
        DenseAutoencoder,
    )

    Encoder = ContrastiveEncoder | ConvAutoencoder | DenseAutoencoder
    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering

ENCODERS = tuple(name for name in NAMES if name != "auto")
# What vectors that exist already are compared by: themselves, or what is learned from them.
GIVEN, LEARNED = "given vectors", "autoencoder of given vectors"
DEFAULT_CLUSTERS = 7
DEFAULT_SIZE = SMALL_SIZE
NETWORK_SIZE = 224  # which most networks were trained on
# More of them than these would take a gigabyte at the larger size, and four times as long.
MANY_IMAGES = 20_000

# Pretraining epochs that a plan may choose: far enough apart for two measurements of the same
# machine's speed to end at the same number. None is above the default of the encoder.
_EPOCHS = (1, 2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100)
_MIN_STEPS = 200

# Joint epochs for each of pretraining: as the library's defaults have it, and few for a
# contrastive encoder, since on paintings the time does more in its pretraining.
_JOINT_SHARE = 0.4
_CONTRASTIVE_JOINT_SHARE = 0.1
# Of finding clusters, and of comparing those of two halves, for each image; on two cores, 610
# paintings took 4 thousandths and 6 108 took 6.
_CLUSTERING_SECONDS = 6e-3


# Which encoder


def choose_encoder(images: np.ndarray, encoder: str = "auto", *, device: str | None = None) -> str:
    """Return the encoder that images are compared by.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, 3)
        As files are read: gray ones have three equal channels.
    encoder : str, default="auto"
        What "auto" is depends on what a sample of the images shows, as
        :func:`skdcec._named.resolve_name` has it. Any other name, such as that of a network, is
        returned as it is.
    device : str, default=None
        What the sample is looked at on; None takes a GPU where there is one.

    Returns
    -------
    encoder : str

    Examples
    --------
    >>> import numpy as np
    >>> from skdcec._recipes import choose_encoder
    >>> gray = np.zeros((200, 64, 64, 3), dtype=np.uint8)
    >>> choose_encoder(gray), choose_encoder(gray, "densenet121")
    ('autoencoder', 'densenet121')
    """
    return resolve_name(encoder, images, device=device)


def choose_n_clusters(n_images: int) -> int:
    """Return how many clusters to look for where nobody says.

    Parameters
    ----------
    n_images : int

    Returns
    -------
    n_clusters : int
        Seven, and fewer where that would leave less than five images for each.

    Examples
    --------
    >>> from skdcec._recipes import choose_n_clusters
    >>> choose_n_clusters(6108), choose_n_clusters(12)
    (7, 2)
    """
    return max(1, min(DEFAULT_CLUSTERS, n_images // 5))


def image_size(encoder: str, n_images: int = 0) -> int:
    """Return the side, in pixels, of the images that an encoder looks at by default.

    Parameters
    ----------
    encoder : str
        What :func:`choose_encoder` returns.
    n_images : int, default=0
        How many there are.

    Returns
    -------
    size : int
        Of networks, whose own size may be another, what most of them were trained on.

    Examples
    --------
    >>> from skdcec._recipes import image_size
    >>> image_size("autoencoder"), image_size("paintings"), image_size("paintings+densenet121")
    (64, 128, 224)
    >>> image_size("paintings", 10**6)
    64
    """
    if encoder == "paintings" and n_images <= MANY_IMAGES:
        return PAINTING_SIZE
    return DEFAULT_SIZE if {*words_of(encoder)} <= {*NAMES} else NETWORK_SIZE


def make_encoder(name: str, max_epochs: int) -> Encoder:
    """Return an unfitted encoder.

    Parameters
    ----------
    name : {"autoencoder", "contrastive", "paintings"} or name of a network
        For a network: the encoder of the features that it finds, as
        :class:`skdcec._backbones.Backbone` gives them; `LEARNED` for
        that of vectors from a file.
    max_epochs : int
        Of pretraining; not used for "paintings", whose weights are taken as they are.

    Returns
    -------
    encoder : estimator

    Examples
    --------
    >>> from skdcec._recipes import make_encoder
    >>> make_encoder("contrastive", max_epochs=20)
    ContrastiveEncoder(max_epochs=20)
    """
    if name == "paintings":
        return encoder_by_name(name, n_images=0, n_channels=3)
    if name in ENCODERS:
        return encoder_by_name(name, n_images=0, n_channels=3).set_params(max_epochs=max_epochs)
    from skdcec import DenseAutoencoder

    # What the network knows is there already: wide and shallow keeps it.
    return DenseAutoencoder(64, hidden_layer_sizes=(512,), max_epochs=max_epochs)


def _default_epochs(name: str) -> int:
    """Return the pretraining epochs of an encoder that nobody chose a number for."""
    if name in ENCODERS:
        return int(encoder_by_name(name, n_images=0, n_channels=3).max_epochs)
    return int(type(make_encoder(name, 1))().max_epochs)


def is_trained(name: str) -> bool:
    """Whether an encoder learns anything from images, or from what a network makes of them."""
    return name not in ("paintings", GIVEN) and JOINT not in name


# How long


@dataclass(frozen=True)
class Plan:
    """How images are to be clustered: by which encoder, and for how many epochs.

    Parameters
    ----------
    encoder : str
        "autoencoder", "contrastive", "paintings", the name of a network, or several of these.
    pretraining, joint : int
        Epochs of the encoder alone, and of encoder and clusters together.
    training_seconds : float
        What that will take, by the measured `speed`; without epochs, to embed the images and to
        find clusters.
    speed : Speed
    digest : str
        Of the data that it was made for.
    is_reused : bool, default=False
        Whether an earlier run made the plan.
    """

    encoder: str
    pretraining: int
    joint: int
    training_seconds: float
    speed: Speed
    digest: str
    is_reused: bool = False

    @property
    def seconds_of_phases(self) -> dict[str, float]:
        """The seconds by phase, as if all epochs took as long."""
        epochs = max(1, self.pretraining + self.joint)
        return {
            "clusters": 0.0 if self.pretraining else self.training_seconds,
            "pretraining": self.training_seconds * self.pretraining / epochs,
            "joint": self.training_seconds * self.joint / epochs,
        }


def plan_training(
    X: np.ndarray,
    *,
    encoder: str = "auto",
    minutes: float = 10.0,
    epochs: int | None = None,
    reserved: float = 0.0,
    device: str | None = None,
    cache: str | Path | None = None,
) -> Plan:
    """Choose the encoder and the epochs that fit into a time on this machine.

    A few steps of a training that is thrown away are timed. Pretraining never gets more epochs
    than the encoder has by default, nor so few that nothing is learned, even where that takes
    longer than asked for.

    Parameters
    ----------
    X : ndarray of shape (n_samples, height, width, channels) or (n_samples, n_features)
        The images, or what a network makes of them.
    encoder : str, default="auto"
        As of :func:`choose_encoder`.
    minutes : float, default=10.0
        For all there is to do.
    epochs : int, default=None
        Epochs of pretraining, in place of what fits.
    reserved : float, default=0.0
        Seconds of `minutes` that are not the training's.
    device : str, default=None
        None takes CUDA or Apple's MPS where present, else the CPU.
    cache : str or path, default=None
        A folder that plans are kept in: the same data and arguments give the same plan again,
        even when the machine is busier. What is damaged there is made again.

    Returns
    -------
    plan : Plan

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdcec._recipes import make_model, plan_training
    >>> images = load_digits().images[:100]
    >>> plan = plan_training(images, epochs=5)
    >>> plan.encoder, plan.pretraining, plan.joint
    ('autoencoder', 5, 2)
    >>> model = make_model(plan, n_clusters=3, random_state=0)
    >>> len(model.fit_predict(images))
    100
    """
    import torch

    from skdcec._encoders.cache import content_digest

    encoder = choose_encoder(X, encoder, device=device)
    digest = content_digest(X)
    if not is_trained(encoder):
        embedding = 0.0
        if encoder in ENCODERS:
            learned = make_encoder(encoder, 0).set_params(device=device)
            embedding = measure_embedding(learned, X)
        seconds = len(X) * (embedding + _CLUSTERING_SECONDS)
        return Plan(encoder, 0, 0, seconds, Speed(0.0, 0.0, embedding), digest)
    path = None
    if cache is not None:
        # What the speed depends on, and what decides how much of it there is time for.
        size = make_encoder(encoder, 1).get_params()["n_components"]
        key = [digest, minutes, epochs, device, torch.get_num_threads(), encoder, size]
        name = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
        path = Path(cache) / "plans" / f"{name}.json"
        with contextlib.suppress(OSError, ValueError):
            return _read_plan(path, encoder, digest)
    model = _new_model(encoder, min(DEFAULT_CLUSTERS, len(X)), 1, 1).set_params(device=device)
    speed = measure_speed(model, X)
    pretraining, joint, seconds = choose_epochs(
        len(X), encoder, speed, available=60 * minutes - reserved, epochs=epochs
    )
    plan = Plan(encoder, pretraining, joint, seconds, speed, digest)
    if path is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(path, asdict(plan))
    return plan


def choose_epochs(
    n_images: int,
    encoder: str,
    speed: Speed,
    *,
    available: float,
    epochs: int | None = None,
) -> tuple[int, int, float]:
    """Return the epochs of pretraining and of joint training that fit, and their seconds.

    Parameters
    ----------
    n_images : int
    encoder : str
        Not "auto".
    speed : Speed
    available : float
        Seconds.
    epochs : int, default=None
        Epochs of pretraining, in place of what fits.

    Returns
    -------
    pretraining, joint : int
    seconds : float

    Examples
    --------
    >>> from skdcec._recipes import choose_epochs
    >>> from skdcec._timing import Speed
    >>> speed = Speed(pretraining=0.1, joint=0.1, embedding=1e-3)
    >>> choose_epochs(6000, "autoencoder", speed, available=300)
    (25, 10, 287.5)
    """
    from skdcec._nn.batches import plan_batches

    batch_size, n_passes = plan_batches(n_images, "auto")
    steps = math.ceil(n_images / batch_size) * n_passes
    share = _CONTRASTIVE_JOINT_SHARE if encoder == "contrastive" else _JOINT_SHARE
    most = _default_epochs(encoder)

    def joint(pretraining: int) -> int:
        return max(1, round(pretraining * share))

    def seconds(pretraining: int) -> float:
        # The targets of every joint epoch come from all images.
        joint_epoch = steps * speed.joint + n_images * speed.embedding
        return pretraining * steps * speed.pretraining + joint(pretraining) * joint_epoch

    possible = [number for number in _EPOCHS if number <= most]
    worth_it = [number for number in possible if number * steps >= _MIN_STEPS] or [most]
    fitting = [number for number in worth_it if seconds(number) <= available]
    chosen = epochs or max(fitting, default=worth_it[0])
    return chosen, joint(chosen), seconds(chosen)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 10**7


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


_PLAN_FIELDS: dict[str, Callable[[Any], bool]] = {
    "encoder": lambda value: isinstance(value, str),
    "pretraining": _is_count,
    "joint": _is_count,
    "training_seconds": _is_time,
    "speed": lambda value: (
        isinstance(value, dict)
        and {*value} == {field.name for field in fields(Speed)}
        and all(_is_time(seconds) for seconds in value.values())
    ),
    "digest": lambda value: isinstance(value, str),
    "is_reused": lambda value: value is False,
}


def _read_plan(path: Path, encoder: str, digest: str) -> Plan:
    values = read_sealed(path)
    if {*values} != {*_PLAN_FIELDS} or not all(
        is_right(values[name]) for name, is_right in _PLAN_FIELDS.items()
    ):
        raise ValueError(f"{path} holds no plan.")
    if (values["encoder"], values["digest"]) != (encoder, digest):
        raise ValueError(f"{path} holds the plan of something else.")
    return Plan(**{**values, "speed": Speed(**values["speed"]), "is_reused": True})


# The model


def make_model(
    plan: Plan,
    n_clusters: int,
    *,
    blocks: Sequence[tuple[int, float]] | None = None,
    memory: str | Path | None = None,
    device: str | None = None,
    random_state: int | None = None,
    verbose: bool | None = None,
) -> Model:
    """Return the unfitted model of a plan.

    Parameters
    ----------
    plan : Plan
    n_clusters : int
    blocks : sequence of (int, float), default=None
        Columns of what stands side by side, and the share of each, where the plan's encoder joins
        several words; or all there are, where they are given.
    memory : str or path, default=None
        Where the pretrained encoder is kept.
    device : str, default=None
    random_state : int, default=None
    verbose : bool, default=None

    Returns
    -------
    model : DeepConvEmbeddingClustering or DeepEmbeddingClustering
        The latter behind a network.

    Examples
    --------
    >>> from skdcec._recipes import Plan, make_model
    >>> from skdcec._timing import Speed
    >>> plan = Plan("contrastive", 50, 5, 280.0, Speed(0.1, 0.1, 1e-3), digest="")
    >>> make_model(plan, n_clusters=7)
    DeepConvEmbeddingClustering(encoder=ContrastiveEncoder(max_epochs=50),
                                max_epochs=5, n_clusters=7)
    """
    if blocks is None:
        model = _new_model(plan.encoder, n_clusters, plan.pretraining, plan.joint)
    else:
        model = _side_by_side(blocks, n_clusters)
    return model.set_params(
        memory=None if memory is None else str(memory),
        device=device,
        random_state=random_state,
        verbose=verbose,
    )


def _new_model(encoder: str, n_clusters: int, pretraining: int, joint: int) -> Model:
    from skdcec import DeepConvEmbeddingClustering, DeepEmbeddingClustering

    part = make_encoder(encoder, pretraining)
    if encoder in ENCODERS:
        return DeepConvEmbeddingClustering(n_clusters, encoder=part, max_epochs=joint)
    return DeepEmbeddingClustering(n_clusters, encoder=part, max_epochs=joint)


def _side_by_side(blocks: Sequence[tuple[int, float]], n_clusters: int) -> Model:
    from skdcec import DeepEmbeddingClustering
    from skdcec.features.balanced import BalancedBlocks

    widths, shares = zip(*blocks, strict=True)
    n_components = min(BalancedBlocks().n_components, sum(widths))
    return DeepEmbeddingClustering(
        n_clusters,
        encoder=BalancedBlocks(list(widths), shares=list(shares), n_components=n_components),
        init="auto",
        max_epochs=0,
    )


def number_by_size(model: Model) -> Model:
    """Make 0 the largest cluster, in the fitted model itself, so that `predict` agrees.

    Parameters
    ----------
    model : fitted DeepConvEmbeddingClustering or DeepEmbeddingClustering
        Is changed.

    Returns
    -------
    model : the same
    """
    import numpy as np

    sizes = np.bincount(model.labels_, minlength=len(model.cluster_centers_))
    order = np.argsort(-sizes, kind="stable")
    model.cluster_centers_ = model.cluster_centers_[order]
    for name in ("weights_", "means_", "covariances_"):
        value = getattr(model, name)
        # One covariance may be that of all clusters.
        if value is not None and len(value) == len(order):
            setattr(model, name, value[order])
    model.labels_ = np.argsort(order)[model.labels_]
    return model
