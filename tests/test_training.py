"""The training loop: learning rates, targets, stopping, interrupts and what is recorded."""

import itertools
import math
import types

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping
from torch.testing import assert_close

from skdcec._encoders.base import unchanged_on_failure
from skdcec._nn import callbacks
from skdcec._nn.batches import Batches, loader_for
from skdcec._nn.callbacks import TargetRefresh
from skdcec._nn.functional import clustering_loss, reconstruction_loss, target_distribution
from skdcec._nn.modules import ClusteringModule, DenseAutoencoderModule
from skdcec._nn.nets import (
    ClusteringNet,
    ReconstructionNet,
    call_augmentation,
    epoch_history,
    train,
)
from skdcec._nn.schedule import Schedule

CPU = torch.device("cpu")
N, STEPS = 12, 3  # rows, and batches per epoch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batches():
    return Batches(np.random.default_rng(0).normal(size=(N, 4)), 1.0, CPU)


def autoencoder():
    return DenseAutoencoderModule(4, 2, (5,), "elu", generator())


def reconstruction_net(batches, *, max_epochs=3, lr=1e-2, callbacks=None, augmentation=None):
    loader = loader_for(batches, batch_size=4, n_passes=1, generator=generator())
    net = ReconstructionNet(
        autoencoder(),
        loss_names=(),
        schedule=Schedule("constant", max_epochs * len(loader)),
        generator=generator(),
        augmentation=augmentation,
        callbacks=callbacks,
        max_epochs=max_epochs,
        lr=lr,
        device=CPU,
    )
    return net, loader


def clustering_net(gamma=0.5, reconstruction_weight=2.0, joint_loss=None, augmentation=None):
    module = ClusteringModule(
        autoencoder(), torch.randn(3, 2, generator=generator(1)), 1.0, "euclidean"
    )
    net = ClusteringNet(
        module,
        gamma=gamma,
        reconstruction_weight=reconstruction_weight,
        joint_loss=joint_loss,
        loss_names=["clustering_loss"],
        schedule=Schedule("constant", 1),
        generator=generator(),
        augmentation=augmentation,
        lr=1e-2,
        device=CPU,
    )
    return net.initialize()


