"""Images as a network of torchvision sees them, for the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from joblib import hash as digest
from sklearn.preprocessing import normalize
from tqdm import tqdm

from skdcec.features import PretrainedFeatures

# Images whose features are computed, and kept, together.
_CHUNK = 256


class Backbone:
    """A network that was trained on other images, and the features that it finds.

    Parameters
    ----------
    name : str
        A classifier of torchvision.
    weights : str, path or None
        File with its weights; None lets torchvision load them.
    size : int
        Side of the images, in pixels.
    device : str or None
    memory : str, path or None
        Where features are kept.

    Raises
    ------
    ImportError
        If torchvision is not installed.
    ValueError
        If there is no such network, its weights cannot be had, or do not take images so large.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str | Path | None,
        size: int,
        device: str | None = None,
        memory: str | Path | None = None,
    ):
        white = np.full((1, size, size, 3), 255, np.uint8)
        self.transformer = PretrainedFeatures(
            name,
            weights="default" if weights is None else weights,
            size=None,
            device=device,
            memory=memory,
        ).fit(white)
        state = self.transformer.module_.state_dict()
        values = {key: value.cpu().numpy() for key, value in state.items()}
        self.known = {"network": name, "weights": digest(values), "size": size}

    @classmethod
    def of_model(cls, known: dict[str, Any], **settings: Any) -> Self:
        """Return the network that a model was trained behind, by what was `known` of it.

        Raises
        ------
        ValueError
            If `known` is not what was kept, or the weights are not the same.
        """
        name, size = known.get("network"), known.get("size")
        if not isinstance(name, str) or not isinstance(size, int):
            raise ValueError("The model does not say what network it needs.")
        network = cls(name, size=size, **settings)
        if network.known["weights"] != known.get("weights"):
            raise ValueError(
                f"The model was trained with other weights of {name}: --weights FILE names theirs."
            )
        return network

    def features(self, images: np.ndarray, *, verbose: bool = False) -> np.ndarray:
        """Return one row of length 1 per image.

        Parameters
        ----------
        images : ndarray of shape (n_samples, size, size, 3), dtype uint8
        verbose : bool
            Whether to show progress on stderr.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features), dtype float32
        """
        rows = []
        with tqdm(
            total=len(images), desc="Features", unit=" images", disable=not verbose
        ) as progress:
            for start in range(0, len(images), _CHUNK):
                some = images[start : start + _CHUNK]
                rows.append(self.transformer.transform(some))
                progress.update(len(some))
        return normalize(np.concatenate(rows), copy=False)
