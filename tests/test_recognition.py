"""What goes in is recognised: each usual slip is one sentence, and the code in it is the fix."""

import io
import re
import types
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import Bunch
from skorch.callbacks import Checkpoint, EarlyStopping
from torch.utils.data import DataLoader, TensorDataset

import skdcec
from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec._analysis.images import as_images
from skdcec._encoders.images import check_units
from skdcec._encoders.recognition import recognized
from skdcec.augmentation import RandomAffine, digit_augmentation, painting_augmentation
from skdcec.datasets import ImageLoader, load_images
from skdcec.features import PretrainedFeatures, SideBySide
from skdcec.inspection import (
    ClusterGalleryDisplay,
    EmbeddingDisplay,
    ReconstructionDisplay,
    SilhouetteDisplay,
)
from skdcec.model_selection import (
    NClustersSearch,
    TransductiveSplit,
    compare_models,
    silhouette_scorer,
)
from skdcec.novelty import NoveltyDetector
from skdcec.report import cluster_summary, report_from_estimator, write_report

WANTS = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
conv = ConvAutoencoder(3, filters=(4,), max_epochs=1)
dense = DenseAutoencoder(3, hidden_layer_sizes=(8,), max_epochs=1)
OF_IMAGES = [
    conv,
    ContrastiveEncoder(3, filters=(4,), max_epochs=1),
    PretrainedFeatures(torch.nn.AvgPool2d(2), **WANTS, size=8, resize="stretch"),
    DeepConvEmbeddingClustering(3, encoder=conv, max_epochs=1),
    NClustersSearch(DeepConvEmbeddingClustering(3, encoder=conv, max_epochs=1), [2, 3]),
]
OF_ROWS = [dense, DeepEmbeddingClustering(3, encoder=dense, max_epochs=1)]


def named(estimator):
    return type(estimator).__name__


class Table(list):
    """What Hugging Face calls a Dataset: rows, and columns by name."""

    column_names = ("image", "label")
    features = types.MappingProxyType({"image": "Image"})

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


