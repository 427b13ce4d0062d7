"""One thing is said once: warnings of a fit, and of a run of the command, in the user's words."""

import re
import warnings

import numpy as np
import pytest
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from skdcec import DeepConvEmbeddingClustering
from skdcec._cli import main
from skdcec._cli.arguments import parse
from skdcec._cli.console import describe, in_options, note, say, warnings_as_messages
from skdcec._sklearn_compat import unwarned
from skdcec.model_selection import NClustersSearch

FAST = ["--encoder", "autoencoder", "--size", "16", "--epochs", "1", "--jobs", "1", "--quiet"]


@pytest.fixture
def copies():
    """Forty images of which only four differ."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    return pixels[np.arange(40) % 4]


@pytest.fixture
def folder(copies, tmp_path, monkeypatch):
    """The copies as files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "scans"
    folder.mkdir()
    for i, pixels in enumerate(copies):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def warnings_of(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


def messages(text):
    return [line for line in text.splitlines() if line.startswith("skdcec: ")]


# --- a fit ---


@pytest.mark.parametrize("init", ["gaussian-mixture", "k-means"])
@pytest.mark.parametrize("n_clusters", [5, 9])
def test_a_fit_says_each_thing_once(init, n_clusters, copies, model):
    model.set_params(n_clusters=n_clusters, init=init, n_init=10)
    said = warnings_of(lambda: model.fit(copies))
    assert len(said) == 1
    assert re.match(rf"\d of n_clusters={n_clusters} clusters have members; only \d", said[0])


def test_a_search_says_it_once_for_all_of_its_trainings(copies, model):
    search = NClustersSearch(model, range(5, 7), screen=None, n_runs=2, n_null_draws=19)
    said = warnings_of(lambda: search.fit(copies))
    assert len(said) == 1
    assert said[0].startswith("In 4 of 4 trainings not all clusters have members")


def test_at_the_right_number_nobody_is_told_to_use_fewer(images, model, monkeypatch):
    monkeypatch.setattr(
        DeepConvEmbeddingClustering,
        "_assign",
        lambda self, embedding: (
            np.random.default_rng(0).uniform(0, 0.1, (len(embedding), 3)) + [1.0, 0, 0]
        ),
    )
    (said,) = warnings_of(lambda: model.fit(images))
    assert said.startswith("1 of n_clusters=3 clusters have members; the others lost")
    assert "ewer clusters" not in said
    assert "gamma" not in said


def test_what_a_user_asks_to_see_is_left_as_it_was():
    before = list(warnings.filters)
    with unwarned():
        KMeans(4, n_init=1).fit(np.zeros((9, 2)))
    assert warnings.filters == before
    with pytest.warns(ConvergenceWarning, match="distinct clusters"):
        KMeans(4, n_init=1).fit(np.zeros((9, 2)))


# --- the command ---


@pytest.mark.parametrize("times", [1, 2, 180])
@pytest.mark.parametrize(
    "text",
    [
        "'scans/{i}.tif' has an odd tag {i}.",
        "/scans/{i}.jpg: corrupt EXIF data, expecting {i} bytes.",
        "{i} of n_clusters=200 clusters have members.",
        "The same.",
    ],
)
def test_equal_warnings_are_one_line_with_their_number(text, times, capsys):
    with warnings_as_messages():
        for i in range(times):
            warnings.warn(text.format(i=i), UserWarning, stacklevel=1)
        assert capsys.readouterr().err == ""
        say("Next.")
        lines = messages(capsys.readouterr().err)
        warnings.warn(text.format(i=7), UserWarning, stacklevel=1)
        note("Now.", quiet=True)
    assert len(lines) == 2
    assert lines[0].startswith(f"skdcec: {in_options(text.format(i=0))}")
    assert lines[0].endswith(f"({times} such warnings)") == (times > 1)
    assert lines[1] == "skdcec: Next."
    assert capsys.readouterr().err == ""


def test_what_waits_is_told_before_an_error(capsys):
    def fail():
        with warnings_as_messages():
            warnings.warn("Seen before.", UserWarning, stacklevel=1)
            raise ValueError("end")

    with pytest.raises(ValueError, match="end"):
        fail()
    assert messages(capsys.readouterr().err) == ["skdcec: Seen before."]


@pytest.mark.parametrize(
    "arguments",
    [["cluster", "-k", "7"], ["choose-k", "--k", "2..8", "--all"]],
    ids=lambda arguments: arguments[0],
)
def test_a_run_on_copies_says_each_kind_once(arguments, folder, capsys):
    assert main([arguments[0], str(folder), *arguments[1:], *FAST]) == 0
    lines = messages(capsys.readouterr().err)
    kinds = {re.sub(r"[\d.]+", "#", line) for line in lines}
    assert len(kinds) == len(lines) <= 2
    for word in ("gamma", "memory=", "n_clusters=", "lr=", "se fewer"):
        assert not any(word in line for line in lines)


# Messages of the library that the command can meet, and parameters that it does not have.
LIBRARY = {
    "No image found in source='a folder': looked for JPEG.": "No image found in 'a folder':",
    "source=PosixPath('/a b') is neither.": "'/a b' is neither.",
    "The cache memory='/x/y' cannot be used (full).": "The cache '/x/y' cannot be used (full).",
    "device='gpu' cannot be used here.": "--device 'gpu' cannot be used here.",
    "file_column='q' is no column.": "--file-column 'q' is no column.",
    "weights='w.pt' is no file with a state dict.": "--weights 'w.pt' is no file",
    "3 of n_clusters=5 clusters have members.": "3 of k=5 clusters have members.",
    "Training diverged: lower the learning rate (lr=0.1), or look for extreme values in X.": (
        "Training diverged: look for images of extreme values, or use another --seed."
    ),
    "2 left out. `skipped` lists them.": "2 left out.",
    "'size=3/weights=4.jpg' is damaged.": "'size=3/weights=4.jpg' is damaged.",
}


@pytest.mark.parametrize("text", LIBRARY)
def test_messages_are_in_the_words_of_the_command(text):
    assert describe(ValueError(text)).startswith(LIBRARY[text])
    assert in_options(LIBRARY[text]) == LIBRARY[text]


# --- before minutes of work ---


@pytest.mark.parametrize("k", ["0", "1", "-3"])
def test_one_cluster_is_refused_at_once(k, capsys):
    with pytest.raises(SystemExit):
        parse(["cluster", "folder", "-k", k])
    assert "argument -k/--clusters" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["cluster", "choose-k"])
