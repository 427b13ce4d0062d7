"""How it is trained: skorch nets, and the loop around them."""

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, EpochTimer, LRScheduler, PassthroughScoring
from torch import Tensor, nn

from skdcec import _bars
from skdcec._nn import distributed, later
from skdcec._nn.batches import ShuffledLoader
from skdcec._nn.callbacks import Progress, StopTraining
from skdcec._nn.checkpoints import Checkpoint
from skdcec._nn.device import explaining
from skdcec._nn.functional import (
    clustering_loss,
    contrastive_loss,
    reconstruction_loss,
)
from skdcec._nn.modules import ClusteringModule
from skdcec._nn.ranks import Ranks
from skdcec._nn.recorded import Recorder, recorder_of
from skdcec._nn.resuming import Resumption
from skdcec._nn.schedule import Schedule

Augmentation = Callable[..., Tensor]


class EmbeddingNet(NeuralNet):
    """The skorch net behind the estimators: our loader in, named losses out.

    Subclasses say in `losses` what a batch costs. The data set given to skorch is the
    loader itself, so no sample passes through Python on its own.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        loss_names: Sequence[str],
        schedule: Schedule,
        generator: torch.Generator,
        augmentation: Augmentation | None = None,
        precision: torch.dtype = torch.float32,
        **kwargs: Any,
    ):
        self.precision = precision
        self.loss_names = loss_names
        self.schedule = schedule
        self.generator = generator
        self.augmentation = augmentation
        self.ranks: Ranks | None = None
        self.recorder: Recorder | None = None
        self._wants_to_stop = False
        self._notes = later.Notes()
        # Whether training goes on from a checkpoint rather than begins.
        self.goes_on = False
        super().__init__(
            module,
            criterion=nn.MSELoss,
            optimizer=torch.optim.Adam,
            optimizer__fused=True,
            train_split=None,
            verbose=0,
            **kwargs,
        )

    def compute(self, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Apply a part of the network in the precision asked for; losses stay in float32."""
        reduced = self.precision != torch.float32
        with torch.autocast(x.device.type, self.precision, enabled=reduced):
            computed = part(x).float()
        # Within an autocast of the caller, weights would stay as this step has rounded them.
        torch.clear_autocast_cache()
        return computed

    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return "loss", to be minimised, and every loss in `loss_names`."""
        raise NotImplementedError

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        scores = [f"train_{name}" for name in ("loss", *self.loss_names)]
        return [
            ("epoch_timer", EpochTimer()),
            *((name, PassthroughScoring(name, on_train=True)) for name in scores),
            (
                "lr_schedule",
                LRScheduler("LambdaLR", lr_lambda=self.schedule, step_every="batch"),
            ),
        ]

    def get_dataset(self, X: ShuffledLoader, y: None = None) -> ShuffledLoader:
        return X

    def get_iterator(self, dataset: ShuffledLoader, training: bool = False) -> ShuffledLoader:
        return dataset

    def train_step_single(self, batch: tuple[Tensor, ...], **fit_params: Any) -> dict[str, Tensor]:
        self._set_training(True)
        return self._noted(self.computed(batch))

    def train_step(self, batch: tuple[Tensor, ...], **fit_params: Any) -> dict[str, Tensor]:
        """Do a step as skorch does, or from a recording of one."""
        if self.recorder is None:
            return super().train_step(batch, **fit_params)
        step = self.recorder.step(batch)
        if step is not None:
            return self._noted(step)
        with self.recorder.beside(batch):
            return super().train_step(batch, **fit_params)

    def computed(self, batch: tuple[Tensor, ...]) -> later.Step:
        """Compute the losses of a batch and their gradients."""
        checks = later.Checks()
        with checks.taken():
            if isinstance(batch, distributed.ShardedBatch):
                losses = distributed.train_step(self, batch)
            else:
                losses = self.losses(batch)
                losses["loss"].backward()
            loss, lr = losses["loss"].detach(), self.lr
            later.check(loss.isfinite(), lambda: diverged(lr))
        names = ("loss", *self.loss_names)
        return checks.step({f"train_{name}": losses[name] for name in names})

    def _noted(self, step: later.Step) -> dict[str, Tensor]:
        losses = self._notes.add(self.history[-1]["batches"][-1], step)
        return {name.removeprefix("train_"): loss for name, loss in losses.items()}

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        """Do the steps of an epoch, as skorch does, but read their losses at the end."""
        if iterator is None:
            return
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            sharded = isinstance(batch, distributed.ShardedBatch)
            n_rows = batch.shard.n_rows if sharded else len(batch[0])
            self.history.record_batch(f"{prefix}_batch_size", n_rows)
            self.notify("on_batch_end", batch=batch, training=training, **step)
        self.read_losses()
        # Counted here, with those before a checkpoint that the epoch went on from.
        self.history.record(f"{prefix}_batch_count", len(self.history[-1]["batches"]))

    def read_losses(self) -> None:
        """Write to the history what the steps since the last time cost.

        Raises
        ------
        ValueError
            If something was not finite.
        """
        self._notes.read()

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        super().on_epoch_end(net, **kwargs)
        if self.ranks is not None:
            self.ranks.equalize(self.module_)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call the callbacks; skorch's early stopping ends the loop after all have run.

        skorch signals an early stop by KeyboardInterrupt. Only its own callback is read
        so; from anywhere else it is the user's Ctrl-C and leaves `fit`.
        """
        stop = False
        getattr(self, method_name)(self, **cb_kwargs)
        for _, callback in self.callbacks_:
            try:
                with self._scope_of(callback):
                    getattr(callback, method_name)(self, **cb_kwargs)
            except StopTraining:
                stop = True
            except KeyboardInterrupt:
                if not isinstance(callback, EarlyStopping):
                    raise
                stop = True
        if self.ranks is not None:
            stop = self._stop_with_all(stop, at=method_name)
        if method_name == "on_epoch_end":
            # For all epochs they would be many; the last one has the learning rate.
            del self.history[-1]["batches"][:-1]
        if stop:
            raise StopTraining

    def _scope_of(self, callback: Any) -> contextlib.AbstractContextManager[None]:
        """Return what a callback runs in: alone, as a user's may do anything on one rank only."""
        if self.ranks is None or getattr(callback, "together", False):
            return contextlib.nullcontext()
        return distributed.alone()

    def _stop_with_all(self, stop: bool, *, at: str) -> bool:
        """Whether to stop now: at the end of an epoch in which any of the ranks wanted to."""
        assert self.ranks is not None
        self._wants_to_stop |= stop
        if at != "on_epoch_end":
            return False
        self.ranks.check_draws(self.generator)
        return self.ranks.any(self._wants_to_stop)

    def augment(self, x: Tensor, *, any_size: bool = False) -> Tensor:
        """Apply the user's augmentation, and check that what comes back can be trained on."""
        if self.augmentation is None:
            return distributed.local(x)
        return augmented(self.augmentation, x, self.generator, any_size=any_size)


