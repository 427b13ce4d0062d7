"""The report page: its tables, its thumbnails, and what may never reach it as markup."""

import base64
import csv
import errno
import importlib.resources
import io
import json
import os
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ExifTags, Image, features
from scipy.stats.contingency import expected_freq
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering, DenseAutoencoder
from skdcec.datasets import load_images
from skdcec.model_selection import TransductiveSplit
from skdcec.report import (
    choice,
    cluster_summary,
    colours,
    image_table,
    map_projection,
    metadata,
    metadata_agreement,
    read_edits,
    read_names,
    read_table,
    report_from_estimator,
    thumbnails,
    write,
    write_report,
    write_table,
)
from skdcec.report.page import SCRIPTS
from skdcec.report.tables import TABLE_COLUMNS

NASTY = [
    "<script>alert(1)</script>.png",
    "</script><img src=x onerror=alert(2)>.png",
    "quote\" and 'quote' & ampersand.png",
    "two\nlines\u2028three.png",
    os.fsdecode(b"latin-\xe9.png"),
    "{{data}} {{script}}.png",
    "=cmd|' /C calc'!A0.png",
]


def coloured_images(n, side=24):
    """Images of one colour each, all different, so that a picture tells which image it is."""
    rng = np.random.default_rng(0)
    colours = rng.permutation(7**3)[:n]
    rgb = np.stack([colours // 49, colours // 7 % 7, colours % 7], axis=1) * 36 + 18
    return np.broadcast_to(rgb[:, None, None, :], (n, side, side, 3)).astype(np.uint8), rgb


def payload_of(path):
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])


def single_thumbnails(path):
    text = path.read_text(encoding="utf-8")
    chunks = re.findall(r'id="thumbnails-\d+">(.*?)</script>', text, re.DOTALL)
    return [line for chunk in chunks for line in chunk.split("\n")]


