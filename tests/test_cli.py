"""The command: whole runs over small folders, and what must not happen to a user's files."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

import skdcec
from skdcec import (
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
    report,
)
from skdcec._cli import main
from skdcec._cli.arguments import parse
from skdcec._cli.choose_k import _next_command
from skdcec._cli.corrections import pins_of, put_by_hand, without_gaps
from skdcec._cli.images import _likely_size
from skdcec._folders import RUN_FILES
from skdcec._nn import checkpoints
from skdcec._nn.nets import ClusteringNet, EmbeddingNet
from skdcec._runs import Run, load_model, save_model
from skdcec.datasets import load_images
from skdcec.report import read_table
from skdcec.report.choice import write_choice_page

FAST = ["--encoder", "autoencoder", "--size", "16", "--epochs", "4", "--jobs", "1"]
KINDS = {"gold": 30, "night": 20, "green": 12}


def picture(kind, seed):
    """A smooth image of one of three kinds."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 60, 16) + rng.uniform(0, 20)
    pixels = np.zeros((16, 16, 3)) + rng.uniform(0, 20, size=3)
    if kind == "gold":
        pixels += np.array([180, 140, 0]) + ramp[:, None, None]
    elif kind == "night":
        pixels += ramp[None, :, None] * np.array([0, 0.2, 1])
    else:
        pixels[:, 8:] += [0, 160, 200]
        pixels += ramp[::-1, None, None] * 0.3
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def make_folder(path):
    for kind, n in KINDS.items():
        (path / kind).mkdir(parents=True)
        for i in range(n):
            picture(kind, len(kind) * 1000 + i).save(path / kind / f"{i}.png")
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def user_cache(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Sixty-two images in three sub-folders; only to be read."""
    return make_folder(tmp_path_factory.mktemp("images") / "paintings")


@pytest.fixture(scope="session")
def clustered(folder, cache, tmp_path_factory):
    """What `cluster` writes for `folder`; only to be read."""
    out = tmp_path_factory.mktemp("runs") / "out"
    arguments = ["cluster", folder, "-k", "3", "--out", out, "--cache", cache / "skdcec", *FAST]
    assert main([*map(str, arguments), "--quiet"]) == 0
    return out


@pytest.fixture
def out(clustered, tmp_path):
    """A copy of `clustered` that may be changed."""
    return Path(shutil.copytree(clustered, tmp_path / "out"))


@pytest.fixture
def run(capsys):
    """Run the command; return its status and what it printed."""

    def run(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return SimpleNamespace(status=status, out=printed.out, err=printed.err)

    return run


def process(*arguments, cwd=None):
    """Run Python in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(skdcec.__file__).parents[1])}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def read_csv(text_or_path):
    if isinstance(text_or_path, Path):
        return read_table(text_or_path)
    lines = [line.split(",") for line in text_or_path.splitlines()]
    return {name: [line[i] for line in lines[1:]] for i, name in enumerate(lines[0])}


# Help and arguments


