"""Names from words and a search by words, by a network whose right answers are known.

It has the interface of open_clip that is used (`create_model` with `visual` and `encode_text`,
`get_tokenizer`, `get_pretrained_cfg`), and knows three colours: an image is the mean of its pixels,
and a text the colours that it names. As with real networks, all texts lie far from all images.
"""

import copy
import json
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from skdcec._cli import main
from skdcec.features import PretrainedFeatures
from skdcec.features.texts import TextSide
from skdcec.report import read_names, read_table
from skdcec.report.words import read_vocabulary, rows_of_terms, words_of_clusters

COLOURS = ["red", "green", "blue"]
NETWORK = "open_clip/Colours/known"
VALUES = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


class Eye(nn.Module):
    n_seen = 0

    def __init__(self):
        super().__init__()
        self.colours = nn.Parameter(torch.eye(3))
        self.preprocess_cfg = {
            "size": (16, 16),
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        }

    def forward(self, x):
        type(self).n_seen += len(x)
        return x.mean(dim=(2, 3)) @ self.colours


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = Eye()
        self.words = nn.Parameter(torch.eye(3))
        self.n_read = 0

    def encode_text(self, tokens):
        self.n_read += len(tokens)
        return tokens @ self.words - 1


@pytest.fixture
def open_clip(monkeypatch):
    """What is used of open_clip."""
    module = types.ModuleType("open_clip")
    module.made = []

    def create_model(name, *, pretrained, load_weights, pretrained_text, pretrained_image):
        # Weights are drawn before they are loaded.
        torch.rand(3)
        module.made.append(Clip())
        return module.made[-1]

    def get_tokenizer(name):
        assert name in ("Colours", "local-dir:here")
        return lambda texts: torch.tensor(
            [[float(c in text.split()) for c in COLOURS] for text in texts]
        )

    module.create_model, module.get_tokenizer = create_model, get_tokenizer
    module.get_model_config = lambda name: {"text_cfg": {"tokenizer_kwargs": {"clean": "lower"}}}
    module.get_pretrained_cfg = lambda name, tag: {"mean": (0.0,), "std": (1.0,)}
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve pictures of each colour, in a folder that does not say which."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(36):
        noise = rng.integers(-25, 26, 3) + rng.integers(-5, 6, (20, 24, 3))
        pixels = np.array(VALUES[COLOURS[i % 3]]) + noise
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def colour_of(name):
    return COLOURS[int(Path(name).stem) % 3]


def run(capsys, *arguments):
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return types.SimpleNamespace(status=status, out=printed.out, err=printed.err)


@pytest.fixture
def cluster(folder, tmp_path, capsys):
    def cluster(*arguments, out="out", k=("-k", 3)):
        options = ["--encoder", NETWORK, *k, "--size", 16, "--epochs", 1, "--jobs", 1]
        found = run(capsys, "cluster", folder, "--out", tmp_path / out, *options, *arguments)
        found.out_folder = tmp_path / out
        return found

    return cluster


def paint(*colours):
    return np.stack([np.full((16, 16, 3), VALUES[c], np.uint8) for c in colours])


# Features of texts


def test_texts_are_nearest_to_images_of_what_they_say(open_clip):
    features = PretrainedFeatures(NETWORK, batch_size=2).fit(paint("red"))
    rows = features.transform_text(["a red sky", "green", "the blue sea"])
    assert rows.shape == (3, 3)
    assert rows.dtype == np.float32
    images = features.transform(paint("blue", "red", "green"))
    nearest = (rows @ images.T).argmax(axis=1)
    assert nearest.tolist() == [1, 2, 0]
    assert np.array_equal(features.transform_text("green"), rows[1:2])
    assert np.array_equal(features.transform_text(np.array(["green"])), rows[1:2])


def test_the_side_that_reads_is_loaded_once_and_kept_by_no_pickle(open_clip):
    features = PretrainedFeatures(NETWORK).fit(paint("red"))
    assert len(open_clip.made) == 1
    state = torch.get_rng_state()
    rows = features.transform_text("red")
    features.transform_text("blue")
    assert len(open_clip.made) == 2
    assert torch.equal(torch.get_rng_state(), state)
    for made in (pickle.loads(pickle.dumps(features)), copy.deepcopy(features)):
        assert not any(isinstance(value, TextSide) for value in vars(made).values())
        assert np.array_equal(made.transform_text("red"), rows)
    assert len(open_clip.made) == 4
    features.fit(paint("blue")).transform_text("red")
    assert len(open_clip.made) == 6


