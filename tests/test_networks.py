"""Networks of other libraries, by stand-ins that have the parts of them that are used.

What timm and open_clip do is written down by their documentation: `create_model`,
`resolve_model_data_config` with `pretrained_cfg`, `forward_features`, `num_prefix_tokens`,
`global_pool`; `get_pretrained_cfg`, and `visual` with `preprocess_cfg`. `benchmarks/parity.py`
compares with the libraries themselves.
"""

import json
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from skdcec import DeepConvEmbeddingClustering
from skdcec.datasets import load_images
from skdcec.features import BalancedBlocks, ColorEdgeFeatures, PretrainedFeatures, Resized
from skdcec.features.pixels import Preprocessing
from skdcec.features.resized import shrunken

OPENAI = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}


def mixed(tokens):
    """Let tokens know of each other."""
    return tokens + tokens.mean(dim=1, keepdim=True)


class Transformer(nn.Module):
    """Tokens of patches after one of the class, as timm's have them."""

    num_prefix_tokens = 1
    global_pool = "token"
    pretrained_cfg = {
        "input_size": (3, 16, 16),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "crop_pct": 0.9,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "classifier": "head",
    }

    def __init__(self, num_classes=5):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, 6))
        self.patches = nn.Conv2d(3, 6, 4, 4)
        self.blocks = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, num_classes) if num_classes else nn.Identity()
        self.size = 16

    def set_input_size(self, img_size):
        (self.size, _) = img_size

    def forward_features(self, x):
        assert x.shape[2:] == (self.size, self.size)
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)
        return self.norm(self.blocks(mixed(tokens)))

    def forward(self, x):
        return self.head(self.forward_features(x)[:, 0])


class Convolutions(nn.Module):
    """Maps, of which nothing is known; timm would fill it in."""

    pretrained_cfg = {"input_size": (3, 16, 16), "mean": None, "std": None}

    def forward(self, x):
        return x.mean(dim=(2, 3))


MADE = {"vit_tiny.tag": Transformer, "conv": lambda num_classes: Convolutions()}


class GatedRepoError(OSError):
    pass


@pytest.fixture
def timm(monkeypatch):
    """What is used of timm."""
    asked = []

    def create_model(name, pretrained, num_classes):
        asked.append((name, pretrained))
        if name.startswith("timm/"):
            raise RuntimeError("the prefix is not known here")
        if name.startswith("hf-hub:gated"):
            raise GatedRepoError("401 Client Error")
        if name.startswith("hf-hub:") or (pretrained and name == "conv"):
            raise OSError("no route to host")
        if name.startswith("local-dir:"):
            return Transformer(num_classes)
        if name not in MADE:
            raise RuntimeError(f"Unknown model ({name})")
        return MADE[name](num_classes=num_classes)

    def resolve_model_data_config(model):
        return {k: v for k, v in model.pretrained_cfg.items() if k != "classifier"}

    module = types.ModuleType("timm")
    module.create_model, module.asked = create_model, asked
    module.data = types.SimpleNamespace(resolve_model_data_config=resolve_model_data_config)
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


class Tower(nn.Module):
    """The image tower of a network of open_clip."""

    def __init__(self):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(4))
        self.patches = nn.Conv2d(3, 4, 8, 8)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.proj = nn.Linear(4, 3)
        self.preprocess_cfg = {
            "size": (16, 16),
            "mode": "RGB",
            **OPENAI,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
            "fill_color": 0,
        }

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(x), 1, -1), tokens], dim=1)
        for block in self.transformer.resblocks:
            tokens = block(tokens)
        return self.proj(tokens[:, 0])


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = Tower()
        self.logit_scale = nn.Parameter(torch.ones(()))


@pytest.fixture
def open_clip(monkeypatch):
    """What is used of open_clip."""

    def create_model(name, *, pretrained, load_weights, pretrained_text, pretrained_image):
        if load_weights:
            raise RuntimeError(f"Failed to download weights for tag '{pretrained}'") from OSError(0)
        return Clip()

    configs = {"siglip": {"mean": (0.5,), "std": (0.5,), "resize_mode": "squash"}}
    module = types.ModuleType("open_clip")
    module.create_model = create_model
    module.get_pretrained_cfg = lambda name, tag: configs.get(tag, {})
    monkeypatch.setitem(sys.modules, "open_clip", module)


