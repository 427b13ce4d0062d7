"""Which encoder, and how long: plans, the models made from them, and what they are timed by."""

import json
import math
import os
import pickle
import time
from dataclasses import replace

import numpy as np
import pytest

from skdcec import ContrastiveEncoder, DeepConvEmbeddingClustering, DeepEmbeddingClustering, _timing
from skdcec._cli.console import until
from skdcec._recipes import (
    Plan,
    choose_encoder,
    choose_epochs,
    choose_n_clusters,
    image_size,
    make_model,
    number_by_size,
    plan_training,
)
from skdcec._timing import Speed, drawing_seconds, measure_speed, note_drawing, slowdown

FAST = Speed(1e-3, 1e-3, 1e-6)
SLOW = Speed(0.5, 0.55, 1e-3)


@pytest.fixture
def speeds(monkeypatch):
    """What is measured, one after the other."""
    measured = []
    monkeypatch.setattr("skdcec._recipes.measure_speed", lambda model, X: measured.pop(0))
    return measured


# Which encoder


@pytest.mark.parametrize(
    ("n", "colour", "encoder", "chosen"),
    [
        (9, 200, "auto", "paintings"),
        (10_000, 200, "auto", "paintings"),
        (10_000, 0, "auto", "autoencoder"),
        (10_000, 200, "autoencoder", "autoencoder"),
    ],
)
def test_of_what_shows_nothing_auto_takes_colours_and_counts(n, colour, encoder, chosen):
    images = np.zeros((n, 8, 8, 3), dtype=np.uint8)
    images[:, 0, 0, 1] = colour
    assert choose_encoder(images, encoder) == chosen


def test_images_are_larger_for_a_network_of_torchvision():
    names = ("resnet18", "autoencoder", "contrastive", "paintings")
    assert [image_size(name) for name in names] == [224, 64, 64, 128]


@pytest.mark.parametrize(("n", "chosen"), [(100, 7), (12, 2), (1, 1)])
def test_default_number_of_clusters(n, chosen):
    assert choose_n_clusters(n) == chosen


def test_a_model_is_what_its_plan_says(images):
    options = {"memory": "kept", "device": "cpu", "random_state": 3, "verbose": False}
    plan = Plan("contrastive", 20, 2, 9.0, FAST, "")
    model = make_model(plan, 5, **options)
    assert isinstance(model, DeepConvEmbeddingClustering)
    assert isinstance(model.encoder, ContrastiveEncoder)
    assert (model.n_clusters, model.encoder.max_epochs, model.max_epochs) == (5, 20, 2)
    assert {name: getattr(model, name) for name in options} == options
    behind = make_model(Plan("resnet18", 20, 8, 9.0, FAST, ""), 5)
    assert isinstance(behind, DeepEmbeddingClustering)


def test_numbering_by_size_changes_names_of_clusters_only(fitted, images):
    model = number_by_size(pickle.loads(pickle.dumps(fitted)))
    sizes = np.bincount(model.labels_, minlength=3)
    assert sorted(sizes, reverse=True) == sizes.tolist()
    np.testing.assert_array_equal(model.predict(images), model.labels_)
    pairs = {*zip(fitted.labels_.tolist(), model.labels_.tolist(), strict=True)}
    assert len(pairs) == len({old for old, _ in pairs}) == len({new for _, new in pairs})


# How long


def test_epochs_fit_into_the_time():
    assert choose_epochs(6_000, "autoencoder", FAST, available=600)[:2] == (100, 40)
    pretraining, joint, seconds = choose_epochs(6_000, "autoencoder", SLOW, available=600)
    assert 1 < pretraining < 100
    assert joint == round(0.4 * pretraining)
    assert seconds <= 600 < choose_epochs(6_000, "autoencoder", SLOW, available=1200)[2]
    asked = choose_epochs(6_000, "autoencoder", SLOW, available=600, epochs=70)
    assert asked[:2] == (70, 28)


def test_a_contrastive_encoder_has_more_pretraining_and_fewer_joint_epochs():
    assert choose_epochs(6_000, "contrastive", FAST, available=600)[:2] == (75, 8)
    assert choose_epochs(6_000, "resnet18", FAST, available=600)[:2] == (50, 20)


@pytest.mark.parametrize("part", ["pretraining", "joint", "embedding"])
def test_everything_that_was_measured_counts(part):
    slower = {**vars(SLOW), part: 3 * getattr(SLOW, part)}
    options = {"available": 0.0, "epochs": 10}
    seconds = choose_epochs(6_000, "autoencoder", SLOW, **options)[2]
    assert choose_epochs(6_000, "autoencoder", Speed(**slower), **options)[2] > 1.01 * seconds


def test_a_plan_is_never_too_short_to_learn():
    hurried, _, _ = choose_epochs(300, "autoencoder", SLOW, available=0.1)
    assert hurried * 19 >= 200
    assert choose_epochs(100_000, "autoencoder", SLOW, available=0.1)[0] == 1


def test_what_follows_the_training_is_taken_from_its_time(images, speeds):
    speeds += [Speed(0.1, 0.1, 0)] * 2
    whole = plan_training(images, encoder="autoencoder", minutes=2)
    less = plan_training(images, encoder="autoencoder", minutes=2, reserved=60)
    assert less.pretraining < whole.pretraining
    assert less.training_seconds <= 60 < whole.training_seconds <= 120


