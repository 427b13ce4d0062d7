"""One page that compares clusterings of the same images into different numbers of clusters."""

import base64
import html
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from skdcec._analysis.contingency import cross_table
from skdcec._analysis.exemplars import exemplars
from skdcec._analysis.palette import cluster_color
from skdcec._analysis.spaces import distances_to_means
from skdcec._files import write_bytes
from skdcec.datasets.decode import MAX_PIXELS
from skdcec.report.choice_drawings import MIN_SHARE, silhouettes, splits
from skdcec.report.page import source_hash, viewer_file
from skdcec.report.thumbnails import Pictures, encode_webp

SCRIPTS = ("elements.js", "copy.js", "choice.js")
_SIDE = 56
_SIDE_OF_BEST = 96
_N_TYPICAL = 8
_UNTRAINED = (
    "No model was fitted for this number. These are the clusters that it was judged by, and that a "
    "model would start from."
)
_COLUMNS = {
    "k-means": "How far the clusters of k-means lie apart: their silhouette.",
    "model": "The same of the clusters of the model, where one was fitted.",
    "gained by the model": "The difference of these two.",
    "k-means above chance": "By how much the silhouette of k-means is higher than among points "
    "without clusters. Below 0, such points would even lie farther apart.",
    "± of the difference to the best": "How far chance alone may change the difference between "
    "this silhouette and the highest: less than twice as much says nothing.",
    "plausible": "Whether the number is about as good as the one that was chosen.",
    "clusters found": "How many clusters have images.",
    "share of the smallest": "How many of all images the smallest cluster has, from 0 to 1.",
    "failed": "Why no model could be fitted.",
}
_DASHES = '<svg width="24" height="12" aria-hidden="true"><path class="chance" d="M0,6h24"/></svg>'


