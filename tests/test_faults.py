"""Kills, full disks and missing permissions at every operation on files while a run is written."""

import contextlib
import errno
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import skdcec
from skdcec._cli import main
from skdcec._cli.arguments import parse
from skdcec._cli.console import describe
from skdcec._cli.images import leaving_nothing
from skdcec._folders import MODEL, NAMES, RUN_FILES, InUse, Mixed, claim, holding, staged
from skdcec._recipes import plan_training
from skdcec._runs import Run, load_model, load_model_and_run
from skdcec._timing import Speed, drawing_seconds
from skdcec.datasets import load_images

PATH = Path(__file__).parent.parent / "benchmarks" / "_faults.py"


@pytest.fixture(scope="session")
def tools():
    spec = importlib.util.spec_from_file_location("_faults", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def faults(tools):
    return tools.Faults()


@pytest.fixture(scope="session")
def runs(tools, fitted, images, files, tmp_path_factory):
    """Two runs that differ in every file; only to be read."""
    bunch = load_images(os.path.dirname(files[0]), 8, cache=None)
    run = Run.from_model(fitted, images, bunch, title="first")
    return tools.two_runs(run, fitted, None, tmp_path_factory.mktemp("models"))


@pytest.fixture
def folder(runs, tmp_path):
    """Return new folders that hold the first run, with names."""
    numbers = itertools.count()

    def new(holds_first=True):
        out = tmp_path / str(next(numbers)) / "out"
        out.parent.mkdir()
        if holds_first:
            runs[0].write(out)
            runs[0].name_clusters(out)
            (out / "thesis.txt").write_text("years of work")
        return out

    return new


def found(tools, out):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The names in .* belong to other clusters")
        return tools.found_in(out)


# Faults


def test_a_run_that_fails_anywhere_leaves_the_last_one_or_is_whole(tools, faults, runs, folder):
    first, second = runs
    old, new = (first.state, first.names, "first"), (second.state, {}, "second")
    seen = []

    def check(out, raised, was_killed):
        seen.append(found(tools, out))
        assert seen[-1] in (old, new)
        if not was_killed and raised is not None:
            message = describe(raised)
            assert str(out) in message
            assert ".skdcec" not in message
            assert "\n" not in message
        assert (out / "thesis.txt").read_text() == "years of work"
        second.write(out)
        assert found(tools, out) == new
        assert tools.hidden(out) == []
        assert json.loads((out / NAMES).read_text())["clusters"][0]["name"] == "first"

    n_faults = tools.every_fault(faults, folder, second.write, check)
    assert n_faults > 100
    assert old in seen
    assert new in seen


def test_a_first_run_that_fails_anywhere_is_whole_or_not_there(tools, faults, runs, folder):
    run = runs[0]

    def check(out, raised, was_killed):
        try:
            assert found(tools, out)[0] == run.state
        except (FileNotFoundError, ValueError) as error:
            assert "holds no" in str(error) or not out.exists()  # noqa: PT017 (or it is whole)
        run.write(out)
        assert found(tools, out)[0] == run.state
        assert tools.hidden(out) == []

    start = partial(folder, holds_first=False)
    assert tools.every_fault(faults, start, run.write, check, errors=(None,)) > 40


def test_names_come_with_their_page_or_not_at_all(tools, faults, runs, folder):
    second = runs[1]

    def start():
        out = folder()
        second.write(out)
        return out

    def check(out, raised, was_killed):
        state, names, page = found(tools, out)
        assert state == second.state
        assert (names, page) in (({}, "second"), (second.names, "second"))

    errors = (None, errno.EACCES)
    assert tools.every_fault(faults, start, second.name_clusters, check, errors=errors) > 20


def test_readers_that_may_not_write_say_what_to_do(tools, faults, runs, folder):
    out = folder()
    second = runs[1]
    for n in itertools.count(1):
        try:
            with faults.at(n, tools.Killed()):
                second.write(out)
        except tools.Killed:
            pass
        if (out / ".skdcec-finished").exists():
            break
    with faults.at(1, errno.EROFS), pytest.raises(OSError, match="read-only") as raised:
        load_model_and_run(out)
    assert ".skdcec" not in describe(raised.value)
    assert found(tools, out)[0] == second.state


# Folders with files of different runs


@pytest.mark.parametrize("name", ["model.safetensors", "data.npz", "data.json", "run.json"])
def test_mixed_folders_are_refused_with_what_to_do(runs, folder, name, capsys, files):
    out, other = folder(), folder(holds_first=False)
    runs[1].write(other)
    (out / name).write_bytes((other / name).read_bytes())
    with pytest.raises(Mixed, match="of different runs.*run skdcec cluster again"):
        load_model_and_run(out)
    for command in (["report", out], ["assign", out, files[0]], ["similar", out, files[0]]):
        capsys.readouterr()
        assert main([str(part) for part in command]) == 1
        error = capsys.readouterr().err
        assert "run skdcec cluster again" in error
        assert error.count("\n") == 1
    runs[1].write(out)
    assert load_model(out).model.labels_.tolist() == runs[1].state["model"]


def test_folders_of_earlier_versions_are_read(tools, runs, folder):
    out = folder()
    record = json.loads((out / "run.json").read_text())
    del record["files"]
    (out / "run.json").write_text(json.dumps(record))
    assert tools.found_in(out)[0] == runs[0].state
    (out / "run.json").unlink()
    assert tools.found_in(out)[0] == runs[0].state


def test_a_damaged_record_does_not_make_the_folder_someone_elses(tools, runs, folder):
    out = folder()
    (out / "run.json").write_text("[" * 100_000)
    assert tools.found_in(out)[0] == runs[0].state
    runs[1].write(out)
    assert found(tools, out)[0] == runs[1].state


def test_what_a_new_choice_does_not_draw_goes(tmp_path):
    claim(tmp_path)
    (tmp_path / "choose_k.csv").touch()
    for names in (["choose_k.html", "choose_k.png"], ["choose_k.html"]):
        with staged(tmp_path, replaces=("choose_k.html", "choose_k.png")) as part:
            for name in names:
                (part / name).write_text(name)
    assert {path.name for path in tmp_path.iterdir()} == {
        "run.json",
        "choose_k.html",
        "choose_k.csv",
    }


@pytest.mark.parametrize("name", RUN_FILES)
def test_folders_in_the_place_of_files_are_seen_before_the_training(folder, name):
    out = folder()
    (out / name).unlink(missing_ok=True)
    (out / name).mkdir()
    with pytest.raises(ValueError, match=f"holds a folder {name}"):
        claim(out)


# Two at a time


def test_who_is_second_is_told_who_is_first(folder):
    out = folder()
    with holding(out):
        with holding(out), staged(out):
            pass
        answer = process("claim", out)
    assert answer.returncode == 1
    assert f"written by another skdcec process ({os.getpid()} on " in answer.stdout
    assert process("claim", out).returncode == 0
    assert not (out / ".skdcec-lock").exists()


def test_a_killed_holder_does_not_block_the_next(folder):
    out = folder()
    with open_process("hold", out) as holder:
        while not (out / ".skdcec-lock").exists() or not (out / ".skdcec-lock").read_text():
            time.sleep(0.02)
        with pytest.raises(InUse, match=f"{holder.pid} on"), holding(out, wait=0):
            pass
        holder.kill()
    claim(out)


def test_two_at_once_are_never_mixed(tools, runs, folder):
    out = folder()
    for _ in range(3):
        with open_process("staged", out) as one, open_process("staged", out) as two:
            answers = [each.communicate()[0] for each in (one, two)]
        assert sorted([one.returncode, two.returncode])[0] == 0
        for each, answer in zip((one, two), answers, strict=True):
            assert each.returncode == 0 or "is being written by another" in answer
        pids = {(out / name).read_text() for name in ("report.html", "clusters.csv")}
        winners = {str(each.pid) for each in (one, two) if each.returncode == 0}
        assert len(pids) == 1
        assert pids <= winners
        assert tools.hidden(out) == []


def test_who_is_second_leaves_a_new_folder_to_who_is_first(folder, tmp_path):
    out = folder(holds_first=False)
    _, options = parse(["cluster", str(tmp_path), "--out", str(out)])

    def fail(before):
        with leaving_nothing(options):
            before()
            claim(out)
            raise ValueError("of its own")

    def wait():
        while not (out / ".skdcec-lock").exists() or not (out / "run.json").exists():
            time.sleep(0.02)
        time.sleep(0.2)

    # Both begin before there is a folder, which the first of them makes.
    with contextlib.ExitStack() as stack:

        def begin():
            first = stack.enter_context(open_process("hold", out))
            stack.callback(first.kill)
            wait()

        with pytest.raises(InUse):
            fail(begin)
    assert (out / "run.json").exists()
    shutil.rmtree(out)
    with pytest.raises(ValueError, match="of its own"):
        fail(lambda: None)
    assert not out.exists()


_WRITER = """
import os, sys, time
from pathlib import Path
from skdcec._folders import claim, holding, staged
what, out = sys.argv[1], Path(sys.argv[2])
try:
    claim(out)
    with holding(out):
        if what == "hold":
            time.sleep(60)
        if what == "staged":
            time.sleep(1.5)
            with staged(out) as folder:
                for name in ("report.html", "clusters.csv"):
                    (folder / name).write_text(str(os.getpid()))
except OSError as error:
    print(error)
    sys.exit(1)
"""


def open_process(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(skdcec.__file__).parents[1])}
    command = [sys.executable, "-c", _WRITER, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def process(*arguments):
    with open_process(*arguments) as started:
        return SimpleNamespace(stdout=started.communicate()[0], returncode=started.wait())


# Damaged files


def damaged(content, seed):
    spec = importlib.util.spec_from_file_location("_mutations", PATH.with_name("_mutations.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mutated(content, np.random.default_rng(seed))


@pytest.mark.parametrize("name", ["data.json", "data.npz", "names.json", "run.json", MODEL])
@pytest.mark.parametrize("is_listed", [True, False])
def test_damaged_runs_are_refused_in_a_sentence(tools, runs, folder, name, is_listed):
    first, second = runs
    out = folder()
    whole = (out / name).read_bytes()
    if not is_listed:
        record = json.loads((out / "run.json").read_text())
        (out / "run.json").write_text(json.dumps({**record, "files": {}}))
    for seed in range(15):
        (out / name).write_bytes(damaged(whole, seed))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The names")
            try:
                state, names, _ = tools.found_in(out)
                assert not is_listed or state == first.state
                assert is_listed or name in (MODEL, "data.json", "data.npz") or state == first.state
                assert name == "names.json" or names in ({}, first.names)
            except ValueError as error:
                assert "\n" not in str(error)  # noqa: PT017 (or it reads what was there)
    (out / "names.json").unlink()
    second.write(out)
    assert found(tools, out)[0] == second.state


@pytest.mark.parametrize("seed", range(20))
def test_damaged_plans_and_times_are_made_again(seed, images, files, tmp_path, monkeypatch):
    speed = Speed(0.5, 0.55, 1e-3)
    monkeypatch.setattr("skdcec._recipes.measure_speed", lambda model, X: speed)
    monkeypatch.setattr("skdcec._timing._measure_drawing", lambda files: (len(files), 2.0))
    plan = plan_training(images, encoder="autoencoder", minutes=0.1, cache=tmp_path)
    seconds = drawing_seconds(files, cache=tmp_path)
    for path in [*tmp_path.rglob("*.json")]:
        path.write_bytes(damaged(path.read_bytes(), seed))
    assert plan_training(images, encoder="autoencoder", minutes=0.1, cache=tmp_path) == plan
    assert drawing_seconds(files, cache=tmp_path) == seconds
    assert plan_training(images, encoder="autoencoder", minutes=0.1, cache=tmp_path).is_reused
