"""The shared pretraining: how often it is computed, for what, and what trouble costs."""

import os
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold
from skorch.callbacks import Callback

from skdcec import ConvAutoencoder, DenseAutoencoder
from skdcec.augmentation import Compose, RandomAffine, RandomFlip
from skdcec.model_selection import TransductiveSplit, silhouette_scorer


class CountFits(Callback):
    """Leave one file per training, which counts across processes."""

    def __init__(self, folder, pause=0.0):
        self.folder = folder
        self.pause = pause

    def on_train_begin(self, net, **kwargs):
        Path(self.folder, uuid.uuid4().hex).touch()
        time.sleep(self.pause)


@pytest.fixture
def fits(tmp_path):
    folder = tmp_path / "fits"
    folder.mkdir()
    return folder


@pytest.fixture
def n_fits(fits):
    return lambda: len(list(fits.iterdir()))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def cached(model, cache, fits):
    """A clusterer that counts its pretrainings."""
    return model.set_params(
        memory=str(cache),
        encoder__max_epochs=1,
        max_epochs=1,
        encoder__callbacks=[CountFits(str(fits))],
    )


class Noise(BaseEstimator):
    def __init__(self, strength=0.1):
        self.strength = strength

    def __call__(self, batch, *, generator):
        return batch + self.strength * torch.randn(batch.shape, generator=generator)


# --- how often ---


def search(model, cv, **params):
    grid = {"n_clusters": [2, 3, 4, 5]}
    return GridSearchCV(model, grid, scoring=silhouette_scorer, cv=cv, **params)


# Five clusters in twenty images of three kinds need not all keep members.
clusters_may_die = pytest.mark.filterwarnings("ignore:.*clusters have members")


@clusters_may_die
def test_a_search_over_k_on_all_data_pretrains_once_and_then_never(cached, images, n_fits):
    search(cached, TransductiveSplit()).fit(images)
    assert n_fits() == 1
    search(cached, TransductiveSplit()).fit(images)
    assert n_fits() == 1


@clusters_may_die
def test_a_search_with_k_folds_pretrains_once_per_fold_and_for_the_refit(cached, images, n_fits):
    search(cached, KFold(3)).fit(images)
    assert n_fits() == 4


def test_without_memory_every_fit_pretrains(cached, images, n_fits):
    cached.set_params(memory=None)
    for _ in range(2):
        cached.fit(images)
    assert n_fits() == 2


@clusters_may_die
def test_processes_that_find_a_cold_cache_pretrain_once(cached, images, fits, n_fits):
    # Workers that are up already, and a pretraining that takes its time, do meet.
    Parallel(n_jobs=2)([delayed(time.sleep)(0.1)] * 4)
    cached.set_params(encoder__callbacks=[CountFits(str(fits), pause=1.0)])
    search(cached, TransductiveSplit(), n_jobs=2).fit(images)
    assert n_fits() == 1
    search(cached, TransductiveSplit(), n_jobs=2).fit(images)
    assert n_fits() == 1


@clusters_may_die
def test_threads_that_find_a_cold_cache_pretrain_once(cached, images, fits, n_fits):
    cached.set_params(encoder__callbacks=[CountFits(str(fits), pause=0.5)])

    def fit(n_clusters):
        return clone(cached).set_params(n_clusters=n_clusters).fit(images).labels_

    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(fit, [2, 3, 4, 5]))
    assert n_fits() == 1
    for n_clusters, labels in zip([2, 3, 4, 5], parallel, strict=True):
        np.testing.assert_array_equal(labels, fit(n_clusters))


def test_a_frozen_encoder_shares_a_pretraining_without_memory(cached, images, n_fits):
    encoder = clone(cached.encoder).set_params(random_state=0).fit(images)
    cached.set_params(encoder=FrozenEstimator(encoder), memory=None)
    search(cached, TransductiveSplit()).set_params(param_grid={"n_clusters": [2, 3]}).fit(images)
    assert n_fits() == 1