def paint(n=4, height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


def test_a_name_of_timm_brings_its_preprocessing(timm):
    features = PretrainedFeatures("timm/vit_tiny.tag").fit(paint())
    assert timm.asked == [("vit_tiny.tag", True)]
    wanted = Preprocessing((16, 16), (17, 17), "crop", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert features.preprocessing_ == wanted
    # As torchvision: 20 x 30 becomes 17 x 25, of which the middle is kept.
    picture = Image.fromarray(paint()[0]).resize((25, 17), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture.crop((4, 0, 20, 16))) / 127.5 - 1
    batch = torch.tensor(pixels).float().permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = features.module_(batch).numpy()
    np.testing.assert_allclose(features.transform(paint()[:1]), expected, atol=1e-5)


def test_pooling_and_layers_are_what_is_read(timm):
    images = paint(2, 16, 16)
    params = {"weights": None, "resize": "stretch"}
    features = PretrainedFeatures("timm/vit_tiny.tag", **params).fit(images)
    module = features.module_
    batch = torch.tensor(images).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        tokens = module.forward_features(batch)
        own = module.patches(batch).flatten(2).mT
        raw = module.blocks[0](mixed(torch.cat([module.cls_token.expand(2, -1, -1), own], dim=1)))
    for given, expected in (
        ({"pooling": "token"}, tokens[:, 0]),
        ({"pooling": "avg"}, tokens[:, 1:].mean(dim=1)),
        ({"layer": 0}, raw[:, 0]),
        ({"layer": -2, "pooling": "avg"}, raw[:, 1:].mean(dim=1)),
        ({"layer": "blocks.0"}, raw[:, 0]),
    ):
        found = PretrainedFeatures(module, **params, **given).fit_transform(images)
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=str(given))


@pytest.mark.parametrize("layer", [2, "blocks.7", ""])
def test_a_layer_that_is_not_there_is_a_clear_error(timm, layer):
    with pytest.raises(ValueError, match=f"layer={layer!r}.* (blocks|parts)"):
        PretrainedFeatures("timm/vit_tiny.tag", layer=layer).fit(paint())


def test_a_network_without_the_token_asked_for_is_a_clear_error():
    network = nn.Conv2d(3, 4, 4)
    with pytest.raises(ValueError, match="maps, which have no token"):
        PretrainedFeatures(network, pooling="token", mean=(0, 0, 0), std=(1, 1, 1), size=None).fit(
            paint()
        )


def test_another_size_is_told_to_the_network(timm):
    features = PretrainedFeatures("timm/vit_tiny.tag", size=24).fit(paint())
    assert features.module_.size == 24
    assert features.preprocessing_.before == (25, 25)
    assert features.transform(paint()).shape == (4, 6)


def test_precision_is_that_of_the_computation(timm):
    exact = PretrainedFeatures("timm/vit_tiny.tag").fit(paint())
    rough = PretrainedFeatures(exact.module_, precision="bfloat16").fit(paint())
    found = rough.transform(paint())
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact.transform(paint())).max() < 0.1


def test_unknown_preprocessing_is_an_error_that_says_what_to_pass(timm):
    with pytest.raises(ValueError, match=r"does not say how.*pass mean, std, size, resize"):
        PretrainedFeatures("timm/conv", weights=None).fit(paint())
    with pytest.raises(ValueError, match=r"model='Conv2d' .*pass std, resize\. .*ImageNet"):
        PretrainedFeatures(nn.Conv2d(3, 2, 3), mean=(0, 0, 0), size=8).fit(paint())
    given = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2), "size": (8, 6), "resize": "pad"}
    features = PretrainedFeatures("timm/conv", weights=None, **given).fit(paint())
    assert features.preprocessing_.size == (8, 6)
    assert features.transform(paint()).shape == (4, 3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mean": (0.5, 0.5)}, "mean=.* three numbers"),
        ({"std": (0.5, 0.5, np.nan)}, "std=.* three numbers"),
        ({"std": (0.5, 0.5, 0)}, "std=.* positive"),
        ({"size": (8, 8, 3)}, "size="),
        ({"size": (8, 0)}, "size="),
    ],
)
def test_what_is_no_preprocessing_is_refused(params, message):
    given = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "size": 8, "resize": "crop", **params}
    with pytest.raises(ValueError, match=message):
        PretrainedFeatures(nn.Conv2d(3, 2, 3), **given).fit(paint())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("hf-hub:gated/model", "are gated: accept their terms.*log in"),
        ("hf-hub:owner/model", "no route to host.*without a network.*local-dir:"),
        ("timm/conv", "no route to host.*path of a file"),
        ("timm/nothing", "Unknown model.*list_models"),
        ("local-dir:nowhere", "no such folder"),
    ],
)
def test_weights_that_cannot_be_had_are_a_clear_error(timm, model, message):
    with pytest.raises(ValueError, match=message) as caught:
        PretrainedFeatures(model).fit(paint())
    assert model in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("model", "extra"), [("timm/x", "timm"), ("open_clip/x/y", "clip")])