# --- the learning rate ---


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # At 0, 15, 30, 65 and 100 % of the steps.
        ("constant", [1, 1, 1, 1, 1]),
        ("cosine", [1, *((1 + math.cos(math.pi * t)) / 2 for t in (0.15, 0.3, 0.65)), 0]),
        ("onecycle", [1 / 25, (1 + 1 / 25) / 2, 1, 0.5, 0]),
    ],
)
def test_schedules_pass_through_the_values_worked_out_by_hand(kind, expected):
    schedule = Schedule(kind, 100)
    assert [schedule(step) for step in (0, 15, 30, 65, 100)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", ["cosine", "onecycle", "constant"])
@pytest.mark.parametrize("total_steps", [1, 2, 7])
def test_schedules_stay_between_0_and_1_for_any_number_of_steps(kind, total_steps):
    schedule = Schedule(kind, total_steps)
    assert all(0 <= schedule(step) <= 1 for step in range(total_steps + 2))


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_a_schedule_can_be_finished_early_without_a_jump(kind):
    schedule = Schedule(kind, 100)
    before = schedule(20)
    schedule.finish(20, 10)
    rates = [schedule(step) for step in range(20, 31)]
    assert rates[0] == pytest.approx(before)
    assert rates[5] == pytest.approx(before / 2)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates == sorted(rates, reverse=True)


# --- what a batch costs ---


def test_the_loss_is_the_weighted_sum_of_both_terms():
    net = clustering_net(gamma=0.5, reconstruction_weight=2.0)
    x = torch.randn(5, 4, generator=generator(2))
    p = torch.softmax(torch.randn(5, 3, generator=generator(3)), dim=1)
    losses = net.losses((x, p))
    module = net.module_
    rec = reconstruction_loss(module.encoder.decode(module.encoder.encode(x)), x)
    clu = clustering_loss(module.assign(module.encoder.encode(x)), p)
    assert losses["reconstruction_loss"].item() == pytest.approx(rec.item())
    assert losses["clustering_loss"].item() == pytest.approx(clu.item())
    assert losses["loss"].item() == pytest.approx(2.0 * rec.item() + 0.5 * clu.item())


def test_without_a_weight_the_decoder_is_left_alone():
    net = clustering_net(reconstruction_weight=0.0)
    losses = net.losses((torch.randn(5, 4, generator=generator(2)), torch.full((5, 3), 1 / 3)))
    assert "reconstruction_loss" not in losses
    losses["loss"].backward()
    assert all(p.grad is None for p in net.module_.encoder.decoder.parameters())
    assert all((p.grad != 0).any() for p in net.module_.encoder.encoder.parameters())
    assert (net.module_.centers.grad != 0).any()


def test_a_joint_loss_stands_in_for_the_reconstruction_and_sees_clean_images():
    calls = []

    def joint_loss(module, batch, generator):
        calls.append((module, batch, generator))
        return module.encode(batch).square().mean()

    net = clustering_net(joint_loss=joint_loss, augmentation=torch.neg)
    x = torch.randn(5, 4, generator=generator(2))
    losses = net.losses((x, torch.full((5, 3), 1 / 3)))
    ((module, batch, given),) = calls
    assert module is net.module_.encoder
    assert torch.equal(batch, x)
    assert isinstance(given, torch.Generator)
    expected = module.encode(x).square().mean().item()
    assert losses["reconstruction_loss"].item() == pytest.approx(expected)
    net.reconstruction_weight = 0.0
    net.losses((x, torch.full((5, 3), 1 / 3)))
    assert len(calls) == 1


def test_beside_a_joint_loss_the_clusters_see_augmented_images_of_any_size():
    net = clustering_net(joint_loss=lambda *_: torch.zeros(()))
    net.augmentation = lambda x: torch.cat([-x, x], dim=2)
    net.module_.encoder.encode = lambda x: x.mean(dim=(1, 2))[:, None] * torch.ones(2)
    x, p = torch.ones(5, 1, 3), torch.full((5, 3), 1 / 3)
    expected = clustering_loss(net.module_.assign(torch.zeros(5, 2)), p)
    assert net.losses((x, p))["clustering_loss"].item() == pytest.approx(expected.item())
    net.joint_loss = None
    with pytest.raises(ValueError, match="tensor of the shape of its input"):
        net.losses((x, p))


def test_augmented_images_are_what_is_embedded_and_reconstructed():
    x = torch.randn(5, 4, generator=generator(2))
    p = torch.full((5, 3), 1 / 3)
    augmented = clustering_net(augmentation=torch.neg).losses((x, p))
    negated = clustering_net().losses((-x, p))
    assert augmented["loss"].item() == pytest.approx(negated["loss"].item())


def test_rows_keep_their_targets_when_shuffled():
    array = np.arange(10.0).reshape(10, 1)
    loader = loader_for(
        Batches(array, 1.0, CPU),
        batch_size=3,
        n_passes=2,
        generator=generator(),
        target=lambda: torch.arange(10.0)[:, None] * 7,
    )
    for x, target in loader:
        assert torch.equal(target, x * 7)


# --- augmentation ---


def test_an_augmentation_is_given_the_generator_if_it_takes_one():
    given = generator()
    batch = torch.zeros(2, 3)

    def with_generator(batch, *, generator):
        assert generator is given
        return batch + 1

    assert torch.equal(call_augmentation(with_generator, batch, given), batch + 1)
    assert torch.equal(call_augmentation(lambda batch: batch + 2, batch, given), batch + 2)
    # A function of C, whose signature cannot be read.
    assert torch.equal(call_augmentation(torch.neg, batch, given), -batch)


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (lambda batch: batch[:-1], r"shape of its input, \(4, 4\); got .*\[?3, 4"),
        (lambda batch: batch.numpy(), "must return a tensor.*ndarray"),
        (lambda batch: None, "must return a tensor.*NoneType"),
        (lambda batch: batch.double(), "dtype torch.float32; got dtype torch.float64"),
        (lambda batch: batch * math.nan, "NaN or infinity"),
    ],
)
def test_an_augmentation_that_returns_something_else_is_a_clear_error(
    batches, augmentation, message
):
    net, loader = reconstruction_net(batches, augmentation=augmentation)
    with pytest.raises(ValueError, match=message):
        train(net, loader, description="", verbose=False)


