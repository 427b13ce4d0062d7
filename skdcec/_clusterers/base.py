"""What an embedded clustering is: an encoder and cluster centers, trained together."""

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skdcec import _persistence
from skdcec._analysis.scores import score_labels
from skdcec._analysis.spaces import space_of
from skdcec._callers import caller_level
from skdcec._clusterers.mixtures import Readout, fit_readout
from skdcec._clusterers.pretraining import PretrainedByEncoder
from skdcec._clusterers.starts import Start, check_init, clarity, find_labels, find_start
from skdcec._clusterers.unfinished import joint_checkpoint
from skdcec._encoders.autoencoder import precision_of
from skdcec._encoders.base import check_callbacks, check_network, unchanged_on_failure
from skdcec._encoders.cache import content_digest
from skdcec._encoders.images import check_units, units_compared
from skdcec._encoders.recognition import recognized
from skdcec._encoders.remembered import embedded_once, embeddings_remembered
from skdcec._nn import distributed
from skdcec._nn.batches import Batches, check_output, loader_for, map_together, plan_batches
from skdcec._nn.callbacks import TargetRefresh
from skdcec._nn.device import make_generator, resolve_device
from skdcec._nn.kept import state_with_tensors, state_without_tensors
from skdcec._nn.modules import ClusteringModule, normalize_embedding
from skdcec._nn.nets import ClusteringNet, epoch_history, train
from skdcec._nn.schedule import Schedule
from skdcec._persistence import SavedEstimator, declared
from skdcec._persistence.declared import MAX_CODE, Kind
from skdcec._sklearn_callbacks import (
    CallbackSupportMixin,
    epoch_tasks,
    subtask,
    telling,
)
from skdcec._sklearn_compat import (
    HasMethods,
    Interval,
    OneOfMany,
    StrOptions,
    check_array,
    fit_context,
)

# Labels never count as settled before this many steps of joint training.
_MIN_STEPS = 100

# Rows that are compared at once.
_BLOCK = 2**14


# What "auto" means for the joint phase: behind an encoder that reconstructs images as they are,
# and behind one that reconstructs changed ones.
_AUTO: dict[str, tuple[Any, Any]] = {"gamma": (0.1, 1.0), "max_epochs": (20, 40)}


def _n_distinct(assignment: np.ndarray, enough: int) -> int:
    """Return how many rows differ; counted until there are enough."""
    distinct = assignment[:0]
    for start in range(0, len(assignment), _BLOCK):
        # Copies differ by rounding, if at all.
        block = assignment[start : start + _BLOCK].round(5)
        distinct = np.unique(np.concatenate([distinct, block]), axis=0)
        if len(distinct) >= enough:
            break
    return len(distinct)


