"""Is of a mapped file in memory what is being read, and is it read as it is?"""

import mmap
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec import _maps as maps
from skdcec._encoders.cache import content_digest
from skdcec._encoders.images import natural_scale
from skdcec._encoders.recognition import check_finite_values
from skdcec._nn.batches import Batches, loader_for, map_batches, read_ahead

CPU = torch.device("cpu")
MIB = 2**20
STATUS = Path("/proc/self/status")

needs_proc = pytest.mark.skipif(
    not STATUS.exists() or not hasattr(mmap, "MADV_DONTNEED"), reason="needs Linux"
)


def file_memory():
    """Return the bytes of files that count as memory of this process."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssFile:"))
    return int(line.split()[1]) * 1024


@pytest.fixture
def mapped(tmp_path):
    """Return a function that maps an array of zeros, and of one value, in a sparse file."""

    def make(shape, dtype=np.uint8, mode="r"):
        path = tmp_path / "array.npy"
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        array[-1] = 1
        array.flush()
        del array
        return np.load(path, mmap_mode=mode)

    return make


class Peak:
    """The most memory of files while something is done, beyond that of before."""

    def __enter__(self):
        self.before = self.most = file_memory()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.done.wait(0.001):
            self.most = max(self.most, file_memory())

    def __exit__(self, *error):
        self.done.set()
        self.thread.join()
        self.bytes = self.most - self.before


def shuffled(array):
    loader = loader_for(
        Batches(array, 1.0, CPU),
        batch_size=256,
        n_passes=1,
        generator=torch.Generator().manual_seed(0),
    )
    for _ in loader:
        pass


PASSES = {
    "digest": content_digest,
    "scale": natural_scale,
    "check": check_finite_values,
    "embedding": lambda array: map_batches(lambda x: x[:, 0, 0, :1], Batches(array, 1.0, CPU)),
    "training": shuffled,
}


@needs_proc
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", PASSES)
def test_no_pass_over_a_file_holds_all_of_it(name, dtype, mapped):
    array = mapped((256 * MIB // 64**2 // np.dtype(dtype).itemsize, 64, 64, 1), dtype)
    # Without the file being written, it takes no room on the disk.
    with Peak() as peak:
        PASSES[name](array)
    assert peak.bytes < 130 * MIB


@needs_proc
def test_what_is_changed_in_memory_only_stays_changed(mapped):
    array = mapped((4096, 64, 64, 1), mode="c")
    array[0] = 7
    for function in PASSES.values():
        function(array)
    assert (array[0] == 7).all()


def test_arrays_in_files_are_told_from_others(mapped):
    array = mapped((10, 4, 3, 1))
    views = [array, array[2:5], array.reshape(10, -1), np.asarray(array)[::2], array.T]
    assert all(maps.mapping_of(view) is array._mmap for view in views)
    assert maps.mapping_of(np.array(array)) is None
    assert maps.mapping_of(np.load(array.filename, mmap_mode="c")) is None


@pytest.mark.parametrize("order", ["as it is", "channels first", "every other", "from a row on"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_batches_of_a_file_are_those_of_memory(order, dtype, tmp_path):
    path = tmp_path / "array.npy"
    values = np.random.default_rng(0).integers(0, 256, (2000, 8, 6, 3)).astype(dtype)
    np.save(path, values)
    view = {
        "as it is": lambda x: x,
        "channels first": lambda x: x.reshape(2000, 3, 8, 6).transpose(0, 2, 3, 1),
        "every other": lambda x: x[::2],
        "from a row on": lambda x: x[777:],
    }[order]
    batches = [Batches(view(x), 255.0, CPU) for x in (np.load(path, mmap_mode="r"), values)]
    targets = torch.arange(2000)
    read, expected = (
        list(
            loader_for(
                one,
                batch_size=64,
                n_passes=2,
                generator=torch.Generator().manual_seed(0),
                target=lambda: targets,
            )
        )
        for one in batches
    )
    assert batches[0].in_file
    assert not batches[1].in_file
    for (x, target), (expected_x, expected_target) in zip(read, expected, strict=True):
        assert torch.equal(x, expected_x)
        assert torch.equal(target, expected_target)


def test_a_fit_on_a_file_is_that_in_memory(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 1), dtype=np.uint8)
    np.save(tmp_path / "array.npy", values)
    encoder = ConvAutoencoder(2, filters=(4, 8), max_epochs=2, augmentation=lambda x: x.flip(3))
    model = DeepConvEmbeddingClustering(
        3, encoder=encoder, max_epochs=2, update_interval=3, n_init=1, random_state=0
    )
    expected = model.fit(values).transform(values)
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    np.testing.assert_array_equal(model.fit(mapped).transform(mapped), expected)


def test_parts_are_loaded_one_ahead_and_in_order():
    loaded, used = [], []
    for part in read_ahead(lambda part: loaded.append(part) or part, range(5)):
        used.append(part)
        assert len(loaded) <= len(used) + 1
    assert used == loaded == [*range(5)]


def test_what_fails_in_reading_fails_where_it_is_used():
    def load(part):
        return 1 // (2 - part)

    parts = read_ahead(load, range(5))
    assert [next(parts), next(parts)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(parts)
    assert not any(thread.name.startswith("skdcec-reader") for thread in threading.enumerate())


def test_readers_end_with_those_who_stop_asking():
    parts = read_ahead(lambda part: part, iter(int, 1))
    next(parts)
    parts.close()
    assert not any(thread.name.startswith("skdcec-reader") for thread in threading.enumerate())
