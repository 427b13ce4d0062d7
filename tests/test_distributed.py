"""Do several processes make the same of the same data, and end together?"""

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import fit_in_ranks
import numpy as np
import pytest
import torch.distributed as dist

from skdcec._nn import distributed

SCRIPT = Path(fit_in_ranks.__file__)
N_RANKS = 2
# Far more than needed, for machines that do much else.
PATIENCE = 280

needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="needs Gloo"
)


def free_port():
    with socket.socket() as open_socket:
        open_socket.bind(("127.0.0.1", 0))
        return str(open_socket.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two ranks have left what they did; the second was killed at last."""
    folder = tmp_path_factory.mktemp("ranks")
    group = {
        **os.environ,
        "WORLD_SIZE": str(N_RANKS),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "OTHER_PORT": free_port(),
    }
    ranks = []
    try:
        for rank in range(N_RANKS):
            with (folder / f"errors {rank}").open("w") as errors:
                command = [sys.executable, SCRIPT, folder]
                environment = {**group, "RANK": str(rank)}
                ranks.append(subprocess.Popen(command, env=environment, stderr=errors))
        codes = [rank.wait(PATIENCE) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    errors = [(folder / f"errors {rank}").read_text() for rank in range(N_RANKS)]
    assert codes == [0, -9], errors
    return folder


@pytest.fixture(scope="module")
def told(folder):
    return [json.loads((folder / f"told {rank}.json").read_text()) for rank in range(N_RANKS)]


@needs_gloo
@pytest.mark.parametrize("name", fit_in_ranks.TRAININGS)
def test_ranks_train_as_one_process_does(name, folder):
    first, second = (np.load(folder / f"{name} {rank}.npz") for rank in range(N_RANKS))
    alone = fit_in_ranks.train(name)
    for key, expected in alone.items():
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)
        bound = 1e-5 if "gradients" in key else 1e-4
        difference = np.linalg.norm(first[key] - expected)
        assert difference <= bound * np.linalg.norm(expected), key
    np.testing.assert_array_equal(first["labels"], alone["labels"])


@needs_gloo
def test_without_a_seed_all_ranks_take_the_one_of_the_first(told):
    assert told[0]["unseeded"] == told[1]["unseeded"]


@needs_gloo
def test_only_the_first_rank_reads_and_writes_the_cache(told, folder):
    for rank in range(N_RANKS):
        assert told[rank]["cached"] == {"trained": [True, False], "equal": True}
    assert list((folder / "cache0").glob("*.safetensors"))
    assert not (folder / "cache1").exists()


@needs_gloo
def test_only_the_first_rank_reads_and_writes_the_trainings_of_a_search(told):
    assert told[0]["searched"] == told[1]["searched"]
    assert told[0]["searched"]["trainings"] == [2, 0]
    first, second = told[0]["searched"]["labels"]
    assert first == second


@needs_gloo
@pytest.mark.parametrize("phase", ["pretraining", "joint"])
def test_all_ranks_go_on_where_one_was_interrupted(phase, told):
    for one in told:
        result = one[f"resumed {phase}"]
        assert result["error"] == "KeyboardInterrupt"
        assert (result["unfinished"], result["left"]) == (1, 0)
        # Of 24; those of the second epoch were done before it was interrupted.
        assert 1 <= result["steps"] <= 10
        assert result["equal"]


@needs_gloo
def test_only_the_first_rank_warns_and_shows_progress(told, folder):
    assert any("clusters have members" in message for message in told[0]["warned"])
    assert any("memory is of no use" in message for message in told[0]["warned"])
    assert told[1]["warned"] == []
    assert "ConvAutoencoder" in (folder / "errors 0").read_text()
    assert "ConvAutoencoder" not in (folder / "errors 1").read_text()


@needs_gloo
def test_fewer_images_than_batches_can_be_shared(told):
    assert told[0]["few"] == told[1]["few"]


@needs_gloo
def test_ranks_with_other_data_are_named(told):
    for one in told:
        assert one["other data"]["error"] == "ValueError"
        assert "X is not the same on all ranks: rank 1" in one["other data"]["message"]


@needs_gloo
def test_ranks_with_other_parameters_are_named(told):
    for one in told:
        assert one["other plan"]["error"] == "ValueError"
        assert "rank 1 would train otherwise" in one["other plan"]["message"]
    assert "max_epochs=3" in told[1]["other plan"]["message"]


@needs_gloo
def test_an_error_of_what_the_first_rank_computes_is_that_of_all(told):
    for one in told:
        assert one["invalid start"]["error"] == "ValueError"
        assert "init has shape (3, 2)" in one["invalid start"]["message"]


@needs_gloo
@pytest.mark.parametrize("which", range(N_RANKS))
def test_an_error_on_one_rank_ends_all_with_the_cause(which, told):
    assert told[which][f"failed {which}"]["error"] == "ValueError"
    other = told[1 - which][f"failed {which}"]
    assert other["error"] == "RuntimeError"
    assert f"Rank {which} failed" in other["message"]
    assert "ValueError: this rank has had enough" in other["message"]


@needs_gloo
@pytest.mark.parametrize("which", range(N_RANKS))
def test_an_interrupt_of_one_rank_ends_all(which, told):
    assert {one[f"interrupted {which}"]["error"] for one in told} == {"KeyboardInterrupt"}


@needs_gloo
@pytest.mark.parametrize("which", range(N_RANKS))
def test_all_ranks_stop_when_one_of_them_does(which, told):
    assert [one[f"stopped {which}"] for one in told] == 2 * [{"error": None, "n_iter": 2}]


@needs_gloo
def test_a_group_of_the_script_is_joined_and_left_as_it_was(told, folder):
    assert told[0]["in a group of their own"] == told[1]["in a group of their own"]
    assert told[0]["in a group of their own"]["total"] == N_RANKS
    assert not told[0]["is initialized"]


@needs_gloo
def test_when_a_rank_is_killed_the_others_end_and_name_it(told):
    assert told[0]["killed"]["error"] == "RuntimeError"
    assert "Rank 1 ended without a word" in told[0]["killed"]["message"]
    assert told[0]["killed"]["seconds"] < 60


LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc-per-node=2"),
    # Without --multi_gpu it starts one process, or leaves that to MPI; GPUs need not be there.
    "accelerate": ("accelerate.commands.launch", "--multi_gpu", "--num_processes=2"),
}


@needs_gloo
@pytest.mark.parametrize("name", LAUNCHERS)
def test_launchers_run_a_script_as_it_is(name, tmp_path):
    module, *options = LAUNCHERS[name]
    if find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"needs {name}")
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from fit_in_ranks import autoencoder, clusterer, images\n"
        "labels = clusterer(autoencoder()).fit_predict(images())\n"
        "print(f'{os.environ[\"RANK\"]} {labels.tolist()}\\n', end='', flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), *sys.path])}
    if name == "accelerate":
        options.append(f"--main_process_port={free_port()}")
    run = subprocess.run(
        [sys.executable, "-m", module, *options, script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = dict(line.split(" ", 1) for line in run.stdout.splitlines() if line[:2] in ("0 ", "1 "))
    model = fit_in_ranks.clusterer(fit_in_ranks.autoencoder())
    expected = str(model.fit_predict(fit_in_ranks.images()).tolist())
    assert lines == {"0": expected, "1": expected}


def test_a_process_that_a_rank_starts_fits_for_itself(monkeypatch):
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert not distributed.is_first()
    monkeypatch.setattr("multiprocessing.parent_process", object)
    assert distributed.is_first()
    with distributed.joined():
        assert distributed.current() is None


def test_one_process_has_no_part_in_this():
    with distributed.joined():
        assert distributed.current() is None
    assert distributed.is_first()
    assert distributed.shared(3) == 3