def decoded(line):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(line))).convert("RGB"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    images, rgb = coloured_images(300)
    labels = np.arange(300) % 3
    distances = np.random.default_rng(1).uniform(0.1, 4, (300, 3))
    report = write_report(
        folder / "page.html",
        images,
        labels,
        paths=[f"folder/{i}.png" for i in range(300)],
        distances=distances,
        metadata={"school": ["north", "south", ""] * 100, "year": np.arange(300) + 1500},
        history={"loss": [3.0, 2.0, float("nan")]},
        map_coordinates=np.random.default_rng(2).normal(size=(300, 2)),
        title="Squares & circles",
    )
    return SimpleNamespace(report=report, rgb=rgb, labels=labels, distances=distances)


def test_table_columns_agree_with_their_definitions(page):
    table, distances, labels = page.report.table, page.distances, page.labels
    assert list(table) == [*TABLE_COLUMNS, "school", "year"]
    q = 1 / (1 + distances**2)
    q /= q.sum(axis=1, keepdims=True)
    rows = np.arange(300)
    np.testing.assert_allclose(table["confidence"], q[rows, labels], atol=1e-5)
    np.testing.assert_allclose(table["distance"], distances[rows, labels], atol=1e-5)
    q[rows, labels] = 0
    np.testing.assert_array_equal(table["second_cluster"], q.argmax(axis=1))
    margin = np.array(table["confidence"]) - q.max(axis=1)
    np.testing.assert_allclose(table["margin"], margin, atol=1e-5)
    assert min(table["x"] + table["y"]) >= 0
    assert max(table["x"] + table["y"]) <= 1


def test_flags_are_the_nearest_the_farthest_and_the_least_certain(page):
    table = {key: np.array(values, dtype=object) for key, values in page.report.table.items()}
    for cluster in range(3):
        inside = table["cluster"] == cluster
        flag, distance = table["flag"][inside], table["distance"][inside].astype(float)
        margin = table["margin"][inside].astype(float)
        assert [np.sum(flag == name) for name in ("typical", "odd", "borderline")] == [12, 6, 6]
        assert distance[flag == "typical"].max() <= distance[flag != "typical"].min()
        assert distance[flag == "odd"].min() >= distance[flag != "odd"].max()
        rest = (flag == "borderline") | (flag == "")
        assert margin[flag == "borderline"].max() <= margin[rest & (flag == "")].min()


def test_small_clusters_share_out_their_images():
    table = image_table(
        [0] * 5 + [1], paths=list("abcdef"), distances=np.arange(12).reshape(6, 2) / 10
    )
    assert table["flag"] == ["typical", "typical", "typical", "borderline", "odd", "typical"]


def test_probabilities_alone_order_the_images():
    table = image_table([0, 0], paths=["a", "b"], probabilities=[[0.9, 0.1], [0.6, 0.4]])
    assert table["confidence"] == [0.9, 0.6]
    assert table["distance"][0] < table["distance"][1]
    assert table["margin"] == [0.8, 0.2]


def test_images_that_no_other_cluster_comes_near_are_not_borderline():
    sure = np.tile([0.999, 0.001], (30, 1))
    options = {"paths": [str(i) for i in range(30)], "distances": np.arange(60.0).reshape(30, 2)}
    assert "borderline" not in image_table([0] * 30, probabilities=sure, **options)["flag"]
    sure[14] = [0.6, 0.4]
    flags = image_table([0] * 30, probabilities=sure, **options)["flag"]
    assert [i for i, flag in enumerate(flags) if flag == "borderline"] == [14]


def test_what_was_put_by_hand_is_said_and_not_called_borderline():
    probabilities = np.tile([0.9, 0.1], (8, 1))
    probabilities[[2, 5]] = [0.2, 0.8]
    distances = np.column_stack([np.arange(8.0), np.full(8, 9.0)])
    given = {"paths": list("abcdefgh"), "probabilities": probabilities, "distances": distances}
    table = image_table([0] * 8, **given)
    assert [table["flag"][i] for i in (4, 5)] == ["borderline", "borderline"]
    # The nearest ones are typical, whoever put them there.
    table = image_table([0] * 8, **given, by_hand=[2, 5])
    assert table["by_hand"] == ["", "", "yes", "", "", "yes", "", ""]
    assert [table["flag"][i] for i in (2, 4, 5)] == ["typical", "borderline", ""]
    assert (table["confidence"][5], table["margin"][5]) == (0.2, -0.6)
    with pytest.raises(ValueError, match="by_hand has the row 8; those of 8 images are 0 to 7"):
        image_table([0] * 8, **given, by_hand=[1, 8])


def test_one_cluster_has_no_second():
    table = image_table([0, 0], paths=["a", "b"], distances=[[1.0], [2.0]])
    assert table["second_cluster"] == [None, None]
    assert table["confidence"] == table["margin"] == [1.0, 1.0]


def test_images_in_no_cluster_keep_their_nearest_one(tmp_path):
    images, _ = coloured_images(12)
    labels = np.array([0, 1, -1] * 4)
    result = write_report(tmp_path / "page.html", images, labels)
    assert result.summary["cluster"] == [0, 1, -1]
    outside = labels == -1
    assert np.isnan(np.array(result.table["confidence"])[outside]).all()
    assert set(np.array(result.table["second_cluster"])[outside]) <= {0, 1}
    assert not any(np.array(result.table["flag"])[outside])


def test_metadata_never_hides_a_column_of_the_table():
    table = image_table(
        [0], paths=["a"], distances=[[1.0]], metadata={"file": ["other"], "school": [None]}
    )
    assert (table["file"], table["metadata_file"], table["school"]) == (["a"], ["other"], [""])


def test_summary_counts_and_colours():
    red, blue = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    red[...], blue[...] = (255, 0, 0), (0, 0, 255)
    blue[:4] = 0
    table = image_table(
        [0, 0, 1],
        paths=["a", "b", "c"],
        distances=[[1, 2], [1, 2], [2, 1]],
    )
    summary = cluster_summary(
        table, pixels=np.stack([red, red, blue]), cluster_names={1: {"name": "Blue", "note": "n"}}
    )
    assert summary["size"] == [2, 1]
    assert summary["name"] == ["", "Blue"]
    assert summary["palette"] == ["#ff0000 100%", "#000000 50% #0000ff 50%"]
    assert summary["lightness"] == pytest.approx([53.2, 16.1], abs=0.1)
    assert summary["contrast"] == pytest.approx([0, 16.1], abs=0.1)


def test_the_page_is_told_colours_and_residuals(tmp_path):
    labels = np.repeat([0, 1, 5, -1], [30, 20, 10, 4])
    kinds = np.where(np.arange(64) % 3 == 0, "x", np.abs(labels).astype(str))
    report = write_report(
        tmp_path / "p.html", coloured_images(64)[0], labels, metadata={"kind": kinds}
    )
    payload = payload_of(report.path)
    colours = payload["colours"]
    assert len({*colours["clusters"], colours["none"]}) == 7
    (agreement,) = payload["agreement"]
    counts = np.array(agreement["counts"])
    expected = expected_freq(counts)
    np.testing.assert_allclose(agreement["expected"], expected, atol=0.06)
    rows, columns = counts.sum(axis=1, keepdims=True), counts.sum(axis=0)
    spread = np.sqrt(expected * (1 - rows / counts.sum()) * (1 - columns / counts.sum()))
    np.testing.assert_allclose(agreement["residuals"], (counts - expected) / spread, atol=0.006)


def test_the_page_and_the_summary_say_which_clusters_would_not_come_back(tmp_path):
    points, kinds = make_blobs(90, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
    labels = kinds.copy()
    labels[kinds == 2] += np.random.default_rng(0).integers(2, size=30)
    images = np.zeros((90, 8, 8), dtype=np.uint8)
    report = write_report(tmp_path / "p.html", images, labels, embedding=points)
    payload = payload_of(report.path)
    assert payload["stability"] == {"agreement": round(report.agreement, 2), "firm": 0.5}
    firm = dict(zip(report.summary["cluster"], report.summary["stability"], strict=True))
    assert min(firm[0], firm[1]) > 0.7
    assert min(firm[2], firm[3]) < 0.6
    assert {card["cluster"]: card["stability"] for card in payload["clusters"]} == firm
    alone = write_report(tmp_path / "one.html", images, np.zeros(90, int), embedding=points)
    assert alone.summary["stability"] == [None]
    assert payload_of(alone.path)["stability"]["agreement"] is None


def test_summary_names_what_stands_out():
    labels = np.repeat([0, 1], 50)
    school = ["north"] * 40 + ["south"] * 60
    table = image_table(
        labels,
        paths=[str(i) for i in range(100)],
        distances=np.where(labels[:, None] == [0, 1], 1.0, 2.0),
        metadata={"school": school, "year": np.arange(100)},
    )
    first, second = cluster_summary(table)["metadata"]
    assert "school=north 40/50 lift 2.0" in first
    assert "school=south 50/50 lift 1.7" in second


def test_what_several_columns_say_of_the_same_images_is_said_once(tmp_path):
    labels = np.repeat([0, 1, 2], 20)
    artist = np.repeat(["Monet", "Sisley", "Raphael"], 20)
    metadata = {
        "artist": artist,
        # One image lies in no folder.
        "folder": [*artist[:-1], ""],
        "died": [{"Monet": 1926, "Sisley": 1899, "Raphael": 1520}[name] for name in artist],
        # Also of others, so it says something else.
        "style": np.repeat(["Impressionism", "Impressionism", "Renaissance"], 20),
        "owner": np.tile(["Leipzig", "Paris"], 30),
    }
    options = {"embedding": np.eye(3)[labels], "metadata": metadata}
    report = write_report(tmp_path / "p.html", np.zeros((60, 8, 8), np.uint8), labels, **options)
    first, _, third = report.summary["metadata"]
    assert first == "artist=Monet 20/20 lift 3.0; style=Impressionism 20/20 lift 1.5"
    # All of one artist are all of one style here.
    assert third == "artist=Raphael 20/20 lift 3.0"
    agreement = payload_of(report.path)["agreement"]
    assert {one["column"]: one.get("like") for one in agreement} == {
        "artist": None,
        "folder": "artist",
        "died": "artist",
        "style": None,
        "owner": None,
    }


def test_agreement_and_what_chance_gives():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    same = metadata_agreement(labels, [f"v{label}" for label in labels])
    assert same["nmi"] == 1
    np.testing.assert_array_equal(np.array(same["counts"]), np.diag(np.bincount(labels)))
    noise = metadata_agreement(labels, rng.integers(0, 100, 400).astype(str).tolist())
    assert noise["kind"] == "number"
    many = metadata_agreement(labels, [f"v{value}" for value in rng.integers(0, 100, 400)])
    assert many["kind"] == "category"
    assert many["nmi"] == pytest.approx(many["chance"], abs=0.03)
    assert many["chance"] > 0.1
    assert len(many["levels"]) == metadata.MAX_LEVELS + 1
    assert np.sum(many["counts"]) == 400


@pytest.mark.parametrize(
    ("values", "kind", "levels"),
    [
        ([1500.0, None, float("nan"), 1500.0] * 5, "category", None),
        ([f"id {i}" for i in range(20)], "text", None),
        (["same"] * 20, "category", None),
        ([str(i) for i in range(20)], "number", 8),
        ([True, False] * 10, "category", 2),
    ],
)
def test_columns_are_told_apart(values, kind, levels):
    agreement = metadata_agreement(np.arange(20) % 2, values)
    assert agreement["kind"] == kind
    assert len(agreement.get("levels", [])) == (levels or 0)


def test_numbers_are_cut_where_they_are_and_gaps_left_out():
    values = [1500.0, 1600.0] * 20 + [float("nan")] * 4 + list(range(1700, 1720))
    agreement = metadata_agreement(np.arange(64) % 2, values)
    assert agreement["n_missing"] == 4
    assert np.sum(agreement["counts"]) == 60
    assert agreement["levels"][0] == "1500"
    assert agreement["levels"][-1].endswith("1719")


def test_dataframe_metadata():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"year": [1890.0, None], "school": pandas.array(["a", None])})
    table = image_table([0, 0], paths=["a", "b"], distances=[[1.0], [1.0]], metadata=frame)
    assert (table["year"], table["school"]) == (["1890", ""], ["a", ""])


