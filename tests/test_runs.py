"""Finished runs on disk: they come there whole, are read back, and replace nobody's files."""

import contextlib
import copy
import errno
import json
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from skdcec import ConvAutoencoder
from skdcec._folders import NAMES, OWN_FILES, OtherFiles, claim, staged
from skdcec._runs import (
    Run,
    cache_folder,
    default_out,
    load_model,
    previous_run,
    save_model,
)
from skdcec.datasets import load_images
from skdcec.novelty import NoveltyDetector
from skdcec.report import read_table


@pytest.fixture(scope="module")
def bunch(files, images):
    bunch = load_images(os.path.dirname(files[0]), 8, cache=None)
    np.testing.assert_array_equal(bunch.images, images)
    return bunch


@pytest.fixture(scope="module")
def kept(fitted, images, bunch, tmp_path_factory):
    """A run, and the folder that it was saved in; only to be read."""
    run = Run.from_model(fitted, images, bunch, title="Squares", skipped=[("notes.txt", "text")])
    out = tmp_path_factory.mktemp("kept") / "out"
    claim(out)
    detector = NoveltyDetector(fitted).fit(images)
    with staged(out) as folder:
        save_model(
            fitted,
            folder / "model.safetensors",
            reading={"size": 8, "resize": "crop"},
            detector=detector,
        )
        run.save(folder)
        run.draw(folder)
    return run, out


@pytest.fixture
def run(kept):
    return copy.deepcopy(kept[0])


@pytest.fixture
def out(run, tmp_path):
    """A folder with a run that may be changed."""
    out = tmp_path / "out"
    claim(out)
    run.save(out)
    return out


# What was found


def test_a_run_says_what_the_model_does(kept, fitted, images, bunch):
    run, _ = kept
    np.testing.assert_array_equal(run.labels, fitted.labels_)
    np.testing.assert_array_equal(run.embedding, fitted.encoder_.transform(images))
    np.testing.assert_array_equal(run.probabilities, fitted.predict_proba(images))
    assert run.distances.shape == (60, 3)
    np.testing.assert_array_equal(run.distances.argmin(axis=1), fitted.predict(images))
    assert run.paths == bunch.paths.tolist()
    assert run.metric == "euclidean"
    assert run.n_joint_epochs == fitted.n_iter_
    assert run.missing == []


def test_a_run_is_read_back_as_it_was(kept):
    run, out = kept
    again = Run.load(out)
    for name, value in vars(run).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(again, name), value)
    assert again.digest() == run.digest()
    # JSON knows no tuples.
    texts = ("paths", "filenames", "skipped", "metadata", "duplicates", "history", "title")
    for name in texts:
        assert json.dumps(getattr(again, name)) == json.dumps(getattr(run, name))


def test_page_and_tables_are_drawn(kept):
    _, out = kept
    assert {path.name for path in out.iterdir()} == {
        "report.html",
        "clusters.csv",
        "cluster_summary.csv",
        "skipped.csv",
        "duplicates.csv",
        "run.json",
        "model.safetensors",
        "data.npz",
        "data.json",
    }
    assert len(read_table(out / "clusters.csv")["file"]) == 60
    assert read_table(out / "skipped.csv") == {"file": ["notes.txt"], "reason": ["text"]}


def test_the_same_embedding_keeps_its_map(run, fitted, images, bunch):
    run.map = np.flip(run.map)
    again = Run.from_model(fitted, images, bunch, title="", previous=run)
    np.testing.assert_array_equal(again.map, run.map)
    run.embedding = run.embedding + 1
    other = Run.from_model(fitted, images, bunch, title="", previous=run)
    assert not np.array_equal(other.map, run.map)


def test_images_that_are_gone_are_named(run):
    run.filenames[3] = "gone.png"
    assert run.missing == ["gone.png"]


@pytest.mark.parametrize("damage", ["text", "other", "object", "json"])
def test_damaged_runs_are_refused(out, damage):
    arrays = dict(np.load(out / "data.npz"))
    if damage == "text":
        (out / "data.npz").write_text("text")
    elif damage == "json":
        (out / "data.json").write_text("{}")
    elif damage == "other":
        np.savez(out / "data.npz", **{**arrays, "labels": arrays["labels"][:5]})
    else:
        np.savez(out / "data.npz", **{**arrays, "labels": np.array([{}] * 60)})
    with pytest.raises(ValueError, match="damaged"):
        Run.load(out)
    assert previous_run(out) is None


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no finished result"):
        Run.load(tmp_path)


# Names