# --- targets and stopping ---


def one_hot(labels):
    return torch.eye(3)[torch.as_tensor(labels)] * 0.8 + 0.2 / 3


def run(
    batches,
    labels,
    *,
    interval="epoch",
    tol=0.1,
    min_steps=0,
    max_epochs=10,
    kind="cosine",
    callbacks=(),
    start=None,
):
    """Train with assignments that follow a script, one entry per refresh; the last is repeated.

    Return the callback, the history, the number of refreshes and, for each batch, how many
    refreshes there had been.
    """
    script = itertools.chain(labels, itertools.repeat(labels[-1]))
    n_refreshes, seen, targets = [], [], []

    def assign(net):
        n_refreshes.append(net.module_.training)
        return one_hot(np.broadcast_to(next(script), N).copy())

    def target():
        seen.append(len(n_refreshes))
        targets.append(refresh.target)
        return refresh.target

    refresh = TargetRefresh(
        assign, interval=interval, tol=tol, min_steps=min_steps, start_labels=start
    )
    loader = loader_for(batches, batch_size=4, n_passes=1, generator=generator(), target=target)
    assert len(loader) == STEPS
    net = ClusteringNet(
        ClusteringModule(autoencoder(), torch.zeros(3, 2), 1.0, "euclidean"),
        gamma=0.1,
        reconstruction_weight=1.0,
        loss_names=["reconstruction_loss", "clustering_loss"],
        schedule=Schedule(kind, max_epochs * STEPS),
        generator=generator(),
        callbacks=[refresh, *callbacks],
        max_epochs=max_epochs,
        lr=1e-3,
        device=CPU,
    )
    train(net, loader, description="", verbose=False)
    history = epoch_history(net, {"loss": "train_loss", "label_change": "label_change"})
    assert not any(n_refreshes)  # never in training mode
    return types.SimpleNamespace(
        refresh=refresh,
        n_refreshes=len(n_refreshes),
        seen=seen,
        targets=targets,
        n_epochs=len(history["loss"]),
        **history,
    )


def changed(share):
    """Return labels of which this share differs from all zeros."""
    return [1] * round(share * N) + [0] * (N - round(share * N))


@pytest.mark.parametrize(
    ("labels", "n_epochs"),
    [
        # The labels of k-means, then those of each epoch; one more epoch ends the training.
        ([0, 0, 0], 3),
        ([0, 1, 1, 1], 4),
        ([0, 0, 1, 1, 1], 5),
        ([0, 0, changed(0.5), changed(0.5), changed(0.5)], 5),
        # A change smaller than tol counts as none, two in a row are needed.
        ([0, changed(1 / 12), 0], 3),
        ([0, 1, 1, 0, 0, 1, 1, 1], 8),
    ],
)
def test_training_ends_an_epoch_after_labels_held_in_two_refreshes(batches, labels, n_epochs):
    result = run(batches, labels)
    assert result.n_epochs == n_epochs
    assert result.refresh.settled


@pytest.mark.parametrize(("max_epochs", "n_led"), [(4, 2), (8, 4), (30, 10)])
def test_targets_leave_the_starting_clusters_by_and_by(batches, max_epochs, n_led):
    start = torch.tensor([2] * (N - 1) + [-1])
    result = run(batches, [0], max_epochs=max_epochs, tol=0.0, start=start)
    targets = torch.stack(result.targets[::STEPS])
    own = target_distribution(one_hot([0] * N))
    shares = (1 - torch.arange(max_epochs) / n_led).clamp_min(0)
    led = torch.eye(3)[2] * shares[:, None] + own[0] * (1 - shares[:, None])
    assert_close(targets[:, :-1], led[:, None].expand(-1, N - 1, -1))
    assert_close(targets[:, -1], own[:1].expand(max_epochs, -1))


def test_training_does_not_end_while_the_starting_clusters_lead(batches):
    result = run(batches, [0], start=torch.zeros(N, dtype=torch.int64))
    assert result.n_epochs == 6
    assert result.refresh.settled