class ReconstructionNet(EmbeddingNet):
    """Trains an autoencoder to give back what it was shown."""

    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        x = self.augment(batch[0])
        code = self.compute(self.module_.encode, x)
        return {"loss": reconstruction_loss(self.compute(self.module_.decode, code), x)}


class ContrastiveNet(EmbeddingNet):
    """Trains an encoder to tell two views of one image from those of all others."""

    def __init__(self, module: nn.Module, *, temperature: float, **kwargs: Any):
        self.temperature = temperature
        super().__init__(module, **kwargs)

    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        assert self.augmentation is not None
        loss = view_loss(
            self.module_, batch[0], self.augmentation, self.temperature, self.generator
        )
        return {"loss": loss}


class ClusteringNet(EmbeddingNet):
    """Trains an encoder and cluster centers together.

    The loss is ``reconstruction_weight * L_rec + gamma * L_clu``.

    Parameters
    ----------
    module : ClusteringModule
    gamma : float
    reconstruction_weight : float
    joint_loss : callable or None
        The encoder's own term in the place of the reconstruction loss. It makes its own views
        of the images.
    """

    def __init__(
        self,
        module: ClusteringModule,
        *,
        gamma: float,
        reconstruction_weight: float,
        joint_loss: Callable[..., Tensor] | None = None,
        **kwargs: Any,
    ):
        self.gamma = gamma
        self.reconstruction_weight = reconstruction_weight
        self.joint_loss = joint_loss
        super().__init__(module, **kwargs)

    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        clean, target = batch
        # Only what is to be reconstructed has to keep its size.
        x = self.augment(clean, any_size=self.joint_loss is not None)
        code = self.compute(self.module_.encoder.encode, x)
        assignment = self._assigned(code)
        clustering = clustering_loss(assignment, distributed.local(target))
        loss = self.gamma * clustering
        losses = {"clustering_loss": clustering}
        if self.reconstruction_weight > 0:
            if self.joint_loss is not None:
                term = self.joint_loss(self.module_.encoder, clean, self.generator)
            else:
                term = reconstruction_loss(self.compute(self.module_.encoder.decode, code), x)
            losses["reconstruction_loss"] = term
            loss = loss + self.reconstruction_weight * term
        return {"loss": loss, **losses}

    def assign(self, x: Tensor) -> Tensor:
        """Return the soft assignment of a batch, in the precision of the steps."""
        return self._assigned(self.compute(self.module_.encoder.encode, x))

    def _assigned(self, code: Tensor) -> Tensor:
        assignment: Tensor = self.module_.assign(self.module_.normalize(code))
        return assignment