def test_every_thumbnail_belongs_to_its_path(page):
    files, lines = payload_of(page.report.path)["files"], single_thumbnails(page.report.path)
    assert len(lines) == 300
    for i, (name, line) in enumerate(zip(files, lines, strict=True)):
        assert name == f"folder/{i}.png"
        np.testing.assert_allclose(decoded(line).mean(axis=(0, 1)), page.rgb[i], atol=6)


def test_every_cell_of_the_sheets_belongs_to_its_path(page, monkeypatch, tmp_path):
    text = page.report.path.read_text(encoding="utf-8")
    sheet = decoded(re.search(r'id="sheet-0">(.*?)<', text)[1])
    for i in range(300):
        row, column = divmod(i, 64)
        centre = sheet[32 * row + 8 : 32 * row + 24, 32 * column + 8 : 32 * column + 24]
        np.testing.assert_allclose(centre.mean(axis=(0, 1)), page.rgb[i], atol=8)


def test_sheets_continue_where_the_last_one_ended(monkeypatch):
    monkeypatch.setattr(thumbnails, "CELLS_PER_SIDE", 4)
    cells = np.broadcast_to(np.arange(40, dtype=np.uint8)[:, None, None, None] * 6, (40, 32, 32, 3))
    sheets = thumbnails.encode_sheets(cells)
    assert [decoded(base64.b64encode(sheet)).shape[:2] for sheet in sheets] == [
        (128, 128),
        (128, 128),
        (64, 128),
    ]
    third = decoded(base64.b64encode(sheets[2]))
    assert abs(int(third[16, 16, 0]) - 32 * 6) < 4


