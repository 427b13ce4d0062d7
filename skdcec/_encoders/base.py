"""What encoders share, and what an encoder is to a clusterer."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skdcec._encoders.cache import content_digest
from skdcec._encoders.images import check_units
from skdcec._nn import distributed
from skdcec._nn.batches import (
    Batches,
    check_output,
    fits_float32,
    loader_for,
    map_batches,
    plan_batches,
)
from skdcec._nn.checkpoints import Checkpoint, kept_until_stored, telling_once
from skdcec._nn.device import make_generator, resolve_device, usual_settings
from skdcec._nn.kept import state_with_tensors, state_without_tensors
from skdcec._nn.modules import normalize_embedding
from skdcec._nn.nets import epoch_history, train
from skdcec._nn.schedule import Schedule
from skdcec._persistence import SavedEstimator, declared
from skdcec._persistence.declared import MAX_CODE, Kind
from skdcec._sklearn_callbacks import CallbackSupportMixin, epoch_tasks, telling
from skdcec._sklearn_compat import Interval, StrOptions, check_array, fit_context
from skdcec.augmentation import check_called

# So many made-up images show whether a network returns numbers; of large ones, fewer.
_N_TRIED = 8
_VALUES_TRIED = 2**20


def check_callbacks(callbacks: Any) -> None:
    """Raise for what a training could not call, before it begins.

    Raises
    ------
    TypeError
        If one is no callback of skorch.
    ValueError
        If one looks at a loss of held out samples.
    """
    for given in callbacks or ():
        named = isinstance(given, tuple) and len(given) == 2
        callback = given[1] if named else given
        if not hasattr(callback, "on_train_begin"):
            raise TypeError(
                f"callbacks holds {callback!r}, which is none of skorch: derive it from "
                "skorch.callbacks.Callback."
            )
        if getattr(callback, "monitor", None) in ("valid_loss", "valid_loss_best"):
            raise ValueError(
                f"{type(callback).__name__} of callbacks has monitor={callback.monitor!r}, but "
                f"nothing is held out: set monitor={callback.monitor.replace('valid', 'train')!r}."
            )


class BaseEncoder(
    CallbackSupportMixin,
    SavedEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """What encoders share: everything but the network, its loss and the form of X.

    An encoder for the clusterers has ``fit``, ``transform``, ``module_``, ``metric_`` and
    ``history_``; batches reach its module as ``X / scale_``, images if it has
    ``image_shape_`` and rows if not.
    """

    _parameter_constraints: dict[str, Any] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "augmentation": [callable, None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"onecycle", "cosine", "constant"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "device": [str, torch.device, None],
        "callbacks": [list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose", None],
    }
    _kept_parameters: Mapping[str, Kind] = {
        "n_components": declared.whole(1, declared.MAX_WIDTH),
        "augmentation": declared.either(declared.part("augmentation"), declared.nothing),
        "max_epochs": declared.epochs,
        "lr": declared.learning_rate,
        "lr_schedule": declared.choice("onecycle", "cosine", "constant"),
        "batch_size": declared.either(declared.batch_size, declared.choice("auto")),
        "random_state": declared.seed,
    }
    _fitted_attributes: Mapping[str, Kind | None] = {
        "module_": None,
        "scale_": declared.scale,
        "history_": declared.histories,
        "n_iter_": declared.whole(0, 10**9),
        "device_": declared.choice("cpu"),
        "n_features_in_": declared.n_features,
        "metric_": declared.choice("euclidean", "cosine"),
        "_n_features_out": declared.whole(1, declared.MAX_WIDTH),
    }
    _role = "encoder"
    # Where training goes on from, if a clusterer keeps what is unfinished.
    _checkpoint: Checkpoint | None = None

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: None = None) -> Self:
        """Train the encoder on `X`.

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
            If `X` or a parameter is not usable, or the loss becomes NaN.
        KeyboardInterrupt
            On Ctrl-C; the estimator is then as it was before.
        """
        check_callbacks(self.callbacks)
        with telling(self, X, self.max_epochs), unchanged_on_failure(self):
            self._fit(self._validate(X, reset=True))
        return self

    def _fit(self, array: np.ndarray) -> None:
        check_called(self.augmentation)
        device = resolve_device(self.device)
        distributed.check_data(array, content_digest)
        seed = distributed.shared(check_random_state(self.random_state).randint(2**31 - 1))
        generator = make_generator(seed)
        scale = self._find_scale(array)
        module = self._initial_module(generator)
        batches = Batches(array, scale, device)
        self.history_: dict[str, list[float]] = {"loss": [], "lr": []}
        if self.max_epochs > 0:
            module = self._train(module, batches, generator)
        self.module_ = module.to(device).eval()
        self._complete(batches)
        distributed.equalize(self.module_)
        self.scale_ = scale
        self.n_iter_ = len(self.history_["loss"])
        self.device_ = str(device)
        self.metric_ = self._metric
        self._n_features_out = int(self.n_components)

    def _train(self, module: Any, batches: Batches, generator: torch.Generator) -> Any:
        """Train a network, note how that went, and return it."""
        batch_size, n_passes = plan_batches(len(batches), self.batch_size)
        loader = loader_for(batches, batch_size=batch_size, n_passes=n_passes, generator=generator)
        net = self._net_class(
            module,
            loss_names=(),
            schedule=Schedule(self.lr_schedule, self.max_epochs * len(loader)),
            generator=generator,
            callbacks=[*(self.callbacks or ()), *epoch_tasks(self)],
            max_epochs=self.max_epochs,
            lr=self.lr,
            device=batches.device,
            **self._net_params(batches.device),
        )
        train(
            net,
            loader,
            description=type(self).__name__,
            verbose=bool(self.verbose),
            checkpoint=self._checkpoint,
        )
        self.history_ = epoch_history(net, {"loss": "train_loss"})
        return net.module_

    def _initial_module(self, generator: torch.Generator) -> Any:
        """Return the network as it is before the first step."""
        return self._new_module(generator)

    def transform(self, X: Any) -> np.ndarray:
        """Embed `X`.

        Parameters
        ----------
        X : array-like, or pictures
            Images or vectors of the shape seen in `fit`. Of images also what stands for them:
            paths, contents of files, open files or PIL images, one or a sequence, which are read
            as :func:`skdcec.datasets.load_images` reads them by default.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components), dtype float32
            What the encoder makes of each sample; rows of unit length where `metric_` is "cosine".
        """
        check_is_fitted(self)

        def embed(batch: torch.Tensor) -> torch.Tensor:
            return normalize_embedding(self.module_.encode(batch), self.metric_)

        def embedded(some: Any) -> np.ndarray:
            batches = self._batches(some)
            return check_output(map_batches(embed, batches), batches).numpy()

        return self._by_chunks(embedded, X)

    def _by_chunks(self, function: Callable[[Any], np.ndarray], X: Any) -> np.ndarray:
        """Apply `function` to `X`; those of images do so by parts where these are pictures."""
        return function(X)

    def _batches(self, X: Any) -> Batches:
        array = self._validate(X, reset=False)
        check_units(array, self.scale_)
        return Batches(array, self.scale_, next(self.module_.parameters()).device)

    def _check_loaded(self) -> None:
        if self.metric_ != self._metric:
            raise ValueError(f"metric_={self.metric_!r} is not that of a {type(self).__name__}.")
        shape = getattr(self, "image_shape_", (self.n_features_in_,))
        if math.prod(shape) != self.n_features_in_:
            raise ValueError(
                f"n_features_in_={self.n_features_in_} is not the number of values of images of "
                f"shape {shape}."
            )
        check_network(self.module_, shape, self._n_features_out)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return state_without_tensors(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state_with_tensors(state))


def check_network(module: Any, shape: tuple[int, ...], n_components: int) -> None:
    """Let a network embed a few made-up images or rows, and decode them if it can.

    Parameters
    ----------
    module : nn.Module
        On the CPU.
    shape : tuple (height, width, channels) or (n_features,)
    n_components : int

    Raises
    ------
    ValueError
        If that gives anything but numbers, or embeddings of another size.
    """
    n_rows = max(1, min(_N_TRIED, _VALUES_TRIED // math.prod(shape)))
    generator = make_generator(0)
    tried = torch.rand((n_rows, *shape), generator=generator, dtype=torch.float32, device="cpu")
    # Of one sign and of both, as pixels are and as centered values are.
    tried[::2] = 2 * tried[::2] - 1
    with torch.inference_mode():
        code = module.encode(tried.permute(0, 3, 1, 2) if tried.ndim == 4 else tried)
        results = [code] + ([module.decode(code)] if hasattr(module, "decode") else [])
    if code.shape != (n_rows, n_components):
        raise ValueError(f"Embeddings are of size {code.shape[-1]}, not {n_components}.")
    if not all(bool(result.abs().max() <= MAX_CODE) for result in results):
        raise ValueError("The network makes NaN, infinite or very large values.")


def check_widths(name: str, widths: Any) -> tuple[int, ...]:
    """Return the widths of layers as a tuple of positive ints.

    Raises
    ------
    ValueError
        If there is none, or one is not a positive integer.
    """
    values = list(widths)
    if not values or not all(isinstance(v, (int, np.integer)) and v >= 1 for v in values):
        raise ValueError(f"{name}={widths!r} must be a sequence of integers of at least 1.")
    return tuple(int(v) for v in values)


def decode_embedding(module: Any, Z: Any, n_components: int, scale: float) -> np.ndarray:
    """Decode embeddings with `module` into values in the units of X, channels last.

    They are float32, and float64 where those of X were beyond its range.

    Raises
    ------
    ValueError
        If `Z` does not have `n_components` columns.
    """
    Z = check_array(Z, dtype=np.float32, input_name="Z")
    if Z.shape[1] != n_components:
        raise ValueError(f"Z has {Z.shape[1]} columns, but the embedding has {n_components}.")
    device = next(module.parameters()).device
    batches = Batches(Z, 1.0, device)
    decoded = check_output(map_batches(module.decode, batches), batches).numpy()
    if fits_float32(scale):
        decoded = decoded * np.float32(scale)
    else:
        # The network may miss the largest numbers there are by a little.
        most = np.finfo(np.float64).max / scale if scale > 1 else np.inf
        decoded = np.clip(decoded, -most, most, dtype=np.float64) * scale
    return np.ascontiguousarray(decoded.transpose(0, 2, 3, 1)) if decoded.ndim == 4 else decoded


def fill_in(estimator: Any, **given: Any) -> None:
    """Set parameters that the user of an estimator left open, and that it is given images as here.

    Parameters
    ----------
    estimator : estimator
        Unfitted.
    **given
        Values of parameters, of which those that it has as None are set.
    """
    params = estimator.get_params(deep=False)
    left_open = {k: v for k, v in given.items() if k in params and params[k] is None}
    if "data_format" in params:
        left_open["data_format"] = "channels_last"
    estimator.set_params(**left_open)


@contextlib.contextmanager
def unchanged_on_failure(estimator: Any) -> Iterator[None]:
    """Fit under the usual settings, and leave an estimator as it was if that does not succeed.

    Processes of one group fit together.
    """
    before = dict(vars(estimator))
    try:
        with usual_settings(), telling_once(), kept_until_stored(), distributed.joined():
            yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
