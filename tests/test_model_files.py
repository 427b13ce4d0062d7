"""What else a model's file may hold, and what a hostile one cannot do."""

import contextlib
import json
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.base import BaseEstimator, clone

from skdcec import ContrastiveEncoder, ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec._persistence import Bundle, declared, load_bundle, register, save
from skdcec.augmentation import RandomFlip


@register
class Distances(BaseEstimator):
    """Distances to the mean embedding, as an example of what may accompany a model."""

    _kept_parameters = {
        "estimator": declared.part("clusterer", "encoder"),
        "factor": declared.number(0, 10),
    }
    _fitted_attributes = {
        "mean_": declared.array(1, "f", -1e9, 1e9),
        "spread_": declared.number(0, 1e9),
        "parts_": declared.items(declared.array(2, "f", -1e9, 1e9), 2, 2),
    }

    def __init__(self, estimator, *, factor=2.0, verbose=None):
        self.estimator = estimator
        self.factor = factor
        self.verbose = verbose

    def fit(self, X, y=None):
        embedding = self.estimator.transform(X)
        self.mean_ = embedding.mean(axis=0)
        self.spread_ = float(embedding.std())
        self.parts_ = [embedding[:2], embedding[2:5]]
        return self

    def score_samples(self, X):
        distances = np.linalg.norm(self.estimator.transform(X) - self.mean_, axis=1)
        return -distances / self.spread_ / self.factor


@pytest.fixture(scope="module")
def saved(images, tmp_path_factory):
    """A small contrastive model, and its file."""
    encoder = ContrastiveEncoder(
        3, filters=(4, 8), max_epochs=1, augmentation=RandomFlip(), verbose=0
    )
    model = DeepConvEmbeddingClustering(
        2, encoder=encoder, max_epochs=1, n_init=1, random_state=0
    ).fit(images)
    path = tmp_path_factory.mktemp("saved") / "model.skdcec"
    model.save(path)
    return model, path


def read(path):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["skdcec"]), tensors


def write(path, header, tensors):
    save_file(tensors, path, metadata={"skdcec": json.dumps(header)})


@pytest.fixture
def changed(saved, tmp_path):
    """Return a function that writes the file with another header."""

    def write_changed(change):
        header, tensors = read(saved[1])
        change(header)
        path = tmp_path / "changed.skdcec"
        write(path, header, tensors)
        return path

    return write_changed


# --- companions and notes ---


NOTES = {
    "loading": {"size": (8, 8), "resize": "pad", "nested": [1, 2.5, None, True]},
    "title": "Sunday \udcff",
}


def test_companions_and_notes_come_back_with_the_model(saved, images, tmp_path):
    model, _ = saved
    path = tmp_path / "bundle.skdcec"
    companion = Distances(model, factor=3.0).fit(images)
    of_encoder = Distances(model.encoder_).fit(images)
    save(model, path, companions={"distances": companion, "pretrained": of_encoder}, notes=NOTES)
    bundle = load_bundle(DeepConvEmbeddingClustering, path)
    assert isinstance(bundle, Bundle)
    assert bundle.notes == NOTES
    for name, expected in {"distances": companion, "pretrained": of_encoder}.items():
        found = bundle.companions[name]
        np.testing.assert_array_equal(found.score_samples(images), expected.score_samples(images))
        assert found.factor == expected.factor
        for part, other in zip(found.parts_, expected.parts_, strict=True):
            np.testing.assert_array_equal(part, other)
    # The loaded model itself, not a second one.
    assert bundle.companions["distances"].estimator is bundle.estimator
    assert bundle.companions["pretrained"].estimator is bundle.estimator.encoder_


def test_a_model_with_companions_loads_as_one_without(saved, images, tmp_path):
    model, plain = saved
    path = tmp_path / "bundle.skdcec"
    save(model, path, companions={"distances": Distances(model).fit(images)}, notes=NOTES)
    loaded = DeepConvEmbeddingClustering.load(path)
    assert vars(loaded).keys() == vars(DeepConvEmbeddingClustering.load(plain)).keys()
    np.testing.assert_array_equal(loaded.predict(images), model.labels_)
    assert load_bundle(DeepConvEmbeddingClustering, plain)[1:] == ({}, {})


