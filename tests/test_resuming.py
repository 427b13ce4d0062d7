"""Interrupted trainings: the same fit goes on, to the same result, and leaves nothing over."""

import copy
import os
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback, EarlyStopping

import skdcec
from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec._clusterers.unfinished import joint_checkpoint
from skdcec._nn import checkpoints, distributed
from skdcec._nn.batches import Batches
from skdcec._nn.checkpoints import Checkpoint, kept_until_stored
from skdcec.augmentation import RandomFlip
from skdcec.model_selection import NClustersSearch

STEPS = 16  # per epoch, of sixty images


class StopAt(Callback):
    """Press Ctrl-C in one step of a process, and count them; for all copies of it."""

    n_steps = 0

    def __init__(self, step=None, error=KeyboardInterrupt):
        self.step = step
        self.error = error

    def on_batch_end(self, net, **kwargs):
        StopAt.n_steps += 1
        if StopAt.n_steps == self.step:
            raise self.error


def stop_at(step=None, error=KeyboardInterrupt):
    """Return such a callback, and begin to count."""
    StopAt.n_steps = 0
    return StopAt(step, error)


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    monkeypatch.setattr(checkpoints, "INTERVAL", 0.0)
    monkeypatch.setattr(checkpoints, "MAX_SHARE", np.inf)


@pytest.fixture
def memory(tmp_path):
    return tmp_path / "memory"


ENCODERS = {
    "conv": lambda: ConvAutoencoder(4, filters=(4, 8), max_epochs=3, augmentation=RandomFlip()),
    "contrastive": lambda: ContrastiveEncoder(4, filters=(4, 8), max_epochs=3),
    "dense": lambda: DenseAutoencoder(4, hidden_layer_sizes=(8,), max_epochs=3),
}


def clusterer(kind="conv", **params):
    cls = DeepEmbeddingClustering if kind == "dense" else DeepConvEmbeddingClustering
    params = {"max_epochs": 3, "n_init": 2, "random_state": 0, "gamma": 0.1, **params}
    return cls(3, encoder=ENCODERS[kind](), **params)


def data_for(kind, images):
    return images.reshape(len(images), -1).astype(np.float32) if kind == "dense" else images


def unfinished(folder):
    return sorted(path for path in folder.rglob("*") if "unfinished" in path.name)


def interrupt(model, X, phase, step, error=KeyboardInterrupt):
    name = "callbacks" if phase == "joint" else "encoder__callbacks"
    with pytest.raises(error):
        clone(model).set_params(**{name: [stop_at(step, error)]}).fit(X)


def check_equal(model, expected):
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    for one, other in [(model, expected), (model.encoder_, expected.encoder_)]:
        assert one.n_iter_ == other.n_iter_
        np.testing.assert_equal(one.history_, other.history_)
        for name, tensor in one.module_.state_dict().items():
            assert torch.equal(tensor, other.module_.state_dict()[name])
    assert model.converged_ == expected.converged_


# --- going on ---


@pytest.mark.parametrize("phase", ["pretraining", "joint"])
@pytest.mark.parametrize(
    ("kind", "step"),
    [
        # The first step, within a pass, the first of a pass and of an epoch, the last.
        *(("conv", step) for step in (1, 7, 9, 2 * STEPS + 1, 3 * STEPS)),
        *((kind, step) for kind in ("contrastive", "dense") for step in (STEPS, 2 * STEPS + 6)),
    ],
)
def test_an_interrupted_fit_goes_on_to_the_same_result(kind, phase, step, images, memory):
    X = data_for(kind, images)
    expected = fit_once(kind, images)
    model = clusterer(kind, memory=memory)
    interrupt(model, X, phase, step)
    assert len(unfinished(memory)) == 1
    check_equal(count_steps(model, X), expected)
    # The step that was interrupted is done again, those before it are not.
    assert StopAt.n_steps == 3 * STEPS * (1 + (phase == "pretraining")) - (step - 1)
    assert unfinished(memory) == []


def count_steps(model, X):
    return model.set_params(callbacks=[stop_at()], encoder__callbacks=[stop_at()]).fit(X)


_fitted = {}


def fit_once(kind, images):
    if kind not in _fitted:
        _fitted[kind] = clusterer(kind).fit(data_for(kind, images))
    return _fitted[kind]


