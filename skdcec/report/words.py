"""Which words fit clusters, for a network that knows images and words? Drafts, to be corrected."""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from scipy.stats import norm

from skdcec._files import check_source
from skdcec.report.drafts import MARK
from skdcec.report.names import MAX_NAME

# Of a term, the mean of what these say is taken.
PROMPTS = ("{}", "a picture of {}", "a painting of {}")

# How the notes end that come with proposals.
_UNSEEN = "nobody has looked."
NOTE = f"Words by {{}}; {_UNSEEN}"

_MAX_BYTES = 1_000_000
_MAX_TERMS = 5_000
_MAX_TERM = 100

# By how many standard deviations of single images the mean of a cluster has to be off that of all.
_MIN_EFFECT = 0.5
# In how many clusters drawn at random any of the terms would stand out.
_CHANCE = 0.01
# Further words of a name have so much of what the first has.
_SHARE = 0.7
_MAX_WORDS = 3
_MIN_LETTERS = 4


def read_vocabulary(path: str | os.PathLike[str] | None = None) -> list[str]:
    """Read terms from a plain text file, one a line.

    Blank lines, and lines that begin with "#", are passed over, and what stands there twice counts
    once.

    Parameters
    ----------
    path : str or path-like, default=None
        Encoded as UTF-8. None is the vocabulary of art that comes with the package.

    Returns
    -------
    terms : list of str

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is too large, not in UTF-8, or has no terms, too many, or one too long.

    Examples
    --------
    >>> from skdcec.report.words import read_vocabulary
    >>> "seascape" in read_vocabulary()
    True
    """
    if path is None:
        content = resources.files("skdcec.report").joinpath("vocabulary.txt").read_bytes()
        name = "vocabulary.txt"
    else:
        check_source(path, "a text file with one term a line")
        name = repr(os.fspath(path))
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{name} has more than {_MAX_BYTES / 1e6:g} MB, too much for a list.")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is no text in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8."
        ) from error
    terms: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        term = " ".join(line.split())
        if not term or term.startswith("#"):
            continue
        if len(term) > _MAX_TERM or not term.isprintable():
            raise ValueError(
                f"{name}, line {number}: {term[:30]!r} is longer than {_MAX_TERM} characters, or "
                "has some that cannot be printed; one term stands in each line."
            )
        terms.setdefault(term.casefold(), term)
    if not terms or len(terms) > _MAX_TERMS:
        raise ValueError(f"{name} has {len(terms)} terms; from 1 to {_MAX_TERMS} are needed.")
    return list(terms.values())


def rows_of_terms(
    terms: Sequence[str], transform_text: Callable[[list[str]], np.ndarray]
) -> np.ndarray:
    """Return one row of length 1 per term: the mean of what several prompts with it say.

    Parameters
    ----------
    terms : sequence of str
    transform_text : callable
        As the method of :class:`skdcec.features.PretrainedFeatures`.

    Returns
    -------
    rows : ndarray of shape (n_terms, n_features)
    """
    texts = [prompt.replace("{}", term) for term in terms for prompt in PROMPTS]
    rows = _unit(transform_text(texts)).reshape(len(terms), len(PROMPTS), -1)
    return _unit(rows.mean(axis=1))


def words_of_clusters(
    features: np.ndarray, labels: np.ndarray, terms: Sequence[str], term_rows: np.ndarray
) -> dict[int, list[str]]:
    """Return the words that the images of each cluster are nearer to than other images are.

    What counts is the mean of a cluster without the mean of all images: so no word holds for all
    clusters, and it does not matter that images of any kind are nearer to some words than to
    others. A word has to be off by half a standard deviation of single images, and by more than
    one of all the words would be in 99 of 100 clusters drawn at random.

    Parameters
    ----------
    features : ndarray of shape (n_images, n_features)
    labels : ndarray of shape (n_images,)
        Images of -1 are in no cluster.
    terms : sequence of str
    term_rows : ndarray of shape (n_terms, n_features)
        As of :func:`rows_of_terms`.

    Returns
    -------
    words : dict of int to list of str
        The best first; none for a cluster in which none stands out.

    Examples
    --------
    >>> import numpy as np
    >>> from skdcec.report.words import words_of_clusters
    >>> rows, labels = np.eye(2).repeat(20, axis=0), np.arange(2).repeat(20)
    >>> words_of_clusters(rows, labels, ["ship", "tree"], np.eye(2))
    {0: ['ship'], 1: ['tree']}
    """
    images = _unit(features)
    n, mean = len(images), images.mean(axis=0)
    # Deviations of the images' similarity to each term, without all those similarities at once.
    covariance = images.T @ images / n - np.outer(mean, mean)
    spread = np.sqrt(np.einsum("ij,ij->i", term_rows @ covariance, term_rows).clip(0))
    found = {}
    for cluster in np.unique(labels[labels >= 0]).tolist():
        members = images[labels == cluster]
        contrast = term_rows @ (members.mean(axis=0) - mean)
        # Of the mean of so many images that are drawn without being put back.
        by_chance = np.sqrt((n - len(members)) / max(1, n - 1) / len(members))
        limit = np.maximum(_MIN_EFFECT, norm.isf(_CHANCE / len(terms)) * by_chance) * spread
        stands_out = np.flatnonzero((contrast > limit) & (contrast > 1e-6))
        best = stands_out[np.argsort(-contrast[stands_out], kind="stable")]
        found[cluster] = _unlike(
            [terms[i] for i in best if contrast[i] >= _SHARE * contrast[best[0]]]
        )
    return found


def names_of_words(words: dict[int, list[str]], source: str) -> dict[int, dict[str, str]]:
    """Return drafts of names for the clusters that have words, as of :func:`read_names`."""
    return {
        cluster: {"name": (MARK + ", ".join(some))[:MAX_NAME], "note": NOTE.format(source)}
        for cluster, some in words.items()
        if some
    }


def is_draft(entry: Mapping[str, str]) -> bool:
    """Whether a name, and the note with it, is a proposal as it was made."""
    note = entry.get("note", "")
    return entry.get("name", "").startswith(MARK) and (not note or note.endswith(_UNSEEN))


def _unlike(terms: Sequence[str]) -> list[str]:
    """Leave out terms that repeat a word of those before, and what is too much for a name."""
    taken: list[str] = []
    for term in terms:
        if not any(_parts(term) & _parts(other) for other in taken):
            taken.append(term)
    return taken[:_MAX_WORDS]


def _parts(term: str) -> set[str]:
    return {part for part in term.casefold().split() if len(part) >= _MIN_LETTERS}


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: np.ndarray = rows / np.where(length > 0, length, 1)
    return unit