def write_choice_page(
    path: str | os.PathLike,
    files: Sequence[Any],
    embedding: np.ndarray,
    labels_of: Mapping[int, np.ndarray],
    results: Mapping[str, np.ndarray],
    *,
    best: int,
    verdict: str,
    title: str,
    answer: str = "",
    command: str = "",
    max_pixels: int = MAX_PIXELS,
    n_jobs: int | None = None,
) -> int:
    """Write the page.

    Parameters
    ----------
    path : str or path-like
        The file. It needs no other, and loads nothing.
    files : sequence of str or path-like
        The images. Those that cannot be drawn are gray.
    embedding : ndarray of shape (n_samples, n_components)
        Where those nearest to the mean of their cluster are its typical ones.
    labels_of : mapping of int to ndarray of shape (n_samples,)
        The labels of each number of clusters to be shown, each numbered by size: of a model, or
        those by which a number was judged that has none.
    results : mapping of str to ndarray
        The ``results_`` of the search.
    best : int
        The number of clusters that was chosen.
    verdict, title : str
    answer : str, default=""
        What the verdict comes to, in a few words: it comes first, and large.
    command : str, default=""
        What to type next.
    max_pixels : int, default=178956970
        Files with more pixels are not read.
    n_jobs : int, default=None
        Threads that read images.

    Returns
    -------
    n_bytes : int
    """
    numbers = sorted(labels_of)
    typical = {k: _typical(embedding, labels_of[k]) for k in numbers}
    shown = sorted({i for rows in typical.values() for row in rows.values() for i in row})
    pictures = Pictures([files[i] for i in shown], max_pixels=max_pixels, n_jobs=n_jobs)
    squares = dict(zip(shown, pictures.squares(_SIDE_OF_BEST), strict=True))
    trained = dict(zip(results["n_clusters"].tolist(), results["trained"].tolist(), strict=True))
    galleries = {
        k: _gallery(k, labels_of[k], typical[k], squares, k == best, trained[k]) for k in numbers
    }
    others = "".join(galleries[k] for k in numbers if k != best)
    columns = _columns_of(results, labels_of)
    style = viewer_file("choice.css")
    script = '"use strict";\n\n' + "\n".join(map(viewer_file, SCRIPTS))
    policy = (
        f"default-src 'none'; script-src '{source_hash(script)}'; "
        f"style-src '{source_hash(style)}'; img-src data:; base-uri 'none'"
    )
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{html.escape(title)}</title>
<style>{style}</style></head><body>
<main>
<h1>How many clusters? {html.escape(title)}</h1>
<p class="answer">{html.escape(answer or verdict)}</p>
{f'<p class="command"><code>{html.escape(command)}</code></p>' if command else ""}
{f'<p class="verdict">{html.escape(verdict)}</p>' if answer else ""}
{galleries.get(best, "")}
<h2>How the numbers compare</h2>
{silhouettes(results, best)}
<p class="note">{_key("screened")} clusters of k-means, a plain method; {_key("trained")} those of
the model that was fitted for that number; {_DASHES} what k-means finds among points without any
clusters. All are measured alike. Higher means clusters that lie farther apart (the silhouette, from
−1 to 1). A number of clusters is a view of the images, not a fact about them: several may be
useful.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Numbers">{_table(columns, best)}</div>
<details><summary>What the columns say</summary><dl class="note">{_in_words(columns)}</dl></details>
{_split_section(labels_of)}
{f"<h2>Other numbers that look good</h2>{others}" if others else ""}
</main>
<script>{script}</script>
</body></html>
"""
    n_bytes = write_bytes(path, [page.encode("utf-8", "xmlcharrefreplace")])
    pictures.warn()
    return n_bytes


def _typical(embedding: np.ndarray, labels: np.ndarray) -> dict[int, list[int]]:
    """Return the rows nearest to the mean of each cluster."""
    distance = distances_to_means(embedding, labels)[np.arange(len(labels)), labels]
    chosen = exemplars(labels, {"typical": _N_TYPICAL}, distance=distance)
    return {cluster: rows["typical"].tolist() for cluster, rows in chosen.items()}


def _gallery(
    k: int,
    labels: np.ndarray,
    typical: Mapping[int, list[int]],
    squares: Mapping[int, np.ndarray],
    is_best: bool,
    is_trained: bool,
) -> str:
    rows = []
    side = _SIDE_OF_BEST if is_best else _SIDE
    for cluster, members in typical.items():
        size = int((labels == cluster).sum())
        strip = Image.fromarray(np.concatenate([squares[i] for i in members], axis=1))
        if not is_best:
            strip = strip.resize((side * len(members), side), Image.Resampling.BOX)
        name = f"Cluster {cluster}: {size} image{'s' * (size != 1)}"
        source = _data_url(encode_webp(strip), "webp")
        rows.append(
            f'<figure><img alt="{name}" width="{strip.width}" height="{strip.height}" '
            f'src="{source}"><figcaption>{_swatch(cluster)} {name}</figcaption></figure>'
        )
    if is_best:
        return f'<h2>{k} clusters</h2><div class="best-gallery">{"".join(rows)}</div>'
    how = "" if is_trained else f'<p class="note">{_UNTRAINED}</p>'
    return (
        f'<section><h3>{k} clusters</h3>{how}<div class="galleries">{"".join(rows)}</div></section>'
    )


def _key(kind: str) -> str:
    return (
        '<svg width="12" height="12" aria-hidden="true">'
        f'<circle class="key-{kind}" cx="6" cy="6" r="5"/></svg>'
    )


def _swatch(cluster: int) -> str:
    # An attribute of a shape, since the page's policy forbids styles of single elements.
    return (
        '<svg width="12" height="12" aria-hidden="true">'
        f'<circle cx="6" cy="6" r="6" fill="{cluster_color(cluster)}"/></svg>'
    )


def _split_section(labels_of: Mapping[int, np.ndarray]) -> str:
    numbers = sorted(labels_of)
    if len(numbers) < 2:
        return ""
    pairs = zip(numbers, numbers[1:], strict=False)
    in_words = "".join(_splits(labels_of[a], labels_of[b]) for a, b in pairs)
    return (
        f'<h2>How clusters split</h2><p class="note">Each column has so many clusters as stands '
        "above it. Bands say where the images of a cluster are in the next one.</p>"
        f"{splits(labels_of)}"
        f"<details><summary>The same in words</summary>{in_words}</details>"
    )


def _splits(coarse: np.ndarray, fine: np.ndarray) -> str:
    """Say where the images of each cluster are at the next number of clusters."""
    counts = cross_table(coarse, fine, (coarse.max() + 1, fine.max() + 1))
    lines = []
    for cluster, row in enumerate(counts):
        shares = row / max(row.sum(), 1)
        order = np.argsort(-shares, kind="stable")
        parts = [f"{c} ({shares[c]:.0%})" for c in order if shares[c] >= MIN_SHARE]
        verb = "stays together as" if len(parts) == 1 else "splits into"
        lines.append(f"<li>{_swatch(cluster)} {cluster} {verb} {', '.join(parts)}</li>")
    return f"<h3>From {len(counts)} clusters to {counts.shape[1]}</h3><ul>{''.join(lines)}</ul>"


def _columns_of(
    results: Mapping[str, np.ndarray], labels_of: Mapping[int, np.ndarray]
) -> dict[str, np.ndarray]:
    trained = results["trained"]
    screened = results.get("screened_silhouette", results["silhouette"])
    refined = np.where(trained, results["silhouette"], np.nan)
    n_found, smallest = results["n_found"].copy(), results["smallest_share"].copy()
    for i, k in enumerate(results["n_clusters"].tolist()):
        if k in labels_of:
            # Of the clusters that the page shows.
            sizes = np.unique(labels_of[k], return_counts=True)[1]
            n_found[i], smallest[i] = len(sizes), sizes.min() / sizes.sum()
    columns = {
        "clusters": results["n_clusters"],
        "k-means": screened,
        "model": refined,
        "gained by the model": refined - screened,
        "k-means above chance": results["excess_silhouette"],
        "± of the difference to the best": results["standard_error"],
        "plausible": results["plausible"],
        "clusters found": n_found,
        "share of the smallest": smallest,
    }
    return columns | ({"failed": results["error"]} if any(map(str, results["error"])) else {})


def _table(columns: Mapping[str, np.ndarray], best: int) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    body = ""
    for i, k in enumerate(columns["clusters"]):
        cells = "".join(f"<td>{html.escape(_cell(values[i]))}</td>" for values in columns.values())
        body += f'<tr class="{"best" if k == best else ""}">{cells}</tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _in_words(columns: Mapping[str, np.ndarray]) -> str:
    named = [(name, _COLUMNS[name]) for name in columns if name in _COLUMNS]
    return "".join(f"<dt>{html.escape(name)}</dt><dd>{text}</dd>" for name, text in named)


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else ""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
