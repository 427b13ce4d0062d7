"""What does a network that was trained on images and texts make of words?"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skdcec.features.networks import (
    CLIP,
    both_sides_of,
    import_open_clip,
    own_name,
    reason_of,
)

# What tokenizers do with a text grows with the square of its longest word, and networks read no
# more than some 60 words.
_MAX_TEXT = 2000


class TextSide(NamedTuple):
    """The part of a network that reads texts.

    Attributes
    ----------
    module : torch.nn.Module
        Has `encode_text`, which maps tokens to features.
    tokenize : callable
        Maps a list of str to a tensor of tokens, (n, length).
    """

    module: nn.Module
    tokenize: Callable[[list[str]], Tensor]

    def features(self, texts: list[str], device: torch.device) -> Tensor:
        """Return one row per text, on the CPU."""
        encode: Any = self.module.encode_text
        rows: Tensor = encode(self.tokenize(texts).to(device))
        return rows.float().cpu()


def text_side_of(model: Any, weights: Any, image_side: nn.Module) -> TextSide:
    """Load the side of a network that reads texts.

    Parameters
    ----------
    model, weights : object
        As of :class:`PretrainedFeatures`.
    image_side : torch.nn.Module
        What was loaded of the same network before.

    Raises
    ------
    ImportError
        If a package is missing.
    ValueError
        If the network was not trained on texts, cannot be loaded, or is no longer the one whose
        image side was loaded.
    """
    if not isinstance(model, str) or not model.startswith(CLIP):
        name = model if isinstance(model, str) else type(model).__name__
        raise ValueError(
            f"model={name!r} knows no words: networks of open_clip do, 'open_clip/NAME/TAG' or "
            "'open_clip/local-dir:FOLDER'."
        )
    if weights is None:
        raise ValueError("weights=None leaves random weights, which know no words.")
    with torch.random.fork_rng(devices=[]):
        whole: Any = both_sides_of(model, weights)
    if not _is_same(whole.visual, image_side):
        raise ValueError(
            f"The weights of model={model!r} are others than when it was fitted: fit again."
        )
    del whole.visual
    return TextSide(whole.float().eval(), _tokenizer_of(model))


def _is_same(found: nn.Module, known: nn.Module) -> bool:
    before = known.state_dict()
    return all(
        torch.equal(value.float(), before[name].cpu())
        for name, value in found.state_dict().items()
        # Positions are interpolated where images of another size are taken.
        if name in before and before[name].shape == value.shape
    )


def _tokenizer_of(model: str) -> Callable[[list[str]], Tensor]:
    open_clip, (own, _) = import_open_clip(), own_name(model)
    try:
        text: dict[str, Any] = (open_clip.get_model_config(own) or {}).get("text_cfg", {})
        # This would be handed on to transformers, which then runs what lies beside the weights.
        runs_code = bool((text.get("tokenizer_kwargs") or {}).get("trust_remote_code"))
        made: Callable[[list[str]], Tensor] | None = (
            None if runs_code else open_clip.get_tokenizer(own)
        )
    except ImportError as error:
        raise ImportError(
            f"What model={model!r} reads is cut into words by another package ({error}): pip "
            "install transformers sentencepiece"
        ) from error
    except Exception as error:
        raise ValueError(
            f"The words of model={model!r} cannot be loaded ({reason_of(error)}): open_clip "
            "fetches them once; without a connection, 'open_clip/local-dir:FOLDER' takes them "
            "from a folder."
        ) from error
    if made is None:
        raise ValueError(
            f"model={model!r} wants code to be run that comes with it (trust_remote_code), which "
            "is not done."
        )
    return made


def checked_texts(texts: Any) -> list[str]:
    """Return texts as a list, of which there is at least one.

    Raises
    ------
    TypeError
        If they are anything else.
    ValueError
        If there is none, or one is empty, longer than any network reads, or no valid Unicode.
    """
    if isinstance(texts, np.ndarray) and texts.ndim == 0:
        texts = texts.item()
    known: list[Any] = [texts] if isinstance(texts, str) or not _holds_others(texts) else [*texts]
    if not known:
        raise ValueError("texts is empty; at least one is needed.")
    for text in known:
        if not isinstance(text, str):
            raise TypeError(
                f"texts holds {text!r:.80}, of type {type(text).__name__}; texts are needed."
            )
        if not text.strip() or len(text) > _MAX_TEXT:
            raise ValueError(
                f"texts holds one of {len(text)} characters ({text[:20]!r}); from 1 to "
                f"{_MAX_TEXT} can be read."
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"texts holds {text[:80]!r}, which is no valid Unicode.") from error
    return [str(text) for text in known]


def _holds_others(texts: Any) -> bool:
    return isinstance(texts, Iterable) and not isinstance(texts, bytes)
