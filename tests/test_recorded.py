"""Is a step that a GPU repeats from a recording the step that it would have been told?

What decides whether steps are recorded, and what is renewed for each, needs no GPU.
"""

import warnings

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping

from skdcec import ContrastiveEncoder, ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec._nn import draws, nets, recorded
from skdcec.augmentation import Compose, RandomAffine, RandomFlip

IMAGES = np.random.default_rng(0).integers(0, 256, (96, 8, 8, 3), dtype=np.uint8)
VIEWS = Compose([RandomAffine(), RandomFlip()])


def encoder(**params):
    return ConvAutoencoder(
        **{
            "n_components": 2,
            "filters": (4,),
            "max_epochs": 20,
            "batch_size": 20,
            "random_state": 0,
        }
        | params
    )


def clusterer(**params):
    return DeepConvEmbeddingClustering(
        2, encoder=encoder(**params), init="k-means", n_init=1, max_epochs=20, tol=0, random_state=0
    )


# What is random in a step


def test_numbers_are_drawn_to_the_places_in_the_order_of_the_step():
    batch = torch.ones(5, 3, 8, 8)
    generator, like_it = (torch.Generator().manual_seed(1) for _ in range(2))
    places = draws.Draws()
    with places.noted():
        VIEWS(batch, generator=generator)
    VIEWS(batch, generator=like_it)
    with places.placed():
        seen = [draws.uniform(n, batch, generator) for n in (4, 1, 1)]
    for _ in range(3):
        places.renew()
        expected = [draws.uniform(n, batch, like_it) for n in (4, 1, 1)]
        assert all(map(torch.equal, seen, expected))
    assert torch.equal(generator.get_state(), like_it.get_state())


def test_noting_changes_nothing():
    batch = torch.ones(5, 3, 8, 8)
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    with draws.Draws().noted():
        noted = VIEWS(batch, generator=generators[0])
    assert torch.equal(noted, VIEWS(batch, generator=generators[1]))


# When steps are recorded


class Looks(Callback):
    """Only looks at what has happened."""

    def on_epoch_end(self, net, **kwargs):
        pass


class Changes(Callback):
    """May change the next epoch."""

    def on_epoch_begin(self, net, **kwargs):
        pass


def shift(batch):
    return batch.roll(1, dims=3)


@pytest.fixture
def planned(monkeypatch):
    """List of what would have been recorded, were the device one that records."""
    found = []

    def recorder_of(net, n_steps):
        device, net.device = net.device, "cuda"
        try:
            found.append(recorded.recorder_of(net, n_steps))
        finally:
            net.device = device

    monkeypatch.setattr(recorded, "Recorder", lambda net: type(net).__name__)
    monkeypatch.setattr(nets, "recorder_of", recorder_of)
    return found


@pytest.mark.parametrize(
    ("params", "is_recorded"),
    [
        ({}, True),
        ({"augmentation": VIEWS}, True),
        ({"callbacks": [Looks(), EarlyStopping(monitor="train_loss", patience=50)]}, True),
        ({"augmentation": shift}, False),
        ({"augmentation": Compose([RandomFlip(), lambda x, generator: x])}, False),
        ({"callbacks": [GradientNormClipping(1.0)]}, False),
        ({"callbacks": [Changes()]}, False),
        ({"max_epochs": 2}, False),  # too few steps to pay
    ],
)
def test_only_what_is_the_same_in_each_step_is_recorded(params, is_recorded, planned):
    encoder(**params).fit(IMAGES)
    assert planned == ["ReconstructionNet" if is_recorded else None]


def test_both_phases_are_recorded(planned):
    clusterer().fit(IMAGES)
    assert planned == ["ReconstructionNet", "ClusteringNet"]
    planned.clear()
    ContrastiveEncoder(2, filters=(4, 8), max_epochs=20, batch_size=20).fit(IMAGES)
    assert planned == ["ContrastiveNet"]


def test_nothing_is_recorded_on_a_processor():
    net = type("Net", (), {"device": "cpu", "ranks": None})()
    assert recorded.recorder_of(net, 10**6) is None


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("augmentation", [None, VIEWS], ids=["plain", "views"])
def test_a_recorded_training_is_the_one_that_was_told(augmentation, monkeypatch):
    recordings = []

    class Recording(recorded.Recording):
        def __init__(self, *args):
            super().__init__(*args)
            recordings.append(args)

    monkeypatch.setattr(recorded, "Recording", Recording)
    model = clusterer(augmentation=augmentation).set_params(device="cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(IMAGES)
        # Batches of 20 and of 19, in both phases.
        assert len(recordings) == 4
        found = [model.encoder_.history_["loss"], model.history_["loss"]]
        monkeypatch.setattr(nets, "recorder_of", lambda net, n_steps: None)
        model.fit(IMAGES)
    assert len(recordings) == 4
    for losses, told in zip(found, (model.encoder_.history_, model.history_), strict=True):
        np.testing.assert_allclose(losses, told["loss"], rtol=1e-2)


@pytest.mark.gpu
def test_what_cannot_be_recorded_is_told_with_a_warning(monkeypatch):
    def asking(net, batch):
        loss = net.compute(net.module_.encode, batch[0]).square().mean()
        return {"loss": loss * float(loss.detach() >= 0)}

    monkeypatch.setattr(nets.ReconstructionNet, "losses", asking)
    with pytest.warns(UserWarning, match="could not record a step of training"):
        model = encoder(device="cuda").fit(IMAGES)
    assert np.isfinite(model.history_["loss"]).all()
