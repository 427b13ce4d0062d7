"""Files as systems present them: shares, roots, folders in the place of files, odd names."""

import errno
import io
import os
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering, DenseAutoencoder, _files
from skdcec._cli.console import describe
from skdcec._folders import claim, staged
from skdcec._runs import default_out, load_model
from skdcec.datasets import load_images
from skdcec.novelty import NoveltyDetector

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")


def paint(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(path, "PNG")


@pytest.fixture
def share(monkeypatch):
    """A file system that numbers nothing, as some network shares."""
    stat = os.stat

    def without_number(path, *args, **kwargs):
        status = stat(path, *args, **kwargs)
        return os.stat_result((status.st_mode, 0, 7, *status[3:]))

    monkeypatch.setattr(os, "stat", without_number)


@posix
def test_all_folders_of_a_share_are_read_and_each_once(tmp_path, share):
    for name in ("a/1.png", "a/b/2.png", "c/3.png", "4.png"):
        paint(tmp_path / "pictures" / name)
    paint(tmp_path / "elsewhere/5.png")
    (tmp_path / "pictures/a/loop").symlink_to(tmp_path / "pictures")
    (tmp_path / "pictures/a/b/up").symlink_to("..")
    (tmp_path / "pictures/linked").symlink_to(tmp_path / "elsewhere")
    expected = ["4.png", "a/1.png", "a/b/2.png", "c/3.png", "linked/5.png"]
    assert load_images(tmp_path / "pictures", size=8).paths.tolist() == expected
    pattern = f"{tmp_path}/pictures/**/*.png"
    assert load_images(pattern, size=8).paths.tolist() == expected
    cache = tmp_path / "pictures/c"
    assert "c/3.png" not in load_images(tmp_path / "pictures", size=8, cache=cache).paths


def test_files_of_a_share_are_told_apart(tmp_path, share):
    for name in ("1.png", "2.png", "about.csv"):
        paint(tmp_path / name)
    assert _files.identity(tmp_path / "1.png") != _files.identity(tmp_path / "2.png")
    (tmp_path / "x").mkdir()
    assert _files.identity(tmp_path / "1.png") == _files.identity(tmp_path / "x/../1.png")
    (tmp_path / "about.csv").write_text("file,n\n1.png,1\n2.png,2\n")
    bunch = load_images(tmp_path, size=8, metadata=tmp_path / "about.csv")
    assert bunch.paths.tolist() == ["1.png", "2.png"]
    assert bunch.skipped == []


@posix
def test_the_table_among_the_images_is_known_by_any_way_to_it(tmp_path):
    paint(tmp_path / "pictures/1.png")
    (tmp_path / "pictures/about.csv").write_text("file,n\n1.png,1\n")
    (tmp_path / "alias").symlink_to(tmp_path / "pictures")
    bunch = load_images(tmp_path / "alias", size=8, metadata=tmp_path / "pictures/about.csv")
    assert bunch.skipped == []
    assert bunch.metadata["n"].tolist() == ["1"]


def test_a_folder_whose_kind_cannot_be_told_ends_nothing(tmp_path, monkeypatch):
    paint(tmp_path / "1.png")
    paint(tmp_path / "2.png")
    scandir = os.scandir

    class Entry:
        def __init__(self, entry):
            self.name, self.path = entry.name, entry.path

        def is_dir(self):
            if self.name == "2.png":
                raise PermissionError(errno.EACCES, "Permission denied", self.path)
            return False

        def stat(self):
            self.is_dir()
            return os.stat(self.path)

    class Scan(list):
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, "scandir", lambda path: Scan(map(Entry, scandir(path))))
    with pytest.warns(UserWarning, match="'2.png' .cannot be read: Permission denied"):
        assert load_images(tmp_path, size=8).paths.tolist() == ["1.png"]