def test_it_may_be_interrupted_again_and_again(images, memory):
    model = clusterer(memory=memory)
    for phase in ("pretraining", "joint"):
        for _ in range(3 * STEPS // 10):
            interrupt(model, images, phase, 10)
    check_equal(model.fit(images), fit_once("conv", images))
    assert unfinished(memory) == []


@pytest.mark.parametrize(
    "params",
    [
        {"update_interval": 5},
        {"tol": 0.9, "max_epochs": 30},
        {"init": "k-means", "lr_schedule": "constant"},
        {"reconstruction_weight": 0.0, "batch_size": 7},
    ],
    ids=lambda params: next(iter(params)),
)
@pytest.mark.parametrize("step", [3, 45])
def test_targets_stop_rule_and_schedule_go_on(params, step, images, memory):
    params = {"max_epochs": 8, **params}
    expected = clusterer(**params).fit(images)
    model = clusterer(memory=memory, **params)
    interrupt(model, images, "joint", step)
    check_equal(model.fit(images), expected)


def test_the_learning_rate_falls_at_the_end_as_it_would_have(images, memory):
    params = {"tol": 0.9, "max_epochs": 30}
    expected = clusterer(**params).fit(images)
    assert expected.converged_
    clusterer(callbacks=[stop_at()], **params).fit(images)
    n_steps = StopAt.n_steps
    for step in (n_steps - STEPS - 1, n_steps - STEPS + 1, n_steps):
        model = clusterer(memory=memory, **params)
        interrupt(model, images, "joint", step)
        check_equal(model.fit(images), expected)


@pytest.mark.parametrize(
    "make_memory",
    [str, Path, lambda path: joblib.Memory(path, verbose=0)],
    ids=["str", "Path", "Memory"],
)
def test_every_form_of_memory_keeps_it(make_memory, images, memory):
    model = clusterer(memory=make_memory(memory))
    for phase in ("pretraining", "joint"):
        interrupt(model, images, phase, 20)
        assert len(unfinished(memory)) == 1
    check_equal(model.fit(images), fit_once("conv", images))
    assert unfinished(memory) == []


def test_behind_a_frozen_encoder_the_joint_phase_goes_on(images, memory):
    encoder = FrozenEstimator(ENCODERS["conv"]().set_params(random_state=0).fit(images))
    model = clusterer().set_params(encoder=encoder)
    expected = clone(model).fit(images)
    model.set_params(memory=memory)
    interrupt(model, images, "joint", 20)
    np.testing.assert_array_equal(model.fit(images).labels_, expected.labels_)
    assert unfinished(memory) == []


def test_other_errors_of_the_machine_leave_a_checkpoint_too(images, memory):
    model = clusterer(memory=memory)
    interrupt(model, images, "joint", 20, error=MemoryError)
    assert len(unfinished(memory)) == 1


def test_what_would_fail_again_leaves_none(images, memory):
    model = clusterer(memory=memory, lr=1e30, lr_schedule="constant")
    with pytest.raises(ValueError, match="lower the learning rate"):
        model.fit(images)
    assert unfinished(memory) == []


def test_early_stopping_and_callbacks_with_a_state_go_on(images, memory):
    def callbacks():
        stop = EarlyStopping(
            "train_loss", patience=2, threshold=0.9999, load_best=True, sink=lambda text: None
        )
        return [("stop", stop), ("own", Adding())]

    expected = clusterer(max_epochs=30, callbacks=callbacks()).fit(images)
    assert expected.n_iter_ == 3
    model = clusterer(max_epochs=30, memory=memory)
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=[*callbacks(), stop_at(2 * STEPS + 3)]).fit(images)
    own = callbacks()
    check_equal(model.set_params(callbacks=own).fit(images), expected)
    assert own[1][1].total_ == 3 * STEPS


class Adding(Callback):
    """Keeps what it has seen, as callbacks with a state can."""

    def on_train_begin(self, net, **kwargs):
        self.total_ = 0

    def on_batch_end(self, net, **kwargs):
        self.total_ += 1

    def state_dict(self):
        return {"total": self.total_}

    def load_state_dict(self, state):
        self.total_ = state["total"]


def test_the_bar_begins_where_the_training_goes_on(images, memory, capsys):
    model = clusterer(memory=memory)
    interrupt(model, images, "joint", 2 * STEPS + 1)
    capsys.readouterr()
    model.set_params(verbose=1).fit(images)
    # Of the three passes, only the last was still to be done.
    *_, last = capsys.readouterr().err.split("\r")
    assert "100%" in last
    assert "epoch=3/3" in last


# --- when ---


def test_short_trainings_and_those_without_memory_or_seed_write_nothing(
    images, memory, monkeypatch
):
    written = []
    monkeypatch.setattr(Checkpoint, "write", lambda self, state: written.append(self.path))
    clusterer().fit(images)
    encoder = FrozenEstimator(fit_once("conv", images).encoder_)
    clusterer(memory=memory, random_state=None).set_params(encoder=encoder).fit(images)
    assert written == []
    monkeypatch.setattr(checkpoints, "INTERVAL", 30.0)
    clusterer(memory=memory).fit(images)
    assert written == []


