"""Fitted networks as ONNX: the numbers are those of the estimators."""

import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec.export import to_onnx
from skdcec.features import ColorEdgeFeatures

conv = ConvAutoencoder(3, filters=(4, 8), activation="elu", max_epochs=2, random_state=0)
dense = DenseAutoencoder(3, hidden_layer_sizes=(8,), max_epochs=2, random_state=0)
contrastive = ContrastiveEncoder(3, filters=(4, 8), max_epochs=1, random_state=0)


def clusterer(encoder, **params):
    cls = DeepEmbeddingClustering if encoder is dense else DeepConvEmbeddingClustering
    return cls(3, encoder=encoder, max_epochs=1, n_init=1, random_state=0, **params)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# torch's own exporter uses what torch deprecates.
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")
@pytest.mark.parametrize(
    "estimator",
    [conv, clusterer(contrastive), clusterer(dense, init="k-means")],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_file_computes_what_the_estimator_does(estimator, images, tmp_path, capfd):
    pytest.importorskip("onnxscript", reason="needs onnx and onnxscript, of the extra [onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    on_rows = isinstance(estimator, DenseAutoencoder | DeepEmbeddingClustering)
    X = images.reshape(len(images), -1) if on_rows else images
    fitted = clone(estimator).fit(X)
    path = to_onnx(fitted, tmp_path / "model.onnx")
    assert capfd.readouterr().out == ""
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for some in (X[:1], X):
        found = session.run(None, {"X": some.astype(np.float32)})
        np.testing.assert_allclose(found[0], fitted.transform(some), rtol=1e-3, atol=1e-4)
        if hasattr(fitted, "predict_proba"):
            np.testing.assert_allclose(found[1], fitted.predict_proba(some), atol=2e-3)
            assert (found[1].argmax(axis=1) == fitted.predict(some)).mean() > 0.98
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("form", ["tied", "diagonal", "full"])
def test_mixtures_of_all_forms_are_assigned_alike(form):
    from skdcec._clusterers.mixtures import Readout
    from skdcec.export import _Mixture

    random = np.random.default_rng(0)
    means = random.normal(size=(3, 4)).astype(np.float32)
    roots = random.normal(size=(3, 4, 4)) + 2 * np.eye(4)
    full = roots @ roots.transpose(0, 2, 1)
    covariances = {"tied": full[:1], "full": full, "diagonal": full.diagonal(axis1=1, axis2=2)}
    readout = Readout(np.array([0.5, 0.5, 0.0]), means, np.ascontiguousarray(covariances[form]))
    points = random.normal(size=(50, 4)).astype(np.float32) * 3
    found = _Mixture(*readout)(torch.from_numpy(points))
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found.numpy(), readout.posterior(points), atol=1e-6)


def test_what_has_no_network_is_told(images, tmp_path):
    rows = images.reshape(len(images), -1)
    for estimator in (PCA(2).fit(rows), ColorEdgeFeatures().fit(images)):
        with pytest.raises(TypeError, match="has no network that could be exported"):
            to_onnx(estimator, tmp_path / "model.onnx")


def test_the_extra_is_named(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"skdcec\[onnx\]"):
        to_onnx(clone(conv).fit(images), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
