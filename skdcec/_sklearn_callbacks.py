"""What is told of a fit to scikit-learn's callbacks, where it has them: from version 1.9 on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skorch.callbacks import Callback

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for what earlier versions do not have."""


__all__ = ["OF_SESSION", "CallbackSupportMixin", "EpochTasks", "epoch_tasks", "subtask", "telling"]

# The attribute in which scikit-learn keeps the root of the tasks while an estimator is fitted.
_CONTEXT = "_callback_fit_ctx"
# What it keeps of callbacks in an estimator: of a session, as `callbacks` of skorch are.
OF_SESSION = frozenset(
    {_CONTEXT, "_skl_callbacks", "_skl_callbacks_to_teardown", "_parent_callback_ctx"}
)


@contextmanager
def telling(estimator: Any, X: Any, n_subtasks: int) -> Iterator[None]:
    """Tell callbacks of a fit; whoever decorates `fit` tells them of its end, however that comes.

    Parameters
    ----------
    estimator : estimator with CallbackSupportMixin
    X : array-like
        What it is fitted on.
    n_subtasks : int
        Phases, or epochs.
    """
    if not hasattr(estimator, "_init_callback_context"):
        yield
        return
    context = estimator._init_callback_context(max_subtasks=n_subtasks)
    context.call_on_fit_task_begin(estimator=estimator, X=X)
    yield
    context.call_on_fit_task_end(estimator=estimator, X=X)


@contextmanager
def subtask(
    estimator: Any, name: str, *, of: Any = None, n_subtasks: int = 0
) -> Iterator[Any | None]:
    """Tell callbacks of a phase of a fit, and yield its context; None where none is told of.

    Parameters
    ----------
    estimator : estimator
    name : str
    of : estimator, default=None
        What is fitted in this phase: it tells the callbacks of its own.
    n_subtasks : int, default=0
    """
    root = getattr(estimator, _CONTEXT, None)
    if root is None:
        yield None
        return
    context = root.subcontext(task_name=name, max_subtasks=n_subtasks)
    if not hasattr(of, "set_callbacks"):
        context.call_on_fit_task_begin(estimator=estimator)
        yield context
        context.call_on_fit_task_end(estimator=estimator)
        return
    with context.propagate_callback_context(of):
        context.call_on_fit_task_begin(estimator=estimator)
        yield context
        context.call_on_fit_task_end(estimator=estimator)


def epoch_tasks(estimator: Any, context: Any = None) -> list[tuple[str, Callback]]:
    """Return the skorch callback that tells of epochs, in a list that is empty where none is told.

    Parameters
    ----------
    estimator : estimator
    context : CallbackContext, default=None
        Of the phase; None is that of the fit.
    """
    context = context or getattr(estimator, _CONTEXT, None)
    if context is None or not getattr(estimator, "_skl_callbacks", ()):
        return []
    return [("sklearn_callbacks", EpochTasks(estimator, context))]


class EpochTasks(Callback):
    """Tells scikit-learn's callbacks of the epochs of skorch."""

    def __init__(self, estimator: Any, context: Any):
        self.estimator = estimator
        self.context = context

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Tell that an epoch begins."""
        self.epoch_ = self.context.subcontext(task_name="epoch")
        self.epoch_.call_on_fit_task_begin(estimator=self.estimator)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Tell that it has ended."""
        self.epoch_.call_on_fit_task_end(estimator=self.estimator)
