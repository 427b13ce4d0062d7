"""Drafts of names: each word is there for a reason that is known."""

import numpy as np
import pytest
from PIL import Image

from skdcec._cli import main
from skdcec.report import cluster_summary, draft_names, image_table, read_names


def summary(colours, lightness=None, metadata=None, names=None):
    n = len(colours)
    return {
        "cluster": list(range(n)),
        "name": names or [""] * n,
        "note": [""] * n,
        "lightness": lightness or [50.0] * n,
        "palette": [f"{colour} 100%" for colour in colours],
        "metadata": metadata or [""] * n,
    }


def texts(*args, **kwargs):
    return [entry["name"] for entry in draft_names(*args, **kwargs).values()]


@pytest.mark.parametrize(
    ("colour", "word"),
    [
        ("#808080", "gray"),
        ("#c00000", "red"),
        ("#f08000", "orange"),
        ("#d8c8a8", "sepia"),
        ("#e0b030", "golden"),
        ("#208020", "green"),
        ("#008080", "teal"),
        ("#2040c0", "blue"),
        ("#303a50", "bluish"),
        ("#8020a0", "violet"),
        ("#7a5a48", "brown"),
    ],
)
def test_colours_have_the_names_that_people_give_them(colour, word):
    other = "#2040c0" if word != "blue" else "#c00000"
    assert texts(summary([colour, other]))[0] == f"draft: {word}"


def test_lightness_is_that_beside_the_others():
    assert texts(summary(["#808080"] * 3, [75.0, 50.0, 30.0])) == [
        "draft: pale",
        "draft: nothing stands out",
        "draft: dark",
    ]
    assert texts(summary(["#808080"] * 2, [50.0, 30.0]))[0] == "draft: light"


def test_what_holds_for_all_is_left_out():
    assert texts(summary(["#2040c0"] * 2, [70.0, 30.0])) == ["draft: pale", "draft: dark"]
    # One cluster has no others beside it.
    assert texts(summary(["#2040c0"])) == ["draft: blue"]


def test_format_is_that_of_most():
    sizes = {0: [(30, 40)] * 8 + [(40, 30)] * 2, 1: [(40, 30)] * 5 + [(30, 40)] * 5}
    found = texts(summary(["#2040c0", "#c00000"]), sizes=sizes)
    assert found == ["draft: blue, upright", "draft: red"]


def test_metadata_counts_where_it_is_that_of_many():
    metadata = ["artist=A=B; C, D 41/50 lift 3.2; style=x 9/50 lift 2.0", "style=x 9/50 lift 2.0"]
    found = texts(summary(["#2040c0", "#c00000"], metadata=metadata))
    assert found == ["draft: blue; A=B; C, D", "draft: red"]


def test_names_that_were_given_stay():
    found = draft_names(summary(["#2040c0", "#c00000"], names=["Ships", ""]))
    assert found[0] == {"name": "Ships", "note": ""}
    assert "nobody has looked" in found[1]["note"]


def test_images_without_a_cluster_get_no_name():
    table = image_table([0, 1, -1], paths=["a", "b", "c"], distances=[[0, 1], [1, 0], [1, 1]])
    pixels = np.zeros((3, 4, 4, 3), dtype=np.uint8)
    pixels[0] = 255
    found = draft_names(cluster_summary(table, pixels=pixels))
    assert {cluster: entry["name"] for cluster, entry in found.items()} == {
        0: "draft: pale",
        1: "draft: dark",
    }


def test_the_command_writes_what_names_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    for i in range(24):
        name, colour, size = [
            ("sea", (20, 40, 180), (40, 20)),
            ("corn", (230, 190, 60), (20, 40)),
        ][i % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(-15, 16, (size[1], size[0], 3))
        pixels = (noise + colour).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name / f"{i}.png")
    out, drafts = tmp_path / "out", tmp_path / "drafts.csv"
    options = ["--size", "16", "--jobs", "1", "--quiet"]
    assert main(["cluster", str(folder), "-k", "2", "--out", str(out), *options]) == 0
    assert main(["report", str(out), "--draft-names", str(drafts), "--quiet"]) == 0
    found = {entry["name"] for entry in read_names(drafts).values()}
    assert found == {"draft: dark, blue, wide; sea", "draft: pale, golden, upright; corn"}
    assert main(["report", str(out), "--names", str(drafts), "--quiet"]) == 0
    assert "draft: dark, blue, wide; sea" in (out / "cluster_summary.csv").read_text()
    capsys.readouterr()
    assert main(["report", str(out), "--draft-names", str(drafts), "--quiet"]) == 1
    assert "--force replaces it" in capsys.readouterr().err