def test_other_weights_than_those_of_the_images_are_refused(open_clip, tmp_path):
    file = tmp_path / "clip.safetensors"
    save_file(Clip().state_dict(), file)
    features = PretrainedFeatures(NETWORK, weights=file).fit(paint("red"))
    other = Clip().state_dict()
    other["visual.colours"] = other["visual.colours"] + 1
    save_file(other, file)
    with pytest.raises(ValueError, match="others than when it was fitted: fit again"):
        features.transform_text("red")


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ([], ValueError, "at least one"),
        (["red", " "], ValueError, "from 1 to 2000"),
        ("r" * 2001, ValueError, "2001 characters"),
        ("\udc80", ValueError, "no valid Unicode"),
        (["red", 3], TypeError, "3, of type int; texts are needed"),
        (b"red", TypeError, "texts are needed"),
        (3, TypeError, "texts are needed"),
    ],
)
def test_what_is_no_text_is_refused(open_clip, texts, error, message):
    features = PretrainedFeatures(NETWORK).fit(paint("red"))
    with pytest.raises(error, match=message):
        features.transform_text(texts)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"weights": None}, "random weights"),
        ({"layer": "colours_of"}, "texts are compared with"),
        ({"model": nn.AvgPool2d(16)}, "model='AvgPool2d' knows no words.*open_clip"),
    ],
)
def test_a_network_without_words_says_so(open_clip, params, message):
    known = {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 16, "resize": "stretch"}
    settings = {"model": NETWORK, **known, **params}
    layer = settings.pop("layer", None)
    features = PretrainedFeatures(**settings).fit(paint("red")).set_params(layer=layer)
    with pytest.raises(ValueError, match=message):
        features.transform_text("red")


def test_words_that_cannot_be_cut_are_a_clear_error(open_clip):
    features = PretrainedFeatures(NETWORK).fit(paint("red"))

    def no_connection(name):
        raise OSError("no route to host")

    def no_package(name):
        raise ImportError("No module named 'transformers'")

    open_clip.get_tokenizer = no_connection
    with pytest.raises(ValueError, match=r"words of model=.*no route to host.*local-dir:FOLDER"):
        features.transform_text("red")
    open_clip.get_tokenizer = no_package
    with pytest.raises(ImportError, match="pip install transformers"):
        features.transform_text("red")