def test_the_last_epoch_lets_the_learning_rate_fall_to_nearly_zero(batches):
    result = run(batches, [0, 0, 0])
    full = [(1 + math.cos(math.pi * (3 * epoch - 1) / 30)) / 2 * 1e-3 for epoch in (1, 2)]
    assert result.lr[:2] == pytest.approx(full)
    assert result.lr[2] < 0.3 * result.lr[1]


def test_a_change_of_exactly_tol_is_not_settled(batches):
    flipping = [0, *[changed(3 / 12), 0] * 6]
    result = run(batches, flipping, tol=3 / 12)
    assert result.n_epochs == 10
    assert not result.refresh.settled


def test_with_tol_0_the_schedule_runs_to_its_end(batches):
    result = run(batches, [0], tol=0.0)
    assert result.n_epochs == 10
    assert not result.refresh.settled
    assert result.label_change == [0.0] * 10


@pytest.mark.parametrize(("min_steps", "n_epochs"), [(6, 3), (7, 4), (12, 5), (100, 10)])
def test_labels_are_not_believed_before_a_number_of_steps(batches, min_steps, n_epochs):
    result = run(batches, [0], min_steps=min_steps)
    assert result.n_epochs == n_epochs
    assert result.refresh.settled == (n_epochs < 10)


@pytest.mark.parametrize(
    ("settles_at", "settled"),
    # The rate is a tenth of its start after 79.5 % of the epochs.
    [(7, True), (8, False), (9, False)],
)
def test_labels_that_hold_at_a_tiny_learning_rate_say_nothing(batches, settles_at, settled):
    labels = [epoch % 2 for epoch in range(settles_at - 1)]
    result = run(batches, [*labels, labels[-1]])
    assert result.refresh.settled == settled
    assert result.n_epochs == (settles_at + 1 if settled else 10)


def test_a_constant_rate_settles_and_decays_too(batches):
    result = run(batches, [0], kind="constant")
    assert result.n_epochs == 3
    assert result.lr[-1] < 0.3e-3


@pytest.mark.parametrize("interval", ["epoch", 1, 2, 3, 5, 100])
def test_targets_are_refreshed_at_the_interval_asked_for(batches, interval):
    result = run(batches, [0], interval=interval, tol=0.0, max_epochs=4)
    every = STEPS if interval == "epoch" else interval
    assert result.n_refreshes == 1 + 4 * STEPS // every
    # In between, batches see the targets of the last refresh.
    assert result.seen == [1 + step // every for step in range(4 * STEPS)]


def test_label_changes_are_those_of_the_last_refresh(batches):
    result = run(batches, [0, changed(0.5), changed(0.25), 1], max_epochs=3)
    assert result.label_change == pytest.approx([0.5, 0.25, 0.75])


def test_without_a_refresh_the_label_change_is_not_a_number(batches):
    result = run(batches, [0], interval=5, tol=0.0, max_epochs=2)
    assert math.isnan(result.label_change[0])
    assert result.label_change[1] == 0.0


def test_targets_sharpen_the_assignment_of_all_rows(batches):
    result = run(batches, [0, changed(0.5)], max_epochs=1)
    expected = target_distribution(one_hot(changed(0.5)))
    assert torch.equal(result.refresh.target, expected)


def test_targets_do_not_depend_on_the_rows_computed_at_once(batches, monkeypatch):
    start = torch.arange(N) % 3
    expected = run(batches, [0, changed(0.5)], max_epochs=2, start=start).targets
    monkeypatch.setattr(callbacks, "_BLOCK", 5)
    result = run(batches, [0, changed(0.5)], max_epochs=2, start=start).targets
    assert all(torch.equal(*both) for both in zip(result, expected, strict=True))


# --- callbacks, interrupts, failures ---


class Recorder(Callback):
    def __init__(self):
        self.events = []

    def on_epoch_end(self, net, **kwargs):
        self.events.append("epoch")

    def on_train_end(self, net, **kwargs):
        self.events.append("end")


class Interrupt(Callback):
    def __init__(self, when):
        self.when = when

    def notify(self, when):
        if when == self.when:
            raise KeyboardInterrupt

    def on_train_begin(self, net, **kwargs):
        self.notify("train_begin")

    def on_batch_begin(self, net, **kwargs):
        self.notify("batch_begin")

    def on_batch_end(self, net, **kwargs):
        self.notify("batch_end")

    def on_epoch_end(self, net, **kwargs):
        self.notify("epoch_end")


@pytest.mark.parametrize("when", ["train_begin", "batch_begin", "batch_end", "epoch_end"])
def test_an_interrupt_leaves_the_loop(batches, when):
    net, loader = reconstruction_net(batches, callbacks=[Interrupt(when)])
    with pytest.raises(KeyboardInterrupt):
        train(net, loader, description="", verbose=False)


def test_an_interrupt_within_a_step_leaves_the_loop(batches):
    def interrupted(batch):
        raise KeyboardInterrupt

    net, loader = reconstruction_net(batches, augmentation=interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(net, loader, description="", verbose=False)


def early_stopping():
    # Nothing improves by this much, so that the second epoch is the last.
    return EarlyStopping("train_loss", patience=1, threshold=0.9999, sink=lambda message: None)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)], ids=["before", "after"])
