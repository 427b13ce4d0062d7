"""How did training go? Losses and learning rate, epoch by epoch."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdcec._analysis.spaces import best_of
from skdcec.inspection.style import CURVES, PALE, import_pyplot, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LossCurveDisplay:
    """How training went: losses, changes of labels and learning rate, epoch by epoch.

    It is recommended to use `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    history : mapping of str to sequence of float
        One value per epoch, such as ``history_`` of an estimator. The keys that are drawn are
        "label_change", "lr" and those that end in "loss".
    pretraining : mapping of str to sequence of float, default=None
        The same of the encoder's pretraining.

    Attributes
    ----------
    lines_ : dict of dict of matplotlib Line2D
        The curves, as ``lines_[panel][curve]``.
    axes_ : ndarray of matplotlib Axes
        The panels.
    ax_ : matplotlib Axes
        The first of the panels.
    figure_ : matplotlib Figure

    See Also
    --------
    DeepConvEmbeddingClustering : What is trained.

    Examples
    --------
    >>> from skdcec.inspection import LossCurveDisplay
    >>> history = {"loss": [0.9, 0.5, 0.4], "lr": [1e-3, 1e-3, 1e-4]}
    >>> display = LossCurveDisplay(history).plot()
    >>> list(display.lines_)
    ['Training', 'Learning rate']
    """

    def __init__(
        self,
        history: Mapping[str, Sequence[float]],
        *,
        pretraining: Mapping[str, Sequence[float]] | None = None,
    ):
        self.history = history
        self.pretraining = pretraining

    def plot(self, ax: "Axes | Sequence[Axes] | None" = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, default=None
            Where to draw: Axes that are divided into panels, or one Axes per panel; None makes
            a figure.

        Returns
        -------
        self : LossCurveDisplay
            The display itself, with what was drawn in its attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is nothing to draw, or another number of Axes than panels.
        """
        plt = import_pyplot("LossCurveDisplay.plot")
        panels = self._panels()
        if not panels:
            if _losses(self.history):
                raise ValueError(
                    "history has no epochs to draw: the model was made without training, as by "
                    "max_epochs=0 or an encoder whose weights are taken as they are."
                )
            raise ValueError(
                f"history has the keys {sorted(self.history)}; at least one that ends in 'loss', "
                "'label_change' or 'lr' is needed."
            )
        self.axes_ = _panel_axes(plt, ax, len(panels))
        self.lines_ = {
            title: _draw_curves(plt, panel, title, curves)
            for panel, (title, curves) in zip(self.axes_, panels.items(), strict=True)
        }
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        return self

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: "Axes | Sequence[Axes] | None" = None) -> Self:
        """Draw the curves of a fitted clusterer or encoder.

        Parameters
        ----------
        estimator : fitted estimator, Pipeline or search
            With ``history_``, and for a clusterer ``encoder_``. Of a Pipeline the last step.
        ax : matplotlib Axes or sequence of them, default=None
            Where to draw: Axes that are divided into panels, or one Axes per panel; None makes
            a figure.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator keeps no ``history_``.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        estimator = best_of(estimator)
        last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        check_is_fitted(last)
        if not hasattr(last, "history_"):
            raise TypeError(f"{type(last).__name__} has no history_ to draw.")
        pretraining = getattr(getattr(last, "encoder_", None), "history_", None)
        return cls(last.history_, pretraining=pretraining).plot(ax)

    def _panels(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the curves of each panel."""
        before = self.pretraining or {}
        panels = {
            "Pretraining": _losses(before),
            "Joint training" if before else "Training": _losses(self.history),
            "Labels changed": {"labels changed": self.history.get("label_change", ())},
            "Learning rate": {
                "pretraining": before.get("lr", ()),
                "joint training" if before else "training": self.history.get("lr", ()),
            },
        }
        arrays = {
            title: {
                name: np.asarray(values, dtype=float)
                for name, values in curves.items()
                if len(values)
            }
            for title, curves in panels.items()
        }
        return {title: curves for title, curves in arrays.items() if curves}


def _losses(history: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Return the losses by their name in a legend, the total after its parts."""
    keys = sorted((key for key in history if key.endswith("loss")), key=lambda key: key == "loss")
    if keys == ["loss"]:
        return {"loss": history["loss"]}
    names = {key: key.removesuffix("loss").strip("_").replace("_", " ") or "total" for key in keys}
    return {name: history[key] for key, name in names.items()}


def _panel_axes(plt: Any, ax: Any, n_panels: int) -> np.ndarray:
    """Return one Axes per panel, two side by side."""
    n_columns = min(n_panels, 2)
    n_rows = math.ceil(n_panels / n_columns)
    if ax is None:
        figure = plt.figure(figsize=(3.6 * n_columns, 2.5 * n_rows), layout="constrained")
        grid = figure.add_gridspec(n_rows, n_columns)
    elif not hasattr(ax, "get_subplotspec"):
        axes = np.asarray(ax, dtype=object).ravel()
        if len(axes) != n_panels:
            raise ValueError(f"ax holds {len(axes)} Axes, but there are {n_panels} panels.")
        return axes
    else:
        # As in scikit-learn, the Axes given are the frame that the panels share.
        ax.set_axis_off()
        figure, spec = ax.figure, ax.get_subplotspec()
        # A layout engine makes room for the texts between the panels by itself.
        free = spec is None or figure.figure.get_layout_engine() is None
        gaps = {"wspace": 0.35, "hspace": 0.6} if free else {}
        if spec is None:
            place = ax.get_position()
            sides = {"left": place.x0, "right": place.x1, "bottom": place.y0, "top": place.y1}
            grid = figure.add_gridspec(n_rows, n_columns, **sides, **gaps)
        else:
            grid = spec.subgridspec(n_rows, n_columns, **gaps)
    cells = [grid[i // n_columns, i % n_columns] for i in range(n_panels)]
    return np.array([figure.add_subplot(cell) for cell in cells], dtype=object)


def _draw_curves(plt: Any, ax: Any, title: str, curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    lines = {}
    for (name, values), color in zip(curves.items(), itertools.cycle(CURVES), strict=False):
        # A single epoch is a point, not a line.
        marker = "o" if len(values) <= 25 else None
        (lines[name],) = ax.plot(
            np.arange(1, len(values) + 1),
            values,
            label=name,
            color=PALE if name == "total" else color,
            marker=marker,
            markersize=3,
            zorder=1.9 if name == "total" else 2,
        )
    everything = np.concatenate(list(curves.values()))
    everything = everything[np.isfinite(everything)]
    if title == "Labels changed":
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(percent)
    elif title == "Learning rate":
        ax.set_ylim(bottom=0)
    elif len(everything) and everything.min() > 0 and everything.max() > 3 * everything.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(plt.LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(lambda value, position: f"{value:g}")
        ax.yaxis.set_minor_locator(plt.NullLocator())
    ax.set_xlim(0.5, max(map(len, curves.values())) + 0.5)
    ax.xaxis.set_major_locator(plt.MaxNLocator(5, integer=True))
    ax.set_xlabel("epoch", fontsize="small")
    ax.set_title(title, fontsize="medium", loc="left")
    ax.tick_params(labelsize="small")
    ax.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        ax.legend(frameon=False, fontsize="small")
    return lines
