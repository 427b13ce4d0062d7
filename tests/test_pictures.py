"""What stands for pictures: taken everywhere, decoded ahead, and known again."""

import io
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from skdcec import ContrastiveEncoder, DeepConvEmbeddingClustering
from skdcec.datasets import ImageLoader, load_images, pictures
from skdcec.datasets.pictures import pictures_in
from skdcec.features import ColorEdgeFeatures, PretrainedFeatures, SideBySide, pretrained

HALF = (0.5, 0.5, 0.5)
WANTS = {"mean": HALF, "std": HALF, "size": 16, "resize": "crop"}


class Network(nn.Module):
    """Counts the images that it has seen."""

    n_seen = 0

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        type(self).n_seen += len(x)
        return self.maps(x)


class Column:
    """A column of Hugging Face datasets, which makes an image whenever it is asked for one."""

    def __init__(self, paths):
        self.paths = paths
        self.asked = []

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        self.asked.append(i)
        with Image.open(self.paths[i]) as image:
            image.load()
        return image


@pytest.fixture
def paths(tmp_path):
    random = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = []
    for i in range(7):
        pixels = random.integers(0, 256, (20 + 3 * i, 40 - 2 * i, 3)).astype(np.uint8)
        names.append(str(folder / f"{i}.png"))
        Image.fromarray(pixels).save(names[-1])
    return names


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(Network, "n_seen", 0)
    torch.manual_seed(0)
    return Network()


def contents(paths):
    return [Path(path).read_bytes() for path in paths]


