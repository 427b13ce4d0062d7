"""The page that compares numbers of clusters."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from skdcec.model_selection.verdict import answer
from skdcec.report import write_report
from skdcec.report.choice import write_choice_page
from skdcec.report.choice_drawings import silhouettes, splits

SHADES = np.arange(10, 250, 20)


@pytest.fixture
def files(tmp_path):
    paths = []
    for shade in SHADES:
        paths.append(tmp_path / f"{shade}.png")
        Image.new("L", (60, 40), int(shade)).save(paths[-1])
    return paths


def choice_page(tmp_path, files, labels_of, trained=True, **options):
    numbers = np.array(sorted(labels_of))
    names = ("silhouette", "standard_error", "excess_silhouette", "smallest_share")
    results = {name: np.full(len(numbers), 0.5) for name in names}
    results["plausible"] = np.full(len(numbers), True)
    results["trained"] = np.broadcast_to(trained, len(numbers))
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


def strips(text, side):
    """Return the mean shade of each square of each strip."""
    found = re.findall(r"data:image/webp;base64,([^\"]+)", text)
    for data, height in zip(found, side, strict=True):
        strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))
        assert strip.shape[0] == height
        yield strip.reshape(height, -1, height).mean(axis=(0, 2))


def test_clusters_show_those_nearest_to_their_mean_in_their_colour(tmp_path, files):
    labels_of = {2: np.repeat([0, 1], [9, 3]), 3: np.repeat([0, 1, 2], [5, 4, 3])}
    text = choice_page(tmp_path, files, labels_of)
    # Those of the number that was chosen come first.
    *others, nine, three = strips(text, side=(96, 96, 96, 56, 56))
    # The mean of the first nine is the fifth, and only eight are shown.
    assert len(nine) == 8
    np.testing.assert_allclose(nine[:3], SHADES[[4, 3, 5]], atol=4)
    np.testing.assert_allclose(three, SHADES[[10, 9, 11]], atol=4)
    assert [len(strip) for strip in others] == [5, 4, 3]
    captions = re.findall(r'fill="(#\w+)"/></svg> Cluster (\d)', text)
    assert [cluster for _, cluster in captions] == ["0", "1", "2", "0", "1"]
    colours = [colour for colour, _ in captions]
    assert colours[:2] == colours[3:]
    # The report of the clusters draws them in the same colours.
    report = write_report(tmp_path / "page.html", files, labels_of[3])
    assert json.dumps(colours[:3], separators=(",", ":")) in report.path.read_text()


def test_the_chart_says_in_words_what_is_high(tmp_path, files):
    text = choice_page(tmp_path, files, {2: np.repeat([0, 1], [9, 3])})
    chart = re.search(r'<svg class="chart".*?</svg>', text, re.S)[0]
    assert 'aria-label="How far apart clusters lie' in chart
    assert ">how far apart they lie<" in chart
    assert "ilhouette" not in chart


def test_what_cannot_be_drawn_is_gray(tmp_path, files):
    files[10].write_bytes(b"nothing")
    with pytest.warns(UserWarning, match=r"1 of 11 images cannot be drawn .*210\.png"):
        text = choice_page(tmp_path, files, {2: np.repeat([0, 1], [9, 3])})
    _, three = strips(text, (96, 96))
    np.testing.assert_allclose(three, [128, *SHADES[[9, 11]]], atol=4)


def test_the_answer_and_the_pictures_come_before_the_numbers(tmp_path, files):
    labels_of = {2: np.repeat([0, 1], [9, 3]), 3: np.repeat([0, 1, 2], [5, 4, 3])}
    told = {"answer": "No natural number. <3> looks best.", "command": "skdcec cluster 'a b' -k 3"}
    text = choice_page(tmp_path, files, labels_of, **told)
    places = [
        text.index("No natural number. &lt;3&gt; looks best."),
        text.index("skdcec cluster &#x27;a b&#x27; -k 3"),
        text.index("data:image/webp"),
        text.index("<table>"),
    ]
    assert places == sorted(places)
    assert "prefers-color-scheme: dark" in text


def test_what_was_not_trained_shows_and_counts_the_clusters_it_was_judged_by(tmp_path, files):
    labels_of = {2: np.repeat([0, 1], [10, 2]), 3: np.repeat([0, 1, 2], [7, 4, 1])}
    text = choice_page(tmp_path, files, labels_of, trained=[False, True])
    # Once, above the number that it is true of.
    assert text.count("No model was fitted for this number") == 1
    assert text.index("No model was fitted") > text.index("<h3>2 clusters</h3>")
    assert "Cluster 2: 1 image<" in text
    shares = re.findall(r"<td>(0\.\d+)</td></tr>", text)
    assert shares == ["0.167", "0.083"]
    assert "How clusters split" in text
    assert "How clusters split" not in choice_page(tmp_path, files, {3: labels_of[3]})


def test_every_column_is_explained(tmp_path, files):
    text = choice_page(tmp_path, files, {2: np.repeat([0, 1], [9, 3])})
    columns = re.findall(r'<th scope="col">([^<]+)</th>', text)
    assert [*re.findall("<dt>([^<]+)</dt>", text)] == columns[1:]


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(0, 0.083, "0 0.02 0.04 0.06 0.08 0.1"), (-0.04, 0.2, "-0.1 0 0.1 0.2"), (0, 0.31, "0 0.1")],
)
def test_the_scale_has_round_steps(low, high, shown):
    results = {
        "n_clusters": np.array([2, 3]),
        "trained": np.array([True, True]),
        "silhouette": np.array([low, high]),
    }
    values = re.findall(r'class="end">([^<]+)<', silhouettes(results, 3))
    assert " ".join(values).startswith(shown)
    assert float(values[0]) <= low < high <= float(values[-1])
    np.testing.assert_allclose(np.diff(np.array(values, dtype=float), 2), 0, atol=1e-9)


def test_bands_lead_from_each_cluster_to_what_it_becomes():
    labels_of = {2: np.repeat([0, 1], [9, 3]), 3: np.repeat([0, 1, 2], [5, 4, 3])}
    found = re.findall(r"<title>(\d+) images of (\d) go to (\d)", splits(labels_of))
    assert sorted(found) == [("3", "1", "2"), ("4", "0", "1"), ("5", "0", "0")]
    assert splits({2: labels_of[2]}) == ""
    # Two columns need no scrolling on a phone of 390 pixels.
    assert int(re.search(r'width="(\d+)"', splits(labels_of))[1]) < 350


def test_trained_values_are_told_from_those_of_k_means():
    results = {
        "n_clusters": np.array([2, 3]),
        "trained": np.array([False, True]),
        "silhouette": np.array([0.1, 0.4]),
        "screened_silhouette": np.array([0.1, 0.2]),
    }
    titles = re.findall(r"<title>([^<]+)</title>", silhouettes(results, 3))
    assert titles == [
        "k-means, 2 clusters: 0.100",
        "k-means, 3 clusters: 0.200",
        "trained, 3 clusters: 0.400",
    ]


@pytest.mark.parametrize(
    ("evidence", "plausible", "expected"),
    [
        ("structure", [9, 11], "No natural number. 11 and 9 look best."),
        ("structure", [11], "No natural number. 11 looks best."),
        ("separated groups", [11], "11 groups."),
        ("separated groups", [9, 11], "11 groups, 9 about as good."),
        ("none", [11], "No groups to be seen. If it has to be a number, 11 looks best."),
        ("unknown", [], "Nothing to compare."),
    ],
)
def test_the_answer_is_a_sentence(evidence, plausible, expected):
    numbers = np.arange(8, 13)
    results = {
        "n_clusters": numbers,
        "plausible": np.isin(numbers, plausible),
        "silhouette": np.array([0.1, 0.2, 0.1, 0.3, 0.1]),
    }
    assert answer(results, best_n_clusters=11, evidence=evidence) == expected


def test_the_answer_goes_by_what_was_chosen_by():
    results = {
        "n_clusters": np.arange(8, 13),
        "plausible": np.array([True, True, True, True, False]),
        "silhouette": np.array([0.1, 0.2, 0.1, 0.3, 0.1]),
        "support": np.array([0.95, 0.94, 0.99, 1, 0.5]),
    }
    told = answer(results, best_n_clusters=11, evidence="structure")
    assert told == "No natural number. 11, 10 and 8 look best."
    results["support"] = np.full(5, np.nan)
    told = answer(results, best_n_clusters=11, evidence="structure")
    assert told == "No natural number. 11, 9 and 8 look best."
