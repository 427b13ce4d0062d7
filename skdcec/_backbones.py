"""What do networks trained elsewhere make of images, for a model that is trained on that?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from skdcec import _bars
from skdcec._named import JOINT, NAMES, PAINTING_SIZE, knows_words, words_of

if TYPE_CHECKING:
    import numpy as np

# Images whose features are computed, and kept, together.
_CHUNK = 256


class Backbone:
    """Networks that were trained on other images, and the features they find.

    These, one row per image, are what an encoder named after it is trained on; or, where several
    words are joined, what is brought to equal variance. None of it depends on the images that it
    is used for.

    Parameters
    ----------
    name : str
        A network, as :class:`skdcec.features.PretrainedFeatures` takes it; or several words of
        which each is that, or "paintings", joined by "+".
    weights : str, path or None
        File with the weights of the one network; None lets its library load them.
    size : int
        Side of the images, in pixels.
    device : str or None
    memory : str, path or None
        Where features are kept.

    Attributes
    ----------
    known : dict
        Name, digest of the weights, and size: what finds the same network again.
    blocks : list of (int, float) or None
        Columns of what several words make, and their shares of the variance; None for one word.

    Raises
    ------
    ImportError
        If a package is not installed.
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
        import numpy as np

        words = words_of(name)
        networks = [word for word in words if word not in NAMES]
        if weights is not None and len(networks) > 1:
            raise ValueError(
                f"weights={str(weights)!r} are those of one network, and {name} names "
                f"{len(networks)}."
            )
        learned = [word for word in words if word in NAMES and word != "paintings"]
        if learned:
            raise ValueError(
                f"{learned[0]} learns from the images, and cannot be joined here: 'paintings' and "
                "networks can."
            )
        settings: dict[str, Any] = {
            "weights": weights,
            "size": size,
            "device": device,
            "memory": memory,
        }
        self.parts: list[Any] = [
            _Paintings() if word in NAMES else _Features(word, **settings) for word in words
        ]
        white = np.full((1, size, size, 3), 255, np.uint8)
        for part in self.parts:
            part.fit(white)
        digests = [part.digest() for part in self.parts]
        self.known = {"network": name, "weights": JOINT.join(digests), "size": size}
        self.blocks: list[tuple[int, float]] | None = None
        if len(words) > 1:
            self.blocks = [block for part in self.parts for block in part.blocks]

    @classmethod
    def of_model(cls, known: dict[str, Any], **settings: Any) -> Self:
        """Return the networks that a model was trained behind, by what was `known` of them.

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
        """Return one row per image; that of a network is of length 1.

        Parameters
        ----------
        images : ndarray of shape (n_samples, size, size, 3), dtype uint8
        verbose : bool
            Whether to show progress on stderr.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features), dtype float32
        """
        import numpy as np

        rows = []
        shown = _bars.bar(len(images), "Features", unit=" images", verbose=verbose)
        with shown as progress:
            for start in range(0, len(images), _CHUNK):
                some = images[start : start + _CHUNK]
                rows.append(np.concatenate([part.rows(some) for part in self.parts], axis=1))
                progress.update(len(some))
        return np.concatenate(rows)

    def text_rows(self, texts: list[str]) -> np.ndarray:
        """Return what the network that knows words makes of texts.

        Parameters
        ----------
        texts : list of str

        Returns
        -------
        features : ndarray of shape (n_texts, n_columns), dtype float32
            To be compared with :meth:`image_rows` by the cosine.
        """
        rows: np.ndarray = self._with_words[0].transformer.transform_text(texts)
        return rows

    def image_rows(self, features: np.ndarray) -> np.ndarray:
        """Return the columns of `features` that are of the network that knows words."""
        return features[:, self._with_words[1]]

    @property
    def _with_words(self) -> tuple[_Features, slice]:
        start = 0
        for part in self.parts:
            stop = start + sum(n for n, _ in part.blocks)
            if isinstance(part, _Features) and knows_words(part.transformer.model):
                return part, slice(start, stop)
            start = stop
        raise ValueError(f"{self.known['network']} knows no words.")


class _Features:
    """What a network makes of images."""

    def __init__(self, word: str, *, size: int, weights: Any, **settings: Any):
        from skdcec._named import NETWORKS
        from skdcec.features import PretrainedFeatures

        self.transformer = PretrainedFeatures(
            word,
            weights="default" if weights is None else weights,
            # Images are squares of the size asked for; those of torchvision take them as they are.
            size="default" if word.startswith(NETWORKS) else None,
            resize="stretch",
            **settings,
        )

    def fit(self, white: np.ndarray) -> None:
        self.transformer.fit(white)
        self.blocks = [(self.transformer._n_features_out, 1.0)]

    def digest(self) -> str:
        return _digest_of(self.transformer)

    def rows(self, images: np.ndarray) -> np.ndarray:
        from sklearn.preprocessing import normalize

        found: np.ndarray = normalize(self.transformer.transform(images), copy=False)
        return found


class _Paintings:
    """What is seen without learning from these images: by the painting encoder, and by hand."""

    def __init__(self) -> None:
        from skdcec.features.resized import Resized
        from skdcec.features.side_by_side import painting_parts

        self.parts = [Resized(part, PAINTING_SIZE) for part in painting_parts()]

    def fit(self, white: np.ndarray) -> None:
        # Of one image nothing can be learned: colours and edges are left in their own units.
        for part in self.parts:
            part.fit(white)
        encoder, by_hand = (part._n_features_out for part in self.parts)
        n_colors = self.parts[1].parts_[0].n_levels ** 3
        # As the space of paintings has it: half, and a quarter each.
        self.blocks = [(encoder, 0.5), (n_colors, 0.25), (by_hand - n_colors, 0.25)]

    def digest(self) -> str:
        return _digest_of(self.parts[0].parts_[0])

    def rows(self, images: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.concatenate([part.transform(images) for part in self.parts], axis=1)


def _digest_of(transformer: Any) -> str:
    """Return what equal weights have in common."""
    import joblib

    state = transformer.module_.state_dict()
    return str(joblib.hash({key: value.cpu().numpy() for key, value in state.items()}))