def test_checkpoints_take_a_small_share_of_the_time(memory, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(checkpoints, "INTERVAL", 30.0)
    monkeypatch.setattr(checkpoints, "MAX_SHARE", 0.02)
    checkpoint = Checkpoint(memory, "key")

    def write(path, parts, **kwargs):
        clock[0] += 3.0

    monkeypatch.setattr(checkpoints, "write_bytes", write)
    for seconds, is_due in [(29, False), (2, True)]:
        clock[0] += seconds
        assert checkpoint.is_due == is_due
    checkpoint.write({})
    for seconds, is_due in [(149, False), (2, True)]:
        clock[0] += seconds
        assert checkpoint.is_due == is_due


# --- what is not the same ---


@pytest.mark.parametrize(
    "params",
    [
        {"random_state": 1},
        {"n_clusters": 4},
        {"gamma": 0.2},
        {"alpha": 2.0},
        {"lr": 1e-4},
        {"max_epochs": 4},
        {"batch_size": 20},
        {"init": "k-means"},
        {"tol": 0.5},
        {"update_interval": 3},
    ],
    ids=lambda params: next(iter(params)),
)
def test_another_joint_phase_has_a_checkpoint_of_its_own(params, images, memory):
    fitted = copy.copy(fit_once("conv", images)).set_params(memory=memory)

    def batches_of(images):
        return Batches(fitted._checked(images), fitted.scale_, torch.device("cpu"))

    batches = batches_of(images)

    def path(model, seed=1, batches=batches):
        return joint_checkpoint(model, batches, seed).path

    assert path(copy.copy(fitted)) == path(fitted)
    assert path(copy.copy(fitted).set_params(verbose=1, callbacks=[stop_at()])) == path(fitted)
    assert path(copy.copy(fitted).set_params(**params)) != path(fitted)
    assert path(fitted, seed=2) != path(fitted)
    assert path(fitted, batches=batches_of(images[1:])) != path(fitted)
    other = copy.copy(fitted)
    other.encoder_ = clone(fitted.encoder_).set_params(random_state=5).fit(images)
    assert path(other) != path(fitted)


def test_other_data_do_not_go_on_from_it(images, memory):
    for phase in ("pretraining", "joint"):
        interrupt(clusterer(memory=memory), images, phase, 20)
    other = images.copy()
    other[0] = other[1]
    check_equal(clusterer(memory=memory).fit(other), clusterer().fit(other))


@pytest.mark.parametrize("phase", ["pretraining", "joint"])
def test_watching_makes_no_other_training(phase, images, memory):
    model = clusterer(memory=memory)
    interrupt(model, images, phase, 20)
    count_steps(model.set_params(verbose=0, device="cpu"), images)
    assert StopAt.n_steps == 3 * STEPS * (1 + (phase == "pretraining")) - 19


# --- trouble ---


def fit_with_one_warning(model, X, match):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    assert match in text
    assert "\n" not in text
    return text


DAMAGES = {
    "cut short": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "random": lambda content: os.urandom(len(content)),
    "a weight": lambda content: content[:-9000] + bytes([content[-9000] ^ 1]) + content[-8999:],
    "the last byte": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "the header": lambda content: content.replace(b'threads\\": ', b'threads\\":1', 1),
    "longer": lambda content: content + b"0",
}


@pytest.mark.parametrize(
    ("damage", "phase"),
    [*((name, "joint") for name in DAMAGES), ("cut short", "pretraining")],
)
def test_a_damaged_checkpoint_costs_a_warning_and_a_new_beginning(damage, phase, images, memory):
    model = clusterer(memory=memory)
    interrupt(model, images, phase, 20)
    (path,) = unfinished(memory)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    fit_with_one_warning(model, images, "is damaged, and begins anew")
    check_equal(model, fit_once("conv", images))
    assert unfinished(memory) == []


def test_bytes_changed_anywhere_are_never_another_result(images, memory):
    model = clusterer(memory=memory)
    interrupt(model, images, "joint", 20)
    (path,) = unfinished(memory)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    state = Checkpoint.read(checkpoint_at(path))
    for _ in range(200):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] ^= 1 << random.integers(8)
        path.write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = Checkpoint.read(checkpoint_at(path))
        # A digit in the header that is also right, such as a space, changes nothing.
        assert found is None or repr(found) == repr(state)