def test_code_that_comes_with_a_network_is_not_run(open_clip):
    features = PretrainedFeatures(NETWORK).fit(paint("red"))
    text = {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
    open_clip.get_model_config = lambda name: {"text_cfg": text}
    open_clip.get_tokenizer = None
    with pytest.raises(ValueError, match="code to be run that comes with it"):
        features.transform_text("red")


def test_texts_of_another_length_than_images_are_refused(open_clip):
    features = PretrainedFeatures(NETWORK).fit(paint("red"))
    features.transform_text("red")
    features._text_side.module.words = nn.Parameter(torch.ones(3, 4))
    with pytest.raises(ValueError, match="cannot be compared"):
        features.transform_text("red")


# Which words


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_words_are_those_by_which_a_cluster_differs():
    rng = np.random.default_rng(0)
    # All images are most like the first word, which therefore says nothing.
    rows = np.zeros((90, 5)) + [3, 0, 0, 0, 0] + 0.1 * rng.standard_normal((90, 5))
    labels = np.arange(90) % 3
    rows[np.arange(90), 1 + labels] += 1
    terms = ["picture", "ship", "tree", "face", "nothing"]
    assert words_of_clusters(rows, labels, terms, np.eye(5)) == {
        0: ["ship"],
        1: ["tree"],
        2: ["face"],
    }


def test_nothing_is_said_where_nothing_stands_out():
    rng = np.random.default_rng(0)
    rows, terms = rng.standard_normal((600, 16)), [f"term {i}" for i in range(300)]
    term_rows = unit(rng.standard_normal((300, 16)))
    for n_clusters in (3, 20):
        labels = rng.integers(0, n_clusters, 600)
        assert not any(words_of_clusters(rows, labels, terms, term_rows).values())
    assert words_of_clusters(rows, np.zeros(600, int), terms, term_rows) == {0: []}
    same = np.ones((6, 16), np.float32)
    assert words_of_clusters(same, np.arange(6) % 2, terms, term_rows) == {0: [], 1: []}


def test_further_words_are_near_the_first_and_do_not_repeat_it():
    rows = np.eye(2).repeat(30, axis=0)
    turns = np.radians([0, 1, 2, 3, 4, 80])
    term_rows = np.c_[np.cos(turns), np.sin(turns)]
    terms = ["old woman", "Woman with a fan", "portrait", "face", "hands", "sea"]
    words = words_of_clusters(rows, np.arange(60) // 30, terms, term_rows)
    assert words[0] == ["old woman", "portrait", "face"]
    assert words[1][0] == "sea"


def test_images_without_a_cluster_count_among_all():
    rows = np.eye(3).repeat(20, axis=0)
    labels = np.array([0] * 20 + [1] * 20 + [-1] * 20)
    assert words_of_clusters(rows, labels, COLOURS, np.eye(3)) == {0: ["red"], 1: ["green"]}


def test_rows_of_terms_are_the_mean_of_prompts():
    asked = []

    def transform_text(texts):
        asked.extend(texts)
        return np.array([[len(text), 1.0] for text in texts])

    rows = rows_of_terms(["{sea}", "{0.__class__}"], transform_text)
    assert asked[:2] == ["{sea}", "a picture of {sea}"]
    assert "{0.__class__}" in asked
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)


# Vocabularies


def test_a_vocabulary_comes_with_the_package():
    terms = read_vocabulary()
    assert 250 <= len(terms) <= 400
    assert len({term.casefold() for term in terms}) == len(terms)
    assert {"portrait", "seascape", "watercolour", "muted colours"} <= {*terms}
    assert max(map(len, terms)) <= 40


def test_a_vocabulary_is_read_as_people_write_it(tmp_path):
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeff# ours\r\n\r\n  Bäume \t im   Wind\r\nship\rShip\n#tree\nsea".encode())
    assert read_vocabulary(file) == ["Bäume im Wind", "ship", "sea"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 terms"),
        (b"# only this\n\n", "has 0 terms"),
        ("Bäume".encode("latin-1"), "no text in UTF-8.*save it as UTF-8"),
        ("ship".encode("utf-16"), "no text in UTF-8"),
        (b"ship\n" + b"x" * 101, "line 2: 'xxx.*longer than 100"),
        (b"ship\0tree", "cannot be printed"),
        (b"PK\x03\x04 a ZIP", "cannot be printed"),
        (b"ship\n" * 200_001, "more than 1 MB"),
        ("\n".join(map(str, range(5001))).encode(), "has 5001 terms"),
    ],
)
def test_what_is_no_vocabulary_is_a_clear_error(tmp_path, content, message):
    file = tmp_path / "words.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_vocabulary(file)


def test_of_a_large_file_little_is_read(tmp_path):
    file = tmp_path / "words.txt"
    with file.open("wb") as opened:
        opened.truncate(10**11)
    with pytest.raises(ValueError, match="more than 1 MB"):
        read_vocabulary(file)
    for path, error in ((tmp_path, IsADirectoryError), (tmp_path / "none", FileNotFoundError)):
        with pytest.raises(error, match="one term a line"):
            read_vocabulary(path)


# The command


def names_of(out):
    table = read_table(out / "cluster_summary.csv")
    return dict(zip(map(int, table["cluster"]), table["name"], strict=True))


