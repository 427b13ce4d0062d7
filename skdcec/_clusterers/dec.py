"""What an embedded clustering is: an encoder and cluster centers, trained together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skdcec._clusterers.base import BaseEmbeddingClustering
from skdcec._clusterers.pretraining import can_decode
from skdcec._encoders.autoencoder import DenseAutoencoder
from skdcec._encoders.base import decode_embedding
from skdcec._encoders.images import validate_rows
from skdcec._persistence import register
from skdcec._sklearn_compat import available_if


@register
class DeepEmbeddingClustering(BaseEmbeddingClustering):
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
        protocol. For a table of few columns,
        ``DenseAutoencoder(hidden_layer_sizes=(50, 50, 200))`` takes a quarter of the time. A
        ``FrozenEstimator`` around a fitted one skips the pretraining and is left as it is. Where
        its own `random_state`, `device` or `verbose` is None, it takes the value from here. Joint
        training has its `precision`.
    gamma : float, default=1.0
        Weight of the clustering loss, summed over clusters and averaged over samples.
    reconstruction_weight : float, default=0.0
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
    max_epochs : int, default=20
        Epochs of joint training; 0 for none, which makes the start the result.
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
        Cluster of each sample, equal to ``predict`` of the same samples.
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
        The pretrained encoder, untouched by the joint phase.
    module_ : torch.nn.Module or None
        The refined network; None where the encoder has none.
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
        init: Any = "auto",
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

    @available_if(can_decode)
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

    def _given_encoder(self, rows: np.ndarray) -> Any:
        return DenseAutoencoder() if self.encoder is None else self.encoder

    def _validate(self, X: Any, *, reset: bool) -> np.ndarray:
        return validate_rows(self, X, reset=reset)

    def _as_encoder_is_given(self, rows: np.ndarray, params: dict[str, Any]) -> np.ndarray:
        return rows
