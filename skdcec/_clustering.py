"""What an embedded clustering is: an encoder and cluster centers, trained together."""

import copy
import warnings
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn import config_context
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor, nn

from skdcec import _persistence
from skdcec._autoencoder import ConvAutoencoder, DenseAutoencoder, decode_embedding
from skdcec._batches import Batches, map_batches, plan_batches
from skdcec._device import cpu_state, make_generator, resolve_device, resolve_precision
from skdcec._images import (
    restore_layout,
    validate_images,
    validate_rows,
    warn_of_other_range,
)
from skdcec._memory import fit_encoder
from skdcec._modules import ClusteringModule, normalize_embedding
from skdcec._starts import mixture_labels
from skdcec._training import (
    ClusteringNet,
    Schedule,
    TargetRefresh,
    check_finite,
    epoch_history,
    loader_for,
    train,
    unchanged_on_failure,
)

# Labels that held still are not believed before this many steps of joint training.
_MIN_STEPS = 100


def _can_decode(model: Any) -> bool:
    """Whether `model` has, or after fit will have, a decoder that fits its embedding."""
    if not model.reconstruction_weight > 0:
        return False
    encoder = getattr(model, "encoder_", model.encoder)
    # An encoder's own term takes the place of the reconstruction: the decoder stays behind.
    # And what was scaled to unit length is not what the decoder was trained on.
    return encoder is None or (
        hasattr(encoder, "inverse_transform")
        and not hasattr(encoder, "joint_loss")
        and getattr(encoder, "metric_", "euclidean") == "euclidean"
    )


def _precision_of(encoder: Any, device: torch.device) -> torch.dtype:
    """Return the dtype that the encoder's network trains in; float32 if it is not one of ours."""
    own = isinstance(encoder, (ConvAutoencoder, DenseAutoencoder))
    return resolve_precision(encoder.precision if own else "float32", device)


