"""What did people call the clusters?"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skdcec._files import as_rows, check_source, read_table

MAX_NAME = 200


def read_names(path: str | os.PathLike) -> dict[int, dict[str, str]]:
    r"""Read names and notes of clusters, exported from the page or written by hand.

    Parameters
    ----------
    path : str or path-like
        The JSON file that the page exports, or a table with the columns ``cluster``, ``name``
        and, if wanted, ``note``, saved as CSV by hand or by a spreadsheet.

    Returns
    -------
    names : dict of int to dict
        ``{cluster: {"name": str, "note": str}}``, for `cluster_names` of :func:`write_report`.

    Raises
    ------
    ValueError
        If the file is neither of the two, names a cluster twice, or has a value that is not
        text or too long.

    See Also
    --------
    draft_names : Proposes names.
    read_edits : Names together with images that were moved.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skdcec.report import read_names
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "names.csv")
    ...     _ = file.write_text("cluster,name\n0,Portraits\n")
    ...     read_names(file)
    {0: {'name': 'Portraits', 'note': ''}}
    """
    check_source(path, "a file of names")
    raw = Path(path).read_bytes()
    if raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        try:
            content = json.loads(raw.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{os.fspath(path)} is not valid JSON: {error}.") from error
        rows = content.get("clusters") if isinstance(content, dict) else content
    else:
        table = read_table(path)
        if "cluster" not in table:
            raise ValueError(
                f"{os.fspath(path)} has no column 'cluster', but {', '.join(map(repr, table))}: "
                "names are read from what the page saves, or from a table with the columns "
                "'cluster' and 'name'."
            )
        rows = as_rows(table)
    return names_of(rows, os.fspath(path))


def names_of(rows: Any, where: str) -> dict[int, dict[str, str]]:
    """Return names and notes by cluster from rows of a file, in the form of :func:`read_names`."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{where} has no list of clusters with their names.")
    names: dict[int, dict[str, str]] = {}
    for row in rows:
        cluster = _named_cluster(row, where)
        if cluster in names:
            raise ValueError(f"{where} names cluster {cluster} twice.")
        names[cluster] = _check_name(
            {"name": row.get("name") or "", "note": row.get("note") or ""},
            f"cluster {cluster} in {where}",
        )
    return names


def _named_cluster(row: dict, where: str) -> int:
    value = row.get("cluster")
    try:
        if isinstance(value, bool) or (cluster := int(str(value))) < -1:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{where} has the cluster {value!r}; a whole number from 0 is needed."
        ) from None
    return cluster


def _check_name(entry: dict, where: str) -> dict[str, str]:
    for key, limit in (("name", MAX_NAME), ("note", 10_000)):
        text = entry.get(key, "")
        if not isinstance(text, str) or len(text) > limit:
            raise ValueError(f"The {key} of {where} must be text of at most {limit} characters.")
    return {"name": entry.get("name", "").strip(), "note": entry.get("note", "").strip()}


def check_names(
    cluster_names: Mapping[int, Any] | None, labels: np.ndarray
) -> dict[int, dict[str, str]]:
    """Return names and notes in the form of :func:`read_names`, all of clusters that exist."""
    names = {
        int(cluster): _check_name(
            dict(entry) if isinstance(entry, Mapping) else {"name": entry},
            f"cluster {cluster} in cluster_names",
        )
        for cluster, entry in (cluster_names or {}).items()
    }
    unknown = sorted(set(names) - set(range(-1, labels.max() + 1)))
    if unknown:
        raise ValueError(
            f"cluster_names has cluster {unknown[0]}, but the labels end at {labels.max()}."
        )
    return names