# --- for what ---


@clusters_may_die
@pytest.mark.parametrize(
    "params",
    [
        {"n_clusters": 2},
        {"gamma": 0.5},
        {"reconstruction_weight": 0.0},
        {"max_epochs": 2},
        {"lr": 1e-4},
        {"batch_size": 20},
        {"verbose": 0},
        {"encoder__verbose": 0},
        {"callbacks": [Callback()]},
        {"device": "cpu"},
        {"encoder__device": "cpu"},
    ],
    ids=lambda params: next(iter(params)),
)
def test_fits_that_differ_in_what_pretraining_does_not_see_share_it(cached, images, n_fits, params):
    if torch.cuda.is_available():
        cached.set_params(device="cpu")
    cached.fit(images)
    cached.set_params(**params).fit(images)
    assert n_fits() == 1


@clusters_may_die
@pytest.mark.parametrize(
    "params",
    [
        {"random_state": 1},
        {"encoder__random_state": 0},
        {"encoder__max_epochs": 2},
        {"encoder__n_components": 3},
        {"encoder__filters": (4, 9)},
        {"encoder__activation": "elu"},
        {"encoder__lr": 1e-3},
        {"encoder__lr_schedule": "cosine"},
        {"encoder__batch_size": 20},
        {"encoder__augmentation": Noise()},
    ],
    ids=lambda params: next(iter(params)),
)
def test_fits_that_differ_in_the_pretraining_do_not_share_it(cached, images, n_fits, params):
    cached.fit(images)
    cached.set_params(**params).fit(images)
    assert n_fits() == 2
    expected = clone(cached).set_params(memory=None).fit(images)
    np.testing.assert_array_equal(cached.cluster_centers_, expected.cluster_centers_)


@clusters_may_die
def test_fits_in_another_precision_do_not_share_a_pretraining(cached, images, n_fits):
    cached.set_params(encoder__precision="float32").fit(images)
    cached.set_params(encoder__precision="bfloat16").fit(images)
    assert n_fits() == 2


def test_parameters_within_an_augmentation_count(cached, images, n_fits):
    for strength, n in [(0.1, 1), (0.1, 1), (0.2, 2)]:
        cached.set_params(encoder__augmentation=Noise(strength)).fit(images)
        assert n_fits() == n


def test_parameters_of_composed_augmentations_count(cached, images, n_fits):
    for shift, n in [(0.1, 1), (0.1, 1), (0.2, 2)]:
        augmentation = Compose([RandomFlip(), RandomAffine(shift)])
        cached.set_params(encoder__augmentation=augmentation).fit_encoder(images)
        assert n_fits() == n


def test_equal_data_share_a_pretraining_in_whatever_memory_they_lie(
    cached, images, n_fits, tmp_path
):
    cached.fit(images)
    np.save(tmp_path / "images.npy", images)
    for same in (
        images.copy(),
        np.asfortranarray(images),
        np.load(tmp_path / "images.npy", mmap_mode="r"),
        np.repeat(images, 2, axis=0)[::2],
    ):
        cached.fit(same)
    assert n_fits() == 1


@clusters_may_die
def test_other_data_do_not_share_a_pretraining(cached, images, n_fits):
    one_pixel = images.copy()
    one_pixel[-1, -1, -1, -1] ^= 1
    for n, other in enumerate(
        [images, one_pixel, images[::-1], images[:-1], images.astype(float), images[..., :1]], 1
    ):
        cached.fit(other)
        assert n_fits() == n


@clusters_may_die
def test_the_same_values_as_images_of_another_shape_do_not_share_a_pretraining(
    cached, images, n_fits
):
    rows = images.reshape(60, -1)
    for n, image_shape in enumerate([(8, 8, 3), (4, 16, 3), (1, 192)], 1):
        model = clone(cached).set_params(image_shape=image_shape).fit(rows)
        assert n_fits() == n
        assert model.encoder_.image_shape_ == (*image_shape, 1)[:3]