FORMS = {
    "paths": list,
    "array": np.array,
    "bytes": contents,
    "bytearrays": lambda paths: [bytearray(content) for content in contents(paths)],
    "files": lambda paths: [io.BytesIO(content) for content in contents(paths)],
    "pictures": lambda paths: list(map(Column(paths).__getitem__, range(len(paths)))),
    "a column": Column,
    "a mixture": lambda paths: [paths[0], *contents(paths[1:])],
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same(form, paths, network):
    expected = PretrainedFeatures(network, **WANTS).fit(paths).transform(paths)
    found = PretrainedFeatures(network, **WANTS).fit_transform(FORMS[form](paths))
    np.testing.assert_array_equal(found, expected)
    loaded = ImageLoader(8).fit_transform(FORMS[form](paths))
    np.testing.assert_array_equal(loaded, load_images(paths, size=8).images)


@pytest.mark.parametrize("form", ["paths", "bytes", "files", "pictures"])
def test_one_is_a_collection_of_one(form, paths, network):
    features = PretrainedFeatures(network, **WANTS).fit(paths)
    (one,) = FORMS[form](paths[:1])
    np.testing.assert_array_equal(features.transform(one), features.transform(paths[:1]))


def test_what_load_images_returns_is_taken(paths, network):
    bunch = load_images(paths, size=16)
    features = PretrainedFeatures(network, **WANTS).fit(bunch)
    np.testing.assert_array_equal(features.transform(bunch), features.transform(bunch.images))
    np.testing.assert_array_equal(ImageLoader(16).transform(bunch), bunch.images)


def test_what_is_no_picture_stands_for_none(tmp_path):
    frame = pytest.importorskip("pandas").DataFrame({"a": ["x.png"]})
    for X in ([[1.0]], np.zeros((2, 3)), "table.csv", str(tmp_path), {}, [], None, 3, frame):
        assert pictures_in(X) is None


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("unit", [255, 1])
def test_fitted_models_take_them_in_the_units_of_their_images(channels, unit, paths):
    if channels == 1:
        for path in paths:
            Image.open(path).convert("L").save(path)
    images = load_images(paths, size=16).images[..., :channels]
    X = images if unit == 255 else images / 255
    model = ContrastiveEncoder(3, filters=(4, 8), max_epochs=1, random_state=0).fit(X)
    expected = model.transform(X)
    np.testing.assert_allclose(model.transform(paths), expected, atol=1e-4)
    described = ColorEdgeFeatures().fit(X)
    assert described.transform(paths).shape == described.transform(X).shape
    space = SideBySide([ColorEdgeFeatures()], n_components=3).fit(X)
    assert space.transform(contents(paths)).shape == (7, 3)


def test_channels_may_come_first(paths):
    images = load_images(paths, size=16).images.transpose(0, 3, 1, 2)
    model = ColorEdgeFeatures(data_format="channels_first").fit(images)
    np.testing.assert_allclose(model.transform(paths), model.transform(images), atol=1e-6)


def test_images_in_unknown_units_or_channels_are_not_compared_with_pictures(paths):
    random = np.random.default_rng(0)
    for X, said in ((random.random((5, 8, 8, 3)) * 16, "values up to"), (None, "images of 2")):
        images = random.random((5, 8, 8, 2)) if X is None else X
        model = ColorEdgeFeatures().fit(images)
        with pytest.raises(ValueError, match=said):
            model.transform(paths)


def test_pictures_come_by_chunks(paths, network, monkeypatch):
    monkeypatch.setattr(pretrained, "_CHUNK", 3)
    features = PretrainedFeatures(network, **WANTS).fit(paths)
    expected = np.concatenate([features.transform(path) for path in paths])
    column = Column(paths)
    alive = []
    decoded = pictures.Pictures.decoded

    def watched(self, bounds, *args, **kwargs):
        for chunk, pixels in decoded(self, bounds, *args, **kwargs):
            alive.append((chunk, max(column.asked) + 1))
            assert len(pixels) <= 3
            yield chunk, pixels

    monkeypatch.setattr(pictures.Pictures, "decoded", watched)
    np.testing.assert_allclose(features.transform(column), expected, atol=1e-6)
    # Never more than the next chunk is asked for ahead.
    assert alive == [((0, 3), 6), ((3, 6), 7), ((6, 7), 7)]


def test_what_cannot_be_used_is_named_before_or_after(paths, network, tmp_path):
    features = PretrainedFeatures(network, **WANTS).fit(paths)
    Network.n_seen = 0
    with pytest.raises(ValueError, match=r"2 picture.*X\[1\] = 'no\.png': does not exist, X\[2\]"):
        features.transform([paths[0], "no.png", "none.png"])
    assert Network.n_seen == 0
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"X\[1\] = '.*bad.png': not an image of a known format"):
        features.transform([paths[0], str(tmp_path / "bad.png")])
    for wrong, said in ((b"", "empty file"), (io.StringIO("text"), "open it in mode 'rb'")):
        with pytest.raises(ValueError, match=rf"X\[0\]: .*{said}"):
            features.transform(wrong)
    with pytest.raises(ValueError, match=r"X\[1\]: is a int, neither a file"):
        features.transform([contents(paths)[0], 3])


def test_bytes_name_no_files(paths):
    # What is uploaded must not choose what is read.
    with pytest.raises(ValueError, match="not an image"):
        ImageLoader(8).transform([os.fsencode(paths[0])])


def test_an_upload_that_is_large_is_not_in_memory(paths, monkeypatch):
    from skdcec.datasets import decode

    monkeypatch.setattr(decode, "_IN_MEMORY", 50)

    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 100) if size > 0 else 100)

    found = ImageLoader(8).transform([Slow(content) for content in contents(paths)])
    np.testing.assert_array_equal(found, load_images(paths, size=8).images)
    monkeypatch.setattr(decode, "MIN_BYTES", 100)
    with pytest.raises(ValueError, match="holds more than"):
        ImageLoader(8, max_pixels=1).transform([Slow(contents(paths)[0])])


def test_what_needs_a_process_of_its_own_may_be_an_upload(tmp_path):
    Image.new("RGB", (9, 9), "red").save(tmp_path / "a.tif", compression="tiff_lzw")
    content = (tmp_path / "a.tif").read_bytes()
    assert (ImageLoader(4).transform([content]) == [255, 0, 0]).all()