def test_early_stopping_ends_training_in_good_order(batches, order):
    recorder = Recorder()
    callbacks = [recorder, early_stopping()][order]
    net, loader = reconstruction_net(batches, max_epochs=50, callbacks=callbacks)
    train(net, loader, description="", verbose=False)
    n_epochs = len(epoch_history(net, {"loss": "train_loss"})["loss"])
    assert n_epochs == 2
    assert recorder.events == ["epoch"] * n_epochs + ["end"]


def test_early_stopping_ends_the_joint_phase_in_good_order(batches):
    result = run(batches, [0], tol=0.0, callbacks=[early_stopping()])
    assert result.n_epochs == 2
    assert len(result.label_change) == 2


def test_a_loss_that_becomes_nan_stops_at_once_and_names_the_remedy(batches):
    recorder = Recorder()
    net, loader = reconstruction_net(batches, lr=1e30, callbacks=[recorder])
    with pytest.raises(ValueError, match=r"NaN or infinite: lower the learning rate \(lr=1e\+30"):
        train(net, loader, description="", verbose=False)
    assert recorder.events == []


def test_history_has_one_float_per_epoch(batches):
    net, loader = reconstruction_net(batches, max_epochs=4)
    train(net, loader, description="", verbose=False)
    history = epoch_history(net, {"shown": "train_loss"})
    assert sorted(history) == ["lr", "shown"]
    assert all(len(values) == 4 for values in history.values())
    assert all(type(value) is float for values in history.values() for value in values)
    assert history["lr"] == [1e-2] * 4


def test_the_loss_of_an_epoch_is_the_mean_over_its_batches(batches):
    losses = []

    class Spy(Callback):
        def on_batch_end(self, net, *, loss, **kwargs):
            losses.append(loss.item())

    net, loader = reconstruction_net(batches, max_epochs=2, callbacks=[Spy()])
    train(net, loader, description="", verbose=False)
    history = epoch_history(net, {"loss": "train_loss"})
    expected = np.reshape(losses, (2, STEPS)).mean(axis=1)
    assert history["loss"] == pytest.approx(expected)


def test_training_leaves_the_global_generators_alone(batches, untouched_global_rng):
    net, loader = reconstruction_net(batches)
    train(net, loader, description="", verbose=False)


def test_progress_is_shown_only_when_asked_for(batches, capsys):
    for verbose in (False, True):
        net, loader = reconstruction_net(batches)
        train(net, loader, description="Some training", verbose=verbose)
        out, err = capsys.readouterr()
        assert not out
        assert ("Some training" in err) == verbose


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_attributes_as_they_were(error):
    thing = types.SimpleNamespace(kept=1, changed=2)

    def fail():
        with unchanged_on_failure(thing):
            thing.changed, thing.added = 3, 4
            del thing.kept
            raise error

    with pytest.raises(error):
        fail()
    assert vars(thing) == {"kept": 1, "changed": 2}


def test_success_keeps_what_was_set():
    thing = types.SimpleNamespace(changed=2)
    with unchanged_on_failure(thing):
        thing.changed, thing.added = 3, 4
    assert vars(thing) == {"changed": 3, "added": 4}