class Column:
    """A column of such a table, which is read item by item."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def pictures(images):
    return [Image.fromarray(pixels) for pixels in images]


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def in_series(images):
    values = np.empty(len(images), dtype=object)
    values[:] = list(images)
    return values


# A slip, and the code that its message gives; an empty one where there is none to give.
SLIPS = {
    "path": (lambda images, files: files[0], "load_images('{first}').images"),
    "Path": (lambda images, files: Path(files[0]), "load_images('{first}').images"),
    "folder": (lambda images, files: Path(files[0]).parent, "load_images('{folder}')"),
    "paths": (lambda images, files: files, "load_images(X).images"),
    "Paths": (lambda images, files: [*map(Path, files)], "load_images(X).images"),
    "array of paths": (lambda images, files: np.array(files), "load_images(list(X))"),
    "column of paths": (
        lambda images, files: np.array(files, dtype=object)[:, None],
        "load_images(list(X.ravel()))",
    ),
    "numbers as texts": (lambda images, files: images.astype(str), "X.astype(float)"),
    "Series of paths": (lambda images, files: pd.Series(files), "load_images(list(X))"),
    "frame of paths": (
        lambda images, files: pd.DataFrame({"n": 1, "file": files}),
        "load_images(list(X['file'])).images",
    ),
    "dict of data": (lambda images, files: {"data": images}, "X['data']"),
    "one picture": (
        lambda images, files: pictures(images)[0],
        "np.asarray(X.convert('RGB'))[None]",
    ),
    "one image": (lambda images, files: images[0], "X[None]"),
    "Series of arrays": (lambda images, files: pd.Series(list(images)), "np.stack(X)"),
    "objects": (lambda images, files: in_series(images), "np.stack(X)"),
    "frame of arrays": (
        lambda images, files: pd.DataFrame({"n": 1, "image": list(images)}),
        "np.stack(X['image'])",
    ),
    "frame of pictures": (
        lambda images, files: pd.DataFrame({"image": pictures(images)}),
        "for image in X['image']])",
    ),
    "Series of pictures": (
        lambda images, files: pd.Series(pictures(images)),
        "np.stack([np.asarray(image.convert('RGB').resize((64, 64))) for image in X])",
    ),
    "pictures of several sizes": (
        lambda images, files: [*pictures(images), Image.new("RGB", (9, 9))],
        "np.stack([np.asarray(image.convert('RGB').resize((64, 64))) for image in X])",
    ),
    "pictures with a palette": (
        lambda images, files: [image.convert("P") for image in pictures(images)],
        "np.stack([np.asarray(image.convert('RGB').resize((64, 64))) for image in X])",
    ),
    "bytes": (lambda images, files: encoded(images[0]), "PIL.Image.open(io.BytesIO(X))"),
    "list of bytes": (
        lambda images, files: [encoded(pixels) for pixels in images],
        "np.stack([np.asarray(PIL.Image.open(io.BytesIO(data)).convert('RGB').resize((64, 64))) "
        "for data in X])",
    ),
    "DataLoader": (
        lambda images, files: DataLoader(TensorDataset(torch.tensor(images)), batch_size=7),
        "torch.cat([batch[0] for batch in X]).numpy()",
    ),
    "Dataset": (
        lambda images, files: TensorDataset(torch.tensor(images)),
        "np.stack([item[0] for item in X])",
    ),
    "Hugging Face": (
        lambda images, files: Table({"image": i, "label": 0} for i in pictures(images)),
        "np.stack([np.asarray(image.convert('RGB').resize((64, 64))) for image in X['image']])",
    ),
    "rows of Hugging Face": (
        lambda images, files: [{"image": i, "label": 0} for i in pictures(images)],
        "for image in [item['image'] for item in X]])",
    ),
    "generator": (lambda images, files: (image for image in images), "np.stack(list(X))"),
    "images and labels": (lambda images, files: (images, np.zeros(len(images))), "X[0]"),
    "half precision": (
        lambda images, files: torch.tensor(images).to(torch.bfloat16),
        "X.detach().cpu().to_dense().float().numpy()",
    ),
    "masked": (lambda images, files: np.ma.masked_equal(images, 0), "X.filled(0)"),
    "NaN": (
        lambda images, files: np.where(images == 0, np.nan, images),
        "np.nan_to_num(X, posinf=0, neginf=0)",
    ),
    "HEIC": (lambda images, files: "photo.heic", ""),
    "workbook": (lambda images, files: "table.xlsx", ""),
    "nothing": (lambda images, files: None, ""),
    "an empty list": (lambda images, files: [], ""),
    "a number": (lambda images, files: 3, ""),
    "lists of None": (lambda images, files: [None, None], ""),
    "objects of no kind": (lambda images, files: [object()] * 3, ""),
    "complex numbers": (lambda images, files: images + 1j, "np.abs(X)"),
    "missing values": (
        lambda images, files: pd.DataFrame({"a": [1.0, 2.0], "b": [1, pd.NA]}, dtype=object),
        "X.fillna(0)",
    ),
    "dates": (lambda images, files: np.zeros((9, 4), "datetime64[s]"), ""),
}


# What stands for pictures is taken by networks trained elsewhere, and by what was fitted.
PICTURES = {
    "path",
    "Path",
    "paths",
    "Paths",
    "array of paths",
    "column of paths",
    "Series of paths",
    "one picture",
    "Series of pictures",
    "pictures of several sizes",
    "pictures with a palette",
    "bytes",
    "list of bytes",
}


def message_of(call, X):
    with pytest.raises((ValueError, TypeError)) as caught:
        call(X)
    return str(caught.value)


def check_sentence(text):
    assert "\n" not in text
    assert len(text) < 500
    for word in ("Reshape your data", "HistGradientBoosting", "inhomogeneous", "<", "scalar"):
        assert word not in text


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("estimator", OF_IMAGES, ids=named)
def test_a_slip_is_one_sentence_and_its_code_is_the_fix(estimator, slip, images, files):
    make, code = SLIPS[slip]
    if slip in PICTURES and isinstance(estimator, PretrainedFeatures):
        assert len(clone(estimator).fit_transform(make(images, files))) in (1, 60, 61)
        return
    text = message_of(clone(estimator).fit, make(images, files))
    check_sentence(text)
    first = files[0] if len(repr(files[0])) <= 80 else None
    if first is None and "{" in code:
        code = "load_images("
    assert code.format(first=first, folder=Path(files[0]).parent) in text


@pytest.mark.parametrize("slip", [name for name, (_, code) in SLIPS.items() if code])
@pytest.mark.parametrize("rows", [False, True], ids=["images", "rows"])
def test_the_code_of_a_message_makes_what_is_taken(slip, rows, images, files):
    if rows and slip in ("one image", "NaN"):
        pytest.skip("these are arrays, of which the shape is told first")
    X = SLIPS[slip][0](images, files)
    estimator = dense if rows else conv
    text = message_of(clone(estimator).fit, X)
    expressions = re.findall(
        r"(?:skdcec\.datasets\.load_images|np\.\w+|torch\.cat|X\b)[.\[(].*?(?=[:.;,]?(?: is | and |"
        r" says |, or |, at |; |$))",
        text,
    )
    known = {"X": SLIPS[slip][0](images, files), "np": np, "io": io, "torch": torch, "PIL": PIL}
    known["skdcec"] = skdcec
    made = None
    for expression in reversed(expressions):
        try:
            made = eval(expression.rstrip("."), known)
            break
        except Exception:
            continue
    assert made is not None, text
    if rows and np.ndim(made) > 2:
        assert "takes rows of features" in message_of(clone(estimator).fit, made)
        made = made.reshape(len(made), -1)
    clone(estimator).fit(made)


@pytest.mark.parametrize("slip", [name for name in SLIPS if name not in ("one image", "NaN")])
@pytest.mark.parametrize("estimator", OF_ROWS, ids=named)
def test_so_it_is_where_rows_are_taken(estimator, slip, images, files):
    text = message_of(clone(estimator).fit, SLIPS[slip][0](images, files))
    check_sentence(text)


@pytest.mark.parametrize("slip", SLIPS)
def test_a_fitted_model_says_the_same(slip, fitted, images, files):
    X = SLIPS[slip][0]
    calls = (fitted.predict, fitted.transform, fitted.predict_proba)
    for call in (fitted.score, *calls[len(calls) * (slip in PICTURES) :]):
        check_sentence(message_of(call, X(images, files)))


@pytest.mark.parametrize(
    "slip", ["path", "paths", "dict of data", "DataLoader", "one picture", "NaN"]
)
def test_so_does_what_takes_a_fitted_model(slip, fitted, images, files):
    check_sentence(message_of(NoveltyDetector(fitted).fit, SLIPS[slip][0](images, files)))


@pytest.mark.parametrize(
    "slip", ["paths", "dict of data", "Series of arrays", "DataLoader", "bytes"]
)
def test_so_do_the_figures(slip, images, files):
    X = SLIPS[slip][0](images, files)
    check_sentence(message_of(lambda X: as_images(X, None, "channels_last"), X))


# --- what is taken ---

TAKEN = {
    "list of arrays": list,
    "tuple of arrays": tuple,
    "nested lists": lambda images: images.tolist(),
    "tensor": torch.tensor,
    "tensor that is trained": lambda images: torch.tensor(
        images, dtype=torch.float32, requires_grad=True
    ),
    "list of tensors": lambda images: list(torch.tensor(images)),
    "pictures": pictures,
    "column of pictures": lambda images: Column(pictures(images)),
    "array in an object": lambda images: np.array(Column(pictures(images)), dtype=object),
}


@pytest.mark.parametrize("form", TAKEN)
def test_what_has_one_meaning_is_taken(form, fitted, images):
    if form == "array in an object":
        X = np.empty((), dtype=object)
        X[()] = Column(pictures(images))
    else:
        X = TAKEN[form](images)
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)


@pytest.mark.parametrize("slip", sorted(PICTURES))
def test_what_stands_for_pictures_is_taken_by_what_was_fitted(slip, fitted, images, files):
    def make():
        return SLIPS[slip][0](images, files)

    labels = fitted.predict(make())
    assert len(labels) == len(fitted.transform(make())) == len(fitted.predict_proba(make()))
    if slip != "pictures with a palette":
        np.testing.assert_array_equal(labels[:60], fitted.labels_[: len(labels)])


@pytest.mark.parametrize("make", [lambda X: {"images": X}, lambda X: Bunch(images=X, target=0)])
def test_the_images_of_a_bunch_are_taken(make, fitted, images):
    np.testing.assert_array_equal(fitted.predict(make(images)), fitted.labels_)
    assert clone(conv).fit(make(images)).image_shape_ == (8, 8, 3)


def test_a_folder_is_to_be_read_in_the_size_of_fit(fitted, files):
    X = Path(files[0]).parent
    text = message_of(fitted.predict, X)
    code = text.partition("in fit, ")[2].rstrip(".")
    assert len(fitted.predict(eval(code, {"skdcec": skdcec, "X": X}))) == len(files)


def test_gray_pictures_stay_gray(images):
    gray = [image.convert("L") for image in pictures(images)]
    assert recognized(gray).shape == images.shape[:3]


# --- one image ---


@pytest.mark.parametrize(
    ("seen", "later"),
    [
        ((9, 8, 6, 3), (8, 6, 3)),
        ((9, 8, 6), (8, 6)),
        ((9, 8, 6, 1), (8, 6, 1)),
        ((9, 64), (8, 8)),
        ((9, 64), (64,)),
    ],
)
def test_one_image_is_told_from_many_by_its_shape(seen, later):
    model = clone(conv).fit(np.random.default_rng(0).random(seen))
    text = message_of(model.transform, np.zeros(later))
    assert "X[None]" in text


@pytest.mark.parametrize(
    ("data_format", "seen", "later"),
    [("channels_last", (9, 8, 6, 3), later) for later in ((3, 8, 6), (9, 3, 8, 6), (9, 8, 6))]
    + [("channels_last", (9, 8, 6, 3), later) for later in ((9, 8, 6, 1), (9, 8, 6, 4))]
    + [("channels_first", (9, 3, 8, 6), later) for later in ((8, 6, 3), (9, 8, 6, 3), (9, 8, 6))]
    + [("channels_first", (9, 3, 8, 6), later) for later in ((9, 1, 8, 6), (9, 4, 8, 6))],
)
def test_other_axes_than_in_fit_come_with_the_code_that_makes_them(data_format, seen, later):
    model = (
        clone(conv).set_params(data_format=data_format).fit(np.random.default_rng(0).random(seen))
    )
    X = np.random.default_rng(1).random(later)
    text = message_of(model.transform, X)
    check_sentence(text)
    codes = re.findall(r"(?:give|or) ((?:X|np)[.\[].*?)(?=, or | of gray|[.]?$)", text)
    assert codes, text
    for code in codes:
        assert np.isfinite(model.transform(eval(code, {"X": X, "np": np}))).all()


@pytest.mark.parametrize("shape", [(16, 16, 3), (480, 640, 4), (5, 9, 3)])
def test_in_fit_too_unless_the_shape_is_said(shape):
    assert "X[None]" in message_of(clone(conv).fit, np.zeros(shape))
    known = clone(conv).set_params(image_shape=shape[1:])
    images = known._validate(np.zeros(shape), reset=True)
    assert images.shape == (*shape, 1)


# --- what is not finite ---


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(7, 8, 8, 3), (7, 8, 8), (7, 64)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_not_finite_are_counted_and_the_first_is_named(bad, shape, dtype):
    X = np.ones(shape, dtype)
    X[[2, 5], 3] = bad
    for estimator in (conv, dense) if len(shape) == 2 else (conv,):
        text = message_of(clone(estimator).fit, X)
        check_sentence(text)
        assert "2 of 7 samples" in text
        assert "the first is X[2]" in text
        assert ("NaN" if np.isnan(bad) else "infinity") in text


def test_huge_values_are_finite():
    recognized_rows = clone(dense)._validate(np.full((3, 4), 1e308), reset=True)
    assert np.isfinite(recognized_rows).all()


# --- units ---


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize("largest", [0, 1, 100, 255])
@pytest.mark.filterwarnings("error")
def test_dark_images_are_in_the_same_units(dtype, largest):
    check_units(np.full((2, 4, 4, 1), largest, dtype), 255.0)


@pytest.mark.parametrize(
    ("X", "scale"),
    [(np.array([0.0, 1.0]), 255.0), (np.array([0, 255], np.uint8), 1.0)]
    + [(np.array([0, 200], np.uint8), 65535.0), (np.array([0.0, 0.9]), 16.0)],
)
def test_other_units_are_told(X, scale):
    with pytest.warns(UserWarning, match="give X in the same units"):
        check_units(X.reshape(-1, 1, 1, 1), scale)


@pytest.mark.parametrize(
    "encoder",
    [conv, SideBySide(), ContrastiveEncoder(weights="paintings", max_epochs=0)],
    ids=named,
)
def test_other_units_are_told_once_where_they_are_given(encoder):
    images = np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3)).astype(np.uint8)
    model = DeepConvEmbeddingClustering(2, encoder=encoder, max_epochs=0, random_state=0)
    model.fit(images)
    for call in (model.predict, model.encoder_.transform):
        with pytest.warns(UserWarning, match="give X in the same units") as record:
            call(images / 255)
        assert len(record) == 1
        assert record[0].filename == __file__


# --- parameters of what is not there ---


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (DeepConvEmbeddingClustering, "ConvAutoencoder"),
        (DeepEmbeddingClustering, "DenseAutoencoder"),
    ],
)
@pytest.mark.parametrize("value", [3, 50])
def test_a_parameter_of_no_encoder_shows_the_encoder_to_set(cls, name, value, images):
    def call(X):
        cls().set_params(encoder__max_epochs=value)

    text = message_of(call, None)
    assert f"encoder={name}(max_epochs={value})" in text
    if cls is DeepConvEmbeddingClustering:
        word = message_of(lambda X: cls(encoder="auto").set_params(encoder__max_epochs=value), None)
        assert "encoder='auto'" in word
        assert f"set encoder={name}(max_epochs={value})" in word
    model = cls().set_params(encoder=eval(f"skdcec.{name}()"), encoder__max_epochs=value)
    assert model.encoder.max_epochs == value
    assert model.set_params(encoder=None).encoder is None
    search = GridSearchCV(
        cls(), {"encoder__max_epochs": [value]}, cv=TransductiveSplit(), scoring=lambda *_: 0.0
    )
    assert "encoder=" in message_of(lambda X: search.fit(images), None)


def test_transparency_is_left_out_where_weights_take_colours(images):
    X = np.concatenate([images, images[..., :1]], axis=3)
    model = DeepConvEmbeddingClustering(3, encoder="paintings")
    text = message_of(model.fit, X)
    check_sentence(text)
    assert "X[..., :3]" in text
    model.fit(X[..., :3])


@pytest.mark.parametrize("n_clusters", ["auto", None, range(2, 5)])
def test_who_asks_for_the_number_of_clusters_is_shown_the_search(n_clusters, images):
    text = message_of(DeepConvEmbeddingClustering(n_clusters).fit, images)
    check_sentence(text)
    assert f"NClustersSearch chooses of many. Got {n_clusters!r}" in text


def test_a_class_in_the_place_of_an_encoder_is_told(images):
    text = message_of(DeepConvEmbeddingClustering(3, encoder=ConvAutoencoder).fit, images)
    assert "encoder=ConvAutoencoder()" in text


@pytest.mark.parametrize("given", [digit_augmentation, painting_augmentation, RandomAffine])
def test_what_makes_an_augmentation_is_not_one(given, images):
    text = message_of(ConvAutoencoder(augmentation=given, max_epochs=1).fit, images)
    assert f"augmentation={given.__name__}()" in text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (EarlyStopping(), "monitor='train_loss'"),
        (("best", Checkpoint()), "monitor='train_loss_best'"),
    ]
    + [(print, "skorch.callbacks.Callback"), (("progress", print), "skorch.callbacks.Callback")],
)
@pytest.mark.parametrize("estimator", [conv, OF_IMAGES[3], OF_ROWS[1]], ids=named)
def test_what_a_training_could_not_call_is_told_before_it(estimator, given, told, images):
    model = clone(estimator).set_params(callbacks=[given])
    X = images.reshape(len(images), -1) if estimator is OF_ROWS[1] else images
    text = message_of(model.fit, X)
    check_sentence(text.replace("<built-in function print>", ""))
    assert told in text


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (DeepConvEmbeddingClustering(3, encoder=SideBySide()), "SideBySide"),
        (DeepConvEmbeddingClustering(3, encoder=ContrastiveEncoder()), "ContrastiveEncoder"),
        (DeepConvEmbeddingClustering(3, encoder="paintings"), "encoder='paintings'"),
        (DeepEmbeddingClustering(3), "reconstruction_weight=0"),
    ],
    ids=["features", "contrastive", "word", "DEC"],
)
def test_why_embeddings_cannot_be_decoded_is_said(model, told):
    assert not hasattr(model, "inverse_transform")
    with pytest.raises(AttributeError, match="has no attribute 'inverse_transform'") as error:
        model.inverse_transform(None)
    text = str(error.value)
    check_sentence(text)
    assert told in text
    assert "autoencoder" in text


@pytest.mark.parametrize("cls", [DeepConvEmbeddingClustering, DeepEmbeddingClustering])
def test_what_was_fitted_without_a_network_points_to_its_encoder(cls, images):
    X = images if cls is DeepConvEmbeddingClustering else images.reshape(len(images), -1)
    model = cls(3, encoder=PCA(2), max_epochs=0).fit(X)
    with pytest.raises(AttributeError, match=r"encoder_\.inverse_transform") as error:
        model.inverse_transform(model.cluster_centers_)
    check_sentence(str(error.value))
    decoded = model.encoder_.inverse_transform(model.cluster_centers_)
    assert decoded.shape == (3, images[0].size)


def test_a_search_decodes_by_its_best_or_says_why_not(images):
    search = NClustersSearch(DeepConvEmbeddingClustering(encoder=conv, max_epochs=1), [2])
    centers = search.fit(images).best_estimator_.cluster_centers_
    wanted = search.best_estimator_.inverse_transform(centers)
    np.testing.assert_array_equal(search.inverse_transform(centers), wanted)
    search = NClustersSearch(DeepConvEmbeddingClustering(encoder=ContrastiveEncoder()), [2])
    with pytest.raises(AttributeError, match="no decoder that is trained"):
        search.inverse_transform(centers)


@pytest.mark.parametrize("encoder", ["auto", "autoencoder"])
def test_what_may_have_a_decoder_is_to_be_fitted_first(encoder):
    with pytest.raises(NotFittedError):
        DeepConvEmbeddingClustering(3, encoder=encoder).inverse_transform(None)


# --- searches and pipelines where figures take them ---


@pytest.mark.parametrize("wrap", ["search", "pipeline", "both"])
def test_the_page_takes_searches_and_pipelines(wrap, model, images, tmp_path):
    estimator, grid = model, {"n_clusters": [3]}
    if wrap != "search":
        estimator = make_pipeline(FunctionTransformer(), model)
        grid = {"deepconvembeddingclustering__n_clusters": [3]}
    if wrap != "pipeline":
        estimator = GridSearchCV(estimator, grid, cv=TransductiveSplit())
    report_from_estimator(estimator.fit(images), images, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 1000


@pytest.mark.parametrize("loads", [False, True])
def test_the_page_and_figures_take_what_load_images_returns(loads, files, tmp_path):
    pytest.importorskip("matplotlib")
    loaded = load_images(files, size=8)
    estimator = make_pipeline(ImageLoader(size=8), OF_IMAGES[3]) if loads else OF_IMAGES[3]
    model = clone(estimator).fit(loaded)
    assert report_from_estimator(model, loaded, tmp_path / "page.html").n_images == len(files)
    for display in (SilhouetteDisplay, ReconstructionDisplay, EmbeddingDisplay):
        display.from_estimator(model, loaded)
    EmbeddingDisplay.from_estimator(model, loaded, thumbnails=4)
    ClusterGalleryDisplay.from_estimator(model, loaded)
    given = loaded.filenames if loads else loaded.images
    assert silhouette_scorer(model, loaded) == silhouette_scorer(model, given)


def test_searches_and_novelty_take_what_load_images_returns(files):
    loaded = load_images(files, size=8)
    search = NClustersSearch(clone(OF_IMAGES[3]).set_params(random_state=0), [2, 3])
    found, wanted = clone(search).fit(loaded), clone(search).fit(loaded.images)
    np.testing.assert_array_equal(found.labels_, wanted.labels_)
    np.testing.assert_array_equal(found.predict(loaded), wanted.labels_)
    detector = NoveltyDetector(found.best_estimator_).fit(loaded)
    np.testing.assert_array_equal(detector.predict(loaded), detector.predict(loaded.images))


def test_rows_for_a_clusterer_of_rows_are_asked_for_before_all_else(images, monkeypatch):
    monkeypatch.setattr(skdcec.model_selection.search, "screen", lambda *_: pytest.fail("late"))
    for X in (images, images[..., 0]):
        text = message_of(NClustersSearch(KMeans(), [2, 3]).fit, X)
        check_sentence(text)
        assert "X.reshape(len(X), -1)" in text


@pytest.mark.parametrize("wrap", [lambda model: {"a": model}, lambda model: model])
def test_models_to_compare_come_in_a_list(wrap, fitted, images):
    text = message_of(lambda models: compare_models(models, images), wrap(fitted))
    check_sentence(text)
    assert "give a list" in text


def test_novelty_is_told_of_what_stands_for_pictures(fitted, images, files):
    detector = NoveltyDetector(fitted).fit(images)
    wanted = detector.score_samples(images)
    for X in (files, [Path(file).read_bytes() for file in files], pictures(images)):
        np.testing.assert_allclose(detector.score_samples(X), wanted, rtol=1e-5)
    np.testing.assert_allclose(detector.score_samples(files[3]), wanted[3:4], rtol=1e-5)
    rows = DeepEmbeddingClustering(2, encoder=dense, max_epochs=0).fit(images.reshape(60, -1))
    detector = NoveltyDetector(rows).fit(images.reshape(60, -1))
    check_sentence(message_of(detector.predict, files[0]))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda loaded: write_report("page.html", [0] * 60, loaded), "labels is a"),
        (lambda loaded: cluster_summary(loaded), "give what image_table returns"),
        (lambda loaded: cluster_summary(np.zeros(60, int)), "give what image_table returns"),
    ],
    ids=["labels before images", "images for a table", "labels for a table"],
)
def test_arguments_of_tables_and_pages_in_other_places_are_told(call, told, files):
    text = message_of(call, load_images(files, size=8))
    check_sentence(text)
    assert told in text


def test_a_page_of_a_folder_says_what_to_load(model, files, tmp_path):
    folder = Path(files[0]).parent
    text = message_of(lambda X: report_from_estimator(model, X, tmp_path / "page.html"), folder)
    assert "load_images(" in text