def test_thumbnails_come_from_files_as_they_should_be_seen(tmp_path):
    upright = np.zeros((40, 80, 3), dtype=np.uint8)
    upright[:, :40] = 255
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(upright).save(tmp_path / "turned.jpg", exif=turned)
    Image.fromarray(np.full((30, 30, 4), (255, 0, 0, 0), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((30, 30), 60_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    paths = [tmp_path / name for name in ("turned.jpg", "a.png", "deep.png", "broken.jpg")]
    with pytest.warns(
        UserWarning, match=r"1 of 4 images cannot be drawn .*broken\.jpg' \(not an image"
    ):
        report = write_report(tmp_path / "page.html", paths, [0, 0, 1, 1])
    turned, clear, deep, broken = map(decoded, single_thumbnails(report.path))
    assert turned.shape == (80, 40, 3)
    assert turned[10].mean() > 240 > 20 > turned[70].mean()
    assert clear.min() > 250
    assert deep.min() > 225
    assert abs(int(broken.mean()) - 128) < 3


def test_pictures_are_shown_as_they_are_trained_on(tmp_path):
    dark = np.linspace(0, 200, 900).reshape(30, 30)
    Image.fromarray((dark * 1.2).astype(np.uint16)).save(tmp_path / "dark.png")
    Image.fromarray(dark.astype(np.uint8)).save(tmp_path / "light.png")
    paths = [tmp_path / "dark.png", tmp_path / "light.png"]
    report = write_report(tmp_path / "page.html", paths, [0, 1])
    trained_on = load_images(paths, size=30).images
    for shown, pixels in zip(single_thumbnails(report.path), trained_on, strict=True):
        assert abs(decoded(shown).mean() - pixels.mean()) < 4


def save_odd_pictures(folder):
    """Files that some reader of pictures stumbles over, and a few that are none."""
    ramp = np.linspace(0, 255, 80 * 60).reshape(80, 60).astype(np.uint8)
    colour = np.stack([ramp, 255 - ramp, ramp // 2], axis=-1)
    rgb = Image.fromarray(colour)
    rgb.save(folder / "plain.jpg")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.convert("P").save(folder / "palette.gif")
    rgb.save(folder / "pages.tif", save_all=True, append_images=[rgb])
    Image.fromarray(np.dstack([colour, ramp])).save(folder / "transparent.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(ramp > 99).save(folder / "bits.png")
    Image.fromarray(ramp[:1].repeat(10, axis=1)).save(folder / "wide.png")
    Image.fromarray(colour[:1].repeat(10, axis=1).swapaxes(0, 1)).save(folder / "thin.jpg")
    Image.fromarray(colour[:1, 30:31]).save(folder / "point.png")
    if features.check("avif"):
        rgb.save(folder / "new.avif")
    for orientation in (0, 6, 99):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        rgb.save(folder / f"turned {orientation}.jpg", exif=exif)
    block = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 4
    rgb.save(folder / "broken exif.jpg", exif=block)
    rgb.save(folder / "broken exif.webp", exif=block)
    plain = (folder / "plain.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(plain[: len(plain) // 2])
    rng = np.random.default_rng(0)
    for name in ("plain.jpg", "transparent.png", "pages.tif", "broken exif.webp"):
        for trial in range(5):
            damaged = bytearray((folder / name).read_bytes())
            for at in rng.integers(0, len(damaged), 8):
                damaged[at] = rng.integers(0, 256)
            (folder / f"damaged {trial} {name}").write_bytes(damaged)
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("nothing")
    rgb.save(folder / "program.eps")
    (folder / "folder.png").mkdir()
    return sorted(folder.iterdir()) + [folder / "missing.png"]


def test_what_is_accepted_for_training_is_drawn_and_all_else_is_gray(tmp_path, monkeypatch):
    (tmp_path / "odd").mkdir()
    paths = save_odd_pictures(tmp_path / "odd")
    with monkeypatch.context() as patch:
        # What Pillow takes for an attack are pictures all the same.
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
        with pytest.warns(UserWarning, match="could not be used|skipped"):
            accepted = {str(name) for name in load_images(paths, size=16).filenames}
        with pytest.warns(UserWarning, match="shown as gray tiles") as caught:
            report = write_report(tmp_path / "p.html", paths, np.zeros(len(paths), dtype=int))
    drawn = {}
    for path, line in zip(paths, single_thumbnails(report.path), strict=True):
        drawn[path.name] = np.abs(decoded(line).astype(int) - 128).max() > 3
    assert drawn == {path.name: str(path) in accepted for path in paths}
    gray = [name for name, is_drawn in drawn.items() if not is_drawn]
    assert len(gray) >= 5
    assert len(accepted) >= 15
    (message,) = [str(one.message) for one in caught if "gray" in str(one.message)]
    assert message.startswith(f"{len(gray)} of {len(paths)} images cannot be drawn")
    assert f"{gray[0]}' (" in message


def test_pictures_above_the_limit_are_gray(tmp_path):
    for name, side in (("small.png", 40), ("large.png", 80)):
        Image.new("RGB", (side, side), "red").save(tmp_path / name)
    paths = [tmp_path / "small.png", tmp_path / "large.png"]
    with pytest.warns(UserWarning, match=r"1 of 2 images .*large\.png' \(80 x 80 pixels are more"):
        report = write_report(tmp_path / "p.html", paths, [0, 0], max_pixels=2_000)
    small, large = map(decoded, single_thumbnails(report.path))
    assert small[..., 0].min() > 240
    assert np.ptp(large) < 4


def test_only_clusterless_images_and_no_room(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    labels = np.full(30, -1)
    with pytest.warns(UserWarning, match="more than max_bytes"):
        report = write_report(tmp_path / "p.html", images, labels, max_bytes=1_000)
    assert report.n_thumbnails == 0


@pytest.mark.parametrize("n", [1, 3])
def test_one_image_and_copies_of_one(tmp_path, n):
    images = np.full((n, 8, 8, 3), 90, dtype=np.uint8)
    report = write_report(tmp_path / "page.html", images, np.zeros(n, dtype=int))
    assert report.summary["size"] == [n]


def test_only_picture_formats_without_programs_are_opened(tmp_path):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.eps")
    with pytest.warns(UserWarning, match="1 of 1 images cannot be drawn"):
        write_report(tmp_path / "page.html", [tmp_path / "red.eps"], [0])


@pytest.mark.parametrize("shape", [(20, 12, 12), (20, 12, 12, 1), (20, 12, 12, 3), (20, 12, 12, 4)])
def test_pixels_of_any_kind(tmp_path, shape):
    pixels = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    before = pixels.copy()
    report = write_report(tmp_path / "page.html", pixels, np.arange(20) % 2)
    np.testing.assert_array_equal(pixels, before)
    assert report.thumbnail_size == 12
    assert decoded(single_thumbnails(report.path)[0]).std() > 20


def test_the_page_keeps_to_its_budget(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (120, 64, 64, 3), dtype=np.uint8)
    labels, space = np.arange(120) % 2, np.random.default_rng(0).normal(size=(120, 4))
    shared = {"embedding": space, "map_coordinates": space[:, :2]}
    sizes = []
    for budget in (2_000_000, 600_000, 240_000):
        report = write_report(tmp_path / "page.html", images, labels, max_bytes=budget, **shared)
        assert report.n_bytes == report.path.stat().st_size <= budget
        sizes.append((report.n_thumbnails, report.thumbnail_size))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == (120, 64)
    assert sizes[-1][0] < 120
    with pytest.warns(UserWarning, match="more than max_bytes=50_000"):
        report = write_report(tmp_path / "page.html", images, labels, max_bytes=50_000, **shared)
    assert report.n_thumbnails == 0


def test_when_not_all_thumbnails_fit_the_examples_have_them(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (400, 48, 48, 3), dtype=np.uint8)
    space = np.random.default_rng(0).normal(size=(400, 2))
    report = write_report(
        tmp_path / "page.html",
        images,
        np.arange(400) % 2,
        embedding=space,
        map_coordinates=space,
        max_bytes=700_000,
    )
    has = [bool(line) for line in single_thumbnails(report.path)]
    assert has == [bool(flag) for flag in report.table["flag"]]


def test_nothing_of_a_name_becomes_markup(tmp_path):
    images, _ = coloured_images(len(NASTY))
    report = write_report(
        tmp_path / "page.html",
        images,
        np.zeros(len(NASTY), dtype=int),
        paths=NASTY,
        metadata={"<b>column</b>": [name[::-1] for name in NASTY]},
        settings={"</script><b>": "</script><b>"},
        cluster_names={0: "</script><b>bold</b>"},
        title="</title><script>alert(3)</script> {{data}} \udce9",
    )
    raw = report.path.read_bytes()
    text = raw.decode("utf-8")
    assert "alert(1)</" not in text
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert "\u2028" not in text
    assert "&lt;/title&gt;&lt;script&gt;alert(3)" in text
    payload = payload_of(report.path)
    assert payload["files"] == NASTY
    assert sorted(payload["columns"][0]["texts"]) == sorted(name[::-1] for name in NASTY)
    assert payload["clusters"][0]["name"] == "</script><b>bold</b>"


def test_the_page_holds_no_address_and_forbids_every_request(page):
    text = page.report.path.read_text(encoding="utf-8")
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text, re.IGNORECASE)
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_viewer_files_are_safe_inside_the_page():
    folder = importlib.resources.files("skdcec.report") / "viewer"
    scripts = {
        path.name: path.read_text(encoding="utf-8")
        for path in folder.iterdir()
        if path.name.endswith(".js")
    }
    assert {*scripts} == {*SCRIPTS, *choice.SCRIPTS}
    for script in scripts.values():
        assert "</script" not in script
        assert "innerHTML" not in script
        assert script.count("\n") <= 400
    assert "</style" not in (folder / "viewer.css").read_text(encoding="utf-8")


def test_equal_input_gives_an_equal_page(tmp_path, untouched_global_rng):
    images, _ = coloured_images(40)
    labels = np.arange(40) % 2
    first = write_report(tmp_path / "a.html", images, labels, random_state=3)
    second = write_report(tmp_path / "b.html", images, labels, random_state=3)
    assert first.path.read_bytes() == second.path.read_bytes()


def test_table_round_trip(tmp_path):
    values = ["-5", "-1.5e3", "plain", "'quoted", "'=quoted", "@x", "=1+1", 'a,b\n"c"']
    write_table(tmp_path / "t.csv", {"file": values, "=n": list(range(8)), "x": [None] * 8})
    table = read_table(tmp_path / "t.csv")
    assert table == {"file": values, "=n": [str(i) for i in range(8)], "x": [""] * 8}
    with open(tmp_path / "t.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows[1:]][:7] == [
        "-5", "-1.5e3", "plain", "'quoted", "''=quoted", "'@x", "'=1+1",
    ]  # fmt: skip


def test_table_with_names_that_are_not_unicode(tmp_path):
    write_table(tmp_path / "t.csv", {"file": [os.fsdecode(b"\xe9.jpg")]})
    assert (tmp_path / "t.csv").read_text(encoding="utf-8-sig").splitlines()[1] == "\\udce9.jpg"
    assert read_table(tmp_path / "t.csv") == {"file": [os.fsdecode(b"\xe9.jpg")]}


def test_read_table_refuses_what_is_no_table(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1\n")
    with pytest.raises(ValueError, match="rows differ in length"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="begins as UTF-16, but is damaged"):
        read_table(tmp_path / "a.csv")


def test_names_from_the_page_and_from_a_spreadsheet(tmp_path):
    rows = [{"cluster": 0, "name": " Portraits ", "note": "dark\nground"}, {"cluster": 3}]
    (tmp_path / "n.json").write_text(json.dumps({"title": "x", "clusters": rows}))
    names = read_names(tmp_path / "n.json")
    expected = {0: {"name": "Portraits", "note": "dark\nground"}, 3: {"name": "", "note": ""}}
    assert names == expected
    table = {"cluster": [0, 3], "name": ["Portraits", ""], "note": ["dark\nground", ""]}
    write_table(tmp_path / "n.csv", table)
    assert read_names(tmp_path / "n.csv") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"clusters": 3}', "no list of clusters"),
        ('{"clusters": [', "not valid JSON"),
        ('[{"name": "x"}]', "has the cluster None"),
        ('[{"cluster": 1.5, "name": "x"}]', "has the cluster 1.5"),
        ('[{"cluster": 1, "name": "x"}, {"cluster": "1"}]', "names cluster 1 twice"),
        ('[{"cluster": 1, "name": 7}]', "must be text"),
        (json.dumps([{"cluster": 1, "name": "x" * 201}]), "at most 200"),
        ("name\nx\n", "no column 'cluster', but 'name'"),
    ],
)
def test_names_are_checked(tmp_path, text, message):
    (tmp_path / "names").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_names(tmp_path / "names")


def edits_text(**changes):
    move = {"file": "a", "from": 0, "to": 2} | changes.pop("move", {})
    return json.dumps({"format": "skdcec cluster edits", "moves": [move]} | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not of the form that skdcec writes"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested too deep"),
        (edits_text(format="other"), "no file of changes"),
        (edits_text(moves=3), "no file of changes"),
        (edits_text(moves=[3]), "no file of changes"),
        (edits_text(move={"file": 3}), "the file 3; the name of an image"),
        (edits_text(move={"to": -1}), "to cluster -1; a whole number from 0 to 9999"),
        (edits_text(move={"to": True}), "to cluster True"),
        (edits_text(move={"to": 10**30}), "to cluster 10000"),
        (edits_text(move={"from": "0"}), "from cluster '0'"),
        (edits_text(moves=[{"file": "a", "from": 0, "to": 1}] * 2), "moves 'a' twice"),
        (edits_text(clusters=[{"cluster": 1, "name": 7}]), "must be text"),
    ],
)
def test_edits_are_checked(tmp_path, text, message):
    (tmp_path / "edits.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_edits(tmp_path / "edits.json")


def test_links_to_the_files_are_relative_to_where_the_page_will_lie(tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    files = [folder / "1.png", folder / "ü#?.png", tmp_path / os.fsdecode(b"\xe9.png")]
    for file in files:
        Image.new("RGB", (4, 4)).save(file)

    def links(files, **options):
        report = write_report(tmp_path / "p.html", files, [0] * len(files), **options)
        return payload_of(report.path)["originals"]

    assert links(files)["links"] == ["a%20b/1.png", "a%20b/%C3%BC%23%3F.png", "%E9.png"]
    named = {"paths": ["1.png", "ü#?.png"]}
    assert links(files[:2], **named) == {"prefix": "a%20b/"}
    elsewhere = tmp_path / "x" / "y"
    assert links(files[:2], **named, link_originals=elsewhere) == {"prefix": "../../a%20b/"}
    assert links(files[:2], **named, link_originals=False) is None
    assert links(np.zeros((2, 4, 4), np.uint8)) is None


def test_names_of_unknown_clusters_are_an_error(tmp_path):
    images, _ = coloured_images(4)
    with pytest.raises(ValueError, match="cluster 5, but the labels end at 1"):
        write_report(tmp_path / "p.html", images, [0, 0, 1, 1], cluster_names={5: "x"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0, 1]}, "images has 4 rows, but there are 2 labels"),
        ({"labels": [0.5] * 4}, "labels must be whole numbers"),
        ({"labels": [-2] * 4}, "labels run from -2"),
        ({"paths": ["a"]}, "paths has 1 rows"),
        ({"embedding": np.zeros((3, 2))}, "embedding has 3 rows"),
        ({"metric": "manhattan"}, "metric='manhattan'"),
        ({"probabilities": np.ones((4, 1))}, "probabilities has 1 columns"),
        ({"map_coordinates": np.zeros((4, 3))}, "map_coordinates has shape"),
        ({"metadata": {"a": [1]}}, r"metadata\['a'\] has 1 rows"),
        ({"images": np.zeros((4, 3, 8, 8), dtype=np.uint8)}, "images has shape"),
        ({"skipped": ["a.txt"]}, r"skipped has \('a.txt',\); pairs of a file and the reason"),
        ({"duplicates": [[0, 4]]}, "duplicates has the row 4; those of 4 images are 0 to 3"),
    ],
)
def test_arguments_are_checked(tmp_path, options, message):
    images, _ = coloured_images(4)
    arguments = {"images": images, "labels": [0, 0, 1, 1]} | options
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path / "p.html", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written(tmp_path, monkeypatch):
    images, _ = coloured_images(4)
    labels = [0, 0, 1, 1]
    with pytest.raises(IsADirectoryError, match="is a directory"):
        write_report(tmp_path, images, labels)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_report(tmp_path / "none" / "p.html", images, labels)
    (tmp_path / "p.html").write_text("before")

    def full_disk(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="was not written: No space left") as caught:
        write_report(tmp_path / "p.html", images, labels)
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["p.html"]
    assert (tmp_path / "p.html").read_text() == "before"


@pytest.mark.parametrize("n", [1, 2, 4, 6, 40])
def test_map_of_few_images(n):
    coordinates = map_projection(np.random.default_rng(0).normal(size=(n, 3)))
    assert coordinates.shape == (n, 2)
    assert coordinates.min() >= 0
    assert coordinates.max() <= 1


def test_map_of_equal_images():
    np.testing.assert_array_equal(map_projection(np.ones((9, 3))), np.full((9, 2), 0.5))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_wide_embeddings_keep_their_neighbours(metric):
    rng = np.random.default_rng(0)
    wide = (rng.normal(size=(90, 8)) @ rng.normal(size=(8, 200)) + 3).astype(np.float32)
    compact = write._compact_embedding(wide, metric, 0)
    assert compact.shape == (90, 64)
    assert np.abs(compact).max() <= 1

    def order(rows):
        rows = rows - rows.mean(axis=0) if metric == "euclidean" else rows
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else rows
        return np.linalg.norm(rows[0] - rows, axis=1).argsort()[:20]

    np.testing.assert_array_equal(order(compact), order(wide))


def test_lab_of_known_colours():
    lab = colours.to_lab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 128, 0]]))
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.2], [46.23, -51.7, 49.9]]
    np.testing.assert_allclose(lab, expected, atol=0.05)


