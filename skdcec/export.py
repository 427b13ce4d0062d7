"""Fitted networks for programs without Python: as ONNX."""

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skdcec._files import check_target, write_bytes
from skdcec._nn.modules import ClusteringModule, normalize_embedding

__all__ = ["to_onnx"]


def to_onnx(estimator: Any, path: str | os.PathLike[str]) -> Path:
    """Write the network of a fitted encoder or clusterer as an ONNX file.

    Parameters
    ----------
    estimator : fitted encoder or clusterer
        With a network: :class:`~skdcec.ConvAutoencoder`, :class:`~skdcec.DenseAutoencoder`,
        :class:`~skdcec.ContrastiveEncoder`, or a clusterer around one.
    path : str or path-like
        The file.

    Returns
    -------
    path : Path
        The file that was written, as a whole or not at all. Its input ``X`` is float32 of shape
        (n, height, width, channels), or (n, n_features), for any n, in the units of what `fit` saw.
        Its outputs are ``embedding``, what ``transform`` returns, and for a clusterer
        ``probabilities``, what ``predict_proba`` returns.

    Raises
    ------
    TypeError
        If the estimator has no network of its own.
    ImportError
        If onnx or onnxscript is missing.
    OSError
        If the file cannot be written.

    See Also
    --------
    skdcec.DeepConvEmbeddingClustering.save : A file that this package reads again, as a whole.

    Examples
    --------
    >>> from skdcec.export import to_onnx
    >>> model = ...  # doctest: +SKIP
    >>> to_onnx(model, "model.onnx")  # doctest: +SKIP
    PosixPath('model.onnx')
    """
    path = check_target(path)
    check_is_fitted(estimator)
    encoder = getattr(estimator, "encoder_", estimator)
    module = getattr(estimator, "module_", None)
    if module is None or not hasattr(module, "encode") or not hasattr(encoder, "scale_"):
        raise TypeError(
            f"{type(estimator).__name__} has no network that could be exported: ConvAutoencoder, "
            "DenseAutoencoder and ContrastiveEncoder have, and clusterers around them."
        )
    try:
        import onnx  # noqa: F401 (torch imports it when it is too late to say what is missing)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("ONNX files need onnx: pip install 'skdcec[onnx]'.") from error
    network = _Network(estimator, encoder).eval().to("cpu")
    shape = getattr(encoder, "image_shape_", (encoder.n_features_in_,))
    write_bytes(path, [_exported(network, torch.zeros((2, *shape)))])
    return path


def _exported(network: "_Network", example: Tensor) -> bytes:
    names = ["embedding", "probabilities"] if network.clusters is not None else ["embedding"]
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["X"],
        output_names=names,
        dynamic_shapes={"X": {0: torch.export.Dim("n")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


class _Network(nn.Module):
    """What is computed of images or rows in the units of `fit`."""

    def __init__(self, estimator: Any, encoder: Any):
        super().__init__()
        self.module = copy.deepcopy(estimator.module_)
        self.scale = float(encoder.scale_)
        self.metric = getattr(encoder, "metric_", "euclidean")
        self.clusters: nn.Module | None = None
        if hasattr(estimator, "cluster_centers_"):
            self.clusters = _clusters(estimator, self.metric)

    def forward(self, X: Tensor) -> Any:
        batch = X / self.scale
        if batch.ndim == 4:
            batch = batch.permute(0, 3, 1, 2)
        embedding = normalize_embedding(self.module.encode(batch), self.metric)
        return embedding if self.clusters is None else (embedding, self.clusters(embedding))


def _clusters(estimator: Any, metric: str) -> nn.Module:
    """Return what assigns embeddings to clusters, as ``predict_proba`` does."""
    if estimator.means_ is not None:
        return _Mixture(estimator.weights_, estimator.means_, estimator.covariances_)
    centers = torch.tensor(estimator.cluster_centers_)
    return _Centers(ClusteringModule(nn.Identity(), centers, estimator.alpha, metric))


class _Centers(nn.Module):
    """The soft assignment to centers."""

    def __init__(self, clustering: Any):
        super().__init__()
        self.clustering = clustering

    def forward(self, embedding: Tensor) -> Tensor:
        assignment: Tensor = self.clustering.assign(embedding)
        return assignment


class _Mixture(nn.Module):
    """The posterior of a mixture, in double precision, as its densities need."""

    factors: Tensor
    means: Tensor
    constants: Tensor

    def __init__(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray):
        super().__init__()
        n, d = means.shape
        if covariances.ndim == 2:
            roots = np.sqrt(covariances)
            inverse, volumes = np.apply_along_axis(np.diag, 1, 1 / roots), np.log(roots).sum(axis=1)
        else:
            lower = np.linalg.cholesky(covariances)
            inverse = np.linalg.solve(lower, np.broadcast_to(np.eye(d), lower.shape))
            volumes = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        with np.errstate(divide="ignore"):
            # A cluster without points has no share.
            shares = np.maximum(np.log(weights), -1e30)
        self.register_buffer("factors", torch.tensor(np.broadcast_to(inverse, (n, d, d)).copy()))
        self.register_buffer("means", torch.tensor(means.astype(np.float64)))
        self.register_buffer("constants", torch.tensor(shares - volumes))

    def forward(self, embedding: Tensor) -> Tensor:
        centered = embedding.double()[:, None, :] - self.means
        scaled = torch.einsum("kij,nkj->nki", self.factors, centered)
        joint = self.constants - 0.5 * scaled.square().sum(dim=2)
        return torch.softmax(joint, dim=1).float()
