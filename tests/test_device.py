"""The choice of the device, the source of randomness, and what leaves a GPU."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skdcec import ConvAutoencoder
from skdcec._nn import device
from skdcec._nn.batches import Batches, map_batches
from skdcec._nn.device import make_generator, resolve_device, resolve_precision
from skdcec._nn.nets import EmbeddingNet


def test_none_takes_a_gpu_where_there_is_one():
    is_mps = torch.backends.mps.is_available()
    expected = "cuda" if torch.cuda.is_available() else "mps" if is_mps else "cpu"
    assert resolve_device(None).type == expected


@pytest.mark.parametrize(("works", "expected"), [(True, "mps"), (False, "cpu")])
def test_none_takes_that_of_an_apple_where_it_works(works, expected, monkeypatch):
    # No such device is needed for that, as nothing is computed on it.
    error_of = device._error_of
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(
        device,
        "_error_of",
        lambda name: (None if works else RuntimeError()) if name == "mps" else error_of(name),
    )
    assert resolve_device(None) == torch.device(expected)
    assert resolve_precision(None, torch.device("mps")) == torch.float32
    with pytest.raises(ValueError, match="available: 'cpu' and 'mps', or None"):
        resolve_device("cuda:7")


@pytest.mark.parametrize("given", ["cpu", torch.device("cpu")], ids=repr)
def test_a_device_is_taken_by_name_or_as_it_is(given):
    assert resolve_device(given) == torch.device("cpu")


@pytest.mark.parametrize("given", ["cuda:99", "gpu", "", "cpu:x"])
def test_a_device_that_is_not_there_is_an_error_that_names_what_is(given):
    with pytest.raises(ValueError, match=rf"device='{given}' .*available: 'cpu'"):
        resolve_device(given)


@pytest.mark.parametrize("method", ["encoder", "clusterer"])
def test_fit_names_a_device_that_is_not_there(method, model, images):
    estimator = model if method == "clusterer" else clone(model.encoder)
    with pytest.raises(ValueError, match=r"device='cuda:99' cannot be used here"):
        estimator.set_params(device="cuda:99").fit(images)
    assert not any(name.endswith("_") for name in vars(estimator))


def test_where_training_ran_is_told(fitted):
    assert fitted.device_ == fitted.encoder_.device_
    assert torch.device(fitted.device_) == next(fitted.module_.parameters()).device


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_a_processor_that_has_bfloat16_trains_in_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_precision(None, torch.device("cpu")) == expected


def test_a_precision_that_was_asked_for_is_taken_on_any_processor():
    for name, expected in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items():
        assert resolve_precision(name, torch.device("cpu")) == expected


def test_a_reduced_precision_is_for_training_alone(model, images):
    model.set_params(n_init=1)
    exact = clone(model).set_params(encoder__precision="float32").fit(images)
    reduced = clone(model).set_params(encoder__precision="bfloat16").fit(images)
    for name, weight in reduced.module_.state_dict().items():
        assert weight.dtype == torch.float32, name
    for fitted in (exact, reduced):
        code = fitted.transform(images)
        assert code.dtype == np.float32
        # Seven more bits than bfloat16 has: embedding was not computed in it.
        rounded = torch.from_numpy(code).bfloat16().float().numpy()
        assert (rounded != code).any()
        np.testing.assert_array_equal(fitted.labels_, fitted.predict(images))
    losses = [fitted.encoder_.history_["loss"] for fitted in (exact, reduced)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)


def test_joint_training_has_the_precision_of_the_encoder(model, images):
    encoder = clone(model.encoder).set_params(random_state=0, precision="float32")
    frozen = FrozenEstimator(encoder.fit(images))
    exact = clone(model).set_params(encoder=frozen).fit(images)
    # The same pretrained network: only joint training can differ now.
    frozen.estimator.set_params(precision="bfloat16")
    reduced = clone(model).set_params(encoder=frozen).fit(images)
    losses = [fitted.history_["reconstruction_loss"] for fitted in (exact, reduced)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)


def test_generators_with_one_seed_agree_and_leave_the_global_one_alone(untouched_global_rng):
    first, again, other = (torch.rand(5, generator=make_generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.gpu
def test_fits_on_a_gpu_repeat_and_predict_their_labels(model, images):
    first = clone(model).set_params(device="cuda").fit(images)
    again = clone(model).set_params(device="cuda").fit(images)
    assert first.device_.startswith("cuda")
    np.testing.assert_array_equal(first.labels_, first.predict(images))
    np.testing.assert_array_equal(first.labels_, again.labels_)
    np.testing.assert_allclose(first.cluster_centers_, again.cluster_centers_, rtol=1e-4)


@pytest.mark.gpu
def test_a_gpu_gives_much_the_same_as_the_cpu(model, images):
    on_gpu = clone(model).set_params(device="cuda").fit(images)
    on_cpu = clone(model).set_params(device="cpu").fit(images)
    np.testing.assert_array_equal(on_gpu.labels_, on_cpu.labels_)
    np.testing.assert_allclose(on_gpu.transform(images), on_cpu.transform(images), atol=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("way", ["pickle", "save"])
def test_what_was_fitted_on_a_gpu_loads_where_there_is_none(way, model, images, tmp_path):
    model.set_params(device="cuda").fit(images)
    path = tmp_path / "model"
    if way == "pickle":
        path.write_bytes(pickle.dumps(model))
        load = "pickle.load(open(path, 'rb'))"
    else:
        model.save(path)
        load = "DeepConvEmbeddingClustering.load(path)"
    np.save(tmp_path / "images.npy", images)
    code = f"""