class FakeEncoder:
    metric_ = "cosine"
    history_ = {"loss": [3.0, 2.0]}

    def transform(self, X):
        return np.asarray(X).reshape(len(X), -1)[:, :6] + 1.0

    def get_params(self, deep=True):
        return {"n_components": 6}


class FakeClusterer:
    data_format = "channels_last"
    image_shape_ = (8, 8, 1)
    history_ = {"loss": [1.0, 0.5]}

    def __init__(self, X):
        self.encoder_ = FakeEncoder()
        self.labels_ = np.arange(len(X)) % 2
        self.cluster_centers_ = np.array([[0.0, 0.0], [1.0, 1.0]])

    def transform(self, X):
        return np.tile(self.labels_[:, None], (1, 2)) + np.linspace(0, 0.3, len(X))[:, None]

    def predict_proba(self, X):
        return np.where(self.labels_[:, None] == [0, 1], 0.8, 0.2)

    def get_params(self, deep=True):
        return {"n_clusters": 2, "encoder": self.encoder_, "encoder__n_components": 6}


def test_report_of_a_fitted_estimator(tmp_path):
    X = np.random.default_rng(0).uniform(0, 1, (30, 64))
    report = report_from_estimator(FakeClusterer(X), X, tmp_path / "p.html", title="Fake")
    assert set(report.table["confidence"]) == {0.8}
    assert report.table["distance"][29] == pytest.approx(0.3 * 2**0.5, abs=1e-5)
    payload = payload_of(report.path)
    assert payload["metric"] == "cosine"
    assert payload["dimensions"] == 6
    assert [section["title"] for section in payload["history"]] == ["Pretraining", "Joint training"]
    settings = dict(payload["settings"])
    assert settings["n_clusters"] == "2"
    assert settings["encoder"] == "FakeEncoder"
    assert settings["encoder__n_components"] == "6"
    with pytest.raises(ValueError, match="X has 29 rows"):
        report_from_estimator(FakeClusterer(X), X[:-1], tmp_path / "p.html")
    with pytest.raises(TypeError, match="path is of type ndarray; the HTML file to write comes"):
        report_from_estimator(FakeClusterer(X), tmp_path / "p.html", X)
    for unfitted in (KMeans(), make_pipeline(KMeans())):
        with pytest.raises(NotFittedError):
            report_from_estimator(unfitted, X, tmp_path / "p.html")
    with pytest.raises(TypeError, match="PCA has no labels_, which clusterers find in fit"):
        report_from_estimator(PCA(2).fit(np.eye(4)), np.eye(4), tmp_path / "p.html")


