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
from skdcec.report.page import source_hash
from skdcec.report.thumbnails import Pictures, encode_webp

_SIDE = 56
_N_TYPICAL = 8
# Smaller shares of a cluster that go elsewhere at the next k are not worth a line.
_MIN_SHARE = 0.1

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 1400px; padding: 0 1rem; }
.verdict { font-size: 1.2rem; max-width: 48rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
tr.best { font-weight: bold; }
.side { display: flex; gap: 2rem; overflow-x: auto; align-items: flex-start; }
.side > section { flex: none; }
figure { margin: 0 0 .8rem; }
figcaption, .note { font-size: .85rem; max-width: 30rem; }
.note { opacity: .8; }
img { display: block; max-width: 100%; }
svg { vertical-align: -.1em; }
ul { columns: 22rem; padding-left: 1.2rem; }
"""


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
    picture: bytes | None = None,
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
        The labels of each number of clusters to be shown, each numbered by size.
    results : mapping of str to ndarray
        The ``results_`` of the search.
    best : int
        The number of clusters that was chosen.
    verdict, title : str
    picture : bytes, default=None
        A PNG of the silhouettes.
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
    squares = dict(zip(shown, pictures.squares(_SIDE), strict=True))
    galleries = "".join(_gallery(k, labels_of[k], typical[k], squares, k == best) for k in numbers)
    splits = "".join(
        _splits(labels_of[a], labels_of[b]) for a, b in zip(numbers, numbers[1:], strict=False)
    )
    drawn = "" if picture is None else f'<img alt="Silhouettes" src="{_data_url(picture, "png")}">'
    policy = (
        f"default-src 'none'; style-src '{source_hash(_STYLE)}'; img-src data:; base-uri 'none'"
    )
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{html.escape(title)}</title>
<style>{_STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<p class="verdict">{html.escape(verdict)}</p>
{drawn}
<div class="scroll">{_table(results, best)}</div>
<p class="note">Silhouettes are taken in one embedding that all numbers of clusters share. "Above
chance" is how much more that is than for points without clusters. A number of clusters is a view
of the images, not a fact about them: several may be useful.</p>
<h2>Plausible numbers of clusters</h2>
<div class="side">{galleries}</div>
<h2>How clusters split</h2>
{splits or "<p>Only one number of clusters is shown.</p>"}
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
) -> str:
    rows = []
    for cluster, members in typical.items():
        size = int((labels == cluster).sum())
        strip = Image.fromarray(np.concatenate([squares[i] for i in members], axis=1))
        name = f"Cluster {cluster}: {size} images"
        source = _data_url(encode_webp(strip), "webp")
        rows.append(
            f'<figure><img alt="{name}" width="{strip.width}" height="{strip.height}" '
            f'src="{source}"><figcaption>{_swatch(cluster)} {name}</figcaption></figure>'
        )
    mark = ", the best of those tried" if is_best else ""
    return f"<section><h3>k = {k}{mark}</h3>{''.join(rows)}</section>"


def _swatch(cluster: int) -> str:
    # An attribute of a shape, since the page's policy forbids styles of single elements.
    return (
        '<svg width="12" height="12" aria-hidden="true">'
        f'<circle cx="6" cy="6" r="6" fill="{cluster_color(cluster)}"/></svg>'
    )


def _splits(coarse: np.ndarray, fine: np.ndarray) -> str:
    """Say where the images of each cluster are at the next number of clusters."""
    counts = cross_table(coarse, fine, (coarse.max() + 1, fine.max() + 1))
    lines = []
    for cluster, row in enumerate(counts):
        shares = row / max(row.sum(), 1)
        order = np.argsort(-shares, kind="stable")
        parts = [f"{c} ({shares[c]:.0%})" for c in order if shares[c] >= _MIN_SHARE]
        verb = "stays together as" if len(parts) == 1 else "splits into"
        lines.append(f"<li>{_swatch(cluster)} {cluster} {verb} {', '.join(parts)}</li>")
    return f"<h3>From {len(counts)} clusters to {counts.shape[1]}</h3><ul>{''.join(lines)}</ul>"


def _table(results: Mapping[str, np.ndarray], best: int) -> str:
    columns = {
        "k": results["n_clusters"],
        "silhouette": results["silhouette"],
        "± of the difference": results["standard_error"],
        "above chance": results["excess_silhouette"],
        "plausible": results["plausible"],
        "trained": results["trained"],
        "clusters found": results["n_found"],
        "smallest": results["smallest_share"],
        "failed": results["error"],
    }
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = ""
    for i, k in enumerate(results["n_clusters"]):
        cells = "".join(f"<td>{html.escape(_cell(values[i]))}</td>" for values in columns.values())
        body += f'<tr class="{"best" if k == best else ""}">{cells}</tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else ""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
