"""The autoencoders as transformers of their own."""

import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EarlyStopping

from skdcec import ConvAutoencoder, DenseAutoencoder


def conv(**params):
    return ConvAutoencoder(
        **{"n_components": 4, "filters": (4, 8), "max_epochs": 2, "random_state": 0} | params
    )


def dense(**params):
    defaults = {"n_components": 4, "hidden_layer_sizes": (16,), "max_epochs": 2, "random_state": 0}
    return DenseAutoencoder(**defaults | params)


@pytest.fixture(params=[conv, dense], ids=["conv", "dense"])
def make(request):
    return request.param


@pytest.fixture
def rows(images):
    return images.reshape(len(images), -1)


def data_for(make, images):
    return images if make is conv else images.reshape(len(images), -1)


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


# --- shapes, layouts, units ---


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 1, 3), (1, 7, 1), (7, 1, 1), (2, 3, 1), (5, 5, 3), (13, 11, 1), (8, 17, 4)],
    ids=str,
)
def test_images_of_any_shape_are_embedded_and_come_back(shape):
    X = random_images(12, *shape)
    encoder = conv(max_epochs=1).fit(X)
    embedding = encoder.transform(X)
    assert embedding.shape == (12, 4)
    assert embedding.dtype == np.float32
    assert encoder.image_shape_ == shape
    assert encoder.n_features_in_ == np.prod(shape)
    assert encoder.inverse_transform(embedding).shape == X.shape


@pytest.mark.parametrize(
    ("layout", "params"),
    [
        ("rows", {"image_shape": (8, 8, 3)}),
        ("channels_last", {}),
        ("channels_first", {"data_format": "channels_first"}),
    ],
)
def test_every_layout_gives_the_same_embedding_and_gets_its_images_back(layout, params, images):
    X = {
        "rows": images.reshape(60, -1),
        "channels_last": images,
        "channels_first": images.transpose(0, 3, 1, 2),
    }[layout]
    reference = conv().fit(images)
    encoder = conv(**params).fit(X)
    np.testing.assert_array_equal(encoder.transform(X), reference.transform(images))
    np.testing.assert_array_equal(encoder.transform(images.reshape(60, -1)), encoder.transform(X))
    decoded = encoder.inverse_transform(encoder.transform(X))
    expected = reference.inverse_transform(reference.transform(images))
    assert decoded.shape == X.shape
    if layout == "channels_first":
        decoded = decoded.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(decoded.reshape(expected.shape), expected)


@pytest.mark.parametrize("shape", [(60, 8, 8), (60, 64)], ids=["gray", "square rows"])
def test_gray_images_come_back_in_their_layout(images, shape):
    X = images[..., 0].reshape(shape)
    encoder = conv().fit(X)
    assert encoder.inverse_transform(encoder.transform(X)).shape == shape


@pytest.mark.parametrize("unit", [1, 1 / 255, 200], ids=["bytes", "fractions", "sixteen bits"])
def test_inverse_transform_speaks_in_the_units_of_X(make, images, unit):
    X = data_for(make, images).astype(float) * unit
    encoder = make(max_epochs=20).fit(X)
    decoded = encoder.inverse_transform(encoder.transform(X))
    assert decoded.dtype == np.float32
    assert decoded.shape == X.shape
    error = np.mean((decoded - X) ** 2)
    assert error < 0.5 * np.var(X)
    # The score is that error, in values divided by scale_.
    assert encoder.score(X) == pytest.approx(-error / encoder.scale_**2, rel=1e-3)


def test_bytes_fractions_and_floats_up_to_255_give_the_same_embedding(make, images):
    expected = make().fit_transform(data_for(make, images))
    for X in (images / 255, images.astype(np.float32) / np.float32(255), images.astype(float)):
        result = make().fit_transform(data_for(make, X))
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


def test_the_scale_of_images_is_that_of_their_range_and_of_vectors_their_root_mean_square(images):
    assert conv(max_epochs=1).fit(images).scale_ == 255
    assert conv(max_epochs=1).fit(images / 255).scale_ == 1
    rows = images.reshape(60, -1).astype(float)
    expected = np.sqrt(np.mean(rows**2))
    assert dense(max_epochs=1).fit(rows).scale_ == pytest.approx(expected)


