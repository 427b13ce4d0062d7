"""What an embedded clustering is: an encoder and cluster centers, trained together."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

# A file may name an encoder of these, which have to be known when it is read.
import skdcec.features  # noqa: F401
from skdcec._clusterers.base import BaseEmbeddingClustering
from skdcec._clusterers.pretraining import can_decode
from skdcec._encoders.autoencoder import ConvAutoencoder
from skdcec._encoders.base import decode_embedding
from skdcec._encoders.images import ImageInput, are_gray, restore_layout, warn_of_table
from skdcec._named import NAMES, encoder_by_name, resolve_name
from skdcec._nn import distributed
from skdcec._persistence import declared, register
from skdcec._sklearn_compat import HasMethods, Interval, StrOptions, available_if, unwarned


@register
class DeepConvEmbeddingClustering(ImageInput, BaseEmbeddingClustering):
    """Cluster images by deep convolutional embedded clustering (DCEC).

    A convolutional autoencoder is pretrained on reconstruction, clusters are found in its
    embedding, and encoder, decoder and centers are then trained together on
    ``reconstruction_weight * L_rec + gamma * L_clu``, where ``L_clu`` pulls each image
    towards a sharpened version of its own soft assignment.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    encoder : estimator, str or None, default=None
        What is pretrained: None for ``ConvAutoencoder()`` as in the papers, or any estimator of
        the encoder protocol. Words stand for encoders that do well: "autoencoder" compares
        shapes, and sees them shifted and turned; "contrastive" compares colours and
        textures, "paintings" the same by weights that were trained on paintings, beside colours
        and edges: there, nothing is trained, and the start is the result. "auto" looks at a
        sample: where clusters hold together pixel by pixel about as well as in what the painting
        encoder sees, as those of digits, faces and clothes do, it is "autoencoder"; else
        "paintings". "timm/NAME" and the other names of
        :class:`~skdcec.features.PretrainedFeatures` are networks trained elsewhere, and words
        joined by "+", such as "paintings+timm/NAME", stand side by side, each with the same
        variance: there, too, the start is the result. A
        ``FrozenEstimator`` around a fitted one skips the pretraining and is left as it is. Where
        its own `random_state`, `device`, `verbose` or `image_shape` is None, it takes the value
        from here. Joint training has its `precision`.
    image_shape : tuple (height, width) or (height, width, channels), default=None
        Shape of the images that come as rows of a 2-D `X`. None takes a square number of
        features for a square gray image, and any other for an image one pixel high.
    data_format : {"channels_last", "channels_first"}, default="channels_last"
        Order of the axes of a 4-D `X`. Rows of a 2-D `X` are always (H, W, C).
    gamma : float or "auto", default="auto"
        Weight of the clustering loss, summed over clusters and averaged over images. "auto" is
        .1, and 1 behind an autoencoder with an `augmentation`.
    reconstruction_weight : float, default=1.0
        Weight of the reconstruction loss, the mean over all values of a batch. 0 trains
        without the decoder.
    alpha : float, default=1.0
        Degrees of freedom of the Student's t soft assignment. Not used where the encoder's
        metric is the cosine: there the soft assignment is the softmax of ten times the
        cosines with the centers.
    init : {"auto", "gaussian-mixture", "k-means"}, array of shape (n_clusters, n_components) \
            or (n_samples,), or clusterer, default="auto"
        Where the clusters start: those that a Gaussian mixture, k-means (as in the papers) or
        an estimator with ``fit_predict`` finds in the pretrained embedding; given centers; or
        given labels of the rows of `X`, such as those that somebody corrected, as whole numbers
        that keep their order, negative where a row has none.
        "auto" takes the best of several mixtures, k-means, and spectral clusterings of the graph
        of nearest neighbours, whose clusters may have any shape; looks in the same way for the
        clusters that the refined embedding shows; and tells these by a mixture (``means_``).
        Unless they are the points nearest to given centers, training begins with a warm-up: the
        first targets are the starting clusters themselves, and over the first half of the
        epochs, 10 at most, the target distribution takes their place.
    n_init : int, default=10
        Starts of which the best is kept; not used with an estimator or given centers. The best
        k-means is the one of least inertia. The covariance of mixtures is the one of least
        Bayesian information criterion, and the best is the one whose clusters cut the fewest
        edges between nearest neighbours, beyond what their sizes explain (the greatest
        modularity); two of its clusters are then merged and a third is split, as long as that
        raises the modularity.
    max_epochs : int or "auto", default="auto"
        Epochs of joint training; 0 for none, which makes the start the result. "auto" is 20, and
        40 behind an autoencoder with an `augmentation`.
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
        The folder where pretrained encoders are kept, so that fits that differ in `n_clusters`
        or in the joint phase share one. They are kept as by their `save`, without code, and
        checked when they are read; only an encoder of a class of your own is pickled by joblib,
        which should then read no folder that others can write to. An interrupted training
        leaves its state there every half minute, in either phase, and an equal fit goes on
        from it.
    device : str or torch.device, default=None
        None takes CUDA or Apple's MPS where present, else the CPU.
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
        Means of the clusters in the refined embedding; of length 1 where the metric is the
        cosine.
    weights_, means_, covariances_ : ndarray or None
        The Gaussian mixture that tells the clusters from each other in the embedding of
        ``transform``, of shapes (n_clusters,), (n_clusters, n_components) and (n_clusters,
        n_components, n_components); covariances may also be those of all clusters, of shape
        (1, n_components, n_components), or, in very many components, without correlations,
        (n_clusters, n_components). They are as wide, and the weights such, that ``predict_proba``
        is only as sure of samples as it is right about those that it was not fitted to.
        None where the soft assignment to the centers tells them, as after a joint phase with
        an `init` that is neither "auto" nor labels.
    refined_ : bool
        Whether the result is that of the joint phase. False where there was none, or where the
        embedding showed its clusters less clearly afterwards, so that the start is the result.
    encoder_ : estimator
        The pretrained encoder, untouched by the joint phase: its embedding is the space
        that models with other numbers of clusters share.
    module_ : torch.nn.Module or None
        The refined network; None where the encoder has none.
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

    _parameter_constraints: dict[str, Any] = {
        **BaseEmbeddingClustering._parameter_constraints,
        **ImageInput._parameter_constraints,
        "encoder": [HasMethods(["fit", "transform"]), str, None],
        "gamma": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "max_epochs": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
    }
    _kept_parameters = {
        **BaseEmbeddingClustering._kept_parameters,
        **ImageInput._kept_parameters,
        "encoder": declared.either(
            declared.part("encoder"), declared.choice(*NAMES), declared.nothing
        ),
        **{
            name: declared.either(
                BaseEmbeddingClustering._kept_parameters[name], declared.choice("auto")
            )
            for name in ("gamma", "max_epochs")
        },
    }
    _fitted_attributes = {
        **BaseEmbeddingClustering._fitted_attributes,
        **ImageInput._fitted_attributes,
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        encoder: BaseEstimator | str | None = None,
        image_shape: tuple[int, ...] | None = None,
        data_format: str = "channels_last",
        gamma: float | str = "auto",
        reconstruction_weight: float = 1.0,
        alpha: float = 1.0,
        init: Any = "auto",
        n_init: int = 10,
        max_epochs: int | str = "auto",
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

    @available_if(can_decode)
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

    def _pretrain(self, array: np.ndarray, seed: int) -> Any:
        if not (isinstance(self.encoder, str) and self.encoder == "auto"):
            return super()._pretrain(array, seed)
        # Whoever asks for what does best need not hear that it was made for colours.
        with unwarned("X holds gray images", "", UserWarning):
            return super()._pretrain(array, seed)

    def _given_encoder(self, images: np.ndarray) -> Any:
        if isinstance(self.encoder, str):
            name = distributed.on_first(resolve_name, self.encoder, images, device=self.device)
            n_channels = 1 if are_gray(images) else images.shape[3]
            return encoder_by_name(name, len(images), n_channels)
        return ConvAutoencoder() if self.encoder is None else self.encoder

    def _validate(self, X: Any, *, reset: bool) -> np.ndarray:
        images = super()._validate(X, reset=reset)
        # An encoder of vectors takes tables for what they are.
        as_images = self.encoder is None or isinstance(self.encoder, str | ImageInput)
        if reset and as_images and self._layout == "rows" and self._given_image_shape() is None:
            warn_of_table(self.image_shape_)
        return images

    def _given_image_shape(self) -> tuple[int, ...] | None:
        """Return the image shape that the user gave, here or in the encoder."""
        if isinstance(self.encoder, FrozenEstimator):
            own = getattr(self.encoder.estimator, "image_shape_", None)
        else:
            own = getattr(self.encoder, "image_shape", None)
        return self.image_shape if own is None else own

    def _as_encoder_is_given(self, images: np.ndarray, params: dict[str, Any]) -> np.ndarray:
        """Return (n, H, W, C) images, or rows for an encoder of vectors."""
        return images if "image_shape" in params else images.reshape(len(images), -1)