def test_clusters_get_the_words_that_fit_them(open_clip, cluster, tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("red\ngreen\nblue\nship\n")
    found = cluster("--words", file)
    assert found.status == 0
    assert "3 of 3 clusters have words as drafts of names, which nobody has looked at" in found.err
    clusters = read_table(found.out_folder / "clusters.csv")
    expected = {
        int(c): f"draft: {colour_of(name)}"
        for c, name in zip(clusters["cluster"], clusters["file"], strict=True)
    }
    assert names_of(found.out_folder) == expected
    named = read_names(found.out_folder / "names.json")
    assert {c: entry["name"] for c, entry in named.items()} == expected
    assert named[0]["note"] == f"Words by {NETWORK}; nobody has looked."
    assert "draft: red" in (found.out_folder / "report.html").read_text()
    assert "draft: red" in found.out


def test_what_somebody_wrote_is_kept(open_clip, cluster, folder, tmp_path, capsys):
    file = tmp_path / "words.txt"
    file.write_text("red\ngreen\n")
    out = cluster("--words", file).out_folder
    before = names_of(out)
    red = next(c for c, name in before.items() if name == "draft: red")
    given = tmp_path / "given.csv"
    given.write_text(f"cluster,name,note\n{red},Sunsets,\n")
    assert run(capsys, "report", out, "--names", given).status == 0
    file.write_text("green\nblue\n")
    assert cluster("--words", file).status == 0
    found = names_of(out)
    assert found.pop(red) == "Sunsets"
    assert sorted(found.values()) == ["draft: blue", "draft: green"]
    # Without the option nothing is proposed, and what was stays.
    cluster()
    assert names_of(out) == {**found, red: "Sunsets"}
    # Other clusters: their names are somebody's, and stay where they are.
    named = (out / "names.json").read_bytes()
    other = cluster("--words", file, "-k", 2)
    assert "stays" in other.err
    assert (out / "names.json").read_bytes() == named
    assert any(name.startswith("draft: ") for name in names_of(out).values())


def test_words_name_what_was_corrected_and_displace_no_name(open_clip, cluster, tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("red\ngreen\nblue\n")
    clusters = read_table(cluster("--words", file).out_folder / "clusters.csv")
    found = dict(zip(clusters["file"], map(int, clusters["cluster"]), strict=True))
    # Half of the red ones are to be a cluster of their own, and the blue ones have a name.
    reds = [name for name in found if colour_of(name) == "red"]
    moves = [{"file": name, "from": found[name], "to": 3} for name in reds[::2]]
    blue = next(c for name, c in found.items() if colour_of(name) == "blue")
    named = [{"cluster": blue, "name": "Sea", "note": ""}, {"cluster": 3, "name": "", "note": "?"}]
    edits = tmp_path / "edits.json"
    edits.write_text(
        json.dumps({"format": "skdcec cluster edits", "moves": moves, "clusters": named})
    )
    corrected = cluster("--edits", edits, "--words", file, k=())
    assert corrected.status == 0
    names = read_names(tmp_path / "out" / "names.json")
    assert names[blue]["name"] == "Sea"
    assert names[3] == {"name": "draft: red", "note": "?"}
    assert sorted(entry["name"] for entry in names.values()) == [
        "Sea",
        "draft: green",
        "draft: red",
        "draft: red",
    ]
    assert "have words as drafts of names" in corrected.err


def test_damaged_names_are_not_written_over(open_clip, cluster, tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("red\n")
    out = cluster("--words", file).out_folder
    (out / "names.json").write_text("{")
    assert "stays" in cluster("--words", file).err
    assert (out / "names.json").read_text() == "{"
    assert "draft: red" in names_of(out).values()


def test_drafts_of_other_clusters_make_room(open_clip, cluster, tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("red\ngreen\nblue\n")
    cluster("--words", file)
    found = cluster("--words", file, "-k", 2)
    assert "stays" not in found.err
    assert "belong to other clusters" not in found.err
    names = read_names(found.out_folder / "names.json")
    assert {c: entry["name"] for c, entry in names.items()} == {
        c: name for c, name in names_of(found.out_folder).items() if name
    }


def test_nothing_is_named_where_no_word_fits(open_clip, cluster, tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("ship\ntree\n")
    found = cluster("--words", file)
    assert found.status == 0
    assert "None of the words stands out" in found.err
    assert set(names_of(found.out_folder).values()) == {""}
    assert not (found.out_folder / "names.json").exists()


def test_words_of_one_network_among_several(open_clip, cluster, tmp_path, capsys):
    file = tmp_path / "words.txt"
    file.write_text("red\ngreen\nblue\n")
    found = cluster("--words", file, "--encoder", f"paintings+{NETWORK}", "--size", 64)
    assert sorted(names_of(found.out_folder).values()) == sorted(f"draft: {c}" for c in COLOURS)
    near = run(capsys, "similar", found.out_folder, "--text", "green")
    assert all(colour_of(line.split(",")[2]) == "green" for line in near.out.splitlines()[1:])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--encoder", "paintings", "--words"],
        ["--encoder", "autoencoder", "--words"],
        ["--encoder", "auto", "--words"],
        ["--encoder", "auto", "--features", "rows.npy", "--words"],
    ],
)
def test_words_need_a_network_that_knows_them(open_clip, cluster, arguments):
    found = cluster(*arguments)
    assert found.status == 1
    assert "--words needs a network that knows words: --encoder open_clip/NAME/TAG" in found.err
    assert not found.out_folder.exists()


def test_a_wrong_file_of_words_is_said_at_once(open_clip, cluster, tmp_path):
    (tmp_path / "latin.txt").write_bytes("Bäume".encode("latin-1"))
    for file, said in (("latin.txt", "save it as UTF-8"), ("none.txt", "does not exist")):
        found = cluster("--words", tmp_path / file)
        assert found.status == 1
        assert said in found.err
        assert found.err.count("\n") == 1
        assert not open_clip.made


def test_similar_finds_what_words_describe(open_clip, cluster, folder, tmp_path, capsys):
    out = cluster().out_folder
    seen = Eye.n_seen
    read = run(capsys, "similar", out, "--text", "a red sky", "--text", "blue", "--top", 12)
    assert read.status == 0
    # One image is to see whether the network takes it; features of the others are in the cache.
    assert Eye.n_seen == seen + 1
    lines = [line.split(",") for line in read.out.splitlines()]
    assert lines[0] == ["text", "rank", "similar", "similarity"]
    assert [line[0] for line in lines[1:]] == ["a red sky"] * 12 + ["blue"] * 12
    assert [colour_of(line[2]) for line in lines[1:]] == ["red"] * 12 + ["blue"] * 12
    values = [float(line[3]) for line in lines[1:13]]
    assert values == sorted(values, reverse=True)
    features = PretrainedFeatures(NETWORK).fit(paint("red"))
    text = unit(features.transform_text("a red sky"))
    image = unit(features.transform([folder / lines[1][2]]))
    assert abs((text @ image.T).item() - values[0]) < 1e-3
    table = tmp_path / "found.csv"
    assert run(capsys, "similar", out, "--text", "blue", "--top", 5, "--out", table).status == 0
    with Image.open(tmp_path / "found.jpg") as sheet:
        assert sheet.width > 6 * 144
        blue = np.asarray(sheet.crop((180, 20, 290, 130)), int).mean(axis=(0, 1))
        assert blue.argmax() == 2
        # The words are written where the image asked about would be.
        assert np.asarray(sheet.crop((8, 8, 100, 22)), int).min() < 100


def test_similar_by_words_elsewhere(open_clip, cluster, folder, tmp_path, capsys):
    out = cluster().out_folder
    model = out / "model.safetensors"
    found = run(capsys, "similar", model, "--text", "green", "--in", folder, "--json", "--top", 3)
    assert [colour_of(row["similar"]) for row in json.loads(found.out)] == ["green"] * 3
    assert "--in FOLDER" in run(capsys, "similar", model, "--text", "green").err
    (folder / "1.png").unlink()
    gone = run(capsys, "similar", out, "--text", "green", "--top", 20)
    assert gone.status == 0
    assert "1 file cannot be used" in gone.err
    assert "1.png" not in {line.split(",")[2] for line in gone.out.splitlines()}


def test_similar_by_words_says_what_is_missing(open_clip, cluster, folder, tmp_path, capsys):
    out = cluster("--encoder", "paintings", "--size", 16).out_folder
    found = run(capsys, "similar", out, "--text", "a ship")
    assert (found.status, found.out) == (1, "")
    assert "not found by a network that knows words; skdcec cluster with --encoder" in found.err
    assert found.err.count("\n") == 1
    out = cluster(out="other").out_folder
    assert "--text holds one of 0 characters" in run(capsys, "similar", out, "--text", "").err
    for arguments in ([], [folder / "0.png", "--text", "red"]):
        with pytest.raises(SystemExit) as ended:
            run(capsys, "similar", out, *arguments)
        assert ended.value.code == 2
        assert "either one IMAGE or more, or --text" in capsys.readouterr().err
