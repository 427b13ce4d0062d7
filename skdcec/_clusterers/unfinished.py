"""From where does an unfinished joint phase go on?"""

import hashlib
import json
from numbers import Integral
from typing import Any

from sklearn.frozen import FrozenEstimator
from torch import nn

from skdcec._encoders.autoencoder import precision_of
from skdcec._encoders.cache import content_digest, folder_of, plain_value
from skdcec._nn.batches import Batches
from skdcec._nn.checkpoints import Checkpoint, tell

# Raised whenever an equal fit would train otherwise than it did.
_FORMAT = 1

# What a joint phase does not depend on, or what the key holds in another form.
_NOT_IN_KEY = {
    "encoder",
    "memory",
    "callbacks",
    "verbose",
    "device",
    "random_state",
    "image_shape",
    "data_format",
    "weights",
}


def joint_checkpoint(clusterer: Any, batches: Batches, seed: int) -> Checkpoint | None:
    """Return the checkpoint of a joint phase, or None where none can be found again.

    Parameters
    ----------
    clusterer : estimator
        With its `encoder_`.
    batches : Batches
    seed : int
        Of the joint phase.
    """
    folder = folder_of(clusterer.memory)
    if folder is None or clusterer.random_state is None:
        return None
    try:
        key = _joint_key(clusterer, batches, seed)
    except TypeError as error:
        if isinstance(clusterer.encoder, FrozenEstimator):
            # Of any other encoder, the cache of the pretraining has said so.
            tell("key", f"An interrupted joint phase begins anew: {error}")
        return None
    return Checkpoint(folder, key)


def _joint_key(clusterer: Any, batches: Batches, seed: int) -> str:
    """Return a text that is equal for equal joint phases, in any process.

    Raises
    ------
    TypeError
        If a parameter is not made of plain values.
    """
    encoder, own_seed = clusterer.encoder_, clusterer.random_state
    return json.dumps(
        {
            "format": _FORMAT,
            "clusterer": _description(clusterer),
            "seeds": [seed, int(own_seed) if isinstance(own_seed, Integral) else None],
            "encoder": _description(encoder),
            "weights": _weights_digest(encoder.module_),
            "data": content_digest(batches.array),
            "scale": clusterer.scale_,
            "device": f"{batches.device} {precision_of(encoder, batches.device)}",
        },
        sort_keys=True,
    )


def _description(estimator: Any) -> list[Any]:
    cls = type(estimator)
    params = estimator.get_params(deep=False)
    return [
        f"{cls.__module__}.{cls.__qualname__}",
        {k: plain_value(k, v) for k, v in params.items() if k not in _NOT_IN_KEY},
    ]


def _weights_digest(module: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(content_digest(tensor.detach().cpu().numpy()[None]).encode())
    return digest.hexdigest()