def train(
    net: EmbeddingNet,
    loader: ShuffledLoader,
    *,
    description: str,
    verbose: bool,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Run skorch's loop over `loader` until it ends, stops, or is interrupted.

    With a `checkpoint`, it goes on from there, and leaves others for the next time.

    Raises
    ------
    ValueError
        If the loss becomes NaN or infinite. As it would again, no checkpoint is left.
    KeyboardInterrupt
        On Ctrl-C, which skorch's own `fit` would swallow.
    MemoryError
        If the device has too little memory for a step.
    OSError
        If the device fails.
    """
    shown = verbose and distributed.is_first()
    steps = net.max_epochs * len(loader)
    bar = _bars.bar(steps, description, passes=net.max_epochs) if shown else None
    if bar is not None:
        net.callbacks = [*(net.callbacks or ()), ("progress", Progress(bar))]
    if not distributed.is_first():
        checkpoint = None
    resumption = Resumption(checkpoint, loader)
    net.callbacks = [("resumption", resumption), *(net.callbacks or ())]
    net.initialize()
    _share_out(net, loader)
    try:
        net.goes_on = resumption.begin(net)
        if bar is not None:
            bar.initial = bar.n = resumption.n_steps
        net.notify("on_train_begin", X=loader, y=None)
        resumption.complete(net)
        net.recorder = recorder_of(net, net.max_epochs * len(loader) - resumption.n_steps)
        remedy = f"a step over {loader.batch_size} rows needs more: set a smaller batch_size"
        with contextlib.suppress(StopTraining), explaining(net.device, remedy):
            net.fit_loop(loader, epochs=net.max_epochs - resumption.n_epochs)
        net.notify("on_train_end", X=loader, y=None)
        if checkpoint is not None:
            checkpoint.release()
    except ValueError:
        if checkpoint is not None:
            checkpoint.remove()
        raise
    finally:
        net.recorder = None
        if bar is not None:
            bar.close()


def _share_out(net: EmbeddingNet, loader: ShuffledLoader) -> None:
    """Prepare for training together with other processes, where there are any."""
    ranks = distributed.current()
    if ranks is None:
        return
    n_weights = sum(parameter.numel() for parameter in net.module_.parameters())
    ranks.check_plan(
        f"{type(net).__name__}({len(loader)} batches of {loader.n_samples} rows, "
        f"max_epochs={net.max_epochs}, lr={net.lr}, precision={net.precision}, {n_weights} weights)"
    )
    ranks.equalize(net.module_)
    net.ranks = loader.ranks = ranks
    # What may do anything with a batch is given the whole of it, on each rank.
    functions = (net.augmentation, getattr(net, "joint_loss", None))
    loader.whole = not all(f is None or getattr(f, "takes_shards", False) for f in functions)


def check_finite(result: Tensor, lr: float) -> None:
    """Raise if training diverged, as seen in what a trained network returns.

    Raises
    ------
    ValueError
        If `result` holds NaN or infinity.
    """
    if not result.isfinite().all():
        raise diverged(lr)


def diverged(lr: float) -> ValueError:
    """Return the error that says so."""
    return ValueError(
        "Training diverged, the loss became NaN or infinite: lower the learning rate "
        f"(lr={lr}), or look for extreme values in X."
    )


def epoch_history(net: EmbeddingNet, names: Mapping[str, str]) -> dict[str, list[float]]:
    """Return one list of floats per name, with one entry per completed epoch.

    Parameters
    ----------
    net : EmbeddingNet
    names : mapping
        From the names that users see to skorch's.
    """
    rows = [row for row in net.history if "train_loss" in row]
    history = {name: [float(row[key]) for row in rows] for name, key in names.items()}
    history["lr"] = [float(row["batches"][-1]["event_lr"]) for row in rows]
    return history


def call_augmentation(
    augmentation: Augmentation, batch: Tensor, generator: torch.Generator
) -> Tensor:
    """Call `augmentation`, with our generator where it takes one."""
    try:
        takes_generator = "generator" in inspect.signature(augmentation).parameters
    except (TypeError, ValueError):
        takes_generator = False
    return augmentation(batch, generator=generator) if takes_generator else augmentation(batch)


def augmented(
    augmentation: Augmentation, x: Tensor, generator: torch.Generator, *, any_size: bool = False
) -> Tensor:
    """Return the augmented batch, after a check that it can be trained on.

    Raises
    ------
    ValueError
        If the shape (with `any_size`, the number of images or channels) or the dtype is
        another one, or a value is not finite.
    """
    result = call_augmentation(augmentation, x, generator)
    n_kept = 2 if any_size else x.ndim
    if (
        not isinstance(result, Tensor)
        or result.ndim != x.ndim
        or result.shape[:n_kept] != x.shape[:n_kept]
    ):
        got = type(result).__name__
        if isinstance(result, Tensor):
            got = f"shape {tuple(result.shape)}"
        kept = "number of images and channels" if any_size else "shape"
        raise ValueError(
            f"augmentation={augmentation!r} must return a tensor of the {kept} of its "
            f"input, {tuple(x.shape)}; got {got}."
        )
    named = f"augmentation={augmentation!r} must return finite values of dtype {x.dtype}; got dtype"
    if result.dtype != x.dtype:
        raise ValueError(f"{named} {result.dtype}.")
    # The error is made when the epoch has ended, and must not hold on to the batch until then.
    text = f"{named} {result.dtype} with NaN or infinity."
    later.check(result.isfinite().all(), lambda: ValueError(text))
    return distributed.local(result)


def view_loss(
    module: Any,
    x: Tensor,
    augmentation: Augmentation,
    temperature: float,
    generator: torch.Generator,
) -> Tensor:
    """Return the contrastive loss between two augmented views of a batch."""
    views = [augmented(augmentation, x, generator, any_size=True) for _ in range(2)]
    if views[0].shape == views[1].shape:
        # One larger batch is faster. Statistics are of each image alone, so it is the same.
        both = torch.cat(views).contiguous(memory_format=torch.channels_last)
        first, second = module.project(both).chunk(2)
    else:
        first, second = (module.project(view) for view in views)
    first, second, weight = distributed.gathered_views(first, second)
    loss = contrastive_loss(first, second, temperature)
    return loss if weight == 1 else loss.detach() + weight * (loss - loss.detach())
