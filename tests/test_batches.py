"""How data reaches the device: conversion, order of batches, and memory that does not grow."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from skdcec._nn.batches import Batches, ShuffledLoader, map_batches, plan_batches

CPU = torch.device("cpu")
DTYPES = [bool, np.uint8, np.int16, np.int64, np.float16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("rows", [slice(1, 4), np.array([3, 0, 3])], ids=["slice", "index"])
def test_batches_are_scaled_float32_images_in_torch_order(dtype, rows):
    array = np.random.default_rng(0).integers(0, 100, size=(5, 3, 4, 2)).astype(dtype)
    batch = Batches(array, 7.0, CPU)[rows]
    assert batch.dtype == torch.float32
    assert batch.shape == (3, 2, 3, 4)
    expected = (array[rows].astype(np.float64) / 7).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(batch.numpy(), expected, rtol=1e-6)


def test_batches_of_vectors_stay_rows():
    array = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(Batches(array, 2.0, CPU)[1:3].numpy(), array[1:3] / 2)


def test_images_are_stored_channels_last():
    batch = Batches(np.zeros((5, 3, 4, 2), np.uint8), 255.0, CPU)[:]
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_bytes_fractions_and_floats_up_to_255_give_the_same_batch():
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    expected = Batches(pixels, 255.0, CPU)[:]
    for dtype in (np.float32, np.float64):
        same = Batches(pixels.astype(dtype), 255.0, CPU)[:]
        assert torch.equal(same, expected)
        same = Batches((pixels / 255).astype(dtype), 1.0, CPU)[:]
        assert torch.equal(same, expected)


def test_values_beyond_float32_are_divided_before_they_are_rounded():
    array = np.array([[1e300, -5e299]])
    np.testing.assert_allclose(Batches(array, 1e300, CPU)[:].numpy(), [[1, -0.5]])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_a_batch_is_never_the_users_memory(dtype):
    array = np.ones((4, 3), dtype=dtype)
    for rows in (slice(0, 4), np.arange(4)):
        Batches(array, 1.0, CPU)[rows].zero_()
    assert (array == 1).all()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_read_only_memory_mapped_and_reordered_arrays_are_read(tmp_path, dtype, order):
    array = np.asarray(np.arange(240).reshape(10, 4, 3, 2), dtype=dtype, order=order)
    np.save(tmp_path / "images.npy", array)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected = Batches(array.copy(), 255.0, CPU)[2:9]
    assert torch.equal(Batches(mapped, 255.0, CPU)[2:9], expected)
    flipped = np.ascontiguousarray(array[:, ::-1])[:, ::-1]
    assert torch.equal(Batches(flipped, 255.0, CPU)[2:9], expected)


@pytest.mark.parametrize("n_passes", [1, 3])
@pytest.mark.parametrize(
    ("n_samples", "batch_size"), [(1, 1), (1, 8), (10, 3), (12, 4), (13, 4), (257, 256), (7, 100)]
)
def test_a_pass_shows_every_row_once_in_batches_of_even_size(n_samples, batch_size, n_passes):
    loader = ShuffledLoader(
        n_samples, batch_size, n_passes, torch.Generator().manual_seed(0), lambda index: index
    )
    batches = list(loader)
    assert len(batches) == len(loader) == n_passes * math.ceil(n_samples / batch_size)
    sizes = [len(batch) for batch in batches]
    assert 1 <= min(sizes) <= max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    for one_pass in np.concatenate(batches).reshape(n_passes, n_samples):
        assert sorted(one_pass) == list(range(n_samples))


def test_the_order_changes_with_every_pass_and_comes_from_the_generator(untouched_global_rng):
    def orders(seed):
        generator = torch.Generator().manual_seed(seed)
        loader = ShuffledLoader(20, 7, 2, generator, lambda index: index)
        return [np.concatenate(list(loader)) for _ in range(2)]

    first, second = orders(0)
    passes = [*first.reshape(2, 20), *second.reshape(2, 20)]
    assert len({tuple(one_pass) for one_pass in passes}) == 4
    np.testing.assert_array_equal(orders(0), [first, second])
    assert not np.array_equal(orders(1)[0], first)


@pytest.mark.parametrize(("batch_size", "expected"), [(1, 1), (32, 32), (100, 100), (10**6, 100)])
def test_a_batch_size_that_is_set_is_obeyed(batch_size, expected):
    assert plan_batches(100, batch_size) == (expected, 1)


@pytest.mark.parametrize(
    "n_samples", [1, 2, 15, 17, 60, 100, 150, 200, 500, 1797, 10_000, 16_384, 10**6]
)
def test_auto_takes_steps_enough_for_few_images_and_large_batches_for_many(n_samples):
    batch_size, n_passes = plan_batches(n_samples, "auto")
    n_batches = math.ceil(n_samples / batch_size)
    n_steps = n_batches * n_passes
    assert 1 <= batch_size <= min(256, n_samples)
    # As close to 16 as whole passes come.
    assert n_steps >= 11
    assert n_passes == 1 or abs(n_steps - 16) <= n_batches / 2
    if n_samples >= 1024:
        assert n_steps >= 64
    if n_samples >= 16_384:
        assert (batch_size, n_passes) == (256, 1)


@pytest.mark.parametrize("batch_size", [None, 1, 3, 100])
def test_a_function_of_all_rows_does_not_depend_on_the_batches(batch_size):
    array = np.random.default_rng(0).normal(size=(10, 3))
    result = map_batches(lambda x: x.square().sum(dim=1), Batches(array, 1.0, CPU),
                         batch_size=batch_size)  # fmt: skip
    np.testing.assert_allclose(result.numpy(), np.square(array).sum(axis=1), rtol=1e-5)
    assert not result.requires_grad


def test_inference_keeps_no_gradients():
    layer = torch.nn.Linear(3, 2)
    result = map_batches(layer, Batches(np.zeros((4, 3)), 1.0, CPU))
    assert result.shape == (4, 2)
    assert not result.requires_grad
    assert torch.is_grad_enabled()


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    def peak(n):
        path = tmp_path / f"{n}.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (n, 200, 200, 1)).flush()
        mapped = np.load(path, mmap_mode="r")
        tracemalloc.start()
        try:
            map_batches(lambda x: x.mean(dim=(1, 2, 3)), Batches(mapped, 255.0, CPU))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Of what is read ahead, there may be one batch more or less.
    assert peak(8000) < 2 * peak(1000)