def test_a_companion_saved_alone_takes_its_model_along(saved, images, tmp_path):
    path = tmp_path / "distances.skdcec"
    companion = Distances(saved[0]).fit(images)
    save(companion, path)
    found = load_bundle(Distances, path).estimator
    np.testing.assert_array_equal(found.score_samples(images), companion.score_samples(images))
    np.testing.assert_array_equal(found.estimator.predict(images), saved[0].labels_)


def test_what_is_no_plain_value_is_no_note(saved, tmp_path):
    path = tmp_path / "bundle.skdcec"
    for value in (np.zeros(2), {1: "one"}, tmp_path, [RandomFlip()]):
        with pytest.raises(TypeError, match=r"notes\['mine.*must be made of"):
            save(saved[0], path, notes={"mine": value})
    assert not path.exists()


class Unregistered(ConvAutoencoder):
    pass


def test_a_class_that_is_not_registered_is_not_saved(images, tmp_path):
    encoder = Unregistered(2, filters=(4,), max_epochs=1).fit(images)
    with pytest.raises(TypeError, match="Unregistered is none of skdcec's"):
        encoder.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_attributes_that_the_class_does_not_declare_are_left_out_and_named(saved, images, tmp_path):
    model = clone(saved[0]).fit(images)
    model.favourite_ = 7
    with pytest.warns(UserWarning, match="Not saved.*favourite_=7"):
        model.save(tmp_path / "model")
    assert not hasattr(DeepConvEmbeddingClustering.load(tmp_path / "model"), "favourite_")


def test_registration_refuses_what_would_hide_a_method_or_another_class():
    with pytest.raises(TypeError, match="would hide.*predict"):
        register(type("Sly", (), {"_fitted_attributes": {"predict": None}, "predict": print}))
    with pytest.raises(TypeError, match="registered under the name 'RandomFlip' already"):
        register(type("RandomFlip", (), {}))


# --- files of the first format ---


def test_files_of_the_first_format_load_and_tell_how_images_were_loaded(changed, saved, images):
    def as_before(header):
        header["format"] = 1
        header["estimator"]["fitted"] |= {
            "image_loading_": {"dict": {"size": {"tuple": [8, 8]}}},
            "unlike_limits_": {"array": "labels_"},
            "predict": 1,
        }

    path = changed(as_before)
    bundle = load_bundle(DeepConvEmbeddingClustering, path)
    assert bundle.notes == {"image_loading": {"size": (8, 8)}}
    np.testing.assert_array_equal(bundle.estimator.predict(images), saved[0].labels_)
    assert not hasattr(bundle.estimator, "unlike_limits_")


# --- hostile files ---


def refused(path, reason):
    started = time.monotonic()
    with pytest.raises(ValueError, match=reason) as caught:
        DeepConvEmbeddingClustering.load(path)
    assert path.name in str(caught.value)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("name", ["memory", "callbacks", "verbose"])
def test_what_belongs_to_a_session_is_not_taken_from_a_file(changed, name):
    def change(header):
        header["estimator"]["params"][name] = 1

    refused(changed(change), f"parameters .*{name}")

    def change_encoder(header):
        header["estimator"]["params"]["encoder"]["params"][name] = 1

    refused(changed(change_encoder), "parameters")


@pytest.mark.parametrize("name", ["predict", "__class__", "__dict__", "joblib", "n_clusters"])
def test_attributes_that_are_not_declared_are_not_taken_from_a_file(changed, name):
    def change(header):
        header["estimator"]["fitted"][name] = 1

    refused(changed(change), f"no fitted attribute '{name}'")


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_clusters", -1), ("gamma", "much"), ("encoder", {"class": "RandomFlip", "params": {}})],
)
def test_parameters_are_held_to_the_constraints_of_the_class(changed, name, value):
    def change(header):
        header["estimator"]["params"][name] = value

    refused(changed(change), "is not a model saved by skdcec")


