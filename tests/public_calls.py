"""Every public function as a call on given images, for tests that try all of them."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
    _recipes,
    augmentation,
    inspection,
    metrics,
    model_selection,
    report,
)
from skdcec.datasets import ImageLoader, load_images
from skdcec.features import (
    BalancedBlocks,
    ColorEdgeFeatures,
    PretrainedFeatures,
    Resized,
    SideBySide,
)
from skdcec.novelty import NoveltyDetector

HALF = (0.5, 0.5, 0.5)


@dataclass
class Given:
    """Images, and small models that are fitted on them, or on others, when asked for."""

    images: Any
    folder: Path
    fitted_on: Any = None
    convolutional: Any = field(
        default_factory=lambda: ConvAutoencoder(4, filters=(4, 8), max_epochs=1)
    )
    dense: Any = field(
        default_factory=lambda: DenseAutoencoder(4, hidden_layer_sizes=(8,), max_epochs=1)
    )
    contrastive: Any = field(
        default_factory=lambda: ContrastiveEncoder(4, filters=(4, 8), max_epochs=1)
    )

    @property
    def known(self) -> Any:
        """What models are fitted on."""
        return self.images if self.fitted_on is None else self.fitted_on

    @property
    def rows(self) -> np.ndarray:
        return as_rows(self.images)

    @property
    def n_clusters(self) -> int:
        return min(2, len(self.known))

    @cached_property
    def labels(self) -> np.ndarray:
        return np.arange(len(self.images)) % 2

    def clusterer(self, encoder: Any) -> Any:
        return DeepConvEmbeddingClustering(
            self.n_clusters, encoder=encoder, max_epochs=1, n_init=1, random_state=0
        )

    @cached_property
    def autoencoder(self) -> Any:
        return _seeded(self.convolutional).fit(self.known)

    @cached_property
    def dense_autoencoder(self) -> Any:
        return _seeded(self.dense).fit(as_rows(self.known))

    @cached_property
    def contrastive_encoder(self) -> Any:
        return _seeded(self.contrastive).fit(self.known)

    @cached_property
    def model(self) -> Any:
        return self.clusterer(self.convolutional).fit(self.known)

    @cached_property
    def contrastive_model(self) -> Any:
        return self.clusterer(self.contrastive).fit(self.known)

    @cached_property
    def dense_model(self) -> Any:
        return DeepEmbeddingClustering(
            self.n_clusters, encoder=self.dense, max_epochs=1, n_init=1, random_state=0
        ).fit(as_rows(self.known))

    @cached_property
    def ranks(self) -> Any:
        return Ranks(self.n_clusters).fit(as_rows(self.known))

    @cached_property
    def search(self) -> Any:
        return model_selection.NClustersSearch(self.clusterer(self.convolutional), [2, 3]).fit(
            self.known
        )

    @cached_property
    def pipeline(self) -> Any:
        dense = DeepEmbeddingClustering(
            self.n_clusters, encoder=self.dense, max_epochs=1, n_init=1, random_state=0
        )
        return make_pipeline(FunctionTransformer(feature_names_out="one-to-one"), dense).fit(
            as_rows(self.known)
        )

    @cached_property
    def files(self) -> list[str]:
        paths = []
        for i, image in enumerate(self.images):
            pixels = np.nan_to_num(image).clip(0, 255).astype(np.uint8)
            paths.append(str(self.folder / f"{i:02}.png"))
            Image.fromarray(pixels.squeeze()).save(paths[-1])
        return paths

    def path(self, name: str) -> Path:
        return self.folder / name


class Ranks(ClusterMixin, BaseEstimator):
    """A clusterer of somebody else's, for values of any size: equal shares by the first column."""

    def __init__(self, n_clusters: int = 2):
        self.n_clusters = n_clusters

    def fit(self, X: Any, y: Any = None) -> "Ranks":
        first = np.unique(np.asarray(X)[:, 0])
        self.edges_ = first[np.arange(1, self.n_clusters) * len(first) // self.n_clusters]
        self.n_features_in_ = X.shape[1]
        self.labels_ = self.predict(X)
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.searchsorted(self.edges_, np.asarray(X)[:, 0], side="right")

    def transform(self, X: Any) -> np.ndarray:
        return np.asarray(X)


def as_rows(images: Any) -> np.ndarray:
    images = np.asarray(images)
    return images.reshape(len(images), -1)


def _seeded(encoder: Any) -> Any:
    return encoder.__class__(**{**encoder.get_params(deep=False), "random_state": 0})


def _saved(given: Given) -> Any:
    path = given.path("model.safetensors")
    given.model.save(path)
    return DeepConvEmbeddingClustering.load(path).predict_proba(given.images)


def _augmented(augment: Any, given: Given) -> Any:
    with np.errstate(over="ignore"):
        images = np.asarray(given.images, np.float32)
    batch = torch.tensor(images, device="cpu").permute(0, 3, 1, 2)
    return augment(batch, generator=torch.Generator("cpu").manual_seed(0)).numpy()


def _search_of(estimator: Any, X: Any) -> Any:
    return model_selection.NClustersSearch(estimator, [2, 3]).fit(X)


def _grid(given: Given) -> Any:
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(
        given.clusterer(given.convolutional),
        {"n_clusters": [2]},
        scoring=model_selection.silhouette_scorer,
        cv=model_selection.TransductiveSplit(),
        error_score="raise",
    )
    search.fit(given.known)
    return search.cv_results_["mean_test_score"]


def _novelty(given: Given) -> Any:
    detector = NoveltyDetector(given.model).fit(given.known)
    return detector.score_samples(given.images), detector.predict(given.images)


def _novelty_of_rows(given: Given) -> Any:
    detector = NoveltyDetector(given.dense_model).fit(as_rows(given.known))
    return detector.score_samples(given.rows), detector.predict(given.rows)


def _page(given: Given, images: Any, **options: Any) -> Any:
    made = report.write_report(given.path("page.html"), images, given.labels, **options)
    return made.table, made.summary


def _estimator_page(given: Given) -> Any:
    made = report.report_from_estimator(given.model, given.images, given.path("page.html"))
    return made.table, made.summary


def _table(given: Given) -> Any:
    distances = np.abs(given.rows[:, :2], dtype=np.float64)
    paths = [f"{i}.png" for i in range(len(distances))]
    return report.image_table(given.ranks.predict(given.rows), paths=paths, distances=distances)


def _plan(given: Given) -> Any:
    plan = _recipes.plan_training(given.known, encoder="autoencoder", epochs=1)
    model = _recipes.make_model(plan, given.n_clusters, random_state=0)
    return _recipes.number_by_size(model.fit(given.known)).predict_proba(given.images)


# What is tried, by name. Each takes what is given, and returns what is to be finite.
CALLS = {
    "ConvAutoencoder.transform": lambda g: g.autoencoder.transform(g.images),
    "ConvAutoencoder.inverse_transform": lambda g: g.autoencoder.inverse_transform(
        g.autoencoder.transform(g.images)
    ),
    "ConvAutoencoder.score": lambda g: g.autoencoder.score(g.images),
    "DenseAutoencoder.transform": lambda g: g.dense_autoencoder.transform(g.rows),
    "DenseAutoencoder.inverse_transform": lambda g: g.dense_autoencoder.inverse_transform(
        g.dense_autoencoder.transform(g.rows)
    ),
    "DenseAutoencoder.score": lambda g: g.dense_autoencoder.score(g.rows),
    "ContrastiveEncoder.transform": lambda g: g.contrastive_encoder.transform(g.images),
    "DeepConvEmbeddingClustering.fit": lambda g: g.model,
    "DeepConvEmbeddingClustering.fit_encoder": lambda g: g.clusterer(g.convolutional).fit_encoder(
        g.images
    ),
    "DeepConvEmbeddingClustering.predict": lambda g: g.model.predict(g.images),
    "DeepConvEmbeddingClustering.predict_proba": lambda g: g.model.predict_proba(g.images),
    "DeepConvEmbeddingClustering.transform": lambda g: g.model.transform(g.images),
    "DeepConvEmbeddingClustering.inverse_transform": lambda g: g.model.inverse_transform(
        g.model.transform(g.images)
    ),
    "DeepConvEmbeddingClustering.score": lambda g: g.model.score(g.images),
    "DeepConvEmbeddingClustering of a ContrastiveEncoder": lambda g: (
        g.contrastive_model,
        g.contrastive_model.predict_proba(g.images),
    ),
    "DeepEmbeddingClustering.predict_proba": lambda g: (
        g.dense_model,
        g.dense_model.predict_proba(g.rows),
    ),
    "DeepEmbeddingClustering.score": lambda g: g.dense_model.score(g.rows),
    "DeepEmbeddingClustering in a Pipeline": lambda g: g.pipeline.predict_proba(g.rows),
    "save and load": _saved,
    "PretrainedFeatures.transform": lambda g: (
        PretrainedFeatures(torch.nn.AvgPool2d(4), mean=HALF, std=HALF, size=8, resize="stretch")
        .fit(g.known)
        .transform(g.images)
    ),
    "BalancedBlocks.transform": lambda g: BalancedBlocks(n_components=3).fit_transform(g.rows),
    "Resized.transform": lambda g: (
        Resized(ColorEdgeFeatures(), size=6).fit(g.known).transform(g.images)
    ),
    "SideBySide.transform": lambda g: (
        SideBySide([g.contrastive, ColorEdgeFeatures()], n_components=3, random_state=0)
        .fit(g.known)
        .transform(g.images)
    ),
    "NoveltyDetector of images": _novelty,
    "NoveltyDetector of rows": _novelty_of_rows,
    "painting_augmentation": lambda g: _augmented(augmentation.painting_augmentation(4), g),
    "digit_augmentation": lambda g: _augmented(augmentation.digit_augmentation(), g),
    "RandomGrayscale": lambda g: _augmented(augmentation.RandomGrayscale(), g),
    "neighbor_modularity": lambda g: metrics.neighbor_modularity(g.rows, g.labels),
    "clustering_accuracy": lambda g: metrics.clustering_accuracy(g.labels, g.labels[::-1]),
    "silhouette_scorer": lambda g: model_selection.silhouette_scorer(g.ranks, g.rows),
    "calinski_harabasz_scorer": lambda g: model_selection.calinski_harabasz_scorer(g.ranks, g.rows),
    "modularity_scorer": lambda g: model_selection.modularity_scorer(g.ranks, g.rows),
    "davies_bouldin_scorer": lambda g: model_selection.davies_bouldin_scorer(g.ranks, g.rows),
    "silhouette_scorer in a GridSearchCV": _grid,
    "NClustersSearch.fit": lambda g: (g.search, g.search.predict_proba(g.images)),
    "NClustersSearch of another clusterer": lambda g: _search_of(Ranks(), g.rows),
    "NClustersSearch of a Pipeline": lambda g: _search_of(
        make_pipeline(FunctionTransformer(feature_names_out="one-to-one"), Ranks()), g.rows
    ),
    "compare_models": lambda g: model_selection.compare_models([g.model], g.images),
    "compare_models of another clusterer": lambda g: model_selection.compare_models(
        [g.ranks], g.rows
    ),
    "ClusterGalleryDisplay.from_estimator": lambda g: (
        inspection.ClusterGalleryDisplay.from_estimator(g.model, g.images)
    ),
    "ClusterGalleryDisplay.from_predictions": lambda g: (
        inspection.ClusterGalleryDisplay.from_predictions(g.images, g.labels, n_borderline=0)
    ),
    "EmbeddingDisplay.from_estimator": lambda g: inspection.EmbeddingDisplay.from_estimator(
        g.model, g.images, method="tsne"
    ),
    "EmbeddingDisplay.from_predictions": lambda g: inspection.EmbeddingDisplay.from_predictions(
        g.rows, g.labels, method="pca"
    ),
    "SilhouetteDisplay.from_estimator": lambda g: inspection.SilhouetteDisplay.from_estimator(
        g.model, g.images
    ),
    "SilhouetteDisplay.from_predictions": lambda g: inspection.SilhouetteDisplay.from_predictions(
        g.rows, g.labels
    ),
    "ContingencyDisplay.from_predictions": lambda g: inspection.ContingencyDisplay.from_predictions(
        g.labels, g.labels
    ),
    "ContingencyDisplay.from_estimator": lambda g: inspection.ContingencyDisplay.from_estimator(
        g.model, g.images, g.labels
    ),
    "LossCurveDisplay.from_estimator": lambda g: inspection.LossCurveDisplay.from_estimator(
        g.model
    ),
    "ReconstructionDisplay.from_estimator": lambda g: (
        inspection.ReconstructionDisplay.from_estimator(g.autoencoder, g.images)
    ),
    "NClustersSearchDisplay.from_estimator": lambda g: (
        inspection.NClustersSearchDisplay.from_estimator(g.search)
    ),
    "write_report": lambda g: _page(g, g.images),
    "write_report with an embedding": lambda g: _page(g, g.images, embedding=g.rows),
    "report_from_estimator": _estimator_page,
    "map_projection": lambda g: report.map_projection(g.rows),
    "image_table": _table,
    "cluster_summary": lambda g: report.cluster_summary(_table(g)),
    "metadata_agreement": lambda g: report.metadata_agreement(
        g.labels, np.asarray(g.rows, np.float64)[:, 0].tolist()
    ),
    "plan_training and make_model": _plan,
    "load_images": lambda g: load_images(g.files, size=8, cache=None).images,
    "ImageLoader": lambda g: ImageLoader(size=8).fit_transform(g.files),
}


def numbers_in(value: Any, name: str = "result") -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of numbers in a result, and where they are in it."""
    if isinstance(value, bool | str | bytes | type(None)) or inspect.isroutine(value):
        return
    if isinstance(value, int | float | np.number):
        value = np.array(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if hasattr(value, "columns"):
        value = value.to_numpy()
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf":
            yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from numbers_in(inner, f"{name}[{key!r}]")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from numbers_in(inner, f"{name}[{i}]")
    elif isinstance(value, torch.nn.Module):
        yield from numbers_in(dict(value.state_dict()), name)
    elif is_dataclass(value):
        for part in fields(value):
            yield from numbers_in(getattr(value, part.name), f"{name}.{part.name}")
    elif isinstance(value, BaseEstimator):
        for key, inner in vars(value).items():
            if key.endswith("_") and not key.startswith("_"):
                yield from numbers_in(inner, f"{name}.{key}")
    elif type(value).__module__.startswith("skdcec.inspection"):
        for key, inner in vars(value).items():
            yield from numbers_in(inner, f"{name}.{key}")


def call(name: str, given: Given) -> dict[str, np.ndarray]:
    """Return the numbers in the result of a call."""
    try:
        return dict(numbers_in(CALLS[name](given)))
    finally:
        plt.close("all")