def test_the_score_is_a_mean_over_all_values_whatever_the_batches():
    X = np.random.default_rng(0).random((1500, 1, 1))
    encoder = conv(max_epochs=1).fit(X[:20])
    error = np.mean((encoder.inverse_transform(encoder.transform(X)) - X) ** 2)
    assert encoder.score(X) == pytest.approx(-error / encoder.scale_**2, rel=1e-4)


@pytest.mark.parametrize(
    ("Z", "message"),
    [
        (np.zeros((2, 3)), "Z has 3 columns, but the embedding has 4"),
        (np.zeros(4), "Expected 2D array"),
        (np.full((2, 4), np.nan), "Z contains NaN"),
    ],
)
def test_embeddings_that_do_not_fit_are_a_clear_error(make, images, Z, message):
    encoder = make(max_epochs=1).fit(data_for(make, images))
    with pytest.raises(ValueError, match=message):
        encoder.inverse_transform(Z)


# --- learning ---


def test_training_reconstructs_better_with_every_epoch(make, images):
    encoder = make(max_epochs=15).fit(data_for(make, images))
    loss = encoder.history_["loss"]
    assert loss[-1] < 0.5 * loss[0]
    assert -encoder.score(data_for(make, images)) < loss[0]


def test_the_embedding_of_three_kinds_is_one_that_k_means_understands(make, images, kinds):
    pipeline = make_pipeline(make(max_epochs=15), KMeans(3, n_init=5, random_state=0))
    labels = pipeline.fit_predict(data_for(make, images))
    assert adjusted_rand_score(kinds, labels) > 0.9


def test_history_and_counts_of_epochs(make, images):
    encoder = make(max_epochs=3).fit(data_for(make, images))
    assert sorted(encoder.history_) == ["loss", "lr"]
    assert all(len(values) == 3 for values in encoder.history_.values())
    assert all(type(v) is float for values in encoder.history_.values() for v in values)
    assert encoder.n_iter_ == 3
    assert encoder.metric_ == "euclidean"


@pytest.mark.parametrize("lr_schedule", ["onecycle", "cosine", "constant"])
def test_learning_rates_follow_the_schedule_asked_for(make, images, lr_schedule):
    encoder = make(max_epochs=4, lr=0.01, lr_schedule=lr_schedule).fit(data_for(make, images))
    lr = encoder.history_["lr"]
    assert max(lr) <= 0.01
    if lr_schedule == "constant":
        assert lr == [0.01] * 4
    elif lr_schedule == "cosine":
        assert lr == sorted(lr, reverse=True)
        assert lr[-1] < 1e-4
    else:
        assert max(lr) > 0.008
        assert lr[0] < 0.01 > lr[2]
        assert lr[-1] < 1e-4


class CountSteps(Callback):
    """Write down the sizes of all batches in a list that survives being cloned."""

    sizes: list = []

    def on_batch_end(self, net, *, batch, **kwargs):
        self.sizes.append(len(batch[0]))


@pytest.mark.parametrize(
    ("batch_size", "expected"), [(20, [20] * 3), (25, [20] * 3), (1000, [60]), (60, [60])]
)
def test_a_batch_size_that_is_set_is_obeyed(make, images, monkeypatch, batch_size, expected):
    monkeypatch.setattr(CountSteps, "sizes", [])
    make(batch_size=batch_size, max_epochs=2, callbacks=[CountSteps()]).fit(data_for(make, images))
    assert CountSteps.sizes == expected * 2


def test_auto_trains_few_images_in_steps_enough(make, images, monkeypatch):
    monkeypatch.setattr(CountSteps, "sizes", [])
    make(max_epochs=1, callbacks=[CountSteps()]).fit(data_for(make, images))
    assert len(CountSteps.sizes) >= 16


def test_one_image_is_enough(make, images):
    X = data_for(make, images)[:1]
    assert make().fit_transform(X).shape == (1, 4)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_constant_images_are_no_reason_to_fail(make, images, value):
    X = np.full_like(data_for(make, images), value)
    embedding = make().fit_transform(X)
    assert np.isfinite(embedding).all()
    np.testing.assert_allclose(embedding, embedding[:1].repeat(60, axis=0), atol=1e-6)


# --- randomness ---


