"""Models in files: equal after loading, no code in them, clear errors about others."""

import copy
import json
import math
import os
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec.augmentation import Compose, RandomAffine, RandomFlip, digit_augmentation

conv = ConvAutoencoder(4, filters=(4, 8), max_epochs=2, random_state=0)
dense = DenseAutoencoder(4, hidden_layer_sizes=(16,), max_epochs=2, random_state=0)
contrastive = ContrastiveEncoder(4, filters=(4, 8), max_epochs=2, random_state=0)
settings = {"n_clusters": 3, "max_epochs": 2, "n_init": 2, "random_state": 0}
ESTIMATORS = {
    "ConvAutoencoder": conv,
    "DenseAutoencoder": dense,
    "ContrastiveEncoder": contrastive,
    "contrastive": DeepConvEmbeddingClustering(encoder=contrastive, **settings),
    "DCEC": DeepConvEmbeddingClustering(encoder=conv, **settings),
    "DCEC of rows": DeepConvEmbeddingClustering(encoder=dense, **settings),
    "DEC": DeepEmbeddingClustering(encoder=dense, **settings),
    "IDEC": DeepEmbeddingClustering(encoder=dense, reconstruction_weight=1.0, **settings),
    "DEC of images": DeepEmbeddingClustering(
        encoder=clone(conv).set_params(image_shape=(8, 8, 3)), **settings
    ),
    "given centers": DeepConvEmbeddingClustering(
        encoder=conv, init=np.eye(3, 4), update_interval=100, **settings
    ),
    "given labels": DeepConvEmbeddingClustering(encoder=conv, init=np.arange(60) % 3, **settings),
    "labels as a list": DeepConvEmbeddingClustering(encoder=conv, init=[0, 1, 2] * 20, **settings),
    "widths as an array": DeepConvEmbeddingClustering(
        encoder=clone(conv).set_params(filters=np.array([4, 8])), **settings
    ),
}


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return clone(ESTIMATORS[request.param])


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted_one(request, images):
    """One of the estimators, fitted; only to be read."""
    estimator = clone(ESTIMATORS[request.param])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*clusters have members")
        return estimator.fit(data_for(estimator, images))


def data_for(estimator, images):
    vectors = isinstance(estimator, (DenseAutoencoder, DeepEmbeddingClustering))
    return images.reshape(60, -1) if vectors else images


def by_save(estimator, folder):
    path = folder / "model.skdcec"
    assert estimator.save(path) is None
    return type(estimator).load(path)


def by_pickle(estimator, folder):
    return pickle.loads(pickle.dumps(estimator))


def by_joblib(estimator, folder):
    joblib.dump(estimator, folder / "model.joblib")
    return joblib.load(folder / "model.joblib")


def by_joblib_mapped(estimator, folder):
    joblib.dump(estimator, folder / "model.joblib")
    return joblib.load(folder / "model.joblib", mmap_mode="r")


@pytest.fixture(params=[by_save, by_pickle, by_joblib, by_joblib_mapped])
def way(request):
    return request.param


def results(estimator, X):
    """Return everything a fitted estimator can say about X."""
    return {
        name: getattr(estimator, name)(X)
        for name in ("transform", "predict", "predict_proba", "score")
        if hasattr(estimator, name)
    } | (
        {"inverse_transform": estimator.inverse_transform(estimator.transform(X))}
        if hasattr(estimator, "inverse_transform")
        else {}
    )


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.filterwarnings("ignore:.*which has no score")
def test_a_loaded_model_says_exactly_what_the_saved_one_says(fitted_one, images, way, tmp_path):
    X = data_for(fitted_one, images)
    expected = results(fitted_one, X)
    loaded = way(fitted_one, tmp_path)
    assert type(loaded) is type(fitted_one)
    assert_same(results(loaded, X), expected)
    assert_same(results(fitted_one, X), expected)


