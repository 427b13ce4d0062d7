"""What is held out: nothing, where clusters describe the data at hand."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from skdcec._sklearn_compat import num_samples


class TransductiveSplit:
    """A split of one fold that fits and scores on all the data.

    Clustering describes the data at hand, so a search over `n_clusters` usually has
    nothing to hold out.

    See Also
    --------
    silhouette_scorer : A score that needs no held-out data.
    sklearn.model_selection.GridSearchCV : Takes the split as `cv`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdcec.model_selection import TransductiveSplit
    >>> next(TransductiveSplit().split(np.zeros((3, 2))))
    (array([0, 1, 2]), array([0, 1, 2]))
    """

    def split(
        self, X: Any, y: None = None, groups: None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield all row numbers, twice.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The data.
        y, groups : None
            Ignored.

        Yields
        ------
        train, test : ndarray of shape (n_samples,)
        """
        rows = np.arange(num_samples(X))
        yield rows, rows.copy()

    def get_n_splits(self, X: Any = None, y: None = None, groups: None = None) -> int:
        """Return 1.

        Parameters
        ----------
        X, y, groups : object
            Ignored.

        Returns
        -------
        n_splits : int
            1.
        """
        return 1

    def __repr__(self) -> str:
        return "TransductiveSplit()"