def test_fits_with_one_seed_are_identical_and_with_another_differ(make, images):
    X = data_for(make, images)
    first, again, other = (make(random_state=seed).fit(X) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.transform(X), again.transform(X))
    assert first.history_ == again.history_
    assert not np.array_equal(first.transform(X), other.transform(X))


def test_a_random_state_instance_is_drawn_from(make, images):
    X = data_for(make, images)
    state = np.random.RandomState(0)
    first, second = (make(random_state=state).fit_transform(X) for _ in range(2))
    again = make(random_state=np.random.RandomState(0)).fit_transform(X)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


def test_global_generators_are_left_alone(make, images, untouched_global_rng):
    X = data_for(make, images)
    encoder = make(augmentation=torch.neg).fit(X)
    encoder.inverse_transform(encoder.transform(X))
    encoder.score(X)


def test_global_seeds_have_no_influence(make, images):
    X = data_for(make, images)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    embeddings = []
    try:
        for seed in (0, 1):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            embeddings.append(make().fit_transform(X))
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
    np.testing.assert_array_equal(*embeddings)


def test_fits_in_four_threads_equal_serial_ones(make, images):
    X = data_for(make, images)
    serial = [make(random_state=seed).fit_transform(X) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        parallel = pool.map(lambda seed: make(random_state=seed).fit_transform(X), range(4))
        for one, other in zip(serial, parallel, strict=True):
            np.testing.assert_array_equal(one, other)


# --- augmentation, callbacks, interrupts ---


class Shifting(BaseEstimator):
    """Add noise from the generator given."""

    def __init__(self, strength=0.1):
        self.strength = strength

    def __call__(self, batch, *, generator):
        return batch + self.strength * torch.randn(batch.shape, generator=generator)


def test_an_augmentation_takes_part_in_training_and_not_in_transform(make, images):
    X = data_for(make, images)
    plain, augmented, again = (
        make(augmentation=augmentation).fit(X) for augmentation in (None, Shifting(), Shifting())
    )
    assert not np.allclose(plain.transform(X), augmented.transform(X))
    np.testing.assert_array_equal(augmented.transform(X), again.transform(X))
    np.testing.assert_array_equal(augmented.transform(X), augmented.transform(X))


def test_an_augmentation_sees_scaled_batches_in_torch_order(make, images):
    seen = []

    def look(batch):
        seen.append((batch.shape[1:], batch.dtype, batch.max().item()))
        return batch

    make(augmentation=look, max_epochs=1).fit(data_for(make, images))
    shapes, dtypes, largest = zip(*seen, strict=True)
    assert set(shapes) == {(3, 8, 8) if make is conv else (192,)}
    assert set(dtypes) == {torch.float32}
    if make is conv:
        assert max(largest) == 1.0


def test_an_augmentation_that_changes_the_shape_is_a_clear_error(make, images):
    encoder = make(augmentation=lambda batch: batch[:, :1])
    with pytest.raises(ValueError, match="augmentation=.* must return a tensor of the shape"):
        encoder.fit(data_for(make, images))


def test_early_stopping_ends_fit_normally(make, images):
    stop = EarlyStopping("train_loss", patience=1, threshold=0.9999, sink=lambda message: None)
    encoder = make(max_epochs=50, callbacks=[stop]).fit(data_for(make, images))
    assert encoder.n_iter_ == len(encoder.history_["loss"]) == 2
    assert np.isfinite(encoder.transform(data_for(make, images))).all()


class Interrupt(Callback):
    def on_batch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_an_interrupt_reaches_the_caller_and_leaves_no_half_fitted_estimator(make, images):
    X = data_for(make, images)
    encoder = make(callbacks=[Interrupt()])
    before = dict(vars(encoder))
    with pytest.raises(KeyboardInterrupt):
        encoder.fit(X)
    assert vars(encoder) == before
    with pytest.raises(NotFittedError):
        encoder.transform(X)


def test_an_interrupted_second_fit_keeps_the_first(make, images):
    X = data_for(make, images)
    encoder = make().fit(X)
    embedding = encoder.transform(X)
    encoder.set_params(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        encoder.fit(X[:20, :4] if make is dense else X[:20, :4, :4])
    np.testing.assert_array_equal(encoder.transform(X), embedding)


def test_a_loss_that_becomes_nan_names_the_remedy(make, images):
    encoder = make(lr=1e30)
    with pytest.raises(ValueError, match="lower the learning rate"):
        encoder.fit(data_for(make, images))
    with pytest.raises(NotFittedError):
        encoder.transform(data_for(make, images))


def test_weights_that_overflow_in_the_very_last_step_are_noticed(make, images):
    encoder = make(lr=1e30, lr_schedule="constant", max_epochs=1, batch_size=60)
    with pytest.raises(ValueError, match="learning rate"):
        encoder.fit(data_for(make, images))


@pytest.mark.parametrize(("verbose", "shown"), [(None, False), (0, False), (1, True)])
def test_progress_is_shown_only_when_asked_for(make, images, capsys, verbose, shown):
    make(verbose=verbose).fit(data_for(make, images))
    out, err = capsys.readouterr()
    assert not out
    assert ("Autoencoder" in err) == shown
    if not shown:
        assert not err


# --- arrays as they come ---


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_fit_never_modifies_X_and_reads_what_is_read_only_or_mapped(make, images, dtype, tmp_path):
    X = data_for(make, images).astype(dtype)
    copy = X.copy()
    expected = make().fit_transform(X)
    np.testing.assert_array_equal(X, copy)
    X.setflags(write=False)
    np.testing.assert_array_equal(make().fit_transform(X), expected)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(make().fit_transform(mapped), expected)


def test_the_order_in_memory_has_no_influence(make, images):
    X = data_for(make, images)
    expected = make().fit_transform(X)
    np.testing.assert_array_equal(make().fit_transform(np.asfortranarray(X)), expected)


def test_data_larger_than_memory_can_be_trained_on(make, tmp_path):
    shape = (1200, 200, 200, 1) if make is conv else (1200, 40_000)
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.uint8, shape)
    X[:, 5] = 200
    X.flush()
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    sizes = {"filters": (1,)} if make is conv else {"hidden_layer_sizes": (1,)}
    encoder = make(**sizes, n_components=1, max_epochs=1, batch_size=64)
    tracemalloc.start()
    try:
        encoder.fit(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes


# --- parameters ---


@pytest.mark.parametrize("widths", [(), (0,), (4, -1), (4.5,), ("4",)], ids=str)
def test_widths_of_layers_must_be_positive_integers(make, images, widths):
    name = "filters" if make is conv else "hidden_layer_sizes"
    with pytest.raises(ValueError, match=f"{name}=.* must be a sequence of integers"):
        make(**{name: widths}).fit(data_for(make, images))


@pytest.mark.parametrize(
    "params",
    [
        {"n_components": 0},
        {"activation": "sine"},
        {"max_epochs": 0},
        {"lr": 0},
        {"lr_schedule": "step"},
        {"batch_size": 0},
        {"batch_size": "all"},
        {"augmentation": "flip"},
        {"callbacks": EarlyStopping()},
        {"device": 3},
    ],
    ids=lambda params: next(iter(params)),
)
def test_a_parameter_out_of_range_is_named(make, images, params):
    with pytest.raises(ValueError, match=f"The '{next(iter(params))}' parameter of"):
        make(**params).fit(data_for(make, images))


@pytest.mark.parametrize(
    "widths", [[4, 8], np.array([4, 8]), (4, 8)], ids=["list", "array", "tuple"]
)
def test_widths_may_be_any_sequence(make, images, widths):
    name = "filters" if make is conv else "hidden_layer_sizes"
    X = data_for(make, images)
    expected = make(**{name: (4, 8)}).fit_transform(X)
    np.testing.assert_array_equal(make(**{name: widths}).fit_transform(X), expected)


def test_clones_are_unfitted_and_fit_to_the_same(make, images):
    X = data_for(make, images)
    encoder = make().fit(X)
    copy = clone(encoder)
    assert not hasattr(copy, "module_")
    np.testing.assert_array_equal(copy.fit_transform(X), encoder.transform(X))


def test_defaults_are_those_of_the_papers():
    assert ConvAutoencoder().filters == (32, 64, 128)
    assert ConvAutoencoder().n_components == DenseAutoencoder().n_components == 10
    assert DenseAutoencoder().hidden_layer_sizes == (500, 500, 2000)
    assert ConvAutoencoder().activation == DenseAutoencoder().activation == "relu"