@pytest.mark.parametrize("only", [True, False], ids=["file", "folder of one"])
def test_one_image_is_not_trained_on(command, only, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "skdcec._recipes.plan_training", lambda *args, **kwargs: pytest.fail("it trains")
    )
    if not only:
        for path in folder.glob("[1-9]*.png"):
            path.unlink()
    before = sorted(tmp_path.rglob("*"))
    assert main([command, str(folder / "0.png" if only else folder), *FAST]) == 1
    (line,) = messages(capsys.readouterr().err)
    assert "1 image" in line
    assert [path for path in sorted(tmp_path.rglob("*")) if "cache" not in path.parts] == [
        path for path in before if "cache" not in path.parts
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        ["-k", "99"],
        ["--metadata", "missing.csv"],
        ["--device", "abacus"],
        ["--weights", "w.pt"],
        ["--strict", "--metadata", "missing.csv"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("out", ["out", "a/b/out", "../beside"])
def test_a_failed_run_leaves_nothing_behind(wrong, out, folder, tmp_path, capsys):
    def found():
        paths = (path for path in tmp_path.rglob("*") if "cache" not in path.parts)
        return {path: path.is_file() and path.read_bytes() for path in paths}

    before = found()
    assert main(["cluster", str(folder), "--out", str(folder / out), *wrong, *FAST]) == 1
    assert len(messages(capsys.readouterr().err)) == 1
    assert found() == before


def test_what_others_put_there_stays(folder, capsys, monkeypatch):
    def fail(*args, **kwargs):
        (folder / "out" / "notes.txt").write_text("mine")
        raise ValueError("after all")

    monkeypatch.setattr("skdcec._cli.images.load_bunch", fail)
    assert main(["cluster", str(folder), "--out", str(folder / "out"), *FAST]) == 1
    assert (folder / "out" / "notes.txt").read_text() == "mine"
