"""How far is the whole of a command, in words and for other programs?"""

import json

import pytest

from skdcec import _bars
from skdcec._cli import progress
from skdcec._cli.console import note
from skdcec._cli.progress import Progress, showing


@pytest.fixture
def clock(monkeypatch):
    """A clock that only goes on when it is told to."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def told(capsys):
    return [json.loads(line)["progress"] for line in capsys.readouterr().err.splitlines()]


def test_one_share_for_all_parts_and_the_time_that_is_left(clock, capsys):
    shown = Progress("json")
    shown.is_planned = True
    with shown.make(20, "Loading") as loading:
        loading.update(20)
    assert [state["share"] for state in told(capsys)] == [0, 0]
    shown.plan({"pretraining": 100, "joint": 40, "map": 10})
    training = shown.make(500, "ConvAutoencoder", 50)
    for _ in range(500):
        clock[0] += 0.2
        training.update()
    training.close()
    clustering = shown.make(20, "DeepConvEmbeddingClustering", 20)
    for _ in range(20):
        clock[0] += 2
        clustering.update()
    clustering.close()
    mapping = shown.make(1, "map")
    clock[0] += 10
    mapping.close()
    states = told(capsys)
    assert states[60]["text"].startswith("Learning to compare images, pass ")
    assert {state["stage"] for state in states} == {"pretraining", "joint", "map"}
    shares = [state["share"] for state in states]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    for state in states:
        assert state["share"] == pytest.approx(1 - (state["seconds_left"] or 0) / 150, abs=0.02)


def test_a_plan_that_is_wrong_is_corrected_by_what_is_measured(clock, capsys):
    shown = Progress("json")
    shown.plan({"pretraining": 20})
    training = shown.make(1000, "ContrastiveEncoder", 10)
    for done in range(1, 1000):
        clock[0] += 0.1
        training.update()
        if done > 200:
            assert shown.seconds_left == pytest.approx(0.1 * (1000 - done), rel=0.2, abs=0.2)
    assert told(capsys)[-1]["text"] == "Learning to compare images, pass 10 of 10"


def test_what_was_not_done_since_it_was_kept_is_no_longer_waited_for(clock):
    shown = Progress("none")
    shown.plan({"pretraining": 1000, "joint": 10})
    shown.make(5, "DeepConvEmbeddingClustering", 5)
    assert shown.seconds_left == 10


def test_a_training_that_goes_on_counts_only_what_it_does_now(clock):
    shown = Progress("none")
    training = shown.make(100, "ConvAutoencoder", 10)
    training.initial = training.n = 80
    for _ in range(10):
        clock[0] += 1
        training.update()
    assert shown.seconds_left == pytest.approx(10)


def test_the_page_is_told_by_its_stages(clock, capsys):
    shown = Progress("json")
    for stage in ("reading", "encoding"):
        for done in (64, 128, 130):
            clock[0] += 1
            shown.drawing(stage, done, 130)
    texts = [state["text"] for state in told(capsys)]
    assert texts[0] == "Making small pictures, 0 of 130"
    assert texts[-1] == "Making thumbnails, 130 of 130"


def test_bars_of_the_library_are_taken_only_within_the_command(capsys):
    with showing(quiet=False, form="json"):
        assert isinstance(_bars.bar(3, "Loading"), progress.Stage)
    assert not isinstance(_bars.bar(3, "Loading", verbose=False), progress.Stage)
    with showing(quiet=True, form="json"), _bars.bar(3, "Loading") as bar:
        bar.update(3)
    assert [state["text"] for state in told(capsys)] == ["Reading images, 0 of 3"]


def test_the_bar_says_what_how_far_and_how_long(clock, capsys):
    with showing(quiet=False, form="bar") as shown:
        shown.plan({"pretraining": 100, "joint": 60})
        training = shown.make(50, "ConvAutoencoder", 50)
        for _ in range(12):
            clock[0] += 2
            training.update()
        assert "Learning to compare images, pass 13 of 50, 2 min left" in capsys.readouterr().err


def test_the_bar_is_gone_when_all_is_done_and_does_not_come_back_with_a_message(clock, capsys):
    with showing(quiet=False, form="bar") as shown:
        for _ in range(2):
            with shown.make(3, "Loading") as loading:
                clock[0] += 1
                loading.update(3)
            assert "Reading images" in capsys.readouterr().err
            note("3 images", quiet=False)
            assert capsys.readouterr().err == "3 images\n"


def test_parts_that_do_not_go_evenly_go_by_what_was_planned_for_them(clock, capsys):
    shown = Progress("json")
    # The first 60 of 200 take no time, the next 20 half of all.
    shown.plan({"search": 40, "pictures": 5}, {"search": [(60, 0), (20, 20), (120, 20)]})
    search = shown.make(200, "NClustersSearch")
    search.update(60)
    for much, seconds in [(1, 1)] * 20 + [(40, 20 / 3)] * 3:
        clock[0] += 1.5 * seconds
        search.update(much)
        # All takes half as long again, which is soon seen.
        if clock[0] > 13:
            assert shown.seconds_left == pytest.approx(65 - clock[0], abs=0.1)
    left = [state["seconds_left"] for state in told(capsys)]
    assert left[0] == 45
    assert max(left) < 60
    # Fewer trainings than were planned.
    assert search.share == 1
    search.n, search.total = 80, 120
    assert search.share == pytest.approx(0.75)


def test_the_time_that_is_left_rises_only_where_there_is_news(clock, capsys):
    shown = Progress("json")
    shown.plan({"pretraining": 100})
    training = shown.make(100, "ConvAutoencoder", 10)
    for _ in range(30):
        clock[0] += 1.15
        training.update()
    left = [state["seconds_left"] for state in told(capsys)]
    assert left == sorted(left, reverse=True)
    clock[0] += 60
    training.update()
    assert told(capsys)[-1]["seconds_left"] > 1.25 * left[-1]
