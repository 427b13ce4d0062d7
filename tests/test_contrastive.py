"""The encoder that learns from views of images."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from skdcec import ContrastiveEncoder, DeepConvEmbeddingClustering
from skdcec._nn.modules import ContrastiveModule
from skdcec.augmentation import Compose, RandomFlip, RandomResizedCrop
from skdcec.model_selection import TransductiveSplit, silhouette_scorer


def contrastive(**params):
    defaults = {"n_components": 4, "filters": (4, 8), "max_epochs": 2, "random_state": 0}
    return ContrastiveEncoder(**defaults | params)


def clusterer(**params):
    defaults = {"encoder": contrastive(), "max_epochs": 2, "n_init": 2, "random_state": 0}
    return DeepConvEmbeddingClustering(3, **defaults | params)


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 7, 1), (7, 1, 3), (2, 3, 1), (5, 5, 3), (13, 11, 2), (8, 17, 4)],
    ids=str,
)
def test_images_of_any_shape_are_embedded_at_unit_length(shape):
    X = np.random.default_rng(0).integers(0, 256, size=(12, *shape), dtype=np.uint8)
    encoder = contrastive(max_epochs=1).fit(X)
    embedding = encoder.transform(X)
    assert embedding.shape == (12, 4)
    assert embedding.dtype == np.float32
    assert encoder.metric_ == "cosine"
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_training_tells_images_apart_better_with_every_epoch(images):
    loss = contrastive(max_epochs=10).fit(images).history_["loss"]
    assert loss[-1] < loss[0] - 0.2


def test_the_embedding_of_three_kinds_is_one_that_k_means_understands(images, kinds):
    model = make_pipeline(contrastive(max_epochs=10), KMeans(3, n_init=10, random_state=0))
    assert adjusted_rand_score(kinds, model.fit_predict(images)) > 0.9


def test_before_it_is_scaled_the_embedding_is_nearly_white(images):
    encoder = contrastive().fit(images)
    with torch.inference_mode():
        batch = torch.from_numpy(images / np.float32(255)).permute(0, 3, 1, 2)
        codes = encoder.module_.encode(batch).double()
        statistics = encoder.module_.statistics(batch).double()
    statistics = statistics[:, statistics.std(dim=0) > 1e-6]
    variances = torch.linalg.eigvalsh(torch.corrcoef(statistics.T)).flip(0)[:4]
    assert torch.allclose(codes.mean(dim=0), torch.zeros(4).double(), atol=1e-4)
    covariance = torch.cov(codes.T, correction=0)
    assert torch.allclose(covariance, variances.pow(1 / 4).diag(), atol=1e-3)


def test_the_moments_do_not_depend_on_the_batches(images, monkeypatch):
    one_batch = contrastive().fit(images).transform(images)
    monkeypatch.setattr("skdcec._nn.batches._INFERENCE_VALUES", 7 * 8 * 8 * 3)
    np.testing.assert_allclose(contrastive().fit(images).transform(images), one_batch, atol=1e-4)


def test_statistics_are_moments_and_correlations_of_pixels_and_layers():
    module = ContrastiveModule(2, 3, (4, 8), torch.Generator().manual_seed(0))
    batch = torch.rand(5, 2, 9, 6, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        rows = module.statistics(batch)
        last = module.layers[1](module.layers[0](batch))
    assert rows.shape[1] % 8 == 0
    assert torch.allclose(rows[:, :2], batch.mean(dim=(2, 3)))
    assert torch.allclose(rows[:, 2:4], batch.std(dim=(2, 3), correction=0), atol=1e-4)
    assert torch.allclose(rows[:, 12:20], last.mean(dim=(2, 3)), atol=1e-5)
    assert torch.allclose(rows[:, 20:28], last.std(dim=(2, 3), correction=0), atol=1e-2)
    # One pair of channels in the pixels, then 6 of the first layer and 28 of the second.
    assert (rows[:, 28 + 1 + 6 + 28 :] == 0).all()
    for image, row in zip(last.flatten(2), rows, strict=True):
        pairs = torch.corrcoef(image)[tuple(torch.triu_indices(8, 8, offset=1))].nan_to_num()
        assert torch.allclose(row[35:63], pairs, atol=0.02)
    pixels = torch.stack([torch.corrcoef(image)[0, 1] for image in batch.flatten(2)])
    assert torch.allclose(rows[:, 28], pixels, atol=1e-3)


def test_bytes_fractions_and_floats_up_to_255_give_the_same_embedding(images):
    wanted = contrastive().fit(images).transform(images)
    for X in (images / 255, images.astype(np.float32)):
        np.testing.assert_allclose(contrastive().fit(X).transform(X), wanted, atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_images_are_enough(images, n):
    encoder = contrastive(batch_size=2).fit(images[:n])
    assert np.isfinite(encoder.transform(images)).all()
    assert np.isfinite(encoder.history_["loss"]).all()


@pytest.mark.parametrize("value", [0, 77])
def test_constant_images_are_no_reason_to_fail(value):
    X = np.full((20, 8, 8, 3), value, dtype=np.uint8)
    assert (contrastive().fit_transform(X) == 0).all()


def test_more_components_than_there_are_directions_are_0(images):
    embedding = contrastive(n_components=200).fit_transform(images[:10])
    assert embedding.shape == (10, 200)
    assert (embedding[:, 9:] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_fits_with_one_seed_are_identical_and_with_another_differ(images, untouched_global_rng):
    first, again, other = (
        contrastive(random_state=seed).fit_transform(images) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=0.01)


def test_fits_and_transforms_in_four_threads_equal_serial_ones(images):
    serial = [contrastive(random_state=seed).fit_transform(images) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        parallel = pool.map(
            lambda seed: contrastive(random_state=seed).fit_transform(images), range(4)
        )
        for wanted, got in zip(serial, parallel, strict=True):
            np.testing.assert_array_equal(wanted, got)


# --- views ---


class Views:
    """Remembers what it was given, and returns what `change` makes of it."""

    def __init__(self, change=lambda batch: batch):
        self.change = change
        self.seen = []

    def __call__(self, batch):
        self.seen.append(batch)
        return self.change(batch)


def test_views_are_made_twice_of_scaled_images_in_torch_order(images):
    views = Views()
    contrastive(augmentation=views, max_epochs=1, batch_size=60).fit(images)
    assert len(views.seen) == 2
    assert torch.equal(views.seen[0], views.seen[1])
    assert views.seen[0].shape == (60, 3, 8, 8)
    assert views.seen[0].max() == 1


def test_the_default_views_are_smaller_than_the_images(images, monkeypatch):
    shapes = set()
    project = ContrastiveModule.project

    def spy(self, x):
        shapes.add(tuple(x.shape[1:]))
        return project(self, x)

    monkeypatch.setattr(ContrastiveModule, "project", spy)
    contrastive().fit(images)
    assert shapes == {(3, 6, 6)}


def test_two_views_of_different_sizes_will_do(images):
    sizes = iter([(5, 5), (8, 3)] * 1000)

    def views(batch, *, generator):
        return RandomResizedCrop(next(sizes))(batch, generator=generator)

    assert np.isfinite(contrastive(augmentation=views).fit_transform(images)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: batch[:-1], "number of images and channels"),
        (lambda batch: batch[:, :1], "number of images and channels"),
        (lambda batch: batch.flatten(1), "number of images and channels"),
        (lambda batch: batch.numpy(), "number of images and channels"),
        (lambda batch: batch.double(), "dtype"),
        (lambda batch: batch / 0, "NaN or infinity"),
    ],
)
def test_views_that_cannot_be_trained_on_are_a_clear_error(images, change, message):
    with pytest.raises(ValueError, match=message):
        contrastive(augmentation=Views(change)).fit(images)


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0},
        {"temperature": -0.1},
        {"batch_size": 1},
        {"batch_size": 0},
        {"n_components": 0},
        {"max_epochs": 0},
        {"lr": 0.0},
        {"augmentation": "strong"},
        {"filters": ()},
        {"filters": (4, 0)},
    ],
    ids=str,
)
def test_a_parameter_out_of_range_is_named(images, params):
    with pytest.raises(ValueError, match=next(iter(params))):
        contrastive(**params).fit(images)


def test_a_loss_that_becomes_nan_names_the_remedy(images):
    with pytest.raises(ValueError, match="lower the learning rate"):
        contrastive(lr=1e30, lr_schedule="constant").fit(images)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    X = np.lib.format.open_memmap(
        tmp_path / "X.npy", mode="w+", dtype=np.uint8, shape=(24000, 32, 32, 3)
    )
    X[:6000, :16] = np.arange(6000, dtype=np.uint8)[:, None, None, None]

    def peak(n):
        tracemalloc.start()
        contrastive(max_epochs=1, batch_size=512).fit(X[:n])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(600)  # which also counts what is imported late
    # Of what is read ahead, there may be one batch more or less.
    assert abs(peak(24000) - peak(6000)) < X[6000:].nbytes / 3


# --- with the clusterer ---


def test_it_clusters_three_kinds(images, kinds):
    model = clusterer(encoder=contrastive(max_epochs=10), max_epochs=5).fit(images)
    assert adjusted_rand_score(kinds, model.labels_) > 0.9
    np.testing.assert_allclose(np.linalg.norm(model.transform(images), axis=1), 1, atol=1e-5)
    assert not hasattr(model, "inverse_transform")
    assert not hasattr(model.encoder_, "inverse_transform")


def test_the_joint_phase_has_the_contrastive_term_and_refines_the_embedding(images):
    model = clusterer().fit(images)
    assert min(model.history_["reconstruction_loss"]) > 0.5
    assert not np.allclose(model.transform(images), model.encoder_.transform(images), atol=1e-4)


def test_clusters_are_those_of_the_images_as_they_are(images):
    views = Views()
    model = clusterer(encoder=contrastive(augmentation=views), reconstruction_weight=0.0)
    encoder = model.fit_encoder(images)
    views.seen.clear()
    model.set_params(encoder=FrozenEstimator(encoder)).fit(images)
    assert views.seen == []


class CountFits(Callback):
    n_fits = 0

    def on_train_begin(self, net, **kwargs):
        type(self).n_fits += 1


@pytest.mark.filterwarnings("ignore:.*clusters have members")
@pytest.mark.parametrize("views", [None, Compose([RandomResizedCrop(6), RandomFlip()])])
def test_a_search_over_k_pretrains_once(images, tmp_path, monkeypatch, views):
    monkeypatch.setattr(CountFits, "n_fits", 0)
    encoder = contrastive(augmentation=views, callbacks=[CountFits()])
    search = GridSearchCV(
        clusterer(encoder=encoder, memory=str(tmp_path)),
        {"n_clusters": [2, 3, 4]},
        scoring=silhouette_scorer,
        cv=TransductiveSplit(),
    )
    search.fit(images)
    assert CountFits.n_fits == 1


def test_clones_are_unfitted_and_fit_to_the_same(images):
    encoder = contrastive(augmentation=RandomResizedCrop(5)).fit(images)
    copy = clone(encoder)
    assert not hasattr(copy, "module_")
    assert np.array_equal(copy.fit(images).transform(images), encoder.transform(images))