import pickle, numpy as np, torch
from skdcec import DeepConvEmbeddingClustering
path = {str(path)!r}
assert not torch.cuda.is_available()
model = {load}
assert model.device_ == "cpu", model.device_
print(*model.predict(np.load({str(tmp_path / "images.npy")!r})))
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.array(result.stdout.split(), int), model.labels_)


@pytest.mark.gpu
def test_large_and_small_data_are_moved_to_the_gpu_alike(images):
    encoder = ConvAutoencoder(4, filters=(4, 8), max_epochs=1, device="cuda", random_state=0)
    encoder.fit(images)
    # What lies on the GPU as a whole, and what is moved batch by batch.
    resident = encoder.transform(images)
    moved = encoder.transform(images.astype(np.float64))
    np.testing.assert_allclose(resident, moved, rtol=1e-5, atol=1e-5)


# What a device does that lacks memory or goes away: no such device is needed for that.


def failing(error, at_least):
    """Return what fails for as many rows."""
    seen = []

    def double(batch):
        seen.append(len(batch))
        if len(batch) >= at_least:
            raise error
        return 2 * batch

    return double, seen


FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)."),
]


@pytest.mark.parametrize("error", FULL, ids=["cuda", "mps"])
def test_inference_takes_smaller_batches_where_memory_ends(error):
    array = np.arange(46.0).reshape(23, 2)
    double, seen = failing(error, at_least=3)
    result = map_batches(double, Batches(array, 1.0, torch.device("cpu")), batch_size=10)
    np.testing.assert_array_equal(result.numpy(), 2 * array)
    # What failed is tried once, and not again for each batch.
    assert [n for n in seen if n > 2] == [10, 5]


@pytest.mark.parametrize("error", FULL, ids=["cuda", "mps"])
def test_too_little_memory_for_one_image_is_said_with_a_remedy(error):
    double, _ = failing(error, at_least=1)
    batches = Batches(np.ones((5, 2)), 1.0, torch.device("cpu"))
    with pytest.raises(MemoryError, match="device cpu has too little memory: one image") as raised:
        map_batches(double, batches)
    assert raised.value.__cause__ is error


def test_a_device_that_is_gone_is_named():
    gone = RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be")
    double, seen = failing(gone, at_least=1)
    batches = Batches(np.ones((5, 2)), 1.0, torch.device("cpu"))
    with pytest.raises(OSError, match=r"is gone \(CUDA error: unspecified launch failure\)"):
        map_batches(double, batches)
    assert seen == [5]


def test_errors_of_the_network_stay_what_they_are():
    double, _ = failing(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), at_least=1)
    with pytest.raises(RuntimeError, match="^mat1 and mat2"):
        map_batches(double, Batches(np.ones((5, 2)), 1.0, torch.device("cpu")))


def test_prediction_where_memory_ends_is_the_same(model, images):
    model.fit(images)
    labels, embedding = model.predict(images), model.transform(images)

    def hook(module, args):
        if len(args[0]) > 7:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    first = next(m for m in model.module_.modules() if isinstance(m, torch.nn.Conv2d))
    handle = first.register_forward_pre_hook(hook)
    np.testing.assert_array_equal(model.predict(images), labels)
    np.testing.assert_allclose(model.transform(images), embedding, rtol=1e-4, atol=1e-5)
    handle.remove()


@pytest.mark.parametrize(
    ("error", "expected", "told"),
    [
        (FULL[0], MemoryError, "set a smaller batch_size"),
        (RuntimeError("CUDA error: device lost"), OSError, "With memory, a training goes on"),
    ],
    ids=["full", "gone"],
)
def test_training_says_what_ends_it(model, images, monkeypatch, error, expected, told):
    def step(self, batch, **fit_params):
        raise error

    monkeypatch.setattr(EmbeddingNet, "train_step_single", step)
    with pytest.raises(expected, match=told) as raised:
        model.fit(images)
    assert raised.value.__cause__ is error
