"""Which encoder does a clusterer start from? The one given, fitted here, cached or frozen."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skdcec._encoders.autoencoder import precision_of
from skdcec._encoders.base import fill_in
from skdcec._encoders.cache import fit_encoder
from skdcec._nn import distributed
from skdcec._nn.device import resolve_device, usual_settings
from skdcec._sklearn_callbacks import subtask
from skdcec._sklearn_compat import fit_context


def can_decode(model: Any) -> bool:
    """Whether `model` has, or after fit will have, a decoder that fits its embedding.

    Raises
    ------
    AttributeError
        If not; it says why.
    """
    encoder = getattr(model, "encoder_", model.encoder)
    may_be_one = isinstance(encoder, str) and encoder in ("auto", "autoencoder")
    # Without a network, nothing is trained, and the embedding is what the encoder makes of X.
    if getattr(model, "module_", True) is None and hasattr(encoder, "inverse_transform"):
        raise AttributeError(
            f"encoder={_one_line(encoder)} has no network to decode with: use its own, "
            "encoder_.inverse_transform(Z)."
        )
    if not model.reconstruction_weight > 0:
        raise AttributeError(
            "reconstruction_weight=0 trains no decoder of the embedding: set it above 0, behind an "
            "autoencoder."
        )
    # Where an encoder's own term replaces the reconstruction, its decoder is not trained further;
    # and no decoder was trained on embeddings scaled to unit length.
    if not (encoder is None or may_be_one) and (
        not hasattr(encoder, "inverse_transform")
        or hasattr(encoder, "joint_loss")
        or getattr(encoder, "metric_", "euclidean") != "euclidean"
    ):
        raise AttributeError(
            f"encoder={_one_line(encoder)} has no decoder that is trained with the clusters: an "
            "autoencoder has, such as encoder=None; or show the images nearest to a center."
        )
    return True


def _one_line(encoder: Any) -> str:
    return " ".join(repr(encoder).split())


class PretrainedByEncoder(BaseEstimator):
    """What clusterers do with their sub-estimator `encoder`."""

    encoder: Any
    memory: Any
    device: Any
    verbose: Any
    random_state: Any
    max_epochs: int | str
    n_features_in_: int
    _given_encoder: Callable[..., Any]
    _as_encoder_is_given: Callable[..., Any]
    _validate: Callable[..., Any]
    _draw_seeds: Callable[..., Any]

    @fit_context(prefer_skip_nested_validation=False)
    def fit_encoder(self, X: Any) -> BaseEstimator:
        """Pretrain the encoder alone, as `fit` would, and leave the clusterer as it is.

        Parameters
        ----------
        X : array-like
            The images or vectors.

        Returns
        -------
        encoder : estimator
            Fitted. With an integer `random_state`, equal to the ``encoder_`` of `fit`;
            ``encoder=FrozenEstimator(encoder)`` makes further fits start from it.
        """
        model = clone(self)
        with usual_settings(), distributed.joined():
            return model._pretrain(model._validate(X, reset=True), model._draw_seeds()[0])

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of the encoder as ``encoder__name``.

        Parameters
        ----------
        **params : dict
            New values by name.

        Returns
        -------
        self : object
            The estimator itself.

        Raises
        ------
        ValueError
            If there is no such parameter, or no encoder that could have it.
        """
        nested = sorted(name for name in params if name.startswith("encoder__"))
        encoder = params.get("encoder", self.encoder)
        if nested and (encoder is None or isinstance(encoder, str)):
            default = type(clone(self).set_params(encoder=None)._given_encoder(None)).__name__
            given = ", ".join(f"{name[9:]}={params[name]!r}" for name in nested)
            raise ValueError(
                f"{nested[0]} cannot be set while encoder={encoder!r}, since there is no encoder "
                f"yet to set it on: set encoder={default}({given})."
            )
        return super().set_params(**params)

    def _pretrain(self, array: np.ndarray, seed: int) -> Any:
        """Return the fitted encoder: the frozen one, or a clone fitted here or cached."""
        if isinstance(self.encoder, FrozenEstimator):
            encoder = self.encoder.estimator
            check_is_fitted(encoder)
        else:
            given = self._given_encoder(array)
            encoder = self._unfitted_encoder(given, seed)
            params = encoder.get_params(deep=False)
            device = resolve_device(params.get("device"))
            own_seed = given.get_params(deep=False).get("random_state")
            with subtask(self, "pretraining", of=encoder):
                encoder = fit_encoder(
                    encoder,
                    self._as_encoder_is_given(array, params),
                    memory=self.memory,
                    # Either may be left to the machine.
                    device=f"{device} {precision_of(encoder, device)}",
                    seeded=own_seed is not None or self.random_state is not None,
                )
        self._check_encoder(encoder)
        return encoder

    def _unfitted_encoder(self, given: Any, seed: int) -> Any:
        """Return a clone of an encoder, which takes from here what its user left open."""
        if isinstance(given, type):
            name = given.__name__
            raise TypeError(f"encoder={name} is a class: give an estimator, encoder={name}().")
        encoder = clone(given)
        fill_in(
            encoder,
            random_state=seed,
            device=self.device,
            verbose=self.verbose,
            image_shape=getattr(self, "image_shape_", None),
        )
        return encoder

    def _check_encoder(self, encoder: Any) -> None:
        """Raise if a fitted encoder does not follow the protocol, or was fitted on other data."""
        # Without a joint phase, nothing is trained; and None says that there is no network.
        module: Any = getattr(encoder, "module_", None if self.max_epochs == 0 else False)
        if module is not None and not hasattr(module, "encode"):
            raise TypeError(
                f"encoder={self.encoder!r} has no module_ with an encode method after fit, so it "
                "cannot be trained together with the clusters: use ConvAutoencoder, "
                "DenseAutoencoder or an estimator that follows their protocol; or set "
                "max_epochs=0, which clusters its embedding as it is."
            )
        if module is not None and not all(
            parameter.isfinite().all() for parameter in module.parameters()
        ):
            raise ValueError(
                f"encoder={self.encoder!r} has weights of NaN or infinity after fit: lower its "
                "learning rate, or look for extreme values in X."
            )
        metric = getattr(encoder, "metric_", "euclidean")
        if metric not in ("euclidean", "cosine"):
            raise ValueError(
                f"The encoder's metric_ is {metric!r}; it must be 'euclidean' or 'cosine'."
            )
        n_features = getattr(encoder, "n_features_in_", self.n_features_in_)
        if n_features != self.n_features_in_:
            raise ValueError(
                f"X has {self.n_features_in_} features per row, but the fitted encoder takes "
                f"{n_features}."
            )