@pytest.mark.parametrize(
    ("words", "said"),
    [(["help"], "Group the images of a folder"), (["help", "assign"], "the new images")],
)
def test_help_is_also_a_word(words, said, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(words)
    assert said in capsys.readouterr().out


def test_without_a_word_the_commands_are_listed(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([])
    said = capsys.readouterr().err
    assert "Group the images of a folder" in said
    assert "skdcec cluster --help" in said


@pytest.mark.parametrize(
    "command", ["cluster", "report", "choose-k", "assign", "similar", "pretrain", "fetch"]
)
def test_help_ends_with_four_examples(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    assert exit.value.code == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    examples = [line for line in lines if line.startswith(f"  skdcec {command} ")]
    assert lines[-5] == "examples:"
    assert lines[-4:] == examples
    for line in examples:
        assert parse(shlex.split(re.split("[|>]", line)[0])[1:])[0] == command


@pytest.mark.parametrize("arguments", [[], ["paint"], ["cluster"], ["cluster", "x", "-k", "0"]])
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert "usage: skdcec" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("cluster x --ecoder paintings", "no option --ecoder (is --encoder meant?)"),
        ("cluster x --zzz=1", "no option --zzz; skdcec cluster --help lists all."),
        ("clusters x", "no command clusters (is cluster meant?); skdcec --help"),
        ("cluster my paintings --open", "'paintings' is a word too many; a name with spaces"),
        ("cluster x -k many", "'many' is not a whole number"),
        ("cluster x --minutes soon", "soon is not a positive number"),
    ],
)
def test_words_that_mean_nothing_are_asked_about(words, answer, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    usage, said = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: skdcec")
    assert answer in said


@pytest.mark.parametrize("command", ["cluster", "report", "choose-k", "assign", "similar", "fetch"])
def test_help_fits_the_terminal(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    text = capsys.readouterr().out.split("examples:")[0]
    assert max(map(len, text.splitlines())) <= 60
    described = text.split("positional arguments:")[0].splitlines()[1:]
    assert not [line for line in described if line.startswith(" ") and "[options]" not in line]


def test_choose_k_takes_the_letter_that_cluster_takes():
    assert parse(["choose-k", "x", "-k", "4,7"]) == parse(["choose-k", "x", "--k", "4,7"])


def test_help_does_not_wait_for_libraries():
    code = "import sys; from skdcec._cli.arguments import parse; print(*sys.modules)"
    found = process("-c", code).stdout.split()
    assert "skdcec" in found
    assert not {"torch", "numpy", "sklearn", "PIL"} & {*found}


def test_modules_are_there_without_being_imported_by_name():
    code = (
        "import sys, skdcec; print('report' in dir(skdcec), 'torch' in sys.modules, "
        "skdcec.report.__name__, skdcec.novelty.NoveltyDetector.__name__)"
    )
    assert process("-c", code).stdout.split() == [
        "True",
        "False",
        "skdcec.report",
        "NoveltyDetector",
    ]


def test_without_docstrings_it_is_said_that_they_are_needed():
    found = process("-OO", "-c", "from skdcec import ConvAutoencoder")
    assert found.returncode == 1
    assert "-O works" in found.stderr
    assert process("-O", "-c", "from skdcec import ConvAutoencoder").returncode == 0


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out.startswith("skdcec 0.")


# cluster


def test_cluster_writes_its_files_and_nothing_else(clustered):
    expected = {*RUN_FILES} - {"names.json"}
    assert {path.name for path in clustered.iterdir()} == expected


def test_labels_in_the_table_are_those_of_the_model(clustered, folder):
    table = read_csv(clustered / "clusters.csv")
    bunch = load_images(folder, 16, cache=None)
    model = DeepConvEmbeddingClustering.load(clustered / "model.safetensors")
    assert table["file"] == bunch.paths.tolist()
    assert [int(label) for label in table["cluster"]] == model.predict(bunch.images).tolist()
    np.testing.assert_array_equal(model.labels_, model.predict(bunch.images))
    confidence = model.predict_proba(bunch.images).max(axis=1)
    np.testing.assert_allclose(np.array(table["confidence"], float), confidence, rtol=1e-4)


def test_the_table_is_a_source_where_it_lies(out, folder):
    bunch = load_images(folder, 16, cache=None)
    again = load_images(out / "clusters.csv", 16, cache=None)
    assert again.paths.tolist() == bunch.paths.tolist()
    np.testing.assert_array_equal(again.images, bunch.images)
    assert again.metadata["cluster"].tolist() == read_csv(out / "clusters.csv")["cluster"]


def test_clusters_are_numbered_by_size(clustered):
    labels = [int(label) for label in read_csv(clustered / "clusters.csv")["cluster"]]
    sizes = np.bincount(labels)
    assert sorted(sizes, reverse=True) == sizes.tolist()
    summary = read_csv(clustered / "cluster_summary.csv")
    assert summary["cluster"] == ["0", "1", "2"]
    assert [int(size) for size in summary["size"]] == sizes.tolist()


def test_metadata_comes_from_the_folders(clustered):
    table = read_csv(clustered / "clusters.csv")
    assert table["folder"] == [path.split("/")[0] for path in table["file"]]


def test_run_json_says_what_was_done(clustered, folder):
    run = json.loads((clustered / "run.json").read_text())
    assert run["state"] == "finished"
    assert run["arguments"]["seed"] == 0
    assert run["arguments"]["folder"] == str(folder)
    assert run["n_images"] == 62
    assert sum(run["cluster_sizes"]) == 62
    assert run["epochs"] == {"pretraining": 4, "joint": 2}
    assert {"skdcec", "torch", "numpy", "python"} <= set(run["versions"])
    assert set(run["hashes"]) == {"images", "clusters", "model.safetensors"}


def test_rerun_gives_the_same_files_without_decoding_or_pretraining(clustered, out, folder, run):
    result = run("cluster", folder, "-k", 3, "--out", out, *FAST)
    assert result.status == 0
    assert "Forming clusters, pass" in result.err
    for done_before in ("Reading images", "Learning to compare images"):
        assert done_before not in result.err
    for name in ("clusters.csv", "cluster_summary.csv", "data.npz", "data.json"):
        assert (out / name).read_bytes() == (clustered / name).read_bytes()
    hashes = [json.loads((path / "run.json").read_text())["hashes"] for path in (out, clustered)]
    assert hashes[0] == hashes[1]


def test_a_stopped_run_goes_on(folder, run, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    arguments = ["cluster", folder, "-k", 3, "--out", tmp_path / "out", "--seed", 5, *FAST]
    arguments += ["--cache", tmp_path / "cache"]
    with monkeypatch.context() as patch:
        patch.setattr(Run, "from_model", stop)
        result = run(*arguments)
    assert result.status == 130
    assert result.err.splitlines()[-1] == (
        "skdcec: Stopped. What was decoded and trained is kept, but for the last half minute or "
        "so: the same command goes on."
    )
    assert "Traceback" not in result.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state"] == "unfinished"

    again = run(*arguments)
    assert again.status == 0
    for done_before in ("Reading images", "Learning to compare images"):
        assert done_before not in again.err
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("phase", ["pretraining", "joint phase", "drawing"])
def test_a_run_stopped_while_it_trains_goes_on_within_the_training(
    phase, folder, run, tmp_path, monkeypatch
):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    n_steps = []
    arguments = ["cluster", folder, "-k", 3, "--out", tmp_path / "out", "--seed", 6, *FAST]
    arguments += ["--cache", tmp_path / "cache"]
    expected = run(*arguments[:-1], tmp_path / "other")
    assert expected.status == 0
    clusters = (tmp_path / "out" / "clusters.csv").read_bytes()
    on_batch_end = EmbeddingNet.on_batch_end

    def counted(self, net, **kwargs):
        is_joint = isinstance(self, ClusteringNet)
        if phase != "drawing" and is_joint == (phase == "joint phase"):
            n_steps.append(1)
            if len(n_steps) == 20:
                raise KeyboardInterrupt
        on_batch_end(self, net, **kwargs)

    monkeypatch.setattr(EmbeddingNet, "on_batch_end", counted)
    monkeypatch.setattr(checkpoints, "INTERVAL", 0.0)
    monkeypatch.setattr(checkpoints, "MAX_SHARE", np.inf)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "from_model", stop)
        assert run(*arguments).status == 130
    assert len([*tmp_path.rglob("skdcec-unfinished-*")]) == 1
    n_before = len(n_steps)
    assert run(*arguments).status == 0
    if phase != "drawing":
        # The first run has also timed some steps, for its plan.
        assert len(n_steps) - n_before < 16 * (4 if phase == "pretraining" else 2) - 5
    assert (tmp_path / "out" / "clusters.csv").read_bytes() == clusters
    assert [*tmp_path.rglob("skdcec-unfinished-*")] == []


def test_a_stopped_run_says_when_nothing_is_kept(folder, run, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    (tmp_path / "file").touch()
    monkeypatch.setattr(Run, "from_model", stop)
    arguments = ["cluster", folder, "-k", 3, "--out", tmp_path / "out", *FAST]
    result = run(*arguments, "--cache", tmp_path / "file" / "cache")
    assert result.err.splitlines()[-1] == (
        "skdcec: Stopped. Nothing is kept: the same command begins anew."
    )

    def full(path, parts, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_bytes", full)
    monkeypatch.setattr(checkpoints, "INTERVAL", 0.0)
    result = run(*arguments, "--cache", tmp_path / "full")
    assert result.err.count("No unfinished training can be kept in") == 1
    assert result.err.splitlines()[-1] == (
        "skdcec: Stopped. The same command goes on, but for what was being trained, which begins "
        "anew."
    )


def test_a_stop_while_drawing_leaves_the_last_result(clustered, out, folder, run, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write_report", stop)
    assert run("cluster", folder, "-k", 2, "--out", out, *FAST).status == 130
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in clustered.iterdir()
    }


def test_progress_and_plan_go_to_stderr(out, folder, tmp_path, run):
    result = run("cluster", folder, "-k", 3, "--out", out, "--cache", tmp_path / "new", *FAST)
    assert "62 images at 16 x 16 pixels into 3 clusters: 4 passes to learn" in result.err
    told = ["Reading images", "Learning to compare images, pass 4 of 4", "Forming clusters, pass"]
    told += ["Laying out the map", "Making small pictures", "Making thumbnails, 62 of 62"]
    places = [result.err.index(text) for text in told]
    assert places == sorted(places)
    first, *clusters, agreement, last = result.out.splitlines()
    assert first == "62 images in 3 clusters"
    assert len(clusters) == 3
    assert re.fullmatch(
        r"Two runs on halves .* agree by \d\.\d\d \(1 is alike, 0 is chance\)\..*", agreement
    )
    assert last.endswith(str(out / "report.html"))


def test_quiet_and_json(out, folder, run):
    result = run("cluster", folder, "-k", 3, "--out", out, "--quiet", "--json", *FAST)
    assert result.err == ""
    content = json.loads(result.out)
    assert content["n_images"] == 62
    assert content["page"] == str(out / "report.html")
    assert [row["cluster"] for row in content["clusters"]] == [0, 1, 2]


def test_unusable_files_are_listed(tmp_path, run):
    folder = make_folder(tmp_path / "images")
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("no image")
    whole = (folder / "gold" / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    arguments = ["cluster", folder, "-k", 2, "--out", tmp_path / "out", *FAST]
    result = run(*arguments, "--strict")
    assert result.status == 1
    assert "3 files cannot be used" in result.err
    (folder / "catalogue.pdf").write_bytes(b"%PDF-1.7\n")
    result = run(*arguments)
    assert result.status == 0
    assert result.err.count("cannot be used") == 1
    # A line each, since names are long.
    lines = result.err.splitlines()
    first = lines.index("skdcec: 4 files cannot be used:")
    assert [line.split(": ")[0] for line in lines[first + 1 : first + 5]] == [
        "  catalogue.pdf",
        "  cut.png",
        "  empty.jpg",
        "  notes.txt",
    ]
    skipped = read_csv(tmp_path / "out" / "skipped.csv")
    assert sorted(skipped["file"]) == ["catalogue.pdf", "cut.png", "empty.jpg", "notes.txt"]
    assert all(skipped["reason"])
    reasons = dict(zip(skipped["file"], skipped["reason"], strict=True))
    assert "once they are saved as images" in reasons["catalogue.pdf"]
    # So does the page, which may be all that somebody has.
    page = (tmp_path / "out" / "report.html").read_text()
    assert '["empty.jpg","empty file"]' in page


@pytest.mark.parametrize(
    ("are_shapes", "more", "encoder", "size"),
    [
        (False, [], "paintings", 128),
        (False, ["--size", "32"], "paintings", 32),
        # Known to be shapes only when they have been read.
        (True, [], "autoencoder", 64),
    ],
)
def test_images_are_looked_at_in_the_size_of_the_encoder(
    are_shapes, more, encoder, size, tmp_path, run
):
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for i, digit in enumerate(load_digits().images[:24]):
        shape = Image.fromarray((digit * 15).astype(np.uint8))
        kind = ("gold", "night", "green")[i % 3]
        (shape if are_shapes else picture(kind, i)).save(folder / f"{i}.png")
    (folder / "empty.jpg").touch()
    result = run(
        "cluster",
        folder,
        "-k",
        2,
        "--out",
        out,
        "--epochs",
        1,
        "--jobs",
        1,
        "--progress=json",
        *more,
    )
    assert result.status == 0, result.err
    assert result.err.count("cannot be used") == 1
    # What takes its time without a training is told as well.
    assert ("Comparing images and finding clusters" in result.err) == (encoder == "paintings")
    assert f"24 images at {size} x {size} pixels" in result.err
    recorded = json.loads((out / "run.json").read_text())["arguments"]
    assert (recorded["encoder"], recorded["size"]) == (encoder, size)
    assert run("assign", out, folder).out.count(".png") == 24


@pytest.mark.parametrize(("n_files", "size"), [(20_000, 128), (20_001, 64)])
def test_very_many_images_are_read_in_a_smaller_size(n_files, size, tmp_path, monkeypatch):
    listing = SimpleNamespace(files=range(n_files))
    monkeypatch.setattr("skdcec.datasets.files.list_files", lambda *args, **kwargs: listing)
    _, options = parse(["cluster", str(tmp_path)])
    assert _likely_size(options, None) == size
    assert _likely_size(replace(options, sample=500), None) == 128


def test_copies_are_reported(tmp_path, run):
    folder = make_folder(tmp_path / "images")
    shutil.copy(folder / "gold" / "3.png", folder / "copy.png")
    result = run("cluster", folder, "-k", 2, "--out", tmp_path / "out", *FAST)
    assert "1 of 63 images is an exact copy of another: " in result.err
    copies = read_csv(tmp_path / "out" / "duplicates.csv")
    assert copies == {"group": ["0", "0"], "file": ["copy.png", "gold/3.png"]}
    page = (tmp_path / "out" / "report.html").read_text()
    assert '"copies":[["copy.png","gold/3.png"]],"n_copies":1' in page


def test_hostile_names(tmp_path, run):
    folder = make_folder(tmp_path / "images")
    names = ["<script>alert(1).png", "two\nlines.png", "\x1b[31mred.png", '"quoted".png']
    names += [os.fsdecode(b"latin-\xe9.png")]
    for i, name in enumerate(names):
        # A folder is also metadata, which is printed.
        (folder / name).with_suffix("").mkdir()
        picture("gold", i).save(folder / Path(name).stem / "picture.png")
        (folder / name).write_text("no image")
    result = run("cluster", folder, "-k", 2, "--out", tmp_path / "out", *FAST)
    assert result.status == 0
    assert "\x1b[31m" not in result.out + result.err
    assert r"two\nlines" in result.err
    assert "<script>alert" not in (tmp_path / "out" / "report.html").read_text()
    assert len(read_csv(tmp_path / "out" / "clusters.csv")["file"]) == 67
    assert run("report", tmp_path / "out").status == 0
    assert run("assign", tmp_path / "out", folder).status == 0


def test_out_inside_the_folder_is_not_read_the_next_time(tmp_path, run):
    folder = make_folder(tmp_path / "images")
    for _ in range(2):
        assert run("cluster", folder, "-k", 2, "--out", folder / "out", *FAST).status == 0
        assert read_csv(folder / "out" / "skipped.csv")["file"] == []


def test_out_has_a_default_beside_the_folder(tmp_path, run):
    folder = make_folder(tmp_path / "my.images")
    assert run("cluster", folder, "--sample", 9, *FAST).status == 0
    assert (tmp_path / "my.images-clusters" / "report.html").exists()


def test_metadata_stay_where_training_goes_on(tmp_path, run, folder, cache):
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    table = tmp_path / "Katalog.csv"
    table.write_text("Datei;Ort\n" + "".join(f"{name};Rom\n" for name in names))
    out, edits = tmp_path / "out", tmp_path / "edits.json"
    usual = ["--out", out, "-k", 3, "--cache", cache / "skdcec", *FAST]
    given = ["--metadata", table, "--file-column", "Datei"]
    assert run("cluster", folder, *usual, *given).status == 0
    edits.write_text(json.dumps({"format": "skdcec cluster edits", "moves": []}))
    # What the page says to type has no metadata.
    result = run("cluster", folder, *usual, "--edits", edits)
    assert f"Metadata: {table}, as in that run." in result.err
    assert {*read_csv(out / "clusters.csv")["Ort"]} == {"Rom"}
    result = run("cluster", folder, *usual)
    assert f"had --metadata {table}, and this one has not" in result.err
    assert "Ort" not in read_csv(out / "clusters.csv")
    assert run("cluster", folder, *usual, *given).status == 0
    table.unlink()
    result = run("cluster", folder, *usual, "--edits", edits)
    assert result.status == 0
    assert f"The table of that run, {table}, is gone" in result.err


def test_metadata_from_a_table(tmp_path, folder, run):
    table = tmp_path / "list.csv"
    table.write_text("file,artist\n" + "".join(f"gold/{i}.png,A{i % 2}\n" for i in range(30)))
    arguments = ["cluster", folder, "-k", 2, "--out", tmp_path / "out", *FAST]
    result = run(*arguments, "--metadata", table)
    assert "32 of 62 images have no row" in result.err
    found = read_csv(tmp_path / "out" / "clusters.csv")
    assert found["artist"][found["file"].index("gold/3.png")] == "A1"
    result = run(*arguments, "--metadata", table, "--file-column", "picture")
    assert result.status == 1
    assert "picture" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cluster", "nothing"], "nothing"),
        (["cluster", "empty"], "No image found"),
        (["cluster", "images", "-k", "99"], "-k 99"),
        (["cluster", "images", "--device", "abacus"], "abacus"),
        (["cluster", "images", "--out", "file"], "is a file"),
        (["cluster", "images", "--out", "file/out"], "there is a file where a folder is needed"),
        (["cluster", "images", "--metadata", "no.csv"], "no.csv"),
        (["assign", "model", "images", "--weights", "file"], "not behind a network"),
        (["cluster", "image"], "is 'images' meant?"),
        (["cluster", "images-clusters"], "holds what skdcec found, and no images: is /"),
        (["cluster", "images/gold/0.png"], "1 image, and groups take several: name the folder"),
        (["cluster", "images", "--encoder", "painting"], "is paintings meant?"),
        (["report", "empty"], "no finished result"),
        (["report", "images"], "is images-clusters meant?"),
        (["report", "stopped"], "the same skdcec cluster command goes on"),
        (["similar", "images-clusters", "images"], "images is a folder, and images are needed"),
        (["assign", "empty", "images"], "model.safetensors"),
        (["assign", "missing", "images"], "missing"),
        (["assign", "file", "images"], "not a model"),
        (["similar", "file", "x.png"], "not a model"),
    ],
)
def test_errors_are_one_line_and_status_1(
    arguments, said, folder, clustered, tmp_path, run, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    os.symlink(folder, "images")
    os.symlink(clustered, "images-clusters")
    os.mkdir("empty")
    os.mkdir("stopped")
    Path("stopped/run.json").write_text('{"program": "skdcec", "state": "unfinished"}')
    Path("file").write_text("text")
    os.symlink(clustered / "model.safetensors", "model")
    if "images" in arguments and "--out" not in arguments and arguments[0] == "cluster":
        arguments = [*arguments, "--out", "out"]
    result = run(*arguments, "--quiet")
    assert result.status == 1
    assert result.out == ""
    assert result.err.startswith("skdcec: error: ")
    assert said in result.err
    assert result.err.count("\n") == 1


# The folder OUT


def test_a_folder_of_others_is_not_written_to(tmp_path, folder, run):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    arguments = ["cluster", folder, "-k", 2, "--out", out, *FAST]
    result = run(*arguments)
    assert result.status == 1
    assert "--force" in result.err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert run(*arguments, "--force").status == 0
    assert (out / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("command", ["cluster", "choose-k"])
def test_out_is_a_folder_and_no_file(command, tmp_path, folder, run):
    result = run(command, folder, "--out", tmp_path / "chart.png")
    assert result.status == 1
    assert f"name a folder for them, such as {tmp_path / 'chart'}." in result.err
    assert [*tmp_path.iterdir()] == []


def test_files_of_others_are_never_replaced(tmp_path, folder, run):
    out = tmp_path / "out"
    out.mkdir()
    (out / "clusters.csv").write_text("mine")
    result = run("cluster", folder, "-k", 2, "--out", out, "--force", *FAST)
    assert result.status == 1
    assert "clusters.csv" in result.err
    assert (out / "clusters.csv").read_text() == "mine"
    for command in (["assign", out, folder], ["similar", out, folder / "gold" / "0.png"]):
        result = run(*command, "--out", out / "clusters.csv")
        assert result.status == 1
        assert (out / "clusters.csv").read_text() == "mine"


def test_a_full_disk_leaves_the_last_result(clustered, out, run, monkeypatch):
    def full(path, *args, **kwargs):
        raise OSError(errno.ENOSPC, f"{path} was not written: No space left on device")

    monkeypatch.setattr(report, "write_report", full)
    result = run("report", out, "--title", "Another", "--quiet")
    assert result.status == 1
    assert "No space left" in result.err
    for path in clustered.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert len([*out.iterdir()]) == len([*clustered.iterdir()])


def test_joint_epochs_are_as_the_help_says(run, folder, tmp_path):
    result = run("cluster", folder, "--out", tmp_path / "out", *FAST, "--epochs", "5", "--json")
    assert result.status == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["epochs"]["pretraining"] == 5
    told = "5 passes to learn to compare them (--encoder autoencoder) and 2 to form clusters"
    assert told in result.err


def test_a_cache_that_cannot_be_used_costs_only_time(tmp_path, folder, run):
    (tmp_path / "file").touch()
    arguments = ["cluster", folder, "-k", 2, "--out", tmp_path / "out", *FAST]
    result = run(*arguments, "--cache", tmp_path / "file")
    assert result.status == 0
    assert "The cache cannot be used: there is a file where a folder is needed" in result.err
    assert f"({tmp_path / 'file'})" in result.err
    assert "--cache FOLDER takes another" in result.err
    assert "Errno" not in result.err


# report


def test_report_draws_the_same_again(clustered, out, run, monkeypatch):
    monkeypatch.setattr(DeepConvEmbeddingClustering, "load", None)
    for name in ("report.html", "clusters.csv", "cluster_summary.csv"):
        (out / name).unlink()
    result = run("report", out)
    assert result.status == 0
    for name in ("report.html", "clusters.csv", "cluster_summary.csv"):
        assert (out / name).read_bytes() == (clustered / name).read_bytes()


def test_a_page_may_show_a_sample(clustered, out, run):
    result = run("report", out, "--page-images", 20)
    assert result.status == 0
    assert "a sample of 20 of 62 images" in result.out
    assert read_csv(out / "clusters.csv") == read_csv(clustered / "clusters.csv")
    assert (
        read_csv(out / "cluster_summary.csv")["size"]
        == (read_csv(clustered / "cluster_summary.csv")["size"])
    )
    assert (out / "report.html").stat().st_size < (clustered / "report.html").stat().st_size


def test_names_are_read_back_and_stay(out, tmp_path, run, folder):
    names = tmp_path / "cluster-names.json"
    rows = [{"cluster": 1, "name": "Nocturnes", "note": "all at sea"}]
    names.write_text(json.dumps({"format": "skdcec cluster names", "clusters": rows}))
    result = run("report", out, "--names", names, "--json")
    assert [row["name"] for row in json.loads(result.out)["clusters"]] == ["", "Nocturnes", ""]
    assert "Nocturnes" in (out / "report.html").read_text()

    (tmp_path / "more.csv").write_text("cluster,name\n0,Golden\n")
    run("report", out, "--names", tmp_path / "more.csv")
    result = run("cluster", folder, "-k", 3, "--out", out, *FAST)
    assert result.status == 0
    assert "Nocturnes" in result.out
    summary = read_csv(out / "cluster_summary.csv")
    assert summary["name"] == ["Golden", "Nocturnes", ""]

    (tmp_path / "more.csv").write_text("cluster,name\n3,Still lifes\n")
    result = run("report", out, "--names", tmp_path / "more.csv")
    assert "more.csv names cluster 3, but the clusters are 0 to 2" in result.err
    assert summary["note"] == ["", "all at sea", ""]
    assigned = read_csv(run("assign", out, folder / "night").out)
    assert {*zip(assigned["cluster"], assigned["name"], strict=True)} <= {
        ("0", "Golden"),
        ("1", "Nocturnes"),
        ("2", ""),
    }


@pytest.mark.parametrize("works", [True, False])
def test_the_page_is_named_in_full_and_opened(out, run, monkeypatch, works):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: [opened.append(url), works][1])
    monkeypatch.chdir(out.parent)
    assert str(out / "report.html") in run("report", out.name).out
    assert opened == []
    result = run("report", out.name, "--open", "--json")
    assert opened == [(out / "report.html").as_uri()]
    assert ("No browser could be started" in result.err) != works


def test_edits_are_read_back_and_stay(out, tmp_path, run, folder, cache):
    before = read_csv(out / "clusters.csv")
    others = [i for i, cluster in enumerate(before["cluster"]) if cluster == "2"]
    first = before["cluster"].index("0")
    moves = [{"file": before["file"][i], "from": 2, "to": 1} for i in others]
    moves += [{"file": before["file"][first], "from": 0, "to": 3}]
    edits = {"format": "skdcec cluster edits", "moves": moves}
    edits["clusters"] = [{"cluster": 3, "name": "Alone"}, {"cluster": 1, "name": "Both"}]
    file = tmp_path / "cluster-edits.json"
    file.write_text(json.dumps(edits))
    result = run("report", out, "--edits", file, "--json")
    assert result.status == 0
    # As it is typed.
    assert f"skdcec cluster {folder} --out {out} --edits {file}" in result.err
    rows = {row["cluster"]: row for row in json.loads(result.out)["clusters"]}
    assert rows.keys() == {0, 1, 3}
    assert (rows[3]["name"], rows[3]["size"]) == ("Alone", 1)
    for _ in range(2):
        after = read_csv(out / "clusters.csv")
        expected = [{"2": "1"}.get(cluster, cluster) for cluster in before["cluster"]]
        expected[first] = "3"
        assert after["cluster"] == expected
        assert all(0 <= float(value) <= 1 for value in after["confidence"])
        assert "moved by hand" in (out / "report.html").read_text()
        # Neither a second drawing nor the same file again changes anything.
        assert run("report", out, "--edits", file).status == 0
    assert json.loads((out / "data.json").read_text())["settings"]["moved by hand"] == len(moves)
    result = run("report", out, "--edits", out / "clusters.csv")
    assert "clusters.csv is no file of changes that a page saved" in result.err
    moves[0]["from"] = 0
    file.write_text(json.dumps(edits | {"moves": [moves[0] | {"to": 2}]}))
    result = run("report", out, "--edits", file)
    assert result.status == 1
    assert "made on the page of another run" in result.err
    # New images are the model's to judge, but those that were moved are known again by any name.
    again = tmp_path / "again"
    again.mkdir()
    (again / "renamed.png").write_bytes((folder / before["file"][first]).read_bytes())
    (again / "moved.png").write_bytes((folder / before["file"][others[0]]).read_bytes())
    picture("gold", 999).save(again / "new.png")
    result = run("assign", out, again)
    assert f"Moved by hand after the training (images: {len(moves)})" in result.err
    assert "Known again, and where somebody put them by hand: 2 of 3 images" in result.err
    table = read_csv(result.out)
    cells = (dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True))
    rows = {row["file"]: row for row in cells}
    assert [rows[name]["cluster"] for name in ("renamed.png", "moved.png")] == ["3", "1"]
    assert [rows[name]["by_hand"] for name in rows] == ["yes", "", "yes"]
    # The model has no such cluster.
    assert (rows["renamed.png"]["confidence"], rows["renamed.png"]["second_cluster"]) == ("", "0")
    assert rows["renamed.png"]["name"] == "Alone"
    assert float(rows["moved.png"]["margin"]) < 0
    # A new run does not take them away.
    kept = (out / "clusters.csv").read_bytes()
    again = ["cluster", folder, "-k", 3, "--out", out, "--cache", cache / "skdcec", *FAST]
    result = run(*again)
    assert result.status == 1
    assert re.search(rf"moved images by hand \({len(moves)}\): --edits goes on from", result.err)
    assert (out / "clusters.csv").read_bytes() == kept
    assert run(*again, "--force").status == 0
    assert read_csv(out / "clusters.csv")["cluster"] == before["cluster"]


def test_copies_that_were_put_into_two_clusters_are_in_none(tmp_path):
    names = [tmp_path / name for name in ("a.png", "copy.png", "b.png", "gone.png", "found.png")]
    for path, seed in zip(names, (0, 0, 1, 2, 3), strict=True):
        picture("gold", seed).save(path)
    names[3].unlink()
    files = [str(path) for path in names]
    labels = np.array([0, 1, 1, 0, 0])
    pins = pins_of(SimpleNamespace(by_hand=[0, 1, 2, 3], filenames=files, labels=labels))
    assert put_by_hand(files, pins) == {2: 1}


def test_training_goes_on_from_what_was_corrected(out, tmp_path, run, folder, cache):
    before = read_csv(out / "clusters.csv")
    before = dict(zip(before["file"], map(int, before["cluster"]), strict=True))
    # A cluster is merged into another, and of the third some become one of their own.
    third = [file for file, cluster in before.items() if cluster == 1]
    moves = [{"file": file, "from": 2, "to": 0} for file, cluster in before.items() if cluster == 2]
    moves += [{"file": file, "from": 1, "to": 3} for file in third[: len(third) // 2]]
    # What no model would do.
    odd = next(file for file, cluster in before.items() if cluster == 0)
    moves += [{"file": odd, "from": 0, "to": 3}]
    file = tmp_path / "cluster-edits.json"
    named = [{"cluster": 3, "name": "Own"}, {"cluster": 2, "name": "Gone"}]
    content = {"format": "skdcec cluster edits", "moves": moves, "clusters": named}
    file.write_text(json.dumps(content))
    hint = run("report", out, "--edits", file).err
    assert f"skdcec cluster {folder} --out {out} --edits {file}" in hint
    grown = Path(shutil.copytree(folder, tmp_path / "grown"))
    picture("gold", 999).save(grown / "new.png")
    new_out = tmp_path / "corrected"
    (tmp_path / "grown-clusters").symlink_to(out)
    usual = ["--cache", cache / "skdcec", *FAST]
    result = run("cluster", grown, "--edits", file, "--out", new_out, *usual)
    assert result.status == 0
    n_moved = f"moved by hand, and staying where they are: {len(moves)}; new images: 1"
    assert n_moved in result.err
    after = read_csv(new_out / "clusters.csv")
    clusters = dict(zip(after["file"], map(int, after["cluster"]), strict=True))
    # Without a gap: what was 3 is 2, as is said, and the others keep their numbers.
    assert "cluster 3 is 2 now." in result.err
    assert Run.load(new_out).settings["renumbered"] == "cluster 3 is 2 now"
    assert all(clusters[move["file"]] == {0: 0, 3: 2}[move["to"]] for move in moves)
    assert {*clusters.values()} == {0, 1, 2}
    assert clusters.keys() == {*before, "new.png"}
    names = read_csv(new_out / "cluster_summary.csv")
    assert dict(zip(names["cluster"], names["name"], strict=True)) == {"0": "", "1": "", "2": "Own"}
    run_of_it = Run.load(new_out)
    assert {run_of_it.paths[i] for i in run_of_it.by_hand} == {move["file"] for move in moves}
    # A file that was moved is found where it was put, and is said to stand there by hand.
    put = dict(zip(after["file"], after["by_hand"], strict=True))
    assert {file for file, said in put.items() if said == "yes"} == {m["file"] for m in moves}
    result = run("assign", new_out, grown)
    assert "after the training" not in result.err
    assigned = read_csv(result.out)
    assert dict(zip(assigned["file"], assigned["by_hand"], strict=True)) == put
    assert all(
        clusters[file] == int(cluster)
        for file, cluster in zip(assigned["file"], assigned["cluster"], strict=True)
        if put[file]
    )
    margins = dict(zip(assigned["file"], map(float, assigned["margin"]), strict=True))
    assert margins[odd] < 0
    assert after["flag"][after["file"].index(odd)] != "borderline"
    model = load_model(new_out).model
    np.testing.assert_array_equal(model.init >= 0, [path != "new.png" for path in run_of_it.paths])
    # The same changes are not made twice, but what they led to can be gone on from.
    result = run("cluster", grown, "--out", new_out, "--edits", file, *usual)
    assert result.status == 1
    assert "--edits without a file goes on" in result.err
    # They stay by hand in what comes next, too.
    picture("gold", 1000).save(grown / "newer.png")
    result = run("cluster", grown, "--out", new_out, "--edits", *usual)
    assert result.status == 0
    assert "new images: 1" in result.err
    by_hand = {run_of_it.paths[i] for i in run_of_it.by_hand}
    grown_run = Run.load(new_out)
    assert {grown_run.paths[i] for i in grown_run.by_hand} == by_hand
    assert "newer.png" in grown_run.paths
    result = run("cluster", grown, "-k", 5, "--out", new_out, *usual, "--edits")
    assert re.search(r"-k 5: with --edits there are \d clusters", result.err)
    result = run("cluster", folder, "--edits", file, "--out", tmp_path / "none", *usual)
    assert result.status == 1
    assert "there is none in" in result.err


@pytest.mark.parametrize(
    ("kinds", "renumbered"),
    [([0, 2, 3, 4, 5, 6], {6: 1}), ([0, 1, 2], {}), ([3, 5, 9], {3: 0, 5: 1, 9: 2})],
)
def test_only_the_last_clusters_get_other_numbers(kinds, renumbered):
    assert without_gaps(kinds) == renumbered


def test_the_page_links_to_the_images_it_was_made_of(clustered, folder):
    page = (clustered / "report.html").read_text()
    prefix = re.search(r'"originals":{"prefix":"([^"]*)"}', page)[1]
    for name in read_csv(clustered / "clusters.csv")["file"]:
        assert (clustered / prefix / name).resolve() == (folder / name).resolve()


def test_damaged_names_do_not_cost_a_training(out, folder, run):
    (out / "names.json").write_text("{")
    result = run("cluster", folder, "-k", 3, "--out", out, *FAST)
    assert result.status == 0
    assert "names are not used" in result.err
    assert (out / "names.json").read_text() == "{"


def test_images_that_moved_are_found_again(tmp_path, run):
    folder = make_folder(tmp_path / "images")
    run("cluster", folder, "-k", 2, "--out", tmp_path / "out", *FAST)
    page = (tmp_path / "out" / "report.html").read_bytes()
    folder.rename(tmp_path / "moved")
    result = run("report", tmp_path / "out")
    # A page of gray tiles would be worse than the one that is there.
    assert result.status == 1
    assert f"skdcec report {tmp_path / 'out'} --images" in result.err
    assert (tmp_path / "out" / "report.html").read_bytes() == page
    assert run("report", tmp_path / "out", "--images", tmp_path / "moved").status == 0
    # Nothing is different but where the originals are.
    drawn = (tmp_path / "out" / "report.html").read_bytes()
    assert drawn.replace(b'"prefix":"../moved/"', b'"prefix":"../images/"') == page
    assert "no longer" not in run("report", tmp_path / "out").err


def test_images_that_moved_together_with_their_run_are_found(tmp_path, folder, clustered, run):
    shutil.copytree(clustered, tmp_path / "here" / "run")
    there = tmp_path / "there"
    shutil.copytree(folder, tmp_path / "gone" / "images")
    here = tmp_path / "here" / "run"
    assert run("report", here, "--images", tmp_path / "gone" / "images", "--quiet").status == 0
    (tmp_path / "here").rename(there)
    (tmp_path / "gone" / "images").rename(there / "images")
    result = run("report", there / "run", "--quiet")
    assert (result.status, result.err) == (0, "")
    assert b'"prefix":"../images/"' in (there / "run" / "report.html").read_bytes()
    # Not from a folder that lacks some of them.
    (there / "images" / "gold" / "0.png").unlink()
    assert run("report", there / "run", "--quiet").status == 1


# assign


def test_assign_agrees_with_the_table(out, folder, run):
    clusters = read_csv(out / "clusters.csv")
    result = run("assign", out, folder)
    assert result.status == 0
    table = read_csv(result.out)
    assert table["file"] == clusters["file"]
    assert table["cluster"] == clusters["cluster"]
    sizes = [(table["cluster"].count(cluster), cluster) for cluster in {*table["cluster"]}]
    assert all(f"{size} in cluster {cluster}" in result.err for size, cluster in sizes)
    assert table["confidence"] == clusters["confidence"]
    assert table["flag"].count("unlike") <= 2


def test_assign_flags_what_is_unlike_any_cluster(clustered, tmp_path, run):
    new = tmp_path / "new"
    new.mkdir()
    picture("gold", 77).save(new / "usual.png")
    noise = np.random.default_rng(0).integers(0, 256, size=(16, 16, 3)).astype(np.uint8)
    Image.fromarray(noise).save(new / "noise.png")
    stripes = np.repeat(np.tile([0, 255], 8), 48).reshape(16, 16, 3).astype(np.uint8)
    Image.fromarray(stripes).save(new / "stripes.png")
    result = run("assign", clustered / "model.safetensors", new, "--json")
    rows = {row["file"]: row for row in json.loads(result.out)}
    assert {name: row["flag"] for name, row in rows.items()} == {
        "noise.png": "unlike",
        "stripes.png": "unlike",
        "usual.png": "",
    }
    assert rows["noise.png"]["unlikeness"] > 1 > rows["usual.png"]["unlikeness"]
    assert "2 of 3 images are unlike any cluster: noise.png, stripes.png." in result.err


def test_all_commands_work_with_a_contrastive_encoder(folder, tmp_path, run):
    out = tmp_path / "out"
    arguments = ["cluster", folder, "-k", 3, "--out", out, *FAST, "--encoder", "contrastive"]
    assert run(*arguments, "--quiet").status == 0
    clusters = read_csv(out / "clusters.csv")
    assigned = run("assign", out, folder)
    assert read_csv(assigned.out)["cluster"] == clusters["cluster"]
    assert "" not in read_csv(assigned.out)["unlikeness"]
    assert read_csv(assigned.out)["flag"].count("unlike") <= 4
    new = tmp_path / "new"
    new.mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 256, size=(16, 16, 3)).astype(np.uint8)
        Image.fromarray(noise).save(new / f"{seed}.png")
    assert read_csv(run("assign", out, new).out)["flag"] == ["unlike"] * 3
    assert run("report", out).status == 0
    near = read_csv(run("similar", out, folder / "gold" / "0.png", "--top", 2).out)
    assert all(0 <= float(distance) <= 2 for distance in near["distance"])


class SmallNet(nn.Module):
    """A classifier of images of at least two by two pixels; counts those that it has seen."""

    n_seen = 0

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(3, 8, 2, stride=2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        type(self).n_seen += len(x)
        return self.fc(self.maps(x).relu().mean(dim=(2, 3)))


@pytest.fixture
def network(monkeypatch, tmp_path):
    """The arguments for a network of a torchvision that is made up, and has no weights itself."""

    def get_model(name, weights):
        if weights is not None:
            raise OSError("no route to host")
        return SmallNet()

    module = ModuleType("torchvision")
    preset = SimpleNamespace(
        crop_size=[224],
        resize_size=[256],
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation=SimpleNamespace(value="bilinear"),
    )
    published = SimpleNamespace(transforms=lambda: preset)

    class Published(list):
        DEFAULT = published

    module.models = SimpleNamespace(
        get_model=get_model,
        list_models=lambda module: ["small"],
        get_model_weights=lambda name: Published([published]),
    )
    monkeypatch.setitem(sys.modules, "torchvision", module)
    monkeypatch.setattr(SmallNet, "n_seen", 0)
    generator = torch.Generator().manual_seed(0)
    state = SmallNet().state_dict()
    for name, value in state.items():
        state[name] = torch.randn(value.shape, generator=generator)
    save_file(state, tmp_path / "small.safetensors")
    return ["--weights", tmp_path / "small.safetensors"]


def test_all_commands_work_with_a_network_of_torchvision(folder, tmp_path, run, network):
    out, arguments = tmp_path / "out", [folder, *FAST, "--encoder", "small", *network, "--quiet"]
    assert run("cluster", *arguments, "-k", 3, "--out", out).status == 0
    clusters = read_csv(out / "clusters.csv")
    kinds = [file.split("/")[0] for file in clusters["file"]]
    assert len({*zip(kinds, clusters["cluster"], strict=True)}) == 3
    assert json.loads((out / "run.json").read_text())["arguments"]["encoder"] == "small"
    seen = SmallNet.n_seen
    assert run("cluster", *arguments, "-k", 2, "--out", tmp_path / "two").status == 0
    # One, of the size of the others, is to see whether the network takes it.
    assert SmallNet.n_seen == seen + 1
    assigned = read_csv(run("assign", out, folder, *network).out)
    assert assigned["cluster"] == clusters["cluster"]
    assert assigned["flag"].count("unlike") <= 4
    assert run("report", out).status == 0
    images = [folder / "gold" / "0.png", "--top", 2]
    near = run("similar", out, *images, *network)
    assert "gold" in read_csv(near.out)["similar"][0]
    assert run("similar", out, *images, "--in", folder, *network).out == near.out
    how_many = run("choose-k", *arguments, "--k", "2..4", "--out", tmp_path / "k", "--json")
    assert json.loads(how_many.out)["best_n_clusters"] == 3


def test_all_commands_work_with_spaces_side_by_side(folder, tmp_path, run, network):
    out, joined = tmp_path / "out", ["--encoder", "paintings+small", *network, "--quiet"]
    arguments = [folder, "--size", 80, *joined]
    assert run("cluster", *arguments, "-k", 3, "--out", out).status == 0
    clusters = read_csv(out / "clusters.csv")
    kinds = [file.split("/")[0] for file in clusters["file"]]
    assert len({*zip(kinds, clusters["cluster"], strict=True)}) == 3
    record = json.loads((out / "run.json").read_text())
    assert record["arguments"]["encoder"] == "paintings+small"
    assert record["epochs"] == {"pretraining": 0, "joint": 0}
    assigned = read_csv(run("assign", out, folder, *network).out)
    assert assigned["cluster"] == clusters["cluster"]
    near = run("similar", out, folder / "gold" / "0.png", "--top", 2, *network)
    assert "gold" in read_csv(near.out)["similar"][0]
    how_many = run("choose-k", *arguments, "--k", "2..4", "--out", tmp_path / "k", "--json")
    assert json.loads(how_many.out)["best_n_clusters"] == 3
    refused = run("cluster", folder, "--encoder", "autoencoder+small", *network)
    assert "autoencoder learns from the images" in refused.err


def test_a_network_that_cannot_be_had_is_said_at_once(folder, tmp_path, run, network, monkeypatch):
    monkeypatch.setattr("skdcec._cli.images.load_bunch", None)
    cluster = ["cluster", folder, "--out", tmp_path / "out", "--quiet", "--encoder"]
    for arguments, said in (
        (["contrastve"], r"paintings \(is contrastive meant\?\), and.*no classifier"),
        (["small"], "no route to host.*path of a file"),
        (["small", "--weights", tmp_path / "none"], "no file with a state dict"),
        (["small", "--size", "1", *network], "size that it was trained on"),
        (["autoencoder", *network], "--weights are those of a network"),
    ):
        result = run(*cluster, *arguments)
        assert result.status == 1
        assert re.search(said, result.err)
        assert result.err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert "not installed" in run(*cluster, "resnet18").err


def test_a_model_is_used_with_the_network_it_was_trained_behind(
    folder, tmp_path, run, network, monkeypatch
):
    out = tmp_path / "out"
    run("cluster", folder, *FAST, "--encoder", "small", *network, "--quiet", "--out", out)
    other = {name: value + 1 for name, value in SmallNet().state_dict().items()}
    save_file(other, tmp_path / "other.safetensors")
    for weights, said in (
        ([], "no route to host"),
        (["--weights", tmp_path / "other.safetensors"], "other weights of small"),
    ):
        result = run("assign", out, folder, *weights)
        assert (result.status, result.out) == (1, "")
        assert said in result.err
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert "not installed" in run("similar", out, folder / "gold" / "0.png").err


def test_assign_names_what_may_be_meant_and_clusters_in_order(clustered, folder, run):
    result = run("assign", clustered, folder)
    sizes = re.findall(r"(\d+) in cluster (\d+)", result.err)
    assert sizes == sorted(sizes, key=lambda one: (-int(one[0]), int(one[1])))
    near = clustered.with_name(f"{clustered.name}s")
    result = run("assign", near, folder)
    assert (result.status, "Traceback" in result.err) == (1, False)
    assert (
        f"{near} does not exist, as a model or as a folder with one; is {clustered} meant?"
        in result.err
    )


def test_one_number_is_not_called_several(folder, cache, tmp_path, run):
    out, kept = tmp_path / "out", cache / "skdcec"
    result = run("choose-k", folder, "-k", 3, "--out", out, "--cache", kept, *FAST)
    assert "3 clusters, and nothing to compare them with" in result.err


def test_assign_in_a_terminal_writes_beside_the_images(
    clustered, folder, tmp_path, run, monkeypatch
):
    night = tmp_path / "Neue Fotos"
    shutil.copytree(folder / "night", night)
    arguments = ("assign", clustered, night)
    piped = run(*arguments)
    assert not (tmp_path / "Neue Fotos-assigned.csv").exists()
    monkeypatch.setattr("skdcec._cli.assign.is_terminal", lambda: True)
    result = run(*arguments)
    assert result.status == 0
    assert result.out == f"20 rows: {tmp_path / 'Neue Fotos-assigned.csv'}\n"
    assert " in cluster " in result.err
    assert read_csv(tmp_path / "Neue Fotos-assigned.csv") == read_csv(piped.out)
    assert "exists; --force replaces it" in run(*arguments).err
    assert run(*arguments, "--force").status == 0
    assert len(json.loads(run(*arguments, "--json").out)) == 20
    monkeypatch.setattr("os.access", lambda *args, **kwargs: False)
    assert "--out FILE.csv says where else" in run(*arguments, "--force").err


def test_where_nothing_can_be_written_is_said_before_the_work(
    clustered, folder, tmp_path, run, monkeypatch
):
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    monkeypatch.setattr("skdcec._cli.assign.load_bunch", None)
    result = run("assign", clustered, folder, "--out", tmp_path / "new.csv")
    assert result.status == 1
    assert f"Nothing can be written into the folder of {tmp_path / 'new.csv'}" in result.err


def test_a_folder_that_cannot_be_made_is_told_in_plain_words(folder, tmp_path, run, monkeypatch):
    def refused(self, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refused)
    result = run("cluster", folder, "--out", tmp_path / "out", "--cache", tmp_path)
    assert "cannot be written to (you may not write there): name another" in result.err


def test_assign_to_a_file(clustered, folder, tmp_path, run):
    target = tmp_path / "new.csv"
    result = run("assign", clustered, folder / "night", "--out", target)
    assert len(read_csv(target)["cluster"]) == 20
    assert result.out == f"20 rows: {target}\n"
    assert "exists" in run("assign", clustered, folder, "--out", target).err
    assert run("assign", clustered, folder, "--out", target, "--force").status == 0
    assert len(read_csv(target)["cluster"]) == 62


def test_a_model_made_in_python_can_assign(fitted, folder, tmp_path, run):
    fitted.save(tmp_path / "model.safetensors")
    result = run("assign", tmp_path / "model.safetensors", folder)
    assert result.status == 0
    assert "no limits" in result.err
    assert set(read_csv(result.out)["flag"]) == {""}


def test_models_that_no_file_of_an_image_suits_are_refused(tmp_path, folder, run, images):
    gray = DeepConvEmbeddingClustering(
        2, encoder=ConvAutoencoder(2, filters=(2,), max_epochs=1), max_epochs=1, random_state=0
    )
    gray.fit(images[..., 0]).save(tmp_path / "gray")
    vectors = DeepEmbeddingClustering(
        2, encoder=DenseAutoencoder(2, max_epochs=1), max_epochs=1, random_state=0
    )
    vectors.fit(images.reshape(len(images), -1)).save(tmp_path / "vectors")
    save_model(vectors, tmp_path / "half", reading={"network": "small"})
    said = {
        "gray": "1 channel",
        "vectors": "on vectors",
        "half": "what network it needs",
    }
    for name, text in said.items():
        result = run("assign", tmp_path / name, folder)
        assert result.status == 1
        assert text in result.err


# similar


def test_similar_finds_a_copy_but_not_the_image_itself(out, folder, tmp_path, run):
    query = tmp_path / "query.png"
    shutil.copy(folder / "green" / "5.png", query)
    result = run("similar", out, query, folder / "gold" / "1.png", "--top", 4)
    table = read_csv(result.out)
    assert table["image"] == [str(query)] * 4 + [str(folder / "gold" / "1.png")] * 4
    assert table["rank"] == ["1", "2", "3", "4"] * 2
    assert table["similar"][0] == "green/5.png"
    assert float(table["distance"][0]) < 1e-3
    assert "gold/1.png" not in table["similar"]
    assert all(name.startswith("gold/") for name in table["similar"][4:])
    distances = [float(distance) for distance in table["distance"]]
    assert distances[:4] == sorted(distances[:4])


def test_similar_in_another_folder_with_a_sheet(clustered, folder, tmp_path, run):
    new = tmp_path / "new"
    shutil.copytree(folder / "night", new)
    target = tmp_path / "similar.csv"
    query = folder / "night" / "7.png"
    model = clustered / "model.safetensors"
    result = run("similar", model, query, query, "--in", new, "--out", target, "--top", 3)
    assert result.status == 0
    table = read_csv(target)
    assert table["similar"][0] == "7.png"
    assert len(table["similar"]) == 3
    with Image.open(tmp_path / "similar.jpg") as sheet:
        width, height = sheet.size
        assert sheet.format == "JPEG"
        assert width > 4 * 144
        assert height < 2 * 144
        # The image asked about, then its copy.
        left, right = sheet.crop((8, 8, 152, 152)), sheet.crop((168, 8, 312, 152))
        assert np.abs(np.asarray(left, int) - np.asarray(right, int)).mean() < 3
    result = run("similar", model, query, "--in", new, "--sheet", tmp_path / "sheet.png", "--json")
    assert len(json.loads(result.out)) == 10
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_a_contact_sheet_is_as_wide_as_a_page_and_no_image_of_its_folder(
    out, folder, tmp_path, run, ending
):
    scans = Path(shutil.copytree(folder, tmp_path / "scans"))
    sheet = scans / f"of my own.{ending}"
    query = scans / "night" / "7.png"
    assert run("similar", out, query, "--top", 23, "--sheet", sheet).status == 0
    with Image.open(sheet) as drawn:
        width, height = drawn.size
        # Eleven beside one another; three lines of those that are similar.
        assert 11 * 144 < width < 12 * 144
        assert 3 * 144 < height < 4 * 144
        # The last is in the third column of the third line, and nothing is behind it.
        pixels = np.asarray(drawn.convert("L")).astype(int)
    top, left = 8 + 2 * 166, 8 + 152 + 8
    assert pixels[top : top + 144, left + 2 * 152 : left + 2 * 152 + 144].mean() < 250
    assert pixels[top : top + 144, left + 3 * 152 :].min() > 250
    with pytest.warns(UserWarning, match="a contact sheet that"):
        bunch = load_images(scans, 16)
    assert sheet.name not in bunch.paths.tolist()
    assert (sheet.name, "a contact sheet that skdcec similar wrote") in bunch.skipped


def test_similar_protects_files_and_says_what_is_missing(clustered, folder, tmp_path, run):
    query = tmp_path / "query.png"
    shutil.copy(folder / "gold" / "0.png", query)
    before = query.read_bytes()
    assert "exists" in run("similar", clustered, query, "--sheet", query).err
    assert "should end in" in run("similar", clustered, query, "--sheet", "sheet.txt").err
    assert "--in FOLDER" in run("similar", clustered / "model.safetensors", query).err
    meant = f"is {tmp_path / 'query.png'} meant?"
    assert meant in run("similar", clustered, tmp_path / "qeury.png").err
    assert "put --text before them" in run("similar", clustered, "a ship in a storm").err
    result = run("similar", clustered, folder / "night")
    assert result.status == 1
    assert f"{folder / 'night'} is a folder, and images are needed" in result.err
    assert "is there; a file that is dragged" in run("similar", clustered, "missing.png").err
    result = run("similar", clustered, query, tmp_path / "missing.png")
    assert result.status == 0
    assert "1 file cannot be used" in result.err
    assert query.read_bytes() == before


# Choosing k


@pytest.fixture(scope="session")
def compared(folder, cache, tmp_path_factory):
    """What `choose-k` writes for `folder`; only to be read."""
    out = tmp_path_factory.mktemp("compared") / "out"
    arguments = ["choose-k", folder, "--k", "2..5", "--out", out, "--cache", cache / "skdcec"]
    assert main([*map(str, arguments), *FAST, "--quiet"]) == 0
    return out


def test_choose_k_writes_page_table_picture_and_verdict(compared):
    files = {path.name for path in compared.iterdir()}
    assert files == {"choose_k.html", "choose_k.csv", "choose_k.png", "run.json"}
    record = json.loads((compared / "run.json").read_text())
    table = read_csv(compared / "choose_k.csv")
    assert table["n_clusters"] == ["2", "3", "4", "5"]
    assert str(record["best_n_clusters"]) in table["n_clusters"]
    page = (compared / "choose_k.html").read_text()
    # The record has the numbers, and the page what can be read without knowing them.
    assert "k = " in record["verdict"]
    assert record["verdict"].split(":")[0] in page
    assert not re.search(r"\b(p|k) =", page)
    for k, plausible in zip(table["n_clusters"], table["plausible"], strict=True):
        heading = f"<h2>{k} c" if int(k) == record["best_n_clusters"] else f"<h3>{k} clusters<"
        assert (heading in page) == (plausible == "True")
    with Image.open(compared / "choose_k.png") as picture:
        assert picture.width > 400


def test_the_page_of_choose_k_needs_nothing_else(compared):
    page = (compared / "choose_k.html").read_text()
    assert len(page) < 1_000_000
    assert "default-src 'none'" in page
    # Its own, which its policy knows.
    assert page.count("<script") == page.count("script-src 'sha256-") == 1
    assert set(re.findall(r'(?:src|href)="([^"]{5})', page)) == {"data:"}
    assert not re.search(r"https?://", page)


def test_choose_k_prints_the_table_and_goes_on_from_its_cache(
    compared, folder, cache, tmp_path, run, monkeypatch
):
    fits = []
    fit = DeepConvEmbeddingClustering.fit
    monkeypatch.setattr(
        DeepConvEmbeddingClustering, "fit", lambda self, X: (fits.append(1), fit(self, X))[1]
    )
    arguments = ["choose-k", folder, "--k", "2..5", "--cache", cache / "skdcec", *FAST]
    done = run(*arguments, "--out", tmp_path / "again")
    assert done.status == 0
    assert not fits
    first, command, _, _, _, _, *lines = done.out.splitlines()
    best = json.loads((compared / "run.json").read_text())["best_n_clusters"]
    assert str(best) in first
    assert not re.search(r"\b(p|k) =", done.out)
    assert command.startswith(f"Next: skdcec cluster {folder} -k {best}")
    assert [line.split()[0].rstrip("*") for line in lines[:4]] == list("2345")
    assert f"Page: {tmp_path / 'again' / 'choose_k.html'}" in done.out
    # What is to be typed is what can be typed.
    words = shlex.split(command.removeprefix("Next: "))
    assert run(*words[1:], "--out", tmp_path / "next", "--quiet").status == 0
    shown = run(*arguments, "--out", tmp_path / "json", "--json", "--quiet")
    result = json.loads(shown.out)
    assert [row["n_clusters"] for row in result["results"]] == [2, 3, 4, 5]
    assert result["verdict"] == json.loads((compared / "run.json").read_text())["verdict"]
    assert shown.err == ""


def test_the_next_command_has_all_that_clusters_depend_on():
    given = "--features rows.npy --pages all --strict --sample 9 --encoder autoencoder --seed 3"
    others = ["--minutes", "3", "--quiet", "--jobs", "1", "--out", "there"]
    _, options = parse(["choose-k", "my folder", *given.split(), *others])
    words = shlex.split(_next_command(options, 4))
    assert words[:5] == ["skdcec", "cluster", "my folder", "-k", "4"]
    _, expected = parse(["cluster", "my folder", "-k", "4", *given.split()])
    assert parse(words[1:]) == ("cluster", expected)
    _, options = parse(["choose-k", "pictures"])
    assert _next_command(options, 2) == "skdcec cluster pictures -k 2"


@pytest.mark.parametrize("numbers", ["5..2", "two", "3,x", "2..3..4", "2-3-4", "", "2.."])
def test_numbers_of_clusters_that_are_none_are_refused(numbers, folder, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["choose-k", str(folder), "--k", numbers])
    assert exit.value.code == 2
    assert "is neither of the form 2..12 nor 4,7,10" in capsys.readouterr().err


@pytest.mark.parametrize("numbers", ["1", "1..4", "0,3", "-3"])
def test_fewer_than_two_clusters_are_not_compared(numbers, folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["choose-k", str(folder), f"--k={numbers}"])
    assert "at least 2 clusters can be compared" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "read"), [("2..4", [2, 3, 4]), ("2-4", [2, 3, 4]), ("4", [4]), ("9,3,9", [3, 9])]
)
def test_numbers_of_clusters_are_read_as_people_write_them(text, read):
    assert parse(["choose-k", "pictures", "-k", text])[1].k == read


def test_hostile_titles_are_text_on_the_page_of_choose_k(tmp_path, images):
    files = [tmp_path / f"{i}.png" for i in range(6)]
    for path, pixels in zip(files, images, strict=False):
        Image.fromarray(pixels).save(path)
    labels = {2: np.array([0, 0, 0, 0, 1, 1]), 3: np.array([0, 0, 0, 1, 2, 2])}
    values = {
        name: np.array([0.5, np.nan])
        for name in ("silhouette", "standard_error", "excess_silhouette", "smallest_share")
    }
    flags = {name: np.array([True, False]) for name in ("plausible", "trained")}
    numbers = {"n_clusters": np.array([2, 3]), "n_found": np.array([2, 3])}
    results = {**values, **flags, **numbers, "error": np.array(["<b>", ""])}
    write_choice_page(
        tmp_path / "page.html",
        files,
        np.arange(12.0).reshape(6, 2),
        labels,
        results,
        best=2,
        verdict="<script>",
        title="</title><script>alert(1)</script>",
    )
    page = (tmp_path / "page.html").read_text()
    assert page.count("<script") == 1
    assert "<script>alert" not in page
    assert "<b>" not in page
    # Of four images in cluster 0, three stay and one leaves.
    assert "0 splits into 0 (75%), 1 (25%)" in page
    assert "1 stays together as 2 (100%)" in page
    assert "nan" not in page


# As a process


def test_as_a_process(clustered, folder, tmp_path):
    result = process("-m", "skdcec", "assign", clustered, folder / "gold", "--quiet", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr == ""
    assert len(read_csv(result.stdout)["file"]) == 30
    assert [*tmp_path.iterdir()] == []


def test_a_reader_that_has_seen_enough(clustered, folder, monkeypatch):
    monkeypatch.setattr(
        "skdcec._cli.assign.write_results",
        lambda *args, **options: (_ for _ in ()).throw(BrokenPipeError),
    )
    closed = []
    monkeypatch.setattr("os.dup2", lambda *files: closed.append(files))
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)
    assert main(["assign", str(clustered), str(folder)]) == 0
    assert closed