def test_names_stay_with_their_clusters(run, out):
    names = {1: {"name": "Nocturnes", "note": "at sea"}}
    assert run.kept_names(out) == {}
    run.draw(out, names)
    assert run.kept_names(out) == names
    run.labels = np.roll(run.labels, 1)
    with pytest.warns(UserWarning, match="belong to other clusters"):
        assert run.kept_names(out) == {}


def test_damaged_names_are_not_used(run, out):
    (out / NAMES).write_text("{")
    with pytest.warns(UserWarning, match="names are not used"):
        assert run.kept_names(out) == {}


# The model


def test_a_model_comes_back_with_what_was_noted(kept, fitted, images):
    _, out = kept
    saved = load_model(out)
    assert saved.out == out
    assert saved.reading == {"size": 8, "resize": "crop"}
    assert saved.detector.estimator is saved.model
    assert (saved.detector.predict(images) == 1).mean() > 0.9
    np.testing.assert_array_equal(saved.model.predict(images), fitted.labels_)
    alone = load_model(out / "model.safetensors")
    assert alone.out is None
    assert alone.reading == saved.reading


def test_a_model_saved_by_hand_has_no_notes(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    saved = load_model(tmp_path / "model")
    assert saved[1:] == ({}, None, None)


def test_what_is_no_model_is_refused(tmp_path, images):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    header = {"format": 999, "estimator": {"class": "DeepConvEmbeddingClustering"}}
    some = {"x": torch.zeros(1)}
    save_file(some, tmp_path / "newer", metadata={"skdcec": json.dumps(header)})
    save_file(some, tmp_path / "other")
    torch.save(Harm(), tmp_path / "harmful")
    (tmp_path / "pickle").write_bytes(pickle.dumps(Harm()))
    encoder = ConvAutoencoder(2, filters=(2,), max_epochs=1, random_state=0).fit(images)
    encoder.save(tmp_path / "encoder")
    (tmp_path / "empty").mkdir()
    said = {
        "newer": "upgrade",
        "other": "no skdcec model",
        "harmful": "not a model",
        "pickle": "not a model",
        "encoder": "ConvAutoencoder",
        "empty": r"holds no model\.safetensors",
    }
    for name, text in said.items():
        with pytest.raises(ValueError, match=text):
            load_model(tmp_path / name)
    assert not (tmp_path / "harm").exists()


# The folder


def test_a_folder_has_a_default_beside_the_source(tmp_path):
    folder = tmp_path / "my.images"
    folder.mkdir()
    assert default_out(str(folder) + "/") == tmp_path / "my.images-clusters"
    (tmp_path / "list.csv").touch()
    assert default_out(str(tmp_path / "list.csv"), "choose-k") == tmp_path / "list-choose-k"


def test_a_folder_of_others_is_not_claimed(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OtherFiles, match="holds other files"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    claim(tmp_path, force=True)
    claim(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", OWN_FILES)
def test_files_of_others_are_never_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match="not written by skdcec"):
        claim(tmp_path, force=True)
    assert (tmp_path / name).read_text() == "mine"


def test_hidden_files_are_no_obstacle(tmp_path):
    (tmp_path / ".DS_Store").touch()
    claim(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        claim(tmp_path / "file")


def test_a_nearly_full_disk_is_noticed_first(tmp_path, monkeypatch):
    usage = SimpleNamespace(free=10**6)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    claim(tmp_path / "out", needed_bytes=10**5)
    with pytest.raises(OSError, match="1 MB left; 75 MB may be needed"):
        claim(tmp_path / "out", needed_bytes=75e6)


def test_files_come_together_or_not_at_all(out):
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with contextlib.suppress(KeyboardInterrupt), staged(out) as folder:
        (folder / "data.json").write_text("half")
        raise KeyboardInterrupt
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with staged(out) as folder:
        (folder / "data.json").write_text("whole")
        (folder / "notes.txt").write_text("not of a run")
    assert (out / "data.json").read_text() == "whole"
    assert {path.name for path in out.iterdir()} == {*before}


def test_a_full_disk_is_named(out):
    with pytest.raises(OSError, match=f"No space left on the disk of {out}"), staged(out):
        # As NumPy meets it: without the name of a file.
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_a_killed_run_left_is_not_taken(out):
    with staged(out) as folder:
        pass
    folder.mkdir()
    (folder / "report.html").write_text("half")
    with staged(out) as folder:
        assert [*folder.iterdir()] == []
    assert not (out / "report.html").exists()


# The cache


def test_a_cache_that_cannot_be_used_is_none(tmp_path):
    assert cache_folder(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cache cannot be used"):
        assert cache_folder(tmp_path / "file") is None


def test_the_cache_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Path(tmp_path) in cache_folder().parents