def test_a_notebook_is_given_the_page_as_it_is(tmp_path):
    images, _ = coloured_images(len(NASTY))
    report = write_report(tmp_path / "<b>&.html", images, np.zeros(len(NASTY), int), paths=NASTY)
    assert "table" not in repr(report)
    frames = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            frames.append((tag, dict(attributes)))

    Reader().feed(report._repr_html_())
    ((tag, attributes),) = frames
    assert tag == "iframe"
    assert attributes["srcdoc"] == report.path.read_text(encoding="utf-8")
    # Without the origin of the notebook, the page reaches neither its cells nor its server.
    assert "allow-same-origin" not in attributes["sandbox"]
    os.truncate(report.path, 10_000_001)
    said = report._repr_html_()
    assert len(said) < 1000
    assert "10.0 MB are too many" in said
    assert "&lt;b&gt;&amp;.html" in said
    report.path.unlink()
    assert "no longer there" in report._repr_html_()


def test_the_path_may_still_come_first(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 64))
    with pytest.warns(FutureWarning, match="takes the path last"):
        report = report_from_estimator(tmp_path / "p.html", FakeClusterer(X), X)
    assert report.path.exists()


TINY = {"n_components": 3, "max_epochs": 1, "random_state": 0}


def two_kinds(n=24):
    """Colour images of two kinds, in the form (n, H, W, C)."""
    pixels = np.random.default_rng(0).integers(0, 60, (n, 16, 12, 3), dtype=np.uint8)
    pixels[::2, :, :6, 0] += 180
    return pixels