class BaseEmbeddingClustering(
    CallbackSupportMixin,
    SavedEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    PretrainedByEncoder,
):
    """Pretrain an encoder, place centers in its embedding, train both together."""

    _parameter_constraints: dict[str, Any] = {
        "n_clusters": [OneOfMany(Integral, 1, None, closed="left")],
        "encoder": [HasMethods(["fit", "transform"]), None],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "init": [
            StrOptions({"auto", "gaussian-mixture", "k-means"}),
            "array-like",
            HasMethods(["fit_predict"]),
        ],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
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
    _kept_parameters: Mapping[str, Kind] = {
        "n_clusters": declared.whole(1, 10**5),
        "encoder": declared.either(declared.part("encoder"), declared.nothing),
        "gamma": declared.number(0, 1e6),
        "reconstruction_weight": declared.number(0, 1e6),
        "alpha": declared.number(1e-6, 1e6),
        "init": declared.either(
            declared.choice("auto", "gaussian-mixture", "k-means"),
            declared.array(2, "fiu", -MAX_CODE, MAX_CODE),
            declared.array(1, "iu", -(10**6), 10**6),
            declared.items(declared.whole(-(10**6), 10**6), 1, 10**7),
            declared.items(
                declared.items(declared.number(-MAX_CODE, MAX_CODE), 1, declared.MAX_WIDTH),
                1,
                10**5,
            ),
        ),
        "n_init": declared.whole(1, 10**4),
        "max_epochs": declared.either(declared.epochs, declared.whole(0, 0)),
        "update_interval": declared.either(declared.choice("epoch"), declared.whole(1, 10**9)),
        "tol": declared.number(0, 1e6),
        "lr": declared.learning_rate,
        "lr_schedule": declared.choice("onecycle", "cosine", "constant"),
        "batch_size": declared.either(
            declared.batch_size, declared.choice("auto"), declared.nothing
        ),
        "random_state": declared.seed,
    }
    _fitted_attributes: Mapping[str, Kind | None] = {
        "encoder_": None,
        "module_": None,
        "labels_": declared.array(1, "<i8", 0, 10**5),
        "cluster_centers_": declared.array(2, "<f4", -MAX_CODE, MAX_CODE),
        "weights_": declared.either(declared.array(1, "<f8", 0, 1), declared.nothing),
        "means_": declared.either(declared.array(2, "<f4", -MAX_CODE, MAX_CODE), declared.nothing),
        "covariances_": declared.either(
            declared.array(2, "<f8", 0, MAX_CODE**2),
            declared.array(3, "<f8", -(MAX_CODE**2), MAX_CODE**2),
            declared.nothing,
        ),
        "scale_": declared.scale,
        "history_": declared.histories,
        "n_iter_": declared.whole(0, 10**9),
        "converged_": declared.flag,
        "refined_": declared.either(declared.flag, declared.nothing),
        "device_": declared.choice("cpu"),
        "n_features_in_": declared.n_features,
    }
    _role = "clusterer"

    @fit_context(prefer_skip_nested_validation=False)
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
            The estimator itself, fitted.

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
        check_callbacks(self.callbacks)
        n_phases = 1 if self.max_epochs == 0 else 2
        with telling(self, X, n_phases), unchanged_on_failure(self), embeddings_remembered():
            array = self._validate(X, reset=True)
            distributed.check_data(array, content_digest)
            if len(array) < self.n_clusters:
                raise ValueError(
                    f"n_samples={len(array)} should be >= n_clusters={self.n_clusters}: set "
                    f"n_clusters to {len(array)} or less, or give more samples."
                )
            check_init(self.init, len(array), self.n_clusters)
            device = resolve_device(self.device)
            pretraining_seed, start_seed, joint_seed = self._draw_seeds()
            self.encoder_ = self._pretrain(array, pretraining_seed)
            self.scale_ = float(getattr(self.encoder_, "scale_", 1.0))
            array = self._as_encoder_takes(array)
            self.module_ = self._copied_module(device)
            self.device_ = str(device)
            embedding = self._embed(array)
            how = {"n_init": self.n_init, "seed": start_seed}
            start = distributed.on_first(
                find_start, embedding, self.n_clusters, init=self.init, **how
            )
            self._keep_start(start)
            labels = start.labels
            n_epochs = self._joint("max_epochs")
            if n_epochs > 0 and self.module_ is not None:
                with subtask(self, "joint training", n_subtasks=n_epochs) as told:
                    batches = Batches(array, self.scale_, device)
                    self._train(start, batches, joint_seed, epoch_tasks(self, told))
                refined = self._embed(array)
                labels = self._labels_of_refined(start, embedding, refined, how)
                if self.refined_:
                    embedding = refined
                else:
                    self.module_, labels = self._copied_module(device), start.labels
            if labels is not None:
                self._keep_readout(embedding, labels, start_seed)
            assignment = distributed.on_first(self._assign, embedding)
            self.labels_: np.ndarray = assignment.argmax(axis=1)
        self._warn_of_empty_clusters(assignment)
        if self.n_iter_ > 0 and not self.refined_ and distributed.is_first():
            warnings.warn(
                "Training blurred the clusters, so the result is their start: the pretrained "
                "embedding shows its clusters more clearly than the refined one does. A smaller "
                "lr may refine them; max_epochs=0 saves the time.",
                ConvergenceWarning,
                stacklevel=caller_level(),
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
            Cluster of each sample, the `labels_`.
        """
        return self.fit(X).labels_

    def predict(self, X: Any) -> np.ndarray:
        """Return the cluster of each row of `X`.

        Parameters
        ----------
        X : array-like, or pictures
            Images or vectors of the shape seen in `fit`. Of images also what stands for them:
            paths, contents of files, open files or PIL images, one or a sequence, which are read
            as :func:`skdcec.datasets.load_images` reads them by default.

        Returns
        -------
        labels : ndarray of shape (n_samples,), dtype int64
            Cluster of each sample.
        """
        return self.predict_proba(X).argmax(axis=1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the soft assignment of each row of `X` to each cluster.

        Parameters
        ----------
        X : array-like, or pictures
            Images or vectors, or what stands for images, as of :meth:`predict`.

        Returns
        -------
        assignment : ndarray of shape (n_samples, n_clusters), dtype float32
            Rows sum to 1. Where a mixture reads the clusters out of the embedding (``means_`` is
            not None), its posterior. Else, where the encoder's metric is Euclidean, similarities
            to the centers by a Student's t kernel; where it is the cosine, the softmax of ten
            times the cosines with the centers.
        """
        return self._by_chunks(lambda some: self._assign(self._embed(self._checked(some))), X)

    def transform(self, X: Any) -> np.ndarray:
        """Embed `X` as refined together with the clusters.

        Parameters
        ----------
        X : array-like, or pictures
            Images or vectors, or what stands for images, as of :meth:`predict`.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components), dtype float32
            Where each sample lies, in the space of `cluster_centers_`.
        """
        return self._by_chunks(lambda some: self._embed(self._checked(some)), X)

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
        rows = "image_shape" not in self.get_params(deep=False)
        return score_labels(self, recognized(X, rows=rows), space_of)

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

    def _draw_seeds(self) -> tuple[int, int, int]:
        """Return the seeds of pretraining, initial centers and joint training."""
        rng = check_random_state(self.random_state)
        seeds = distributed.shared(rng.randint(2**31 - 1, size=3))
        return int(seeds[0]), int(seeds[1]), int(seeds[2])

    def _train(self, start: Start, batches: Batches, seed: int, told: list[Any]) -> None:
        """Run the joint phase on the network and the starting centers; set what it learned."""
        generator = make_generator(seed)
        clustering = self._clustering_module(self.module_, start.centers)
        refresh = TargetRefresh(
            lambda net: map_together(net.assign, batches),
            interval=self.update_interval,
            tol=self.tol,
            min_steps=_MIN_STEPS,
            start_labels=None if start.labels is None else torch.from_numpy(start.labels),
        )
        batch_size, n_passes = plan_batches(len(batches), self._joint_batch_size())
        loader = loader_for(
            batches,
            batch_size=batch_size,
            n_passes=n_passes,
            generator=generator,
            target=lambda: refresh.target,
        )
        n_epochs = self._joint("max_epochs")
        net = ClusteringNet(
            clustering,
            gamma=self._joint("gamma"),
            reconstruction_weight=self.reconstruction_weight,
            joint_loss=self._joint_loss(self.module_),
            loss_names=self._loss_names(),
            schedule=Schedule(self.lr_schedule, n_epochs * len(loader)),
            generator=generator,
            augmentation=self._augmentation,
            callbacks=[("target_refresh", refresh), *(self.callbacks or ()), *told],
            max_epochs=n_epochs,
            lr=self.lr,
            device=batches.device,
            precision=precision_of(self.encoder_, batches.device),
        )
        name, checkpoint = type(self).__name__, joint_checkpoint(self, batches, seed)
        train(net, loader, description=name, verbose=bool(self.verbose), checkpoint=checkpoint)
        trained = net.module_.eval()
        self.module_ = trained.encoder
        centers = normalize_embedding(trained.centers.detach(), self._metric)
        self.cluster_centers_ = centers.cpu().numpy()
        names = {name: f"train_{name}" for name in ("loss", *self._loss_names())}
        self.history_ = epoch_history(net, {**names, "label_change": "label_change"})
        self.n_iter_ = len(self.history_["loss"])
        self.converged_ = refresh.settled
        self.refined_ = True

    def _labels_of_refined(
        self, start: Start, embedding: np.ndarray, refined: np.ndarray, how: Mapping[str, Any]
    ) -> np.ndarray | None:
        """Return the clusters of the refined embedding, where a mixture is to tell them."""
        are_given = np.ndim(self.init) == 1
        is_auto = isinstance(self.init, str) and self.init == "auto"
        if start.labels is None or not (are_given or is_auto):
            return None
        known: Any = slice(None)
        if are_given:
            labels, known = start.labels, start.labels >= 0
        else:
            labels = distributed.on_first(find_labels, refined, self.n_clusters, init="auto", **how)
        self.refined_ = distributed.shared(
            clarity(refined[known], labels[known]) >= clarity(embedding[known], start.labels[known])
        )
        return labels

    def _keep_start(self, start: Start) -> None:
        """Set what there is without a joint phase."""
        self._keep_centers(start.centers)
        self.weights_: np.ndarray | None = None
        self.means_: np.ndarray | None = None
        self.covariances_: np.ndarray | None = None
        names = ("loss", *self._loss_names(), "label_change", "lr")
        self.history_ = {name: [] for name in names}
        self.n_iter_ = 0
        self.converged_ = self.refined_ = False

    def _keep_centers(self, centers: np.ndarray) -> None:
        self.cluster_centers_ = normalize_embedding(torch.tensor(centers), self._metric).numpy()

    def _keep_readout(self, embedding: np.ndarray, labels: np.ndarray, seed: int) -> None:
        """Set the mixture that assigns points to these clusters."""
        known = labels >= 0
        readout = distributed.on_first(
            fit_readout, embedding[known], labels[known], self.n_clusters, seed
        )
        self.weights_, self.means_, self.covariances_ = readout
        self._keep_centers(readout.means)

    def _joint(self, name: str) -> Any:
        """Return a setting of the joint phase, or what "auto" stands for behind this encoder."""
        value = getattr(self, name)
        if not isinstance(value, str):
            return value
        # Targets of the images themselves, for views of them, may count for as much as the views.
        shows_views = self._augmentation is not None and hasattr(self.module_, "decode")
        return _AUTO[name][shows_views]

    def _joint_loss(self, module: nn.Module) -> Callable[..., Tensor] | None:
        """Return the encoder's own term in the place of the reconstruction loss, if it has one."""
        joint_loss = getattr(self.encoder_, "joint_loss", None)
        can_reconstruct = joint_loss is not None or hasattr(module, "decode")
        if self.reconstruction_weight > 0 and not can_reconstruct:
            raise ValueError(
                f"reconstruction_weight={self.reconstruction_weight} needs an encoder that can "
                "decode or has a joint_loss; this one has neither: set it to 0."
            )
        return joint_loss

    def _loss_names(self) -> list[str]:
        """Return what the loss is made of."""
        return ["reconstruction_loss"] * (self.reconstruction_weight > 0) + ["clustering_loss"]

    def _joint_batch_size(self) -> int | str:
        return self.batch_size or self.encoder_.get_params(deep=False).get("batch_size") or "auto"

    def _warn_of_empty_clusters(self, assignment: np.ndarray) -> None:
        n_found = len(np.unique(self.labels_))
        if n_found < self.n_clusters and distributed.is_first():
            n_distinct = _n_distinct(assignment, self.n_clusters)
            reason = (
                f"only {n_distinct} samples differ in what the model sees of them"
                if n_distinct < self.n_clusters
                else "the others lost all of theirs during training, which longer pretraining, "
                "more samples or another seed usually prevent"
            )
            warnings.warn(
                f"{n_found} of n_clusters={self.n_clusters} clusters have members; {reason}.",
                ConvergenceWarning,
                stacklevel=caller_level(),
            )

    @property
    def _augmentation(self) -> Any:
        params = self.encoder_.get_params(deep=False)
        return getattr(self.encoder_, "augmentation_", params.get("augmentation"))

    @property
    def _metric(self) -> str:
        return getattr(self.encoder_, "metric_", "euclidean")

    def _copied_module(self, device: torch.device) -> Any:
        """Return a copy of the encoder's network to train further; None if it has none."""
        module = getattr(self.encoder_, "module_", None)
        return None if module is None else copy.deepcopy(module).to(device).eval()

    def _clustering_module(self, module: nn.Module, centers: np.ndarray) -> ClusteringModule:
        return ClusteringModule(module, torch.tensor(centers), self.alpha, self._metric)

    def _by_chunks(self, function: Callable[[Any], np.ndarray], X: Any) -> np.ndarray:
        """Apply `function` to `X`; that of images does so by parts where these are pictures."""
        return function(X)

    def _checked(self, X: Any) -> np.ndarray:
        """Return `X` in the order that the encoder takes."""
        check_is_fitted(self)
        array = self._as_encoder_takes(self._validate(X, reset=False))
        if hasattr(self.encoder_, "scale_"):
            check_units(array, self.scale_)
        return array

    def _embed(self, array: np.ndarray) -> np.ndarray:
        """Embed images or vectors in the order that the encoder takes."""
        if self.module_ is None:
            found = embedded_once(self.encoder_, array, lambda: self._embed_untrained(array))
            return check_array(found, dtype=np.float32, input_name="Z")
        batches = Batches(array, self.scale_, next(self.module_.parameters()).device)
        metric = self._metric
        return check_output(
            map_together(lambda x: normalize_embedding(self.module_.encode(x), metric), batches),
            batches,
        ).numpy()

    def _embed_untrained(self, array: np.ndarray) -> Any:
        with units_compared():
            return distributed.on_first(self.encoder_.transform, array)

    @property
    def _readout(self) -> Readout | None:
        # An estimator of an older version has none.
        parts: list[Any] = [getattr(self, f"{name}_", None) for name in Readout._fields]
        return None if any(part is None for part in parts) else Readout(*parts)

    def _assign(self, embedding: np.ndarray) -> np.ndarray:
        """Return the soft assignment of embedded points."""
        readout = self._readout
        if readout is not None:
            return readout.posterior(embedding)
        clustering = self._clustering_module(nn.Identity(), self.cluster_centers_)
        return map_together(clustering.assign, Batches(embedding, 1.0, torch.device("cpu"))).numpy()

    def _as_encoder_takes(self, array: np.ndarray) -> np.ndarray:
        """Return rows, or images where the encoder's module works on images."""
        shape = getattr(self.encoder_, "image_shape_", None)
        return array.reshape(len(array), *(shape or (-1,)))

    @property
    def _n_features_out(self) -> int:
        return self.cluster_centers_.shape[1]

    def _check_loaded(self) -> None:
        n_clusters, n_components = self.cluster_centers_.shape
        if self.labels_.max() >= n_clusters:
            raise ValueError(f"labels_ go up to {self.labels_.max()}, of {n_clusters} clusters.")
        self._check_encoder(self.encoder_)
        if self._readout is not None:
            self._readout.check((n_clusters, n_components))
        shape = getattr(self.encoder_, "image_shape_", (self.n_features_in_,))
        own_shape = getattr(self, "image_shape_", shape)
        differ = own_shape != shape and len(own_shape) == len(shape)
        if differ or {math.prod(own_shape), math.prod(shape)} != {self.n_features_in_}:
            raise ValueError(
                f"It takes {self.n_features_in_} values of images of shape {own_shape}, and its "
                f"encoder those of {shape}."
            )
        if self.scale_ != getattr(self.encoder_, "scale_", self.scale_):
            raise ValueError(f"scale_={self.scale_} is not that of its encoder.")
        if self.module_ is not None:
            check_network(self.module_, shape, n_components)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "labels_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return state_without_tensors(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state_with_tensors(state))
