"""What estimators that can be written to files have in common."""

from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from skdcec._persistence.models import load, save


class SavedEstimator:
    """The methods `save` and `load` of a registered estimator."""

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
        ValueError
            If it holds what `load` would refuse, such as weights that are not finite, or a part
            of a class that files may not name.

        Warns
        -----
        UserWarning
            If parts cannot be rebuilt from plain values; their names are given.
        """
        check_is_fitted(self)
        save(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Read an estimator written by `save`. Executes nothing from the file.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        estimator : object
            Fitted, on the CPU.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind, or from a newer version.
        """
        estimator: Self = load(cls, path)
        return estimator
