"""A page of more images than it shows: a sample that it says to be one, every cluster in it."""

import base64
import json
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from skdcec._analysis import exemplars, projection
from skdcec._analysis.samples import stratified_rows
from skdcec._analysis.spaces import distances_to_means
from skdcec.report import map_projection, metadata, thumbnails, write, write_report

SIZES = (900, 290, 5, 5)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), SIZES))
N = len(LABELS)


def described(labels, seed=0):
    """Rows around the centre of their cluster, and what a page of them needs besides."""
    rng = np.random.default_rng(seed)
    points = 9 * rng.normal(size=(labels.max() + 1, 3))[labels] + rng.normal(size=(len(labels), 3))
    return {
        "embedding": points,
        "distances": distances_to_means(points, labels),
        "map_coordinates": points[:, :2],
        "metadata": {
            "school": np.where(labels % 2, "north", "south"),
            "town": [f"town {i}" for i in rng.integers(60, size=len(labels))],
        },
    }


def tiny(n):
    return np.broadcast_to(np.arange(n)[:, None, None] % 251, (n, 8, 8)).astype(np.uint8)


def payload_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    path = tmp_path_factory.mktemp("sampled") / "page.html"
    names = [f"{i}.png" for i in range(N)]
    options = described(LABELS) | {"paths": names, "cluster_names": {0: "many", 3: "few"}}
    return write_report(path, tiny(N), LABELS, max_images=160, **options)


def test_tables_and_counts_are_of_all_images(sampled):
    assert sampled.table["file"] == [f"{i}.png" for i in range(N)]
    assert_array_equal(sampled.table["cluster"], LABELS)
    assert sampled.summary["size"] == list(SIZES)
    payload = payload_of(sampled.path)
    assert (payload["total"], len(payload["files"]), sampled.n_images) == (N, 160, 160)
    assert [card["size"] for card in payload["clusters"]] == list(SIZES)
    school, town = payload["agreement"]
    assert np.sum(school["counts"]) == np.sum(town["counts"]) == N
    assert len(town["levels"]) == payload["max_levels"] + 1
    assert [one[0] for card in payload["clusters"] for one in card["outstanding"]][:1] == ["school"]


def test_no_cluster_is_lost_in_the_sample(sampled):
    payload = payload_of(sampled.path)
    rows = np.array([int(name.split(".")[0]) for name in payload["files"]])
    assert_array_equal(rows, np.sort(rows))
    found = np.bincount(LABELS[rows], minlength=4)
    assert_array_equal(found[2:], SIZES[2:])
    assert found[0] > 2 * found[1] > 20


def test_examples_on_the_page_are_those_of_all_images(sampled):
    payload = payload_of(sampled.path)
    flags = np.array(sampled.table["flag"])
    distance = np.array(sampled.table["distance"])
    for card in payload["clusters"]:
        of_cluster = card["cluster"] == LABELS
        names = [payload["files"][i] for i in card["typical"]]
        typical = np.flatnonzero(of_cluster & (flags == "typical"))
        order = typical[np.argsort(distance[typical], kind="stable")]
        assert names == [f"{i}.png" for i in order]
        odd = {payload["files"][i] for i in card["odd"]}
        assert odd == {f"{i}.png" for i in np.flatnonzero(of_cluster & (flags == "odd"))}


def test_what_the_page_knows_of_an_image_is_of_that_image(sampled):
    payload = payload_of(sampled.path)
    rows = np.array([int(name.split(".")[0]) for name in payload["files"]])

    def unpacked(text, kind):
        return np.frombuffer(base64.b64decode(text), dtype=kind)

    assert_array_equal(unpacked(payload["labels"], "<i2"), LABELS[rows])
    distance = np.array(sampled.table["distance"])[rows]
    np.testing.assert_allclose(unpacked(payload["distance"], "<f4"), distance, rtol=1e-6)
    column = payload["columns"][1]
    towns = np.array(column["texts"])[unpacked(column["codes"], "<u2")]
    assert towns.tolist() == [sampled.table["town"][i] for i in rows]
    embedding = unpacked(payload["embedding"], "<f2").reshape(160, 3)
    points = described(LABELS)["embedding"]
    points = points - points.mean(axis=0)
    np.testing.assert_allclose(embedding, points[rows] / np.abs(points).max(), atol=1e-3)


def test_a_page_of_more_images_is_not_larger(tmp_path):
    sizes = []
    for n in (1000, 4000):
        labels = np.arange(n) % 3
        page = tmp_path / f"{n}.html"
        sizes.append(write_report(page, tiny(n), labels, max_images=100, **described(labels)))
    small, large = (report.n_bytes for report in sizes)
    assert large < 1.05 * small


def test_images_that_are_not_shown_are_not_read(tmp_path, monkeypatch):
    for i in range(N):
        if i % 10:
            # None of these could be read.
            (tmp_path / f"{i}.png").touch()
        else:
            Image.new("L", (9, 8), i % 251).save(tmp_path / f"{i}.png")
    files = [tmp_path / f"{i}.png" for i in range(N)]
    opened = thumbnails.opened_picture
    seen = set()

    def watched(path, **options):
        seen.add(path)
        return opened(path, **options)

    monkeypatch.setattr(thumbnails, "opened_picture", watched)
    with pytest.warns(UserWarning, match=rf"of {N} images cannot be drawn"):
        report = write_report(
            tmp_path / "page.html", files, LABELS, max_images=60, **described(LABELS)
        )
    assert len(seen) == report.n_images == 60
    links = payload_of(report.path)["originals"]
    assert links == {"prefix": ""} or len(links["links"]) == 60