@pytest.mark.parametrize(
    "cls", [DeepConvEmbeddingClustering, ConvAutoencoder, DenseAutoencoder, NoveltyDetector]
)
def test_a_folder_or_nothing_is_no_model(tmp_path, cls):
    with pytest.raises(IsADirectoryError, match="is a folder; a file that save wrote is needed"):
        cls.load(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(IsADirectoryError, match="its model is '.*model.safetensors'"):
        cls.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist; a file that save wrote"):
        cls.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_model(tmp_path / "none")
    for wrong in (None, 3, b"model.safetensors", io.BytesIO()):
        with pytest.raises(
            TypeError, match="path is a .*: give the path of a file that save wrote"
        ):
            cls.load(wrong)


def test_a_model_is_not_saved_where_no_file_can_be(tmp_path):
    model = ConvAutoencoder(2, filters=(2,), max_epochs=1).fit(np.zeros((3, 4, 4)))
    with pytest.raises(TypeError, match="path is a NoneType: give the path of the file to write"):
        model.save(None)
    with pytest.raises(IsADirectoryError, match="is a directory; path must name a file"):
        model.save(tmp_path)
    with pytest.raises(FileNotFoundError, match="The folder of .*m.safetensors does not exist"):
        model.save(tmp_path / "none" / "m.safetensors")


def test_nothing_lies_beside_the_root_of_a_drive():
    root = os.path.abspath(os.sep)
    with pytest.raises(ValueError, match="has no folder beside it.*--out"):
        default_out(root)


@pytest.mark.parametrize("failing", ["mkdir", "replace", "open", "TemporaryFile"])
def test_another_folder_is_proposed_where_nothing_can_be_written(tmp_path, monkeypatch, failing):
    def refuse(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))

    if failing == "TemporaryFile":
        monkeypatch.setattr(tempfile, failing, lambda dir: refuse(dir / "tmpx1y2"))
    elif failing == "open":
        monkeypatch.setattr(Path, "open", refuse)
        monkeypatch.setattr(Path, "write_text", refuse)
    else:
        monkeypatch.setattr(os, failing, refuse)
    out = tmp_path / "pictures-clusters"
    with pytest.raises(OSError, match="may not write there.*--out") as caught:
        claim(out)
    text = describe(caught.value)
    assert str(out) in text
    assert "tmpx1y2" not in text
    assert ".partial" not in text


def replace_by_hand(target):
    with _files.replacing(target) as partial:
        partial.write_text("x")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO, errno.ENAMETOOLONG])
@pytest.mark.parametrize(
    "write",
    [
        lambda target: _files.write_bytes(target, [b"x"]),
        lambda target: _files.write_json(target, {}),
        lambda target: _files.write_table(target, {"a": [1]}),
        replace_by_hand,
    ],
)
def test_hidden_names_are_in_no_message(tmp_path, monkeypatch, code, write):
    def fail(source, target):
        raise OSError(code, os.strerror(code), os.fspath(source), None, os.fspath(target))

    monkeypatch.setattr(os, "replace", fail)
    target = tmp_path / "run.json"
    with pytest.raises(OSError, match=r"run\.json") as caught:
        write(target)
    assert caught.value.errno == code
    assert "partial" not in str(caught.value)
    assert "unfinished" not in str(caught.value)
    assert str(target) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO, errno.ENAMETOOLONG])
def test_the_folder_that_a_run_is_written_in_is_in_no_message(tmp_path, monkeypatch, code):
    def fail(source, target):
        raise OSError(code, os.strerror(code), os.fspath(source), None, os.fspath(target))

    monkeypatch.setattr(os, "replace", fail)
    with (
        pytest.raises(OSError, match=f"{os.strerror(code)}.*choose another folder") as caught,
        staged(tmp_path) as folder,
    ):
        (folder / "run.json").write_text("{}")
    assert "unfinished" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@posix
def test_names_may_be_as_long_as_the_system_takes_them(tmp_path):
    path = tmp_path / ("x" * 251 + ".csv")
    _files.write_table(path, {"file": ["y" * 300]})
    assert _files.read_table(path) == {"file": ["y" * 300]}
    with pytest.raises(OSError, match="too long"):
        _files.write_json(tmp_path / ("x" * 300), {})
    for name in (path.with_suffix(""), tmp_path / "x.png"):
        paint(name)
    table = tmp_path / "list.csv"
    _files.write_table(table, {"file": ["x" * 251, "z" * 5000, "x.png", "a/" * 3000 + "b"]})
    with pytest.warns(UserWarning, match="too long"):
        assert len(load_images(table, size=8).paths) == 2
    with pytest.raises(FileNotFoundError, match="neither a folder"):
        load_images("x" * 5000)


def test_a_table_takes_memory_in_proportion(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"file,a\n" + b"a.png,some text\n" * 50_000)
    tracemalloc.start()
    _files.read_cells(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * path.stat().st_size


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "you may not write there"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EFBIG, "File too large"), "File too large"),
        (OSError("what was written could not be read back"), "what was written could not be"),
        (OSError(), "OSError"),
    ],
)
def test_what_could_not_be_written_is_said_without_numbers_of_errors(error, words):
    assert _files.why_not_written(error).startswith(words)
