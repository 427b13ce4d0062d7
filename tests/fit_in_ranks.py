"""What the tests of several processes fit in each of them, and in one for comparison.

As a script, with a folder: run all of it in a rank, and write there what came of it.
"""

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from skorch.callbacks import Callback

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec._nn import checkpoints
from skdcec._nn.callbacks import StopTraining
from skdcec.augmentation import ColorJitter, Compose, RandomAffine, RandomFlip
from skdcec.model_selection import NClustersSearch, trainings

OWN = Compose([RandomAffine(), RandomFlip(), ColorJitter()])


def anything(batch, generator):
    """Change a batch in a way that only works on the whole of it."""
    return batch.flip(0) * 0.1 + batch + 0.1 * torch.rand(batch.shape, generator=generator)


class Watch(Callback):
    """Keeps the gradients of the first step and the weights after 20."""

    def on_train_begin(self, net, **kwargs):
        self.n_steps, self.gradients, self.weights = 0, None, None

    def on_grad_computed(self, net, named_parameters, **kwargs):
        if self.gradients is None:
            self.gradients = vector(p.grad for _, p in named_parameters if p.grad is not None)

    def on_batch_end(self, net, **kwargs):
        self.n_steps += 1
        if self.n_steps == 20:
            self.weights = vector(net.module_.parameters())


def vector(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).numpy()


def images(n=61):
    """Return colour images of three kinds, some of them with negative values."""
    pixels = np.random.default_rng(0).normal(0.3, 0.2, size=(n, 9, 9, 3))
    pixels[::3, :3, :, 0] += 2
    pixels[1::3, :, 6:, 1] += 2
    pixels[2::3, 3:6, 2:5] += 2
    pixels[:5] = pixels[:5].clip(min=0)
    return pixels


def autoencoder(**params):
    return ConvAutoencoder(4, filters=(4, 8), max_epochs=3, precision="float32", **params)


def contrastive(**params):
    return ContrastiveEncoder(4, filters=(8, 8), max_epochs=3, **params)


def clusterer(encoder, **params):
    params = {"max_epochs": 3, "n_init": 2, "random_state": 0, **params}
    return DeepConvEmbeddingClustering(3, encoder=encoder, **params)


# Batches of 7 or 8 of 61 images, of which ranks get unequal shares; one of a single image.
TRAININGS = {
    "autoencoder": lambda: clusterer(autoencoder(batch_size=8)),
    "own augmentation": lambda: clusterer(autoencoder(batch_size=8, augmentation=OWN)),
    "any augmentation": lambda: clusterer(autoencoder(batch_size=8, augmentation=anything)),
    "more ranks than images": lambda: clusterer(autoencoder(batch_size=1, augmentation=OWN)),
    "contrastive": lambda: clusterer(contrastive(batch_size=8)),
    "two views in any way": lambda: clusterer(contrastive(batch_size=8, augmentation=anything)),
    "start of one's own": lambda: clusterer(
        autoencoder(batch_size=8),
        init=DeepEmbeddingClustering(
            encoder=DenseAutoencoder(2, hidden_layer_sizes=(4,), max_epochs=1),
            init="k-means",
            max_epochs=0,
        ),
    ),
}


