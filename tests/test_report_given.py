"""What a page is made of: collections, labels in words, and options that are none."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline

from skdcec.datasets import ImageLoader, load_images
from skdcec.features import ColorEdgeFeatures
from skdcec.report import image_table, report_from_estimator, write_report

LABELS = [0, 0, 1, 1]


@pytest.fixture
def collection(tmp_path):
    """Four pictures in two folders."""
    folder = tmp_path / "scans"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    for i, name in enumerate(["klimt/1", "klimt/2", "monet/1", "monet/2"]):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i]).save(path)
    return load_images(folder, size=8, metadata="folders")


@pytest.fixture
def page(tmp_path):
    return tmp_path / "page.html"


def test_a_collection_brings_names_and_metadata_along(collection, page):
    table = write_report(page, collection, LABELS).table
    assert table["file"] == ["klimt/1.png", "klimt/2.png", "monet/1.png", "monet/2.png"]
    assert table["folder"] == ["klimt", "klimt", "monet", "monet"]
    made = report_from_estimator(
        make_pipeline(ColorEdgeFeatures(), KMeans(2, n_init=1)).fit(collection.images),
        collection,
        page,
    )
    assert made.table["file"] == table["file"]
    assert made.table["folder"] == table["folder"]


def test_what_is_said_beside_a_collection_counts(collection, page):
    said = {"paths": list("abcd"), "metadata": {"year": [1, 2, 3, 4]}}
    model = make_pipeline(ImageLoader(size=8), ColorEdgeFeatures(), KMeans(2, n_init=1))
    model.fit(collection.filenames)
    for table in (
        write_report(page, collection, LABELS, **said).table,
        report_from_estimator(model, collection, page, **said).table,
    ):
        assert table["file"] == list("abcd")
        assert "folder" not in table
        assert table["year"] == list("1234")


def test_files_of_a_collection_may_be_shown_instead_of_its_pixels(collection, page):
    model = make_pipeline(ColorEdgeFeatures(), KMeans(2, n_init=1)).fit(collection.images)
    made = report_from_estimator(model, collection, page, images=collection.filenames)
    assert made.thumbnail_size == 16
    assert made.table["file"] == collection.paths.tolist()


@pytest.mark.parametrize(
    "kind", [list, np.array, pd.Series, lambda labels: pd.Series(labels, dtype="category")]
)
def test_labels_in_words_name_their_clusters(kind, collection, page):
    made = write_report(page, collection, kind(["monet", "klimt", "monet", "monet"]))
    assert made.table["cluster"] == [1, 0, 1, 1]
    assert dict(zip(made.summary["cluster"], made.summary["name"], strict=True)) == {
        0: "klimt",
        1: "monet",
    }
    named = write_report(page, collection, kind(list("abab")), cluster_names={1: "others"})
    assert sorted(named.summary["name"]) == ["a", "others"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", None, "b", "b"], "labels has None beside texts"),
        (["a", float("nan"), "b", "b"], "labels has nan beside texts"),
        ([None] * 4, r"whole numbers, got object; np.unique\(labels, return_inverse=True\)"),
        ([True, True, False, False], "whole numbers, got bool; np.unique"),
    ],
)
def test_labels_that_are_neither_numbers_nor_words_name_the_fix(labels, message, collection, page):
    with pytest.raises(ValueError, match=message):
        write_report(page, collection, labels)


def test_tables_take_numbers_and_say_how_to_get_them():
    with pytest.raises(ValueError, match="return_inverse=True"):
        image_table(["a", "b"], paths=["1", "2"], distances=np.ones((2, 2)))


def test_paths_that_lead_nowhere_are_refused_before_anything_is_computed(
    collection, page, tmp_path, monkeypatch
):
    with pytest.raises(ValueError, match="give paths that lead there .* filenames of load_images"):
        write_report(page, collection.paths, LABELS)
    assert not page.exists()
    monkeypatch.chdir(tmp_path / "scans")
    assert write_report(page, collection.paths, LABELS).n_thumbnails == 4


def test_an_option_that_there_is_not_is_named_with_those_there_are(collection, page):
    # Nothing is asked of the model before.
    with pytest.raises(TypeError, match="has no 'names'; .* of write_report: paths, embedding"):
        report_from_estimator(None, collection, page, names=["a"])
    with pytest.raises(TypeError, match="has no 'labels'"):
        report_from_estimator(None, collection, page, labels=LABELS)