def test_a_missing_package_names_the_extra(monkeypatch, model, extra):
    for name in ("timm", "open_clip"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"skdcec\[{extra}\]"):
        PretrainedFeatures(model).fit(paint())


def test_a_folder_works_without_a_connection(timm, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny"}))
    features = PretrainedFeatures(f"local-dir:{tmp_path}").fit(paint())
    assert timm.asked == [(f"local-dir:{tmp_path}", True)]
    assert features.transform(paint()).shape == (4, 6)
    with pytest.raises(ValueError, match="brings its weights"):
        PretrainedFeatures(f"local-dir:{tmp_path}", weights="file.pth").fit(paint())


def test_weights_of_a_file_may_have_a_classifier(timm, tmp_path):
    whole = Transformer()
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    features = PretrainedFeatures("timm/vit_tiny.tag", weights=tmp_path / "whole.safetensors")
    features.fit(paint())
    assert timm.asked == [("vit_tiny.tag", False)]
    state = features.module_.state_dict()
    assert all(torch.equal(whole.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_weights_of_another_network_are_refused(timm, tmp_path, change):
    state = Transformer().state_dict()
    if change == "missing":
        del state["norm.weight"]
    elif change == "more":
        state["other.weight"] = torch.zeros(2)
    else:
        state["norm.weight"] = torch.zeros(7)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"weights=.* are not those of model='timm/vit_tiny.tag'"):
        PretrainedFeatures("timm/vit_tiny.tag", weights=tmp_path / "other.safetensors").fit(paint())


def test_a_name_of_open_clip_brings_that_of_its_weights(open_clip, tmp_path):
    whole = Clip()
    save_file(whole.state_dict(), tmp_path / "clip.safetensors")
    features = PretrainedFeatures(
        "open_clip/ViT/siglip", weights=tmp_path / "clip.safetensors"
    ).fit(paint())
    assert features.preprocessing_ == Preprocessing(
        (16, 16), (16, 16), "stretch", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    )
    assert torch.equal(features.module_.proj.weight, whole.visual.proj.weight)
    assert features.transform(paint()).shape == (4, 3)
    tokens = PretrainedFeatures(features.module_, layer=-1, pooling="avg").fit(paint())
    assert tokens.transform(paint()).shape == (4, 4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("open_clip/ViT", "names no weights"),
        ("open_clip/ViT/nothing", "no weights 'nothing'.*list_pretrained"),
        ("open_clip/ViT/siglip", "cannot be loaded"),
    ],
)
def test_what_is_not_of_open_clip_is_a_clear_error(open_clip, model, message):
    with pytest.raises(ValueError, match=message):
        PretrainedFeatures(model).fit(paint())


def test_the_whole_of_open_clip_s_tower_does_not_pool_again(open_clip):
    with pytest.raises(ValueError, match="layer=-1"):
        PretrainedFeatures("open_clip/ViT/siglip", weights=None, pooling="avg").fit(paint())


# Pixels


def bars(size):
    return Preprocessing(size, size, "pad", "bilinear", (0.5,) * 3, (0.5,) * 3, (127.5,) * 3)


@pytest.mark.parametrize("shape", [(7, 31), (31, 7), (16, 16), (1, 5), (40, 41)])
@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_values_that_are_no_bytes_are_resized_alike(resize, shape):
    image = np.random.default_rng(0).random((*shape, 3)).astype(np.float32)
    wanted = Preprocessing((16, 12), (16, 12), resize, "bilinear", (0,) * 3, (1,) * 3)
    exact = wanted.array(image)
    as_bytes = wanted.picture(Image.fromarray((image * 255).round().astype(np.uint8))) / 255
    assert exact.shape == (16, 12, 3)
    np.testing.assert_allclose(exact, as_bytes, atol=2.1 / 255)


def test_bytes_in_other_units_are_resized_as_pictures():
    image = paint(1, 21, 34)[0]
    wanted = Preprocessing((16, 16), (18, 18), "crop", "bicubic", (0,) * 3, (1,) * 3)
    np.testing.assert_array_equal(
        wanted.array(image / np.float32(255)),
        wanted.picture(Image.fromarray(image)) / np.float32(255),
    )


def test_bars_have_the_colour_given():
    pixels = bars((8, 8)).picture(Image.new("RGB", (8, 2), "white"))
    assert (pixels[3:5] == 255).all()
    assert (pixels[:3] == 128).all()
    assert (pixels[5:] == 128).all()


# Side by side


def test_words_are_joined(timm):
    images = paint(30, 140, 140)
    model = DeepConvEmbeddingClustering(3, encoder="paintings+timm/vit_tiny.tag", random_state=0)
    labels = model.fit_predict(images)
    assert model.module_ is None
    assert model.n_iter_ == 0
    np.testing.assert_array_equal(labels, model.predict(images))
    assert model.transform(images).shape == (30, 96)
    painted, network = model.encoder_.parts_
    assert painted.parts_[0].image_shape_ == (128, 128, 3)
    values = np.hstack([painted.transform(images), network.transform(images)])
    balanced = (values - model.encoder_.mean_) / model.encoder_.deviation_
    assert balanced[:, :-6].var(axis=0).sum() == pytest.approx(1, rel=1e-4)
    assert balanced[:, -6:].var(axis=0).sum() == pytest.approx(1, rel=1e-4)


def test_a_network_may_stand_alone(timm):
    model = DeepConvEmbeddingClustering(2, encoder="timm/vit_tiny.tag", random_state=0)
    assert model.fit(paint(20)).transform(paint(20)).shape == (20, 96)


@pytest.mark.parametrize("encoder", ["paintings+", "paintings+paintings", "auto+timm/x", "+"])
def test_words_that_join_nothing_are_refused(encoder):
    with pytest.raises(ValueError, match=r"encoder=.* different words"):
        DeepConvEmbeddingClustering(2, encoder=encoder).fit(paint())


def test_a_model_behind_a_network_says_that_files_do_not_hold_it(timm, tmp_path):
    model = DeepConvEmbeddingClustering(2, encoder="paintings+timm/vit_tiny.tag", random_state=0)
    with pytest.raises(ValueError, match=r"cannot be saved.*pickle"):
        model.fit(paint(20)).save(tmp_path / "model")


def test_rows_of_several_descriptions_are_balanced():
    random = np.random.default_rng(0)
    rows = np.hstack(
        [random.normal(size=(60, 3)), 1e4 * random.normal(size=(60, 5)), 7 * np.ones((60, 2))]
    )
    space = BalancedBlocks([3, 5, 2], shares=[1, 0.25, 1], n_components=8).fit(rows)
    balanced = (rows - space.mean_) / space.deviation_
    sums = [part.var(axis=0).sum() for part in np.split(balanced, [3, 8], axis=1)]
    np.testing.assert_allclose(sums, [1, 0.25, 0], atol=1e-9)
    embedding = space.transform(rows)
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding.var(axis=0).sum(), 1.25, rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"widths": [3, 4]}, "widths=.*add up to the 8"),
        ({"widths": [8, 0]}, "widths=.* positive"),
        ({"widths": [3, 5], "shares": [1]}, "shares=.* 2 positive"),
        ({"widths": [3, 5], "shares": [1, -1]}, "shares=.* 2 positive"),
    ],
)
def test_blocks_of_other_columns_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        BalancedBlocks(**params).fit(np.random.default_rng(0).normal(size=(9, 8)))


def test_images_are_shrunk_as_files_are_read(tmp_path):
    images = paint(3, 200, 120)
    found = Resized(ColorEdgeFeatures(), size=40).fit(images)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    small = load_images(tmp_path, size=(40, 24)).images
    np.testing.assert_allclose(found.transform(images), found.parts_[0].transform(small), atol=1e-6)
    # Values in other units are not rounded.
    exact = 255 * shrunken(images / 255, 40)
    assert 0 < np.abs(exact - shrunken(images, 40)).max() < 2


def test_small_images_stay_as_they_are():
    images = paint(3, 20, 12)
    assert shrunken(images, 20) is images
    assert shrunken(images, 10).shape == (3, 10, 6, 3)
