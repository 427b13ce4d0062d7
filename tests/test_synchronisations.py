"""Does a step of training leave everything on the device that may be on one?

A GPU works ahead of the program as long as nobody asks for a number. Whoever does waits until it
has done all before. Without a GPU such questions cost nothing, but they can be counted.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec._nn.nets import EmbeddingNet
from skdcec.augmentation import (
    ColorJitter,
    Compose,
    RandomAffine,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (48, 8, 8, 3), dtype=np.uint8)
ALL = Compose([RandomAffine(), RandomResizedCrop(), RandomFlip(), ColorJitter(), RandomGrayscale()])
# What asks for a number that a device has, and what copies one from there.
ASKS = ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero")
COPIES = ("cpu", "tolist", "item", "__bool__", "__float__", "__int__")


class Questions(TorchDispatchMode):
    """Counts them."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name().partition(".")[0] in ASKS:
            self.asked.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.fixture
def epochs(monkeypatch):
    """Lists, for each epoch, its net, its steps, and what was asked for in it."""
    epochs, current = [], []
    run_single_epoch = EmbeddingNet.run_single_epoch

    def watched(net, iterator, *args, **kwargs):
        if iterator is None:
            return
        current.append(mode := Questions())
        with mode:
            run_single_epoch(net, iterator, *args, **kwargs)
        current.clear()
        epochs.append((type(net).__name__, len(iterator), mode.asked))

    def counting(name):
        original = getattr(torch.Tensor, name)

        def method(tensor, *args, **kwargs):
            # PyTorch looks the method up again for each device context around it.
            mode = current.pop() if current else None
            if mode is not None:
                mode.asked.append(name)
            try:
                return original(tensor, *args, **kwargs)
            finally:
                current.extend([mode] if mode is not None else [])

        return method

    for name in COPIES:
        monkeypatch.setattr(torch.Tensor, name, counting(name))
    monkeypatch.setattr(EmbeddingNet, "run_single_epoch", watched)
    return epochs


def clusterer(encoder, **params):
    return DeepConvEmbeddingClustering(
        2, encoder=encoder, init="k-means", n_init=1, max_epochs=1, random_state=0, **params
    )


MODELS = {
    "autoencoder": lambda size: clusterer(
        ConvAutoencoder(2, filters=(4,), max_epochs=1, batch_size=size)
    ),
    "augmented": lambda size: clusterer(
        ConvAutoencoder(2, filters=(4,), max_epochs=1, batch_size=size, augmentation=ALL)
    ),
    "contrastive": lambda size: clusterer(
        ContrastiveEncoder(2, filters=(4, 8), max_epochs=1, batch_size=size)
    ),
    "vectors": lambda size: DeepEmbeddingClustering(
        2,
        encoder=DenseAutoencoder(2, hidden_layer_sizes=(4,), max_epochs=1, batch_size=size),
        init="k-means",
        n_init=1,
        max_epochs=1,
        random_state=0,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_no_step_of_training_asks_for_a_number(name, epochs):
    asked = {}
    for size in (24, 6):
        X = IMAGES.reshape(48, -1) if name == "vectors" else IMAGES
        MODELS[name](size).fit(X)
        assert len(epochs) == 2
        for phase, n_steps, questions in epochs:
            assert n_steps == 48 // size
            asked.setdefault(phase, []).append(questions)
        epochs.clear()
    for phase, (few_steps, many_steps) in asked.items():
        # The losses and the checks of all steps are read at the end of the epoch.
        assert few_steps == many_steps, phase
        assert few_steps == ["tolist"], phase


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
def test_no_step_of_training_waits_for_a_gpu(name, monkeypatch):
    run_single_epoch, found = EmbeddingNet.run_single_epoch, []

    def watched(net, iterator, *args, **kwargs):
        if iterator is None:
            return
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                run_single_epoch(net, iterator, *args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits = sum("synchron" in str(one.message).lower() for one in caught)
        found.append((type(net).__name__, waits))

    X = IMAGES.reshape(48, -1) if name == "vectors" else IMAGES
    # Numbers that never change are copied there once.
    MODELS[name](24).set_params(device="cuda").fit(X)
    monkeypatch.setattr(EmbeddingNet, "run_single_epoch", watched)
    for size in (24, 6):
        MODELS[name](size).set_params(device="cuda").fit(X)
    assert found[:2] == found[2:]


def test_questions_are_counted(epochs):
    def asking(batch):
        return batch * float(batch.max() > 0)

    MODELS["autoencoder"](24).set_params(encoder__augmentation=asking).fit(IMAGES)
    # Of both steps of both phases.
    assert sum("__float__" in questions for _, _, questions in epochs) == 2
    assert all(questions.count("__float__") == 2 for _, _, questions in epochs)


def test_losses_are_read_before_the_epoch_ends_for_callbacks():
    model = MODELS["autoencoder"](24).fit(IMAGES)
    assert np.isfinite(model.history_["loss"]).all()
    assert np.isfinite(model.encoder_.history_["loss"]).all()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_what_waits_for_the_end_of_an_epoch_holds_on_to_no_batch():
    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            self.memory = []

        def on_batch_end(self, net, **kwargs):
            lines = Path("/proc/self/status").read_text().splitlines()
            self.memory += [int(line.split()[1]) for line in lines if line.startswith("RssAnon:")]

    watch = Watch()
    images = np.zeros((32 * 40, 64, 64, 3), dtype=np.uint8)
    ConvAutoencoder(2, filters=(4,), max_epochs=1, batch_size=32, callbacks=[watch]).fit(images)
    # Of 40 batches, of 1.5 MiB each.
    assert len(watch.memory) == 40
    assert max(watch.memory) - watch.memory[4] < 20 * 1024


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_augmentation_that_fails_is_blamed_before_the_loss_is(value):
    calls = []

    def spoil(batch):
        calls.append(len(batch))
        return batch * value

    encoder = ConvAutoencoder(2, filters=(4,), max_epochs=2, batch_size=24, augmentation=spoil)
    with pytest.raises(ValueError, match="augmentation=.* must return finite values"):
        encoder.fit(IMAGES)
    # Of one epoch.
    assert calls == [24, 24]