def test_a_loaded_model_has_the_fitted_attributes_of_the_saved_one(fitted_one, way, tmp_path):
    loaded = way(fitted_one, tmp_path)
    assert vars(loaded).keys() == vars(fitted_one).keys()
    for name, value in vars(fitted_one).items():
        if name.endswith("_") and name not in ("module_", "encoder_"):
            np.testing.assert_equal(getattr(loaded, name), value)
            assert type(getattr(loaded, name)) is type(value) or "mapped" in way.__name__
    if hasattr(fitted_one, "encoder_"):
        assert loaded.encoder_.get_params().keys() == fitted_one.encoder_.get_params().keys()
        assert loaded.encoder_.history_ == fitted_one.encoder_.history_


@pytest.mark.filterwarnings("ignore:.*clusters have members")
def test_a_loaded_model_can_be_fitted_again_to_the_same(fitted_one, images, tmp_path):
    X = data_for(fitted_one, images)
    again = clone(by_save(fitted_one, tmp_path)).fit(X)
    np.testing.assert_array_equal(again.transform(X), fitted_one.transform(X))


def test_unfitted_estimators_can_be_pickled(estimator):
    assert repr(pickle.loads(pickle.dumps(estimator))) == repr(estimator)


@pytest.mark.parametrize("layout", ["rows", "channels_first", "gray", "frame"])
def test_what_was_done_to_the_images_is_saved(model, images, layout, way, tmp_path):
    rows = images.reshape(60, -1)
    X, params = {
        "rows": (rows / 255, {"image_shape": (8, 8, 3)}),
        "channels_first": (images.transpose(0, 3, 1, 2), {"data_format": "channels_first"}),
        "gray": (images[..., 0], {}),
        "frame": (pd.DataFrame(rows).rename(columns=str), {"image_shape": (8, 8, 3)}),
    }[layout]
    model.set_params(**params).fit(X)
    loaded = way(model, tmp_path)
    assert_same(results(loaded, X), results(model, X))
    assert loaded.scale_ == (1.0 if layout == "rows" else 255.0)
    assert hasattr(loaded, "feature_names_in_") == (layout == "frame")
    np.testing.assert_array_equal(loaded.get_feature_names_out(), model.get_feature_names_out())


def test_the_kind_of_output_is_saved(model, images, way, tmp_path):
    model.set_output(transform="pandas").fit(images)
    pd.testing.assert_frame_equal(way(model, tmp_path).transform(images), model.transform(images))


def test_a_frozen_encoder_stays_frozen(model, images, way, tmp_path):
    encoder = clone(conv).fit(images)
    model.set_params(encoder=FrozenEstimator(encoder)).fit(images)
    loaded = way(model, tmp_path)
    assert isinstance(loaded.encoder, FrozenEstimator)
    assert_same(results(loaded, images), results(model, images))
    np.testing.assert_array_equal(loaded.encoder.transform(images), model.encoder.transform(images))
    np.testing.assert_array_equal(clone(loaded).fit(images).labels_, model.labels_)


def test_a_loaded_encoder_can_be_frozen_and_trained_on(model, images, way, tmp_path):
    encoder = clone(conv).fit(images)
    expected = clone(model).set_params(encoder=FrozenEstimator(encoder)).fit(images)
    loaded = way(encoder, tmp_path)
    result = clone(model).set_params(encoder=FrozenEstimator(loaded)).fit(images)
    np.testing.assert_array_equal(result.cluster_centers_, expected.cluster_centers_)
    assert not np.allclose(result.transform(images), loaded.transform(images), atol=1e-3)


def test_a_loaded_model_is_of_the_cpu(model, images, way, tmp_path):
    model.fit(images)
    # As it would be after a fit on a GPU.
    model.device_ = model.encoder_.device_ = "cuda:0"
    loaded = way(model, tmp_path)
    assert loaded.device_ == loaded.encoder_.device_ == "cpu"
    assert all(p.device.type == "cpu" for p in loaded.module_.parameters())


def test_history_keeps_what_is_not_a_number(model, images, way, tmp_path):
    model.set_params(update_interval=1000).fit(images)
    loaded = way(model, tmp_path)
    assert all(math.isnan(value) for value in loaded.history_["label_change"])


def test_global_generators_are_left_alone(fitted, tmp_path, untouched_global_rng):
    by_save(fitted, tmp_path)


# --- what belongs to one session, and what cannot be saved ---