def test_no_embedding_is_needed(tmp_path):
    labels = LABELS[:400] % 2
    images = tiny(400) // 4 + 120 * labels[:, None, None].astype(np.uint8)
    whole = write_report(tmp_path / "whole.html", images, labels)
    part = write_report(tmp_path / "part.html", images, labels, max_images=50)
    # The same axes, of the same images.
    np.testing.assert_allclose(part.table["distance"], whole.table["distance"], atol=1e-4)
    assert len(payload_of(part.path)["files"]) == 50


def test_more_clusters_than_places_have_one_image_each(tmp_path):
    labels = np.repeat(np.arange(30), 3)
    report = write_report(tmp_path / "page.html", tiny(90), labels, max_images=7)
    payload = payload_of(report.path)
    assert len(payload["files"]) == 30
    assert all(card["typical"] for card in payload["clusters"])


@pytest.mark.parametrize("max_images", [60, 61, None])
def test_a_page_of_all_images_is_no_sample(tmp_path, max_images):
    labels = LABELS[:60]
    path = tmp_path / "page.html"
    report = write_report(path, tiny(60), labels, max_images=max_images, **described(labels))
    payload = payload_of(path)
    assert payload["total"] == len(payload["files"]) == report.n_images == 60


@pytest.mark.parametrize(
    ("max_images", "error"),
    [(0, ValueError), (-1, ValueError), (2.5, TypeError), (True, TypeError)],
)
def test_other_numbers_of_images_are_refused(tmp_path, max_images, error):
    with pytest.raises(error, match=f"max_images={max_images}"):
        write_report(tmp_path / "page.html", tiny(4), [0, 0, 1, 1], max_images=max_images)


def test_a_column_of_very_many_values_is_no_table(monkeypatch):
    values = [f"place {i // 3}" for i in range(90)]
    assert metadata.read_column("place", values).kind == "category"
    monkeypatch.setattr(metadata, "_MAX_CATEGORIES", 29)
    assert metadata.read_column("place", values).kind == "text"


@pytest.mark.parametrize("size", [4, 5, 39, 100, N - 1])
def test_stratified_rows(size):
    first = np.flatnonzero(LABELS == 0)[-3:]
    rows = stratified_rows(LABELS, size, 0, first=first)
    assert_array_equal(rows, np.unique(rows))
    assert len(rows) == size
    found = np.bincount(LABELS[rows], minlength=4)
    assert found.min() > 0
    assert np.isin(first, rows).sum() == min(3, found[0])
    assert_array_equal(rows, stratified_rows(LABELS, size, 0, first=first))
    assert rows.tolist() != stratified_rows(LABELS, size, 1).tolist()


def test_stratified_rows_follow_the_sizes():
    labels = np.repeat([-1, 3, 9], [100_000, 10_000, 50])
    found = np.unique(labels[stratified_rows(labels, 2000, 0)], return_counts=True)
    assert found[0].tolist() == [-1, 3, 9]
    # 100 at least of each that has them; of the rest, ten times as many of one as of the other.
    assert found[1].sum() == 2000
    assert found[1][2] == 50
    assert 9 < (found[1][0] - 100) / (found[1][1] - 100) < 11


def test_a_small_cluster_keeps_its_place_on_the_map(monkeypatch):
    monkeypatch.setattr(projection, "_LANDMARKS", 150)
    monkeypatch.setattr(projection, "_BLOCK", 100)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [1000, 994, 6])
    points = np.array([[0.0, 0, 0], [20, 0, 0], [0, 20, 0]])[labels] + rng.normal(size=(2000, 3))
    places = map_projection(points, labels=labels)
    far = np.linalg.norm(places[labels == 2][:, None] - places[None], axis=2)
    far[:, labels == 2] = np.inf
    spread = np.ptp(places[labels == 2], axis=0).max()
    assert far.min() > spread
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        map_projection(points, labels=labels[:-1])


def test_membership_in_parts_is_that_of_all(monkeypatch):
    rng = np.random.default_rng(0)
    distances = rng.random((50, 4)).astype(np.float32)
    labels = np.append(distances.argmin(axis=1)[:-3], [-1, -1, 2])
    for given in ({"distances": distances}, {"probabilities": distances}):
        whole = exemplars.membership(labels, **given)
        monkeypatch.setattr(exemplars, "_BLOCK", 28)
        parts = exemplars.membership(labels, **given)
        monkeypatch.undo()
        for one, other in zip(whole, parts, strict=True):
            assert_array_equal(one, other)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_an_embedding_is_made_compact_in_parts(monkeypatch, metric):
    points = np.random.default_rng(0).normal(size=(70, 100)) + 1
    whole = write._compact_embedding(points, metric, 0)
    monkeypatch.setattr(write, "_BLOCK", 16)
    np.testing.assert_allclose(write._compact_embedding(points, metric, 0), whole, atol=1e-6)
