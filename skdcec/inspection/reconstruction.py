"""What does an autoencoder keep of an image?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdcec._analysis.images import images_of
from skdcec._analysis.samples import sample_rows
from skdcec._analysis.spaces import best_of, data_for
from skdcec._sklearn_compat import num_samples, safe_indexing
from skdcec.inspection.loading import after_loading
from skdcec.inspection.style import GAP, MUTED, draw_tile, drawn_range, import_pyplot, remove_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ReconstructionDisplay:
    """Images above what an autoencoder makes of them.

    It is recommended to use `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels)
        Originals.
    reconstructions : ndarray of shape (n_images, height, width, channels)
        The same, embedded and decoded.

    Attributes
    ----------
    errors_ : ndarray of shape (n_images,)
        Mean squared error of each image, values divided by the range that is drawn.
    tiles_ : ndarray of shape (2, n_images) of matplotlib AxesImage
        Originals and reconstructions.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    ConvAutoencoder : What reconstructs.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdcec.inspection import ReconstructionDisplay
    >>> images = load_digits().images[:6, :, :, None]
    >>> display = ReconstructionDisplay(images, images.round(-1)).plot()
    >>> display.errors_.round(2)
    array([0.02, 0.02, 0.02, 0.02, 0.02, 0.02])
    """

    def __init__(self, images: np.ndarray, reconstructions: np.ndarray):
        self.images = images
        self.reconstructions = reconstructions

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        value_range: tuple[float, float] | None = None,
        interpolation: str | None = None,
    ) -> Self:
        """Draw both rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        value_range : tuple (low, high), default=None
            Values drawn as black and as white in both rows, as for `ClusterGalleryDisplay`.
        interpolation : str, default=None
            That of `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        self : ReconstructionDisplay
            The display itself, with what was drawn in its attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_pyplot("ReconstructionDisplay.plot")
        low, high = drawn_range(self.images, value_range)
        # Halves, since the span of finite numbers need not be finite.
        difference = self.images.astype(float) / 2 - self.reconstructions / 2
        self.errors_ = np.square(difference / (high / 2 - low / 2)).mean(axis=(1, 2, 3))
        n_images = len(self.images)
        height = self.images.shape[1] / self.images.shape[2]
        if ax is None:
            inches = min(0.9, 0.9 / height)
            size = (inches * (1 + GAP) * n_images + 1.4, inches * 2 * (height + GAP) + 0.5)
            _, ax = plt.subplots(figsize=size, layout="compressed")
        x, y = (1 + GAP) * np.arange(n_images), (height + GAP) * np.arange(2)
        self.tiles_ = np.empty((2, n_images), dtype=object)
        for row, images in enumerate((self.images, self.reconstructions)):
            for column, image in enumerate(images):
                self.tiles_[row, column] = draw_tile(
                    ax, image, x[column], y[row], low, high, interpolation
                )
        right, bottom = (1 + GAP) * n_images, 2 * (height + GAP)
        ax.set(xlim=(-GAP, right), ylim=(bottom, -GAP), aspect="equal")
        ax.set_yticks(y + height / 2, ["original", "reconstruction"], fontsize="small")
        errors = [f"{error:.3f}" for error in self.errors_]
        ax.set_xticks(x + 0.5, errors, fontsize="small", color=MUTED)
        ax.set_xlabel("mean squared error", fontsize="small", color=MUTED)
        remove_frame(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_images: int = 10,
        indices: Sequence[int] | None = None,
        image_shape: tuple[int, ...] | None = None,
        random_state: Any = 0,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw images and their reconstructions by a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator, Pipeline or search
            With ``transform`` and ``inverse_transform``: an autoencoder, or a clusterer that
            was trained on reconstruction. A first step that reads files may lack the latter.
        X : array-like of shape (n_samples, ...)
            What the estimator takes.
        n_images : int, default=10
            Images drawn, taken at random.
        indices : sequence of int, default=None
            Row numbers of the images to draw instead.
        image_shape : tuple, default=None
            Shape of images that come as rows, where the estimator does not know it.
        random_state : int, RandomState instance or None, default=0
            Determines the images.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **plot_options
            Passed to `plot`.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no ``inverse_transform``.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        X = data_for(best_of(estimator), X)
        rows = (
            sample_rows(num_samples(X), n_images, random_state)
            if indices is None
            else np.asarray(indices)
        )
        estimator, chosen = after_loading(estimator, safe_indexing(X, rows))
        if not hasattr(estimator, "inverse_transform"):
            # One that is not fitted may only not know yet whether it can decode.
            last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
            check_is_fitted(last)
            raise TypeError(
                f"{type(estimator).__name__} has no inverse_transform: it has no decoder, "
                "or was trained with reconstruction_weight=0. Its encoder_ may still have one."
            )
        decoded = estimator.inverse_transform(estimator.transform(chosen))
        images = images_of(estimator, chosen, image_shape=image_shape)
        display = cls(images, images_of(estimator, decoded, image_shape=image_shape))
        return display.plot(ax, **plot_options)