def test_memory_callbacks_and_verbosity_are_not_saved(model, images, tmp_path):
    model.set_params(
        memory=str(tmp_path / "cache"),
        verbose=0,
        callbacks=[Callback()],
        encoder__verbose=0,
        encoder__callbacks=[Callback()],
    ).fit(images)
    loaded = by_save(model, tmp_path)
    for params in (loaded.get_params(), loaded.encoder_.get_params()):
        for name, value in params.items():
            if name.split("__")[-1] in ("memory", "verbose", "callbacks"):
                assert value is None, name


@pytest.mark.filterwarnings("ignore:.* clusters have members")
@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"encoder__augmentation": torch.neg}, "augmentation"),
        ({"init": KMeans(3, n_init=1)}, "init"),
        ({"random_state": np.random.RandomState(0)}, "random_state"),
    ],
    ids=["augmentation", "init", "random_state"],
)
def test_what_cannot_be_rebuilt_is_named_and_takes_its_default(
    model, images, tmp_path, params, name
):
    model.set_params(**params).fit(images)
    path = tmp_path / "model"
    with pytest.warns(UserWarning, match=f"Not saved, because it cannot be rebuilt.*{name}"):
        model.save(path)
    loaded = DeepConvEmbeddingClustering.load(path)
    assert_same(results(loaded, images), results(model, images))
    full_name = next(iter(params))
    default = DeepConvEmbeddingClustering(encoder=ConvAutoencoder()).get_params()[full_name]
    assert loaded.get_params()[full_name] == default
    clone(loaded).fit(images)


class OwnModule(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.from_numpy(weights))

    def encode(self, x):
        return x.flatten(1) @ self.weights


class OwnEncoder(TransformerMixin, BaseEstimator):
    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        rng = np.random.default_rng(self.random_state)
        weights = rng.normal(size=(X.shape[1], 4)) / 255
        self.module_ = OwnModule(weights.astype(np.float32))
        self.metric_ = "cosine"
        self.history_ = {"loss": [0.0]}
        return self

    def transform(self, X):
        with torch.no_grad():
            code = self.module_.encode(torch.tensor(np.asarray(X), dtype=torch.float32))
        return torch.nn.functional.normalize(code).numpy()


@pytest.mark.parametrize("frozen", [False, True])
def test_an_encoder_of_ones_own_is_named_and_given_to_load(model, images, tmp_path, frozen):
    encoder = OwnEncoder()
    if frozen:
        encoder = FrozenEstimator(OwnEncoder(random_state=5).fit(images.reshape(60, -1)))
    model.set_params(encoder=encoder, reconstruction_weight=0.0).fit(images)
    path = tmp_path / "model"
    with pytest.warns(UserWarning, match="OwnEncoder"):
        model.save(path)
    with pytest.raises(ValueError, match="encoder of class .*OwnEncoder.*pass a fitted one"):
        DeepConvEmbeddingClustering.load(path)
    other = OwnEncoder(random_state=99).fit(images.reshape(60, -1))
    embedding = other.transform(images.reshape(60, -1))
    loaded = DeepConvEmbeddingClustering.load(path, encoder=other)
    assert_same(results(loaded, images), results(model, images))
    np.testing.assert_array_equal(other.transform(images.reshape(60, -1)), embedding)


def test_an_encoder_of_another_architecture_is_a_clear_error(model, images, tmp_path):
    model.set_params(encoder=OwnEncoder(), reconstruction_weight=0.0).fit(images)
    path = tmp_path / "model"
    with pytest.warns(UserWarning, match="OwnEncoder"):
        model.save(path)
    other = OwnEncoder(random_state=0).fit(np.zeros((2, 10)))
    with pytest.raises(ValueError, match="encoder"):
        DeepConvEmbeddingClustering.load(path, encoder=other)


# --- files that cannot be loaded ---


@pytest.fixture
def path(fitted, tmp_path):
    path = tmp_path / "model.skdcec"
    fitted.save(path)
    return path