def checkpoint_at(path):
    checkpoint = Checkpoint(path.parent, "")
    checkpoint.path = path
    checkpoint._digest = path.stem.removeprefix("skdcec-unfinished-")
    return checkpoint


def test_a_checkpoint_of_something_else_is_not_used(images, memory):
    model = clusterer(memory=memory)
    interrupt(model, images, "joint", 20)
    (path,) = unfinished(memory)
    content = path.read_bytes()
    path.unlink()
    interrupt(clone(model).set_params(gamma=0.5), images, "joint", 20)
    (other,) = unfinished(memory)
    other.write_bytes(content)
    model.set_params(gamma=0.5)
    fit_with_one_warning(model, images, "is that of something else, and begins anew")
    check_equal(model, clusterer(gamma=0.5).fit(images))


def test_another_version_begins_anew(images, memory, monkeypatch):
    model = clusterer(memory=memory)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "versions", lambda: {"skdcec": "0.0.1", "torch": "2.0"})
        interrupt(model, images, "joint", 20)
    text = fit_with_one_warning(model, images, "left by other versions")
    assert "skdcec 0.0.1, torch 2.0" in text
    check_equal(model, fit_once("conv", images))


@pytest.mark.parametrize(
    ("module", "number", "value", "message"),
    [
        (torch, "get_num_threads", 7, "begun with 7 threads and goes on with 1"),
        (distributed, "n_ranks", 3, "begun by 3 processes and goes on in 1:"),
    ],
)
def test_another_number_of_threads_or_processes_goes_on_and_says_so(
    module, number, value, message, images, memory, monkeypatch
):
    model = clusterer(memory=memory)
    with monkeypatch.context() as patch:
        patch.setattr(module, number, lambda: value)
        interrupt(model, images, "joint", 20)
    model.set_params(callbacks=[stop_at()])
    fit_with_one_warning(model, images, message)
    assert StopAt.n_steps == 3 * STEPS - 19


@pytest.mark.parametrize("frozen", [False, True])
def test_a_memory_that_cannot_be_written_costs_one_warning(frozen, images, tmp_path):
    (tmp_path / "file").write_text("in the way")
    model = clusterer(memory=tmp_path / "file" / "memory")
    if frozen:
        model.set_params(encoder=FrozenEstimator(fit_once("conv", images).encoder_))
    fit_with_one_warning(model, images, "memory=")
    np.testing.assert_array_equal(model.labels_, fit_once("conv", images).labels_)


