"""Names for clusters from words: what may be asked, and what becomes of names that are there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from skdcec._backbones import Backbone
from skdcec._cli.console import note, printable, say
from skdcec._cli.options import ClusterOptions
from skdcec._cli.progress import current
from skdcec._folders import NAMES
from skdcec._named import knows_words
from skdcec._runs import Run, StoredNames

if TYPE_CHECKING:
    import numpy as np

    Names = dict[int, dict[str, str]]

WHICH = "--encoder open_clip/NAME/TAG or open_clip/local-dir:FOLDER, alone or joined to others by +"


def asked_terms(options: ClusterOptions) -> list[str] | None:
    """Return the words of --words, or None without it.

    Raises
    ------
    OSError, ValueError
        If no network that knows words is asked for, or the file is none of words.
    """
    from skdcec.report.words import read_vocabulary

    if options.words is None:
        return None
    if options.features is not None or not knows_words(options.encoder):
        raise ValueError(f"--words needs a network that knows words: {WHICH}.")
    return read_vocabulary(options.words or None)


class Words(NamedTuple):
    """Words, and what a network makes of them.

    Parameters
    ----------
    terms : list of str
    rows : ndarray of shape (n_terms, n_features)
    backbone : Backbone
        The network, among others perhaps.
    """

    terms: list[str]
    rows: np.ndarray
    backbone: Backbone

    @classmethod
    def read_by(cls, backbone: Any, terms: list[str] | None) -> Words | None:
        """Let the network read the words, if there are any."""
        from skdcec.report.words import rows_of_terms

        if terms is None:
            return None
        with current().make(1, "words"):
            return cls(terms, rows_of_terms(terms, backbone.text_rows), backbone)

    def names(self, result: Run, inputs: np.ndarray) -> Names:
        """Return drafts of names for the clusters in which some of the words stand out."""
        from skdcec.report.words import names_of_words, words_of_clusters

        features = self.backbone.image_rows(inputs)
        words = words_of_clusters(features, result.labels, self.terms, self.rows)
        return names_of_words(words, str(self.backbone.known["network"]))


def drafted(kept: Names, drafts: Names | None, n_clusters: int, *, quiet: bool) -> Names:
    """Return names that somebody gave, and of what is proposed that which does not displace any."""
    from skdcec.report.words import is_draft

    if not drafts:
        if drafts is not None:
            say("None of the words stands out in any cluster.")
        return kept
    note(
        f"{len(drafts)} of {n_clusters} clusters have words as drafts of names, which nobody has "
        "looked at: correct them on the page.",
        quiet=quiet,
    )
    names = dict(drafts)
    for cluster, entry in kept.items():
        if not is_draft(entry):
            names[cluster] = {**entry, "name": entry["name"] or drafts.get(cluster, entry)["name"]}
    return names


def names_for(
    result: Run, out: Path, stored: StoredNames | None, drafts: Names | None, *, quiet: bool
) -> tuple[Names, bool]:
    """Return what clusters are called, and whether that is to be written.

    Parameters
    ----------
    result : Run
    out : Path
        The folder that it is to be written into.
    stored : StoredNames or None
        The names that are there, if they can be read.
    drafts : dict of int to dict, or None
        What is proposed, if that was asked for. It gives way to what somebody has written.
    quiet : bool
    """
    from skdcec.report.words import is_draft

    only_drafts = stored is not None and all(map(is_draft, stored.names.values()))
    if drafts and only_drafts:
        kept = {}
    else:
        kept = result.kept_names(out) if stored is not None else {}
    names = drafted(kept, drafts, result.probabilities.shape[1], quiet=quiet)
    if not drafts:
        return names, False
    is_free = only_drafts or bool(kept) or not os.path.lexists(out / NAMES)
    if not is_free:
        say(
            f"{printable(str(out / NAMES))} is not of these clusters, or is damaged, and stays: "
            "drafts are on the page and in the tables alone."
        )
    return names, is_free