def assert_refused(path, message="is not a model saved by skdcec, or it is damaged"):
    with pytest.raises(ValueError, match=message) as caught:
        DeepConvEmbeddingClustering.load(path)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_a_clear_error(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert_refused(path)


@pytest.mark.parametrize(
    "content",
    [
        np.random.default_rng(0).bytes(5000),
        b"\0" * 5000,
        b"\xff" * 5000,
        b"{}",
        b"a text",
        (10).to_bytes(8, "little") + b"{}        ",
    ],
    ids=["random bytes", "zeros", "ones", "JSON", "text", "empty safetensors"],
)
def test_a_foreign_file_is_a_clear_error(path, content):
    path.write_bytes(content)
    assert_refused(path, "model")


def test_tensors_of_somebody_else_are_a_clear_error(path):
    save_file({"weights": torch.zeros(3)}, path, metadata={"format": "pt"})
    assert_refused(path, "safetensors file, but no skdcec model")


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("writer", ["pickle", "joblib", "torch"])
def test_a_pickle_is_refused_and_not_executed(path, tmp_path, writer):
    marker = tmp_path / "executed"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Malicious(marker)))
    elif writer == "joblib":
        joblib.dump(Malicious(marker), path)
    else:
        torch.save(Malicious(marker), path)
    assert_refused(path)
    assert not marker.exists()


def test_a_missing_file_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        DeepConvEmbeddingClustering.load(tmp_path / "nothing")