def test_a_full_disk_costs_one_warning(images, memory, monkeypatch):
    def full(path, parts, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_bytes", full)
    model = clusterer(memory=memory)
    text = fit_with_one_warning(model, images, "No unfinished training can be kept in memory=")
    assert "No space left on device" in text
    check_equal(model, fit_once("conv", images))


def test_the_last_checkpoint_survives_a_disk_that_is_full_later(images, memory):
    checkpoint = Checkpoint(memory, "key")
    checkpoint.write({"step": 1})
    with pytest.warns(UserWarning, match="cannot|can be kept"):
        checkpoint.write({"step": object()})
    assert Checkpoint(memory, "key").read() == {"step": 1}


def test_a_folder_in_the_place_of_a_checkpoint_costs_one_warning(images, memory):
    model = clusterer(memory=memory)
    interrupt(model, images, "joint", 20)
    (path,) = unfinished(memory)
    path.unlink()
    path.mkdir()
    fit_with_one_warning(model, images, "memory=")


def test_an_augmentation_that_cannot_be_compared_is_said_once(images, memory):
    model = clusterer(memory=memory).set_params(encoder__augmentation=lambda batch: batch)
    fit_with_one_warning(model, images, "The pretraining is not cached")
    assert unfinished(memory) == []


class Own(BaseEstimator):
    """An encoder of a user, which cannot be compared with others."""

    def __init__(self, inner=None, option=None):
        self.inner = inner
        self.option = option

    def fit(self, X, y=None):
        raise AssertionError("It is frozen.")

    def transform(self, X):
        return self.inner.transform(X)

    def __sklearn_is_fitted__(self):
        return True


def test_a_frozen_encoder_that_cannot_be_compared_is_said(images, memory):
    own = Own(option=object())
    own.inner = fit_once("conv", images).encoder_
    own.module_, own.scale_ = own.inner.module_, own.inner.scale_
    own.image_shape_, own.inner = own.inner.image_shape_, None
    model = clusterer(memory=memory).set_params(encoder=FrozenEstimator(own))
    fit_with_one_warning(model, images, "An interrupted joint phase begins anew: ")


def test_what_a_killed_writer_left_is_taken_away(images, memory):
    model = clusterer(memory=memory)
    interrupt(model, images, "joint", 20)
    (path,) = unfinished(memory)
    part = memory / f".{path.stem}-0123.partial"
    part.write_bytes(b"half")
    model.fit(images)
    assert unfinished(memory) == []


def test_checkpoints_hold_no_code(images, memory):
    interrupt(clusterer(memory=memory), images, "joint", 20)
    (path,) = unfinished(memory)
    assert b"pickle" not in path.read_bytes()
    tensors = pytest.importorskip("safetensors.torch").load_file(path)
    assert "state.module.centers" in tensors


# --- until the result is stored ---


def test_a_training_is_kept_until_its_result_is_stored(images, memory):
    model = clusterer(memory=memory)
    with pytest.raises(OSError, match="not stored"):
        fit_without_storing(clone(model), images)
    assert len(unfinished(memory)) == 1
    with kept_until_stored():
        count_steps(model, images)
        assert len(unfinished(memory)) == 1
    assert StopAt.n_steps == 1
    assert unfinished(memory) == []
    check_equal(model, fit_once("conv", images))


def fit_without_storing(model, X):
    with kept_until_stored():
        model.fit(X)
        raise OSError("not stored")


def test_a_pretraining_is_kept_until_it_is_in_the_cache(images, memory, monkeypatch):
    model = clusterer(memory=memory)
    with monkeypatch.context() as patch:
        patch.setattr("skdcec._encoders.cache._persistence.as_bytes", stop)
        with pytest.raises(KeyboardInterrupt):
            model.fit(images)
    assert len(unfinished(memory)) == 1
    check_equal(count_steps(model, images), fit_once("conv", images))
    assert StopAt.n_steps == 1 + 3 * STEPS


def stop(*args, **kwargs):
    raise KeyboardInterrupt


# --- a search ---


@pytest.mark.parametrize("phase", ["pretraining", "joint"])
def test_a_search_goes_on_within_a_training(phase, images, memory):
    name = "callbacks" if phase == "joint" else "encoder__callbacks"

    def search(callback, **params):
        model = clusterer().set_params(**{name: [callback]})
        return NClustersSearch(model, [2, 3], screen=None, **params)

    expected = search(stop_at()).fit(images)
    with pytest.raises(KeyboardInterrupt):
        search(stop_at(20), memory=memory).fit(images)
    assert len(unfinished(memory)) == 1
    found = search(stop_at(), memory=memory).fit(images)
    # The second of two numbers was not begun.
    assert StopAt.n_steps == 3 * STEPS * (1 + (phase == "joint")) - 19
    for k in (2, 3):
        np.testing.assert_array_equal(found.labels_of_[k], expected.labels_of_[k])
    assert found.best_estimator_.memory is None
    assert unfinished(memory) == []


# --- killed processes ---

_FIT = """
import os, signal, sys
import numpy as np
from skorch.callbacks import Callback
from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec._nn import checkpoints, distributed
checkpoints.INTERVAL = 0.0
checkpoints.MAX_SHARE = float("inf")
data, memory, phase, step = sys.argv[1:]
class Kill(Callback):
    n_steps = 0
    def on_batch_end(self, net, **kwargs):
        self.n_steps += 1
        if self.n_steps == int(step):
            os.kill(os.getpid(), signal.SIGKILL)
encoder = ConvAutoencoder(4, filters=(4, 8), max_epochs=2)
model = DeepConvEmbeddingClustering(
    3, encoder=encoder, max_epochs=2, n_init=2, random_state=0, memory=memory)
model.set_params(**{"callbacks" if phase == "joint" else "encoder__callbacks": [Kill()]})
np.save(data + f".{phase}.npy", model.fit_predict(np.load(data)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_killed_process_loses_one_step(images, tmp_path):
    data, memory = str(tmp_path / "images.npy"), tmp_path / "memory"
    np.save(data, images)
    path = str(Path(skdcec.__file__).parents[1])

    def run(phase, step):
        command = [sys.executable, "-c", _FIT, data, str(memory), phase, str(step)]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode

    for phase in ("pretraining", "joint"):
        assert run(phase, STEPS + 5) < 0
        assert len(unfinished(memory)) == 1
    # It does not come to its twentieth step, since fourteen are left.
    assert run("joint", 20) == 0
    model = DeepConvEmbeddingClustering(
        3,
        encoder=ConvAutoencoder(4, filters=(4, 8), max_epochs=2),
        max_epochs=2,
        n_init=2,
        random_state=0,
    )
    np.testing.assert_array_equal(np.load(data + ".joint.npy"), model.fit_predict(images))
    assert unfinished(memory) == []
