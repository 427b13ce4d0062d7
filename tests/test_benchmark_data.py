"""The files that the benchmarks read are made from public ones."""

import bz2
import gzip
import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parent.parent / "benchmarks" / "make_data.py"


@pytest.fixture(scope="module")
def make_data():
    spec = importlib.util.spec_from_file_location("make_data", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def digits():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (6, 16, 16), dtype=np.uint8), np.array([0, 9, 3, 3, 1, 0])


def as_zip_text(x, y):
    lines = []
    for image, digit in zip(x, y, strict=True):
        grays = " ".join(f"{gray:.3f}" for gray in image.ravel() / 127.5 - 1)
        lines.append(f"{digit}.0000 {grays} \n")
    return "".join(lines).encode()


def as_libsvm(x, y):
    lines = []
    for image, digit in zip(x, y, strict=True):
        grays = [f"{i}:{gray:.6g}" for i, gray in enumerate(image.ravel() / 127.5 - 1, 1)]
        lines.append(f"{digit + 1} {' '.join(grays)}\n")
    return "".join(lines).encode()


def as_idx(array):
    return b"\0\0\x08" + struct.pack(f">B{array.ndim}I", array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("form", [as_zip_text, as_libsvm])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_usps_is_read_in_both_formats(make_data, digits, tmp_path, form, pack):
    x, y = digits
    (tmp_path / "train").write_bytes(pack(form(x[:4], y[:4])))
    (tmp_path / "test").write_bytes(pack(form(x[4:], y[4:])))
    images, labels = make_data.usps(tmp_path / "train", tmp_path / "test")
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(images, x)
    np.testing.assert_array_equal(labels, y)


def test_what_a_sparse_line_leaves_out_is_zero(make_data, tmp_path):
    (tmp_path / "usps").write_text("10 1:-1 256:1\n")
    images, labels = make_data.read_usps(tmp_path / "usps")
    assert labels == [9]
    assert images.ravel()[[0, 1, 255]].tolist() == [0, 128, 255]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_mnist_is_written_as_the_benchmarks_read_it(make_data, digits, tmp_path, pack):
    x, y = digits
    (tmp_path / "images").write_bytes(pack(as_idx(x)))
    (tmp_path / "labels").write_bytes(pack(as_idx(y.astype(np.uint8))))
    found = make_data.mnist_test(tmp_path / "images", tmp_path / "labels")
    counts = np.bincount(y, minlength=10).tolist()
    with np.load(make_data.write(tmp_path, "mnist_test", *found, counts)) as data:
        np.testing.assert_array_equal(data["x"], x)
        np.testing.assert_array_equal(data["y"], y)


def test_incomplete_files_are_refused(make_data, digits, tmp_path):
    x, y = digits
    with pytest.raises(ValueError, match="expected were"):
        make_data.write(tmp_path, "usps", x, y)
    assert not [*tmp_path.iterdir()]
    (tmp_path / "images").write_bytes(as_idx(x)[:-1])
    with pytest.raises(ValueError, match="1535 values instead of 1536"):
        make_data.read_idx(tmp_path / "images")
    (tmp_path / "zip.train").write_text("3 0.5 0.5\n")
    with pytest.raises(ValueError, match="line 1: 2 values"):
        make_data.read_usps(tmp_path / "zip.train")