@clusters_may_die
@pytest.mark.parametrize("order", [1, -1], ids=["last, then first", "first, then last"])
def test_the_order_of_channels_is_not_mixed_up(cached, images, order):
    # Nothing but data_format tells here which axis is which.
    cube = np.ascontiguousarray(images[:, 2:5, 3:6, :])
    for data_format in ["channels_last", "channels_first"][::order]:
        cached.set_params(data_format=data_format).fit(cube)
        expected = clone(cached).set_params(memory=None).fit(cube)
        np.testing.assert_array_equal(cached.cluster_centers_, expected.cluster_centers_)
        np.testing.assert_array_equal(
            cached.encoder_.transform(cube), expected.encoder_.transform(cube)
        )


def test_encoders_of_different_kinds_do_not_share_a_pretraining(cached, images, fits, n_fits):
    cached.fit(images)
    callbacks = [CountFits(str(fits))]
    for n, encoder in enumerate(
        [
            DenseAutoencoder(4, hidden_layer_sizes=(4, 8), max_epochs=1, callbacks=callbacks),
            OwnAutoencoder(4, filters=(4, 8), max_epochs=1, callbacks=callbacks),
        ],
        2,
    ):
        model = cached.set_params(encoder=encoder).fit(images)
        assert n_fits() == n
        assert type(model.encoder_) is type(encoder)


class OwnAutoencoder(ConvAutoencoder):
    pass


def test_results_are_those_without_memory(cached, images):
    plain = clone(cached).set_params(memory=None).fit(images)
    for _ in range(2):
        model = clone(cached).fit(images)
        np.testing.assert_array_equal(model.labels_, plain.labels_)
        np.testing.assert_array_equal(model.cluster_centers_, plain.cluster_centers_)
        np.testing.assert_array_equal(
            model.encoder_.transform(images), plain.encoder_.transform(images)
        )
        assert model.history_ == plain.history_


@pytest.mark.parametrize(
    "make_memory",
    [str, Path, lambda path: joblib.Memory(path, verbose=0)],
    ids=["str", "Path", "Memory"],
)
def test_memory_may_be_a_path_or_a_memory_of_joblib(cached, images, cache, n_fits, make_memory):
    for _ in range(2):
        cached.set_params(memory=make_memory(cache)).fit(images)
    assert n_fits() == 1


def test_something_else_as_memory_is_a_clear_error(cached, images):
    with pytest.raises(ValueError, match="'memory' should be"):
        cached.set_params(memory=3).fit(images)


@clusters_may_die
def test_the_seed_of_the_encoder_is_enough(cached, images, n_fits):
    cached.set_params(random_state=None, encoder__random_state=0)
    for _ in range(2):
        cached.fit(images)
    assert n_fits() == 1


def test_the_data_are_not_stored(cached, images, cache):
    many = np.concatenate([images] * 20)
    cached.fit(many)
    assert sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) < many.nbytes


# --- what trouble costs ---


@clusters_may_die
def test_without_a_seed_there_is_a_warning_and_a_result(cached, images, n_fits):
    cached.set_params(random_state=None)
    for n in (1, 2):
        with pytest.warns(UserWarning, match="memory is of no use without a seed"):
            cached.fit(images)
        assert n_fits() == n


@clusters_may_die
@pytest.mark.parametrize(
    "params",
    [
        {"encoder__augmentation": lambda batch: batch},
        {"encoder__random_state": np.random.RandomState(0)},
    ],
    ids=lambda params: next(iter(params)),
)
def test_an_encoder_that_cannot_be_told_from_others_is_not_cached(cached, images, n_fits, params):
    cached.set_params(**params)
    name = next(iter(params)).removeprefix("encoder__")
    for n in (1, 2):
        with pytest.warns(UserWarning, match=f"not cached: the encoder's {name}="):
            cached.fit(images)
        assert n_fits() == n