def clusterer(encoder=None, **parameters):
    encoder = encoder or ConvAutoencoder(filters=(4, 8), **TINY)
    return DeepConvEmbeddingClustering(
        n_clusters=2, encoder=encoder, max_epochs=1, n_init=1, random_state=0, **parameters
    )


def flattened(images):
    return images.reshape(len(images), -1)


DENSE = DenseAutoencoder(hidden_layer_sizes=(16,), **TINY)


@pytest.mark.parametrize(
    ("model", "form"),
    [
        (clusterer(), "images"),
        (clusterer(data_format="channels_first"), "channels first"),
        (clusterer(DENSE), "images"),
        (clusterer(DENSE, image_shape=(16, 12, 3)), "rows"),
        (clusterer(DENSE, data_format="channels_first"), "channels first"),
        (make_pipeline(FunctionTransformer(), clusterer()), "images"),
        (
            GridSearchCV(clusterer(), {"gamma": [0.1, 0.2]}, cv=TransductiveSplit()),
            "images",
        ),
        (
            make_pipeline(FunctionTransformer(flattened), KMeans(2, n_init=1)),
            "images",
        ),
    ],
)
def test_report_of_any_estimator_that_clusters_images(tmp_path, model, form):
    pixels = two_kinds()
    X = {
        "images": pixels,
        "channels first": pixels.transpose(0, 3, 1, 2),
        "rows": pixels.reshape(len(pixels), -1),
    }[form]
    model.fit(X)
    report = report_from_estimator(model, X, tmp_path / "p.html")
    for line, expected in zip(single_thumbnails(report.path), pixels, strict=True):
        assert decoded(line).shape == (16, 12, 3)
        assert np.abs(decoded(line).mean(axis=0) - expected.mean(axis=0)).mean() < 12
    fitted = getattr(model, "best_estimator_", model)
    fitted = fitted[-1] if hasattr(fitted, "steps") else fitted
    np.testing.assert_array_equal(report.table["cluster"], fitted.labels_)
    assert np.isfinite(report.table["margin"]).all()


def test_progress_ends_where_it_should(tmp_path):
    seen = []
    images, _ = coloured_images(70)
    write_report(
        tmp_path / "p.html",
        images,
        np.zeros(70, dtype=int),
        progress=lambda *step: seen.append(step),
        n_jobs=2,
    )
    assert seen == [
        ("reading", 64, 70),
        ("reading", 70, 70),
        ("map", 0, 1),
        ("map", 1, 1),
        ("encoding", 64, 70),
        ("encoding", 70, 70),
    ]


def test_real_paintings(shared_data, tmp_path):
    with open(shared_data / "paintings.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[::60]
    report = write_report(
        tmp_path / "p.html",
        [shared_data / row["file"] for row in rows],
        np.arange(len(rows)) % 3,
        paths=[row["file"] for row in rows],
        metadata={key: [row[key] for row in rows] for key in ("artist", "year_of_death")},
    )
    assert report.n_bytes < 25_000_000
    for row, line in list(zip(rows, single_thumbnails(report.path), strict=True))[::10]:
        original = np.asarray(Image.open(shared_data / row["file"]).convert("RGB"), dtype=float)
        assert np.abs(decoded(line) - original).mean() < 8
