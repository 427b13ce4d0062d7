"""Every warning points to the line of the user that called the library."""

import ast
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skdcec
from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec.datasets import ImageLoader, load_images
from skdcec.model_selection import NClustersSearch, compare_models, silhouette_scorer
from skdcec.novelty import NoveltyDetector
from skdcec.report import report_from_estimator, write_report

PACKAGE = Path(skdcec.__file__).parent


class Given:
    """What the calls are made with."""

    def __init__(self, folder, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        self.pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
        self.folder, self.page = folder / "scans", folder / "page.html"
        self.folder.mkdir()
        for i, pixels in enumerate(self.pixels):
            Image.fromarray(pixels).save(self.folder / f"{i}.png")
        self.broken = folder / "broken.png"
        self.broken.write_bytes(b"none")
        self.table = folder / "table.csv"
        self.table.write_bytes("file,name\n0.png,M\xfcnter\n".encode("cp1252"))

    def model(self, **params):
        encoder = ConvAutoencoder(2, filters=(2,), max_epochs=1)
        params = {"encoder": encoder, "max_epochs": 0, "n_init": 1, "random_state": 0} | params
        return DeepConvEmbeddingClustering(2, **params)

    def fitted(self, **params):
        return self.model(**params).fit(self.pixels)

    @property
    def rows(self):
        return self.pixels.reshape(12, -1).astype(float)

    @property
    def k_means(self):
        return KMeans(2, n_init=1, random_state=0).fit(self.rows)


class OneLabel(KMeans):
    """A clusterer that finds one cluster, whatever it is asked for."""

    def predict(self, X, sample_weight=None):
        return np.zeros(len(X), int)


CALLS = {
    "skipped files": lambda g: load_images([*g.folder.iterdir(), g.broken], size=8),
    "a table of another encoding": lambda g: load_images(g.folder, size=8, metadata=g.table),
    "a cache that is a file": lambda g: load_images(g.folder, size=8, cache=g.broken),
    "black images": lambda g: ImageLoader(size=8, on_error="blank").fit_transform([str(g.broken)]),
    "black images in a pipeline": lambda g: make_pipeline(
        ImageLoader(size=8, on_error="blank"), FunctionTransformer()
    ).fit_transform([str(g.broken)]),
    "gray tiles": lambda g: write_report(g.page, [g.broken], [0]),
    "gray tiles of a model": lambda g: report_from_estimator(
        g.k_means, g.rows, g.page, images=[g.broken] * 12
    ),
    "a small page": lambda g: write_report(g.page, g.pixels, [0] * 12, max_bytes=1),
    "the path first": lambda g: report_from_estimator(
        g.page, KMeans(2, n_init=1).fit(g.rows[:, :64]), g.rows[:, :64]
    ),
    "no part of the file": lambda g: g.fitted(
        encoder=ConvAutoencoder(2, filters=(2,), max_epochs=1, augmentation=lambda x: x)
    ).save(g.folder / "model.safetensors"),
    "too few to be novel to": lambda g: NoveltyDetector(g.fitted()).fit(g.pixels),
    "one cluster in a comparison": lambda g: compare_models(
        [OneLabel(2, n_init=1).fit(g.rows)], g.rows
    ),
    "one cluster in a score": lambda g: silhouette_scorer(
        OneLabel(2, n_init=1).fit(g.rows), g.rows
    ),
    "a number twice": lambda g: NClustersSearch(g.k_means, [2, 2], n_null_draws=19).fit(g.rows),
    "a number that fails": lambda g: NClustersSearch(
        g.k_means, [2, 13], screen=None, n_null_draws=19
    ).fit(g.rows),
    "clusters without members": lambda g: g.fitted().fit(np.zeros((12, 8, 8, 3), np.uint8)),
    "the same in a search": lambda g: GridSearchCV(
        g.model(), {"n_clusters": [2]}, scoring=lambda *_: 0.0, cv=[(range(12), range(12))]
    ).fit(np.zeros((12, 8, 8), np.uint8)),
    "a cache without a seed": lambda g: g.model(random_state=None, memory=str(g.folder)).fit(
        g.pixels
    ),
    "other units": lambda g: g.fitted().predict(g.pixels / 255),
    "gray images": lambda g: g.model(encoder="paintings").fit(g.pixels[..., 0]),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_warning_points_to_the_line_that_called(what, tmp_path, monkeypatch):
    given = Given(tmp_path, monkeypatch)
    with pytest.warns(Warning) as caught:  # noqa: PT030 (whatever it says)
        CALLS[what](given)
    assert {one.filename for one in caught} == {__file__}


def test_none_counts_lines_by_itself():
    fixed = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                levels = [ast.unparse(k.value) for k in node.keywords if k.arg == "stacklevel"]
                if levels != ["caller_level()"]:
                    fixed.append(f"{path.name}:{node.lineno}")
    assert not fixed