def test_the_plan_is_kept_for_the_next_run(tmp_path, images, speeds):
    speeds += [SLOW, FAST, FAST]
    plan = plan_training(images, encoder="autoencoder", minutes=0.1, cache=tmp_path)
    again = plan_training(images, encoder="autoencoder", minutes=0.1, reserved=3.0, cache=tmp_path)
    assert not plan.is_reused
    assert again == replace(plan, is_reused=True)
    other = plan_training(images, encoder="autoencoder", minutes=1, cache=tmp_path)
    assert other.pretraining > plan.pretraining
    # What one encoder was planned for is not what another one needs.
    contrastive = plan_training(images, minutes=0.1, encoder="contrastive", cache=tmp_path)
    assert not contrastive.is_reused
    assert not speeds


@pytest.mark.parametrize(
    "damage",
    [
        lambda plan: "{",
        lambda plan: "[]",
        lambda plan: json.dumps({**plan, "another": 1}),
        lambda plan: json.dumps({**plan, "pretraining": "20"}),
        lambda plan: json.dumps({**plan, "joint": 0}),
        lambda plan: json.dumps({**plan, "speed": {}}),
        lambda plan: json.dumps({**plan, "speed": 3}),
    ],
)
def test_a_damaged_plan_is_made_again(damage, tmp_path, images, speeds):
    speeds += [SLOW, SLOW, SLOW]
    plan = plan_training(images, encoder="autoencoder", minutes=0.1, cache=tmp_path)
    (file,) = (tmp_path / "plans").iterdir()
    file.write_text(damage(json.loads(file.read_text())))
    assert plan_training(images, encoder="autoencoder", minutes=0.1, cache=tmp_path) == plan
    assert plan_training(images, encoder="autoencoder", minutes=0.1, cache=tmp_path).is_reused


def test_a_plan_needs_no_cache_that_can_be_written(tmp_path, images, speeds):
    speeds += [SLOW]
    (tmp_path / "file").touch()
    assert (
        plan_training(
            images, encoder="autoencoder", minutes=0.1, cache=tmp_path / "file"
        ).pretraining
        > 0
    )


# What it is timed by


@pytest.mark.parametrize("n", [3, 20, 60])
@pytest.mark.parametrize("encoder", ["autoencoder", "resnet18"])
def test_steps_can_be_timed_on_few_images(n, encoder, images):
    some = images[:n] if encoder == "autoencoder" else images[:n].reshape(n, -1) / 255
    plan = Plan(encoder, 1, 1, 0.0, FAST, "")
    model = make_model(plan, 7, device="cpu", random_state=0)
    before = repr(model)
    speed = measure_speed(model, some)
    assert all(0 < value < math.inf for value in vars(speed).values())
    assert repr(model) == before


def test_drawing_is_measured_once(tmp_path, files):
    first = drawing_seconds(files, cache=tmp_path)
    assert first > 0
    # No two measurements are equal to the last digit.
    assert drawing_seconds(files, cache=tmp_path) == first


def test_drawing_takes_as_long_as_the_last_times(tmp_path):
    files = [f"{i}.jpg" for i in range(3000)]
    for n in (100, 1000, 5000):
        note_drawing(n, 2 + 0.01 * n, cache=tmp_path)
    assert drawing_seconds(files, cache=tmp_path) == pytest.approx(32, rel=1e-3)
    # A machine that became faster is believed after a while.
    for _ in range(10):
        note_drawing(3000, 15.0, cache=tmp_path)
    assert drawing_seconds(files, cache=tmp_path) == pytest.approx(15, rel=1e-3)


def test_drawing_takes_longer_while_others_work(tmp_path):
    files = [f"{i}.jpg" for i in range(1000)]
    note_drawing(1000, 30.0, cache=tmp_path, slowdown=3.0)
    assert drawing_seconds(files, cache=tmp_path) == pytest.approx(10, rel=1e-3)
    assert drawing_seconds(files, cache=tmp_path, slowdown=2.0) == pytest.approx(20, rel=1e-3)


def test_what_others_do_is_said(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(_timing, "_share_of_a_processor", lambda start: 0.4)
    assert slowdown() == pytest.approx(2.5)
    monkeypatch.setattr(_timing, "_share_of_a_processor", lambda start: 0.9)
    assert slowdown() == 1
    assert until(30, slowdown()) == "about 30 s"
    assert until(30, 2.5) == "about 30 s while this computer is as busy as now"


def test_a_thread_that_waits_has_less_of_a_processor(monkeypatch):
    def hashed(content):
        time.sleep(0.01)

    monkeypatch.setattr(_timing.hashlib, "sha256", hashed)
    assert _timing._share_of_a_processor(time.perf_counter()) < 0.5


@pytest.mark.parametrize("text", ["{", "{}", '{"runs": [[0, 1]]}', '{"runs": [[1]]}'])
def test_damaged_times_are_measured_again(text, tmp_path, files):
    note_drawing(len(files), 1e6, cache=tmp_path)
    (file,) = (tmp_path / "drawing").iterdir()
    file.write_text(text)
    assert drawing_seconds(files, cache=tmp_path) < 1e5


def test_nothing_is_kept_without_a_cache(files):
    note_drawing(10, 1.0)
    assert drawing_seconds(files) > 0


def test_what_is_not_trained_takes_its_time_too():
    images = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    plan = plan_training(images, encoder="paintings")
    assert (plan.pretraining, plan.joint) == (0, 0)
    assert plan.speed.embedding > 0
    assert plan.training_seconds >= 80 * plan.speed.embedding
    assert plan.seconds_of_phases == {
        "clusters": plan.training_seconds,
        "pretraining": 0,
        "joint": 0,
    }