def fit_with_a_warning(model, images):
    """Fit, which must warn and give the result of a fit without memory."""
    expected = clone(model).set_params(memory=None).fit(images)
    with pytest.warns(Warning, match="(?i)cache") as record:
        model.fit(images)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    return [str(warning.message) for warning in record]


def test_a_cache_folder_that_cannot_be_made_costs_a_warning(cached, images, tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    cached.set_params(memory=str(file / "cache"))
    messages = fit_with_a_warning(cached, images)
    assert any("cannot be used (there is a file where" in message for message in messages)


def test_a_cache_folder_that_became_a_file_costs_a_warning(cached, images, cache):
    memory = joblib.Memory(cache, verbose=0)
    cached.set_params(memory=memory)
    shutil.rmtree(cache)
    cache.write_text("in the way")
    fit_with_a_warning(cached, images)


@contextmanager
def full_disk():
    """Let no file grow beyond a kilobyte."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_a_warning(cached, images, n_fits):
    with full_disk():
        fit_with_a_warning(cached, images)
    # What was written before the disk was full does no harm afterwards.
    n = n_fits()
    cached.fit(images)
    cached.fit(images)
    assert n_fits() == n + 1


DAMAGES = {
    "random bytes": lambda content: os.urandom(len(content)),
    "cut short": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("kind", ["*.safetensors", "*.json", "output.pkl"])
def test_a_damaged_entry_costs_a_warning_and_is_replaced(
    cached, images, cache, n_fits, damage, kind
):
    if kind == "output.pkl":
        cached.set_params(encoder=OwnAutoencoder(**cached.encoder.get_params()))
    cached.fit(images)
    (file,) = cache.rglob(kind)
    file.write_bytes(damage(file.read_bytes()))
    before = n_fits()
    messages = fit_with_a_warning(cached, images)
    assert any("damaged entry, which is replaced" in message for message in messages)
    assert n_fits() == before + 2  # one without memory
    cached.fit(images)
    assert n_fits() == before + 2


def test_a_weight_that_changed_on_the_disk_is_not_used(cached, images, cache, n_fits):
    cached.fit(images)
    (file,) = cache.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    fit_with_a_warning(cached, images)
    assert n_fits() == 3


@clusters_may_die
def test_an_entry_of_another_pretraining_is_not_used(cached, images, cache, n_fits):
    cached.fit(images)
    kept = {file.suffix: file.read_bytes() for file in cache.iterdir()}
    before = set(cache.iterdir())
    cached.set_params(encoder__n_components=3).fit(images)
    for file in set(cache.iterdir()) - before:
        file.write_bytes(kept[file.suffix])
    fit_with_a_warning(cached, images)
    assert n_fits() == 4


def test_entries_are_files_without_code(cached, images, cache):
    cached.set_params(memory=str(cache)).fit(images)
    assert sorted(file.suffix for file in cache.iterdir()) == [".json", ".lock", ".safetensors"]
    cached.set_params(memory=joblib.Memory(cache, verbose=0)).fit(images)
    assert not list(cache.rglob("*.pkl"))
    (file,) = cache.glob("*.safetensors")
    encoder = ConvAutoencoder.load(file)
    np.testing.assert_array_equal(encoder.transform(images), cached.encoder_.transform(images))


def test_an_encoder_of_ones_own_is_cached_by_joblib(cached, images, cache, n_fits):
    cached.set_params(encoder=OwnAutoencoder(**cached.encoder.get_params()))
    for _ in range(2):
        cached.fit(images)
        assert type(cached.encoder_) is OwnAutoencoder
    assert n_fits() == 1
    assert list(cache.rglob("output.pkl"))


class Unreliable(Callback):
    """Fail as a file system does."""

    def on_train_begin(self, net, **kwargs):
        raise OSError("some file of the user's own")


def test_trouble_that_is_not_the_caches_reaches_the_caller(cached, images):
    cached.set_params(encoder__callbacks=[Unreliable()])
    with pytest.raises(OSError, match="some file of the user's own"):
        cached.fit(images)