def train(name):
    """Return all that came of one training, as arrays."""
    model = TRAININGS[name]()
    joint = Watch()
    model.encoder.set_params(callbacks=[Watch()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_params(callbacks=[joint]).fit(images())
    pretraining = model.encoder_.callbacks[0]
    return {
        "pretraining gradients": pretraining.gradients,
        "pretraining weights": pretraining.weights,
        "joint gradients": joint.gradients,
        "joint weights": joint.weights,
        "losses": np.array(model.encoder_.history_["loss"] + model.history_["loss"]),
        "final weights": vector(model.module_.parameters()),
        "embedding": model.encoder_.transform(images()),
        "labels": model.labels_,
    }


class At(Callback):
    """Does something at the end of the second epoch, on one rank."""

    def __init__(self, rank, action):
        self.rank, self.action = rank, action

    def on_epoch_end(self, net, **kwargs):
        if rank() == self.rank and len(net.history) == 2:
            self.action()


def rank():
    return int(os.environ["RANK"])


def fail():
    raise ValueError("this rank has had enough")


def interrupt():
    raise KeyboardInterrupt


def stop():
    raise StopTraining


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def outcome(function):
    """Return what ended a call, and when."""
    start = time.monotonic()
    try:
        function()
    except BaseException as error:
        return {
            "error": type(error).__name__,
            "message": str(error),
            "seconds": time.monotonic() - start,
        }
    return {"error": None}


def unseeded():
    model = clusterer(autoencoder(), random_state=None).fit(images())
    return {
        "labels": model.labels_.tolist(),
        "weight": float(vector(model.module_.parameters())[0]),
    }


def cached(folder):
    """Fit twice with a cache of this rank's own."""
    runs = [clusterer(autoencoder(), memory=folder / f"cache{rank()}") for _ in range(2)]
    for model in runs:
        model.encoder.set_params(callbacks=[Watch()])
        model.fit(images())
    first, second = (vector(model.encoder_.module_.parameters()) for model in runs)
    return {
        "trained": [hasattr(model.encoder_.callbacks[0], "n_steps") for model in runs],
        "equal": bool((first == second).all()),
    }


def searched(folder):
    """Search twice with caches of this rank's own, the second of which has none."""
    counted, found = [], []
    for _ in range(2):
        memory = folder / f"search{rank()}" if rank() == 0 else None
        search = NClustersSearch(clusterer(autoencoder()), [2, 3], screen=None, memory=memory)
        with mock.patch.object(trainings, "_train", wraps=trainings._train) as train:
            search.fit(images())
        counted.append(train.call_count)
        found.append(search.labels_.tolist())
    return {"trainings": counted, "labels": found}


def resumed(folder, phase):
    """Interrupt a training on the second rank, fit again, and compare with another folder's."""

    def fit(memory, callback):
        callbacks = {"pretraining": ([callback], []), "joint": ([], [callback])}[phase]
        encoder = autoencoder(batch_size=8, augmentation=OWN, callbacks=callbacks[0])
        model = clusterer(encoder, memory=folder / memory, callbacks=callbacks[1])
        model.fit(images())
        watched = model.encoder_ if phase == "pretraining" else model
        return watched.callbacks[0], vector(model.module_.parameters())

    with (
        mock.patch.object(checkpoints, "INTERVAL", 0),
        mock.patch.object(checkpoints, "MAX_SHARE", 1e6),
    ):
        error = outcome(lambda: fit(f"{phase} twice", At(1, interrupt)))["error"]
        unfinished = len([*(folder / f"{phase} twice").glob("skdcec-unfinished-*")])
        watch, weights = fit(f"{phase} twice", Watch())
        _, expected = fit(f"{phase} once", Watch())
    return {
        "error": error,
        "unfinished": unfinished,
        "left": len([*(folder / f"{phase} twice").glob("*unfinished*")]),
        "steps": watch.n_steps,
        "equal": bool((weights == expected).all()),
    }


def warned():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clusterer(autoencoder(), random_state=None, memory="unused", verbose=1).fit(
            np.ones((5, 9, 9, 1))
        )
    return [str(one.message) for one in caught]


def in_group_of_their_own():
    """Fit in a group that the script has made, and say whether it is still of use."""
    address = f"tcp://127.0.0.1:{os.environ['OTHER_PORT']}"
    dist.init_process_group("gloo", init_method=address, rank=rank(), world_size=2)
    labels = clusterer(autoencoder()).fit(images()).labels_
    total = torch.ones(1)
    dist.all_reduce(total)
    dist.destroy_process_group()
    return {"labels": labels.tolist(), "total": float(total)}


def main(folder):
    results = {name: train(name) for name in TRAININGS}
    for name, arrays in results.items():
        np.savez(folder / f"{name} {rank()}.npz", **arrays)
    here = images() if rank() == 0 else images()[::-1]
    told = {
        "unseeded": unseeded(),
        "cached": cached(folder),
        "searched": searched(folder),
        "warned": warned(),
        **{f"resumed {phase}": resumed(folder, phase) for phase in ("pretraining", "joint")},
        "few": clusterer(autoencoder(), init=np.zeros((3, 4))).fit(images(3)).labels_.tolist(),
        "other data": outcome(lambda: clusterer(autoencoder()).fit(here)),
        "other plan": outcome(
            lambda: clusterer(autoencoder(), max_epochs=2 + rank()).fit(images())
        ),
        "invalid start": outcome(
            lambda: clusterer(autoencoder(), init=np.ones((3, 2))).fit(images())
        ),
    }
    for name, action in {"failed": fail, "interrupted": interrupt, "stopped": stop}.items():
        for which in range(2):
            model = clusterer(autoencoder(), callbacks=[At(which, action)])
            told[f"{name} {which}"] = outcome(lambda: model.fit(images()))  # noqa: B023
            told[f"{name} {which}"]["n_iter"] = getattr(model, "n_iter_", None)
    told["in a group of their own"] = in_group_of_their_own()
    told["is initialized"] = dist.is_initialized()
    path = folder / f"told {rank()}.json"
    path.write_text(json.dumps(told))
    model = clusterer(autoencoder(callbacks=[At(1, kill)]))
    told["killed"] = outcome(lambda: model.fit(images()))
    path.write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
