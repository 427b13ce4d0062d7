"""The page that compares numbers of clusters."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from skdcec.report import write_report
from skdcec.report.choice import write_choice_page

SHADES = np.arange(10, 250, 20)


@pytest.fixture
def files(tmp_path):
    paths = []
    for shade in SHADES:
        paths.append(tmp_path / f"{shade}.png")
        Image.new("L", (60, 40), int(shade)).save(paths[-1])
    return paths


def choice_page(tmp_path, files, labels_of, **options):
    numbers = np.array(sorted(labels_of))
    names = ("silhouette", "standard_error", "excess_silhouette", "smallest_share")
    results = {name: np.full(len(numbers), 0.5) for name in names}
    results |= {name: np.full(len(numbers), True) for name in ("plausible", "trained")}
    results |= {"n_clusters": numbers, "n_found": numbers, "error": np.full(len(numbers), "")}
    path = tmp_path / "choice.html"
    n_bytes = write_choice_page(
        path,
        files,
        np.arange(len(files), dtype=float)[:, None],
        labels_of,
        results,
        best=int(numbers[-1]),
        verdict="Three.",
        title="Shades",
        **options,
    )
    assert path.stat().st_size == n_bytes
    return path.read_text(encoding="utf-8")


def strips(text):
    """Return the mean shade of each square of each strip."""
    for data in re.findall(r"data:image/webp;base64,([^\"]+)", text):
        strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))
        assert strip.shape[0] == 56
        yield strip.reshape(56, -1, 56).mean(axis=(0, 2))


def test_clusters_show_those_nearest_to_their_mean_in_their_colour(tmp_path, files):
    labels_of = {2: np.repeat([0, 1], [9, 3]), 3: np.repeat([0, 1, 2], [5, 4, 3])}
    text = choice_page(tmp_path, files, labels_of)
    (nine, three, *others) = strips(text)
    # The mean of the first nine is the fifth, and only eight are shown.
    assert len(nine) == 8
    np.testing.assert_allclose(nine[:3], SHADES[[4, 3, 5]], atol=4)
    np.testing.assert_allclose(three, SHADES[[10, 9, 11]], atol=4)
    assert [len(strip) for strip in others] == [5, 4, 3]
    captions = re.findall(r'fill="(#\w+)"/></svg> Cluster (\d)', text)
    assert [cluster for _, cluster in captions] == ["0", "1", "0", "1", "2"]
    colours = [colour for colour, _ in captions]
    assert colours[:2] == colours[2:4]
    # The report of the clusters draws them in the same colours.
    report = write_report(tmp_path / "page.html", files, labels_of[3])
    assert json.dumps(colours[2:], separators=(",", ":")) in report.path.read_text()


def test_what_cannot_be_drawn_is_gray(tmp_path, files):
    files[10].write_bytes(b"nothing")
    with pytest.warns(UserWarning, match=r"1 of 11 images cannot be drawn .*210\.png"):
        text = choice_page(tmp_path, files, {2: np.repeat([0, 1], [9, 3])})
    _, three = strips(text)
    np.testing.assert_allclose(three, [128, *SHADES[[9, 11]]], atol=4)