def rewrite(path, change_header=None, change_tensors=None):
    """Change what a saved file says, and leave it a proper safetensors file."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["skdcec"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if change_header:
        changed = change_header(header)
        header = header if changed is None else changed
    if change_tensors:
        change_tensors(tensors)
    save_file(tensors, path, metadata={"skdcec": json.dumps(header)})


def test_a_file_that_was_only_rewritten_still_loads(path, fitted, images):
    rewrite(path)
    loaded = DeepConvEmbeddingClustering.load(path)
    np.testing.assert_array_equal(loaded.predict(images), fitted.labels_)


def test_a_file_of_a_newer_format_asks_for_an_upgrade(path):
    rewrite(path, lambda header: header | {"format": 99})
    assert_refused(path, "format 99, newer than .*upgrade skdcec")


def test_a_file_of_another_class_names_the_class(path):
    for cls in (ConvAutoencoder, DenseAutoencoder, DeepEmbeddingClustering):
        with pytest.raises(ValueError, match="holds a DeepConvEmbeddingClustering, not a"):
            cls.load(path)


def set_at(*keys, value):
    def change(header):
        node = header
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda header: ["not", "a", "dict"],
        lambda header: {},
        lambda header: {"format": "one", "estimator": {}},
        set_at("estimator", value=None),
        set_at("estimator", value="DeepConvEmbeddingClustering"),
        set_at("estimator", "params", value=None),
        set_at("estimator", "fitted", value=[]),
        set_at("estimator", "params", "n_clusterz", value=3),
        set_at("estimator", "params", "init", value={"array": "nowhere"}),
        set_at("estimator", "params", "init", value={"unknown": 1}),
        set_at("estimator", "params", "init", value={}),
        set_at("estimator", "encoder_", value=None),
        set_at("estimator", "encoder_", value={}),
        set_at("estimator", "class", value="os.system"),
        set_at("estimator", "class", value=[]),
        set_at("estimator", "encoder_", "class", value="os.system"),
        set_at("estimator", "encoder_", "class", value="__version__"),
        set_at("estimator", "encoder_", "params", "filters", value="many"),
        set_at("estimator", "encoder_", "params", "filters", value=[1, 2, 3]),
        set_at("estimator", "encoder_", "params", "activation", value="eval"),
        set_at("estimator", "encoder_", "fitted", "image_shape_", value={"tuple": [1]}),
    ],
)
def test_a_damaged_header_is_a_clear_error(path, change):
    rewrite(path, change)
    assert_refused(path)


def test_a_class_that_is_not_known_here_is_no_damage(path):
    rewrite(path, set_at("estimator", "class", value="OfAnotherModule"))
    assert_refused(path, "model.skdcec' holds a 'OfAnotherModule', not a DeepConvEmbedding.*[.]$")


def test_a_header_that_is_no_json_is_a_clear_error(path):
    save_file({"weights": torch.zeros(3)}, path, metadata={"skdcec": "{not json"})
    assert_refused(path)
    save_file({"weights": torch.zeros(3)}, path, metadata={"skdcec": "[" * 100_000})
    assert_refused(path)


def test_missing_or_misshapen_tensors_are_a_clear_error(path):
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
    content = path.read_bytes()
    for name in names:
        path.write_bytes(content)
        rewrite(path, change_tensors=lambda tensors, name=name: tensors.pop(name))
        assert_refused(path)
    for name in names:
        path.write_bytes(content)
        rewrite(path, change_tensors=lambda t, name=name: t.update({name: torch.zeros(1, 1, 1)}))
        if "module_" in name:
            assert_refused(path)


# --- writing ---


def test_an_unfitted_estimator_is_not_saved(estimator, tmp_path):
    with pytest.raises(NotFittedError):
        estimator.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_what_would_not_load_is_not_saved(fitted, tmp_path):
    encoder = copy.deepcopy(fitted.encoder_)
    with torch.no_grad():
        for parameter in encoder.module_.parameters():
            parameter *= 1e5
    with pytest.raises(ValueError, match="ConvAutoencoder cannot be saved: .*very large values"):
        encoder.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_path_is_taken_as_it_is(fitted, tmp_path, images, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "some folder.x"
    path.mkdir()
    fitted.save(kind(path / "a model"))
    assert [file.name for file in path.iterdir()] == ["a model"]
    DeepConvEmbeddingClustering.load(kind(path / "a model"))
    fitted.save("relative")
    DeepConvEmbeddingClustering.load("relative")


def test_saving_replaces_a_file_as_a_whole(fitted, path, images):
    path.write_bytes(b"something longer than the model" * 10_000)
    fitted.save(path)
    loaded = DeepConvEmbeddingClustering.load(path)
    np.testing.assert_array_equal(loaded.predict(images), fitted.labels_)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_whoever_reads_a_file_while_it_is_replaced_reads_the_old_one_to_its_end(fitted, path):
    other = copy.copy(fitted)
    other.history_ = {"loss": [0.0] * 1000}
    content = path.read_bytes()
    with path.open("rb") as file:
        first = file.read(100)
        other.save(path)
        assert first + file.read() == content


def test_a_disk_that_fills_up_leaves_the_old_file_and_no_other(model, fitted, images, path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    content = path.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(Exception, match="(?i)file|large|error"):
            fitted.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_folder_that_is_not_there_is_an_error(fitted, tmp_path):
    with pytest.raises(Exception, match="(?i)no such file|nowhere"):
        fitted.save(tmp_path / "nowhere" / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "augmentation",
    [digit_augmentation(), Compose((RandomFlip(0.3), RandomAffine(padding="border")))],
    ids=["one", "composed"],
)
def test_augmentations_are_rebuilt(images, way, tmp_path, augmentation):
    encoder = ConvAutoencoder(
        2, filters=(4,), max_epochs=1, augmentation=augmentation, random_state=0
    )
    loaded = way(encoder.fit(images), tmp_path)
    assert repr(loaded.augmentation) == repr(augmentation)
    assert np.array_equal(clone(loaded).fit(images).transform(images), encoder.transform(images))


def test_an_augmentation_with_foreign_parts_is_named_and_left_out(images, tmp_path):
    augmentation = Compose([RandomFlip(), torch.nn.Identity()])
    encoder = ConvAutoencoder(2, filters=(4,), max_epochs=1, augmentation=RandomFlip())
    encoder.fit(images).set_params(augmentation=augmentation)
    with pytest.warns(UserWarning, match="augmentation=Compose"):
        encoder.save(tmp_path / "encoder.safetensors")
    assert ConvAutoencoder.load(tmp_path / "encoder.safetensors").augmentation is None


@pytest.mark.filterwarnings("ignore:.*clusters have members")
def test_arrays_are_kept_in_whatever_order_they_lie_in_memory(model, images, tmp_path):
    centers = np.asfortranarray(model.fit(images).cluster_centers_)
    fitted = clone(model).set_params(init=centers).fit(images)
    fitted.save(tmp_path / "model.skdcec")
    loaded = type(fitted).load(tmp_path / "model.skdcec")
    np.testing.assert_array_equal(loaded.init, centers)
    np.testing.assert_array_equal(loaded.predict(images), fitted.labels_)