def test_pictures_are_turned_whether_they_are_open_or_not(tmp_path):
    image = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    loader = ImageLoader((10, 6))
    opened = Image.open(tmp_path / "turned.png")
    np.testing.assert_array_equal(
        loader.transform([opened]), loader.transform([tmp_path / "turned.png"])
    )
    assert opened.size == (10, 6)


def test_a_clusterer_says_in_fit_what_to_give(paths):
    with pytest.raises(ValueError, match=r"load_images\(X\)\.images"):
        DeepConvEmbeddingClustering(2).fit(paths)


# Kept


def test_features_of_files_are_kept_by_chunks(paths, network, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "_CHUNK", 2)
    memory = tmp_path / "memory"
    features = PretrainedFeatures(network, **WANTS, memory=memory).fit(paths)
    Network.n_seen = 0
    first = features.transform(paths[:6])
    assert len(list(memory.iterdir())) == 3
    with monkeypatch.context() as context:
        context.setattr(pictures, "opened_picture", None)
        np.testing.assert_array_equal(features.transform(paths[:6]), first)
    assert Network.n_seen == 6
    features.transform(paths)
    assert Network.n_seen == 7
    # A file that has changed is another.
    Image.new("RGB", (9, 9)).save(paths[0])
    os.utime(paths[0], ns=(1, 1))
    features.transform(paths)
    assert Network.n_seen == 9


@pytest.mark.parametrize("form", ["bytes", "pictures", "files"])
def test_what_is_in_no_file_is_known_by_its_pixels(form, paths, network, tmp_path):
    features = PretrainedFeatures(network, **WANTS, memory=tmp_path / "memory").fit(paths)
    expected = features.transform(FORMS[form](paths))
    Network.n_seen = 0
    np.testing.assert_array_equal(features.transform(FORMS[form](paths)), expected)
    assert Network.n_seen == 0


@pytest.mark.parametrize("change", [{"size": 12}, {"mean": (0.4, 0.5, 0.5)}, {"layer": "maps"}])
def test_other_ways_to_see_have_other_features(change, paths, network, tmp_path):
    PretrainedFeatures(network, **WANTS, memory=tmp_path / "memory").fit(paths).transform(paths)
    other = PretrainedFeatures(network, **{**WANTS, **change}, memory=tmp_path / "memory").fit(
        paths
    )
    Network.n_seen = 0
    other.transform(paths)
    assert Network.n_seen == 7


def test_a_folder_that_cannot_be_used_costs_a_warning(paths, network, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    features = PretrainedFeatures(network, **WANTS, memory=tmp_path / "file").fit(paths)
    with pytest.warns(UserWarning, match="cannot be used") as record:
        assert features.transform(paths).shape == (7, 4)
    assert len(record) == 1


def test_a_kill_loses_no_chunk(paths, tmp_path):
    script = textwrap.dedent(
        """
        import os, signal, sys, torch
        from skdcec.features import PretrainedFeatures, pretrained
        pretrained._CHUNK = 2
        class Network(torch.nn.Module):
            n_seen = 0
            def forward(self, x):
                Network.n_seen += len(x)
                if Network.n_seen > LIMIT:
                    os.kill(os.getpid(), signal.SIGKILL)
                return x
        half = (0.5, 0.5, 0.5)
        LIMIT = int(sys.argv[1])
        features = PretrainedFeatures(
            Network(), mean=half, std=half, size=16, resize="crop", memory=sys.argv[2]
        ).fit(sys.argv[3:])
        features.transform(sys.argv[3:])
        print(Network.n_seen)
        """
    )

    def run(limit):
        command = [sys.executable, "-c", script, str(limit), str(tmp_path / "memory"), *paths]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    # One is seen in fit, and four of seven are kept.
    assert run(5).returncode == -signal.SIGKILL
    assert run(99).stdout == "4\n"
