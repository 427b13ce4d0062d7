"""Features of texts, by a network whose right answers are known.

It has the interface of open_clip that is used (`create_model` with `visual` and `encode_text`,
`get_tokenizer`, `get_pretrained_cfg`), and knows three colours: an image is the mean of its pixels,
and a text the colours that it names. As with real networks, all texts lie far from all images.
"""

import copy
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from skdcec.features import PretrainedFeatures
from skdcec.features.texts import TextSide

COLOURS = ["red", "green", "blue"]
NETWORK = "open_clip/Colours/known"
VALUES = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


class Eye(nn.Module):
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
    module.get_pretrained_cfg = lambda name, tag: {"mean": (0.0,), "std": (1.0,)}
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return module


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


def test_texts_of_another_length_than_images_are_refused(open_clip):
    features = PretrainedFeatures(NETWORK).fit(paint("red"))
    features.transform_text("red")
    features._text_side.module.words = nn.Parameter(torch.ones(3, 4))
    with pytest.raises(ValueError, match="cannot be compared"):
        features.transform_text("red")