@pytest.mark.parametrize("n_layers", [20_000, 10])
@pytest.mark.parametrize("fitted", [True, False], ids=["fitted", "parameter"])
def test_layers_are_counted_before_they_are_built(changed, n_layers, fitted):
    def change(header):
        node = header["estimator"]
        encoder = node["encoder_"] if fitted else node["params"]["encoder"]
        encoder["params"]["filters"] = [4] * n_layers

    refused(changed(change), f"claims {n_layers} layers")


def test_pixels_are_counted_before_images_are_decoded(changed):
    for shape in ([6000, 6000, 3], [10**30, 1, 1]):

        def change(header, shape=shape):
            header["estimator"]["encoder_"]["fitted"]["image_shape_"] = {"tuple": shape}

        refused(changed(change), "claims images of shape")


@pytest.mark.parametrize("shape", [[0, 8, 3], [-8, -8, 3], [8.0, 8, 3], [8, 8], ["8", 8, 3], 7])
def test_a_shape_that_is_none_is_refused(changed, shape):
    def change(header):
        value = {"tuple": shape} if isinstance(shape, list) else shape
        header["estimator"]["fitted"]["image_shape_"] = value

    refused(changed(change), "is not a model saved by skdcec")


def test_values_nested_without_end_are_refused(changed):
    def change(header):
        value = 1
        for _ in range(400):
            value = {"tuple": [value]}
        header["estimator"]["params"]["random_state"] = value

    refused(changed(change), "is not a model saved by skdcec")


def test_a_companion_of_an_unknown_class_is_refused(changed, saved):
    def change(header):
        header["companions"] = {"other": {"class": "os.system", "params": {}, "fitted": {}}}

    path = changed(change)
    with pytest.raises(ValueError, match="is not a model saved by skdcec"):
        load_bundle(DeepConvEmbeddingClustering, path)
    DeepConvEmbeddingClustering.load(path)


def places(value, path=()):
    """Return the paths of all values within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    for key, item in inner if isinstance(value, (dict, list)) else ():
        found += places(item, (*path, key)) if isinstance(item, (dict, list)) else [(*path, key)]
    return found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["class", "params", "fitted", "tuple", "dict", "array", "names", "frozen"]
            )
            | st.sampled_from(["foreign", "reference", "estimator", "name", "encoder_", "x"]),
            inner | st.sampled_from(["ConvAutoencoder", "Compose", "labels_", "model"]),
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_change_is_refused_or_sets_what_the_class_declares(saved, tmp_path, data):
    header, tensors = read(saved[1])
    for _ in range(data.draw(st.integers(1, 2))):
        *inner, last = data.draw(st.sampled_from(places(header)))
        node = header
        for key in inner:
            node = node[key]
        action = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove":
            del node[last]
        elif action == "add" and isinstance(node, dict):
            names = ["memory", "callbacks", "predict", "module_", "image_shape_", "companions"]
            node[data.draw(st.sampled_from(names) | st.text(max_size=8))] = data.draw(json_values)
        else:
            node[last] = data.draw(json_values)
    path = tmp_path / "changed.skdcec"
    write(path, header, tensors)
    with contextlib.suppress(ValueError):
        loaded = DeepConvEmbeddingClustering.load(path)
        assert type(loaded) is DeepConvEmbeddingClustering
        assert vars(loaded).keys() <= vars(saved[0]).keys()
        assert loaded.memory is loaded.callbacks is loaded.verbose is None
        assert isinstance(loaded.module_, torch.nn.Module)


@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_changes_a_value(saved, tmp_path, place, bit):
    content = bytearray(saved[1].read_bytes())
    # Most bytes are weights, which may be anything: the bytes before them are the header.
    end = 8 + int.from_bytes(content[:8], "little")
    content[int(place * end)] ^= 1 << bit
    path = tmp_path / "changed.skdcec"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        loaded = DeepConvEmbeddingClustering.load(path)
        assert vars(loaded).keys() <= vars(saved[0]).keys()