class _BaseEmbeddingClustering(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator
):
    """Pretrain an encoder, place centers in its embedding, train both together."""

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "encoder": [HasMethods(["fit", "transform"]), None],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "init": [
            StrOptions({"gaussian-mixture", "k-means"}),
            "array-like",
            HasMethods(["fit_predict"]),
        ],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "update_interval": [
            StrOptions({"epoch"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "tol": [Interval(Real, 0, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"onecycle", "cosine", "constant"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), None],
        "memory": "no_validation",
        "device": [str, torch.device, None],
        "callbacks": [list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose", None],
    }

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: None = None) -> Self:
        """Learn the embedding and the clusters of `X`.

        Parameters
        ----------
        X : array-like
            The images or vectors. Never modified; may be read-only or memory-mapped.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If `X` or a parameter is not usable, there are fewer samples than clusters, or
            the loss becomes NaN.
        TypeError
            If the encoder has no ``module_`` to train.
        KeyboardInterrupt
            On Ctrl-C; the estimator is then as it was before.
        """
        with unchanged_on_failure(self):
            array = self._validate(X, reset=True)
            if len(array) < self.n_clusters:
                raise ValueError(
                    f"n_samples={len(array)} should be >= n_clusters={self.n_clusters}."
                )
            device = resolve_device(self.device)
            encoder_seed, init_seed, joint_seed = self._draw_seeds()
            self.encoder_ = self._pretrain(array, encoder_seed)
            self.scale_ = float(getattr(self.encoder_, "scale_", 1.0))
            batches = Batches(self._as_encoder_takes(array), self.scale_, device)
            module = copy.deepcopy(self.encoder_.module_).to(device)
            embedding = map_batches(self._embedder(module.eval()), batches)
            centers, labels = self._initial_clusters(embedding.numpy(), init_seed)
            self._train(module, centers, labels, batches, joint_seed)
            self.device_ = str(device)
            assignment = self._assign(batches)
            # The loss of a batch is from before its step: this is what the last step made.
            check_finite(assignment, self.lr)
            self.labels_ = assignment.argmax(dim=1).numpy()
        n_found = len(np.unique(self.labels_))
        if n_found < self.n_clusters:
            warnings.warn(
                f"{n_found} of n_clusters={self.n_clusters} clusters have members; the others "
                "died. Use fewer clusters, or a smaller gamma.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def fit_predict(self, X: Any, y: None = None) -> np.ndarray:
        """Learn the clusters of `X` and return the label of each row.

        Parameters
        ----------
        X : array-like
            The images or vectors.
        y : None
            Ignored.

        Returns
        -------
        labels : ndarray of shape (n_samples,), dtype int64
        """
        return self.fit(X).labels_

    def predict(self, X: Any) -> np.ndarray:
        """Return the cluster of each row of `X`.

        Parameters
        ----------
        X : array-like
            Images or vectors of the shape seen in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), dtype int64
        """
        return self._assign(self._batches(X)).argmax(dim=1).numpy()

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the soft assignment of each row of `X` to each cluster.

        Parameters
        ----------
        X : array-like
            Images or vectors of the shape seen in `fit`.

        Returns
        -------
        assignment : ndarray of shape (n_samples, n_clusters), dtype float32
            Student's t similarities to the centers; rows sum to 1.
        """
        return self._assign(self._batches(X)).numpy()

    def transform(self, X: Any) -> np.ndarray:
        """Embed `X` as refined together with the clusters.

        Parameters
        ----------
        X : array-like
            Images or vectors of the shape seen in `fit`.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components), dtype float32
        """
        batches = self._batches(X)
        return map_batches(self._embedder(self.module_), batches).numpy()

    def score(self, X: Any, y: None = None) -> float:
        """Return the silhouette of the predicted labels in the pretrained embedding.

        That space is the same for every `n_clusters`, so scores of models that share their
        pretraining can be compared. At most 3000 rows are used.

        Parameters
        ----------
        X : array-like
            Images or vectors of the shape seen in `fit`.
        y : None
            Ignored.

        Returns
        -------
        score : float
            Between -1 and 1, greater is better; NaN, with a warning, for fewer than two
            clusters.
        """
        # The scorers see estimators from outside; imported here to keep them there.
        from skdcec.model_selection import silhouette_scorer

        return silhouette_scorer(self, X)

    def save(self, path: Any) -> None:
        """Write the fitted estimator to a file that holds no code.

        Parameters
        ----------
        path : str or path-like
            The file, in safetensors format. Replaced as a whole, or not at all.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.

        Warns
        -----
        UserWarning
            If parts cannot be rebuilt from plain values; their names are given.
        """
        check_is_fitted(self)
        _persistence.save(self, path)

    @classmethod
    def load(cls, path: Any, *, encoder: BaseEstimator | None = None) -> Self:
        """Read an estimator written by `save`. Executes nothing from the file.

        Parameters
        ----------
        path : str or path-like
            The file.
        encoder : fitted estimator, default=None
            Stands for an encoder that is not part of skdcec, which `save` names; its
            weights are replaced by the saved ones.

        Returns
        -------
        estimator : object
            Fitted, on the CPU.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind, or from a newer version.
        """
        return _persistence.load(cls, path, encoder=encoder)

    @_fit_context(prefer_skip_nested_validation=False)
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
        return model._pretrain(model._validate(X, reset=True), model._draw_seeds()[0])

    def _draw_seeds(self) -> tuple[int, int, int]:
        """Return the seeds of pretraining, initial centers and joint training."""
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=3)
        return int(seeds[0]), int(seeds[1]), int(seeds[2])

    def _pretrain(self, array: np.ndarray, seed: int) -> BaseEstimator:
        """Return the fitted encoder: the frozen one, or a clone fitted here or cached."""
        if isinstance(self.encoder, FrozenEstimator):
            encoder = self.encoder.estimator
            check_is_fitted(encoder)
        else:
            encoder = clone(self._encoder_or_default())
            params = encoder.get_params(deep=False)
            own_seed = params.get("random_state")
            fill = {
                "random_state": seed,
                "device": self.device,
                "verbose": self.verbose,
                "image_shape": getattr(self, "image_shape_", None),
            }
            fill = {name: value for name, value in fill.items() if name in params}
            encoder.set_params(**{k: v for k, v in fill.items() if params[k] is None})
            if "data_format" in params:
                encoder.set_params(data_format="channels_last")
            device = resolve_device(encoder.get_params().get("device"))
            precision = _precision_of(encoder, device)
            encoder = fit_encoder(
                encoder,
                self._as_encoder_is_given(array, params),
                memory=self.memory,
                # Either may be left to the machine.
                device=f"{device} {precision}",
                seeded=own_seed is not None or self.random_state is not None,
            )
        module = getattr(encoder, "module_", None)
        if not isinstance(module, nn.Module) or not hasattr(module, "encode"):
            raise TypeError(
                f"encoder={self.encoder!r} has no module_ with an encode method after fit, so it "
                "cannot be trained together with the clusters: use ConvAutoencoder, "
                "DenseAutoencoder or an estimator that follows their protocol."
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
        return encoder

    def _initial_clusters(
        self, embedding: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return starting centers, and the labels that are to lead the first targets, if any.

        Centers are of shape (n_clusters, n_components) and dtype float32; labels count from 0,
        and are negative for points without a cluster.
        """
        if not isinstance(self.init, str) and not hasattr(self.init, "fit_predict"):
            centers = check_array(self.init, dtype=np.float32, input_name="init", copy=True)
            if centers.shape != (self.n_clusters, embedding.shape[1]):
                raise ValueError(
                    f"init has shape {centers.shape}; (n_clusters, n_components) is "
                    f"{(self.n_clusters, embedding.shape[1])}."
                )
            return centers, None
        labels = self._initial_labels(embedding.astype(np.float64), seed)
        kinds = np.unique(labels[labels >= 0])
        if len(kinds) != self.n_clusters and not isinstance(self.init, str):
            raise ValueError(
                f"init={self.init!r} found {len(kinds)} clusters instead of "
                f"n_clusters={self.n_clusters}."
            )
        # Means taken here, in one order: k-means adds up in the order its threads finish.
        means = [embedding[labels == kind].mean(axis=0, dtype=np.float64) for kind in kinds]
        # Fewer distinct points than clusters leave centers without members; they repeat.
        means += [means[0]] * (self.n_clusters - len(means))
        centers = np.asarray(means, dtype=np.float32)
        # The clusters of k-means are the points nearest to each center.
        is_k_means = isinstance(self.init, str) and self.init == "k-means"
        if is_k_means or self._metric == "cosine":
            return centers, None
        return centers, np.where(labels < 0, -1, np.searchsorted(kinds, labels))

    def _initial_labels(self, embedding: np.ndarray, seed: int) -> np.ndarray:
        """Cluster the pretrained embedding, as a start for joint training."""
        if self.n_clusters == 1:
            return np.zeros(len(embedding), dtype=np.int64)
        # A mixture refuses its k-means start under array API dispatch; these are NumPy arrays.
        with config_context(array_api_dispatch=False):
            if self.init == "gaussian-mixture":
                return mixture_labels(
                    embedding,
                    self.n_clusters,
                    self.n_init,
                    seed,
                    by_cuts=self._metric != "cosine",
                )
            return self._initial_clusterer(seed).fit_predict(embedding)

    def _initial_clusterer(self, seed: int) -> Any:
        if self.init == "k-means":
            return KMeans(self.n_clusters, n_init=self.n_init, random_state=seed)
        model = clone(self.init)
        params = model.get_params(deep=False)
        given = {"n_clusters": self.n_clusters, "n_components": self.n_clusters}
        if params.get("random_state", 0) is None:
            given["random_state"] = seed
        return model.set_params(**{k: v for k, v in given.items() if k in params})

    def _train(
        self,
        encoder_module: nn.Module,
        centers: np.ndarray,
        labels: np.ndarray | None,
        batches: Batches,
        seed: int,
    ) -> None:
        """Run the joint phase and set what it learned."""
        generator = make_generator(seed)
        module = ClusteringModule(
            encoder_module, torch.from_numpy(centers), self.alpha, self._metric
        )
        joint_loss = getattr(self.encoder_, "joint_loss", None)
        if (
            self.reconstruction_weight > 0
            and joint_loss is None
            and not hasattr(encoder_module, "decode")
        ):
            raise ValueError(
                f"reconstruction_weight={self.reconstruction_weight} needs an encoder that can "
                "decode or has a joint_loss; this one has neither: set it to 0."
            )
        encoder_params = self.encoder_.get_params(deep=False)
        batch_size = self.batch_size or encoder_params.get("batch_size") or "auto"
        batch_size, n_passes = plan_batches(len(batches), batch_size)

        def assign(trained: ClusteringModule) -> Tensor:
            return map_batches(lambda x: trained.assign(trained.embed(x)), batches)

        refresh = TargetRefresh(
            assign,
            interval=self.update_interval,
            tol=self.tol,
            min_steps=_MIN_STEPS,
            start=None if labels is None else torch.from_numpy(labels),
        )
        loader = loader_for(
            batches,
            batch_size=batch_size,
            n_passes=n_passes,
            generator=generator,
            target=lambda: refresh.target,
        )
        loss_names = ["clustering_loss"]
        if self.reconstruction_weight > 0:
            loss_names.insert(0, "reconstruction_loss")
        net = ClusteringNet(
            module,
            gamma=self.gamma,
            reconstruction_weight=self.reconstruction_weight,
            joint_loss=joint_loss,
            loss_names=loss_names,
            schedule=Schedule(self.lr_schedule, self.max_epochs * len(loader)),
            generator=generator,
            augmentation=self._augmentation,
            callbacks=[("target_refresh", refresh), *(self.callbacks or ())],
            max_epochs=self.max_epochs,
            lr=self.lr,
            device=batches.device,
            precision=_precision_of(self.encoder_, batches.device),
        )
        train(net, loader, description=type(self).__name__, verbose=bool(self.verbose))
        trained = net.module_.eval()
        self.module_ = trained.encoder
        centers_found = normalize_embedding(trained.centers.detach(), self._metric)
        self.cluster_centers_ = centers_found.cpu().numpy()
        names = {name: f"train_{name}" for name in ("loss", *loss_names)}
        self.history_ = epoch_history(net, {**names, "label_change": "label_change"})
        self.n_iter_ = len(self.history_["loss"])
        self.converged_ = refresh.settled

    @property
    def _augmentation(self) -> Any:
        params = self.encoder_.get_params(deep=False)
        return getattr(self.encoder_, "augmentation_", params.get("augmentation"))

    @property
    def _metric(self) -> str:
        return getattr(self.encoder_, "metric_", "euclidean")

    def _embedder(self, module: Any) -> Callable[[Tensor], Tensor]:
        metric = self._metric
        return lambda batch: normalize_embedding(module.encode(batch), metric)

    def _assign(self, batches: Batches) -> Tensor:
        """Return the soft assignment of every row, on the CPU."""
        centers = torch.tensor(self.cluster_centers_, device=batches.device)
        module = ClusteringModule(self.module_, centers, self.alpha, self._metric)
        return map_batches(lambda batch: module.assign(module.embed(batch)), batches)

    def _batches(self, X: Any) -> Batches:
        check_is_fitted(self)
        array = self._as_encoder_takes(self._validate(X, reset=False))
        if array.ndim == 4 and hasattr(self.encoder_, "scale_"):
            warn_of_other_range(array, self.scale_)
        return Batches(array, self.scale_, next(self.module_.parameters()).device)

    def _as_encoder_takes(self, array: np.ndarray) -> np.ndarray:
        """Return rows, or images where the encoder's module works on images."""
        shape = getattr(self.encoder_, "image_shape_", None)
        return array.reshape(len(array), *(shape or (-1,)))

    @property
    def _n_features_out(self) -> int:
        return self.cluster_centers_.shape[1]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "labels_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return cpu_state(super().__getstate__())


class DeepConvEmbeddingClustering(_BaseEmbeddingClustering):
    """Cluster images by deep convolutional embedded clustering (DCEC).

    A convolutional autoencoder is pretrained on reconstruction, a Gaussian mixture places
    centers in its embedding, and encoder, decoder and centers are then trained together on
    ``reconstruction_weight * L_rec + gamma * L_clu``, where ``L_clu`` pulls each image
    towards a sharpened version of its own soft assignment.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    encoder : estimator, default=None
        What is pretrained: None for ``ConvAutoencoder()``, or any estimator of the encoder
        protocol. A ``FrozenEstimator`` around a fitted one skips the pretraining and is
        left as it is. Where its own `random_state`, `device`, `verbose` or `image_shape` is
        None, it takes the value from here. Joint training has its `precision`.
    image_shape : tuple (height, width) or (height, width, channels), default=None
        Shape of the images that come as rows of a 2-D `X`. None takes a square number of
        features for a square gray image, and any other for an image one pixel high.
    data_format : {"channels_last", "channels_first"}, default="channels_last"
        Order of the axes of a 4-D `X`. Rows of a 2-D `X` are always (H, W, C).
    gamma : float, default=0.1
        Weight of the clustering loss, summed over clusters and averaged over images.
    reconstruction_weight : float, default=1.0
        Weight of the reconstruction loss, the mean over all values of a batch. 0 trains
        without the decoder.
    alpha : float, default=1.0
        Degrees of freedom of the Student's t soft assignment. Not used where the encoder's
        metric is the cosine: there the soft assignment is the softmax of ten times the
        cosines with the centers.
    init : {"gaussian-mixture", "k-means"}, array of shape (n_clusters, n_components) or \
            clusterer, default="gaussian-mixture"
        Where the clusters start: those that a Gaussian mixture, k-means (as in the papers) or
        an estimator with ``fit_predict`` finds in the pretrained embedding, or given centers. A
        mixture lets clusters be longer in one direction than in another, as they are in an
        embedding that was only trained to reconstruct. Means do not say that, so the first
        targets are the starting clusters themselves, but for k-means and given centers, and
        where the metric is the cosine; over the first half of the epochs, 10 at most, the
        target distribution takes their place.
    n_init : int, default=10
        Runs of k-means, of which the one of least inertia is taken; or of the mixture, where
        it is the one whose clusters cut the fewest ties between neighbours, beyond what
        their sizes explain (the greatest modularity). That one is mended by joining two
        clusters and cutting a third, as long as this raises the modularity. Where the metric
        is the cosine, the mixture of the greatest likelihood is taken as it is.
    max_epochs : int, default=20
        Epochs of joint training.
    update_interval : "epoch" or int, default="epoch"
        How often the targets are recomputed on all images: after each epoch, or after so
        many batches.
    tol : float, default=1e-3
        Training ends early, with a last epoch of falling learning rate, once a smaller
        share of labels changed in two refreshes in a row.
    lr : float, default=1e-3
        Learning rate of Adam in the joint phase, at its highest.
    lr_schedule : {"cosine", "onecycle", "constant"}, default="cosine"
        How the learning rate moves from step to step.
    batch_size : int, "auto" or None, default=None
        Images per step of the joint phase. None takes the encoder's.
    memory : str, path or joblib.Memory, default=None
        Where pretrained encoders are kept, so that fits that differ in `n_clusters` or in
        the joint phase share one.
    device : str or torch.device, default=None
        None uses CUDA where present, else the CPU.
    callbacks : list of skorch callbacks, default=None
        Called during the joint phase.
    random_state : int, RandomState instance or None, default=None
        Determines pretraining (the same for every `n_clusters`), initial centers and
        joint training.
    verbose : int or bool, default=None
        Whether to show progress bars.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), dtype int64
        Cluster of each image, equal to ``predict`` of the same images.
    cluster_centers_ : ndarray of shape (n_clusters, n_components), dtype float32
        Centers in the refined embedding; of length 1 where the metric is the cosine.
    encoder_ : estimator
        The pretrained encoder, untouched by the joint phase: its embedding is the space
        that models with other numbers of clusters share.
    module_ : torch.nn.Module
        The refined network.
    history_ : dict of list of float
        "loss", "reconstruction_loss", "clustering_loss", "label_change" (share of labels
        that differ between the last two refreshes) and "lr", one value per epoch of the
        joint phase.
    n_iter_ : int
        Epochs of joint training.
    converged_ : bool
        Whether the labels settled while the learning rate was still high.
    image_shape_ : tuple (height, width, channels)
    scale_ : float
        What pixel values are divided by.
    device_ : str
        Where training ran.
    n_features_in_ : int
        Values per image.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X`, where it had any.

    See Also
    --------
    DeepEmbeddingClustering : The same for vectors.
    ConvAutoencoder : The default encoder.
    ContrastiveEncoder : An encoder for paintings and photographs.

    Notes
    -----
    Results are equal for equal `random_state` on the same device, in the same precision,
    number of threads and versions of the libraries.

    References
    ----------
    Guo, Liu, Zhu & Yin, *Deep Clustering with Convolutional Autoencoders*, ICONIP 2017.

    Castellano & Vessio, *Deep Convolutional Embedding for Digitized Painting Clustering*,
    ICPR 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
    >>> images = load_digits().images[:200]
    >>> model = DeepConvEmbeddingClustering(
    ...     n_clusters=10, encoder=ConvAutoencoder(max_epochs=3), max_epochs=2, random_state=0
    ... )
    >>> model.fit_predict(images).shape
    (200,)
    >>> model.predict_proba(images[:1]).shape
    (1, 10)
    """

    _parameter_constraints: dict = {
        **_BaseEmbeddingClustering._parameter_constraints,
        "image_shape": ["array-like", None],
        "data_format": [StrOptions({"channels_last", "channels_first"})],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        encoder: BaseEstimator | None = None,
        image_shape: tuple[int, ...] | None = None,
        data_format: str = "channels_last",
        gamma: float = 0.1,
        reconstruction_weight: float = 1.0,
        alpha: float = 1.0,
        init: Any = "gaussian-mixture",
        n_init: int = 10,
        max_epochs: int = 20,
        update_interval: str | int = "epoch",
        tol: float = 1e-3,
        lr: float = 1e-3,
        lr_schedule: str = "cosine",
        batch_size: int | str | None = None,
        memory: Any = None,
        device: Any = None,
        callbacks: Sequence[Any] | None = None,
        random_state: Any = None,
        verbose: Any = None,
    ):
        self.n_clusters = n_clusters
        self.encoder = encoder
        self.image_shape = image_shape
        self.data_format = data_format
        self.gamma = gamma
        self.reconstruction_weight = reconstruction_weight
        self.alpha = alpha
        self.init = init
        self.n_init = n_init
        self.max_epochs = max_epochs
        self.update_interval = update_interval
        self.tol = tol
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.batch_size = batch_size
        self.memory = memory
        self.device = device
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @available_if(_can_decode)
    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Decode embeddings into images.

        Exists where the decoder was trained in the joint phase, that is with an encoder
        that can decode and a positive `reconstruction_weight`.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            Refined embeddings, such as ``cluster_centers_``.

        Returns
        -------
        images : ndarray, dtype float32
            In the form and the units of the `X` seen in `fit`.
        """
        check_is_fitted(self)
        decoded = decode_embedding(self.module_, Z, self._n_features_out, self.scale_)
        return restore_layout(decoded.reshape(len(decoded), *self.image_shape_), self._layout)

    def _encoder_or_default(self) -> BaseEstimator:
        return ConvAutoencoder() if self.encoder is None else self.encoder

    def _validate(self, X: Any, *, reset: bool) -> np.ndarray:
        images, shape, layout = validate_images(
            self, X, reset=reset, image_shape=self._own_or_encoder_shape()
        )
        if reset:
            self.image_shape_, self._layout = shape, layout
        return images

    def _own_or_encoder_shape(self) -> tuple[int, ...] | None:
        """Return the image shape that the user gave, here or in the encoder."""
        if isinstance(self.encoder, FrozenEstimator):
            own = getattr(self.encoder.estimator, "image_shape_", None)
        else:
            own = getattr(self.encoder, "image_shape", None)
        return self.image_shape if own is None else own

    def _as_encoder_is_given(self, images: np.ndarray, params: dict[str, Any]) -> np.ndarray:
        """Return (n, H, W, C) images, or rows for an encoder of vectors."""
        return images if "image_shape" in params else images.reshape(len(images), -1)


class DeepEmbeddingClustering(_BaseEmbeddingClustering):
    """Cluster vectors by deep embedded clustering (DEC, IDEC).

    A dense autoencoder is pretrained on reconstruction, a Gaussian mixture places centers in
    its embedding, and encoder and centers are then trained together on
    ``reconstruction_weight * L_rec + gamma * L_clu``. The defaults are DEC, which leaves
    the decoder behind; ``gamma=0.1, reconstruction_weight=1.0`` is IDEC.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    encoder : estimator, default=None
        What is pretrained: None for ``DenseAutoencoder()``, or any estimator of the encoder
        protocol. A ``FrozenEstimator`` around a fitted one skips the pretraining and is
        left as it is. Where its own `random_state`, `device` or `verbose` is None, it takes
        the value from here. Joint training has its `precision`.
    gamma : float, default=1.0
        Weight of the clustering loss, summed over clusters and averaged over samples.
    reconstruction_weight : float, default=0.0
        Weight of the reconstruction loss, the mean over all values of a batch. 0 trains
        without the decoder.
    alpha : float, default=1.0
        Degrees of freedom of the Student's t soft assignment. Not used where the encoder's
        metric is the cosine: there the soft assignment is the softmax of ten times the
        cosines with the centers.
    init : {"gaussian-mixture", "k-means"}, array of shape (n_clusters, n_components) or \
            clusterer, default="gaussian-mixture"
        Where the clusters start: those that a Gaussian mixture, k-means (as in the papers) or
        an estimator with ``fit_predict`` finds in the pretrained embedding, or given centers. A
        mixture lets clusters be longer in one direction than in another, as they are in an
        embedding that was only trained to reconstruct. Means do not say that, so the first
        targets are the starting clusters themselves, but for k-means and given centers, and
        where the metric is the cosine; over the first half of the epochs, 10 at most, the
        target distribution takes their place.
    n_init : int, default=10
        Runs of k-means, of which the one of least inertia is taken; or of the mixture, where
        it is the one whose clusters cut the fewest ties between neighbours, beyond what
        their sizes explain (the greatest modularity). That one is mended by joining two
        clusters and cutting a third, as long as this raises the modularity. Where the metric
        is the cosine, the mixture of the greatest likelihood is taken as it is.
    max_epochs : int, default=20
        Epochs of joint training.
    update_interval : "epoch" or int, default="epoch"
        How often the targets are recomputed on all samples: after each epoch, or after so
        many batches.
    tol : float, default=1e-3
        Training ends early, with a last epoch of falling learning rate, once a smaller
        share of labels changed in two refreshes in a row.
    lr : float, default=1e-3
        Learning rate of Adam in the joint phase, at its highest.
    lr_schedule : {"cosine", "onecycle", "constant"}, default="cosine"
        How the learning rate moves from step to step.
    batch_size : int, "auto" or None, default=None
        Samples per step of the joint phase. None takes the encoder's.
    memory : str, path or joblib.Memory, default=None
        Where pretrained encoders are kept, so that fits that differ in `n_clusters` or in
        the joint phase share one.
    device : str or torch.device, default=None
        None uses CUDA where present, else the CPU.
    callbacks : list of skorch callbacks, default=None
        Called during the joint phase.
    random_state : int, RandomState instance or None, default=None
        Determines pretraining (the same for every `n_clusters`), initial centers and
        joint training.
    verbose : int or bool, default=None
        Whether to show progress bars.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), dtype int64
        Cluster of each sample, equal to ``predict`` of the same samples.
    cluster_centers_ : ndarray of shape (n_clusters, n_components), dtype float32
        Centers in the refined embedding; of length 1 where the metric is the cosine.
    encoder_ : estimator
        The pretrained encoder, untouched by the joint phase.
    module_ : torch.nn.Module
        The refined network.
    history_ : dict of list of float
        "loss", "reconstruction_loss" (where it has a weight), "clustering_loss",
        "label_change" and "lr", one value per epoch of the joint phase.
    n_iter_ : int
        Epochs of joint training.
    converged_ : bool
        Whether the labels settled while the learning rate was still high.
    scale_ : float
        What values are divided by.
    device_ : str
        Where training ran.
    n_features_in_ : int
        Values per sample.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X`, where it had any.

    See Also
    --------
    DeepConvEmbeddingClustering : The same for images.
    DenseAutoencoder : The default encoder.

    References
    ----------
    Xie, Girshick & Farhadi, *Unsupervised Deep Embedding for Clustering Analysis*,
    ICML 2016 (DEC).

    Guo, Gao, Liu & Yin, *Improved Deep Embedded Clustering with Local Structure
    Preservation*, IJCAI 2017 (IDEC).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdcec import DeepEmbeddingClustering, DenseAutoencoder
    >>> X = load_digits().data[:200]
    >>> encoder = DenseAutoencoder(hidden_layer_sizes=(64,), max_epochs=3)
    >>> model = DeepEmbeddingClustering(
    ...     n_clusters=10, encoder=encoder, max_epochs=2, random_state=0
    ... )
    >>> model.fit_predict(X).shape
    (200,)
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        encoder: BaseEstimator | None = None,
        gamma: float = 1.0,
        reconstruction_weight: float = 0.0,
        alpha: float = 1.0,
        init: Any = "gaussian-mixture",
        n_init: int = 10,
        max_epochs: int = 20,
        update_interval: str | int = "epoch",
        tol: float = 1e-3,
        lr: float = 1e-3,
        lr_schedule: str = "cosine",
        batch_size: int | str | None = None,
        memory: Any = None,
        device: Any = None,
        callbacks: Sequence[Any] | None = None,
        random_state: Any = None,
        verbose: Any = None,
    ):
        self.n_clusters = n_clusters
        self.encoder = encoder
        self.gamma = gamma
        self.reconstruction_weight = reconstruction_weight
        self.alpha = alpha
        self.init = init
        self.n_init = n_init
        self.max_epochs = max_epochs
        self.update_interval = update_interval
        self.tol = tol
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.batch_size = batch_size
        self.memory = memory
        self.device = device
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @available_if(_can_decode)
    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Decode embeddings into vectors.

        Exists where the decoder was trained in the joint phase, that is with an encoder
        that can decode and a positive `reconstruction_weight`.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            Refined embeddings, such as ``cluster_centers_``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), dtype float32
            In the units of the `X` seen in `fit`.
        """
        check_is_fitted(self)
        decoded = decode_embedding(self.module_, Z, self._n_features_out, self.scale_)
        return decoded.reshape(len(decoded), -1)

    def _encoder_or_default(self) -> BaseEstimator:
        return DenseAutoencoder() if self.encoder is None else self.encoder

    def _validate(self, X: Any, *, reset: bool) -> np.ndarray:
        return validate_rows(self, X, reset=reset)

    def _as_encoder_is_given(self, rows: np.ndarray, params: dict[str, Any]) -> np.ndarray:
        return rows
