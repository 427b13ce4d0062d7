"""How do pictures come from the web? By the user's own command, each once, and bounded."""

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from skdcec._files import check_source, distinct, replacing, write_bytes, write_table
from skdcec.datasets.decode import kind_of
from skdcec.datasets.iiif import MAX_MANIFEST_BYTES, Named, is_web_address, pictures_of

__all__ = ["Fetched", "fetch_manifest"]

MANIFEST, TABLE, FAILED = "manifest.json", "manifest.csv", "failed.csv"

_ENDINGS = {"JPEG": ".jpg", "JPEG2000": ".jp2", "TIFF": ".tif", "PPM": ".ppm", "HEIF": ".heic"}
_BLOCK = 2**16
_BEGINNING = 32
# For the answer to begin, and for all of it at the least speed that is waited for.
_TIMEOUT = 30.0
_SLOWEST = 10_000


class Fetched(NamedTuple):
    """What came of a manifest.

    Attributes
    ----------
    files : list of str or None
        The file of each picture, None where there is none.
    reasons : list of str
        Why not; "" where there is one.
    n_new : int
        Files that were not there before.
    """

    pictures: list[Named]
    files: list[str | None]
    reasons: list[str]
    n_new: int


class _Refused(Exception):
    """A picture cannot be had; the text is the reason."""


class _SameKind(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only; urllib would follow those to FTP as well."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, to: str
    ) -> Any:
        if not is_web_address(to):
            raise _Refused(f"leads to {to[:100]!r}, which is not of http or https")
        return super().redirect_request(req, fp, code, msg, headers, to)


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http and https, and knows nothing of files and FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SameKind(),
    ):
        opener.add_handler(handler)
    return opener


def fetch_manifest(
    source: str,
    out: Path,
    *,
    side: int | None = 1024,
    max_bytes: int = 2**28,
    sample: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fetched:
    """Fetch the pictures that a IIIF manifest names into a folder.

    What is there already is not fetched again, so that a fetching that was stopped goes on.

    Parameters
    ----------
    source : str
        A file, or an address of http or https.
    out : Path
        The folder. Besides the pictures it gets the manifest; ``manifest.csv``, with a row for
        each picture, its label and metadata; and ``failed.csv``, with what could not be had.
    side : int or None, default=1024
        Pixels of the longer side that are asked for, where a service scales; None for all.
    max_bytes : int, default=2**28
        Of a file; larger ones are not kept.
    sample : int, default=None
        Only so many, evenly spread.
    progress : callable, default=None
        Called as ``progress(done, total)``.

    Returns
    -------
    fetched : Fetched

    Raises
    ------
    ValueError
        If the source is no manifest.
    OSError
        If it cannot be had, or the folder cannot be written.
    """
    opener = _opener()
    content = _manifest(source, opener)
    named = pictures_of(content, source, side)
    if sample is not None and sample < len(named):
        named = [named[i * (len(named) - 1) // max(1, sample - 1)] for i in range(sample)]
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / MANIFEST, [content])
    present = {path.stem: path.name for path in out.iterdir() if not path.name.startswith(".")}
    files: list[str | None] = []
    reasons: list[str] = []
    n_new = 0
    try:
        for done, picture in enumerate(named):
            if progress is not None:
                progress(done, len(named))
            found, reason = present.get(picture.name), ""
            if found is None:
                found, reason = _fetch(picture, out, opener, max_bytes)
                n_new += found is not None
            files.append(found)
            reasons.append(reason)
    finally:
        _write_tables(out, named, files, reasons)
    return Fetched(named, files, reasons, n_new)


def _manifest(source: str, opener: urllib.request.OpenerDirector) -> bytes:
    if not is_web_address(source):
        check_source(source, "a IIIF manifest, or its address of http or https,")
        with open(source, "rb") as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
    else:
        try:
            content = b"".join(_blocks(source, opener, MAX_MANIFEST_BYTES + 1))
        except _Refused as error:
            raise OSError(f"{source} cannot be had: {error}.") from error
    if len(content) > MAX_MANIFEST_BYTES:
        raise ValueError(f"{source} has more than {MAX_MANIFEST_BYTES >> 20} MiB.")
    return content


def _fetch(
    picture: Named, out: Path, opener: urllib.request.OpenerDirector, max_bytes: int
) -> tuple[str | None, str]:
    """Return the name of the file, or the reason why there is none."""
    reason = ""
    for address in picture.addresses:
        try:
            return _keep(_blocks(address, opener, max_bytes + 1), picture, out, max_bytes), ""
        except _Refused as error:
            # What is said of the best address is what helps.
            reason = reason or f"{error} ({address})"
    return None, reason


def _keep(blocks: Iterator[bytes], picture: Named, out: Path, max_bytes: int) -> str:
    """Write a file whose content begins like an image, and return its name."""
    first = b""
    while len(first) < _BEGINNING and (block := next(blocks, b"")):
        first += block
    kind = kind_of(first)
    if kind is None:
        raise _Refused("not an image of a known format")
    name = picture.name + _ENDINGS.get(kind, f".{kind.lower()}")
    n_bytes = 0
    with replacing(out / name) as partial, open(partial, "wb") as file:
        block = first
        while block:
            n_bytes += len(block)
            if n_bytes > max_bytes:
                raise _Refused(f"has more than {max_bytes / 1e6:.3g} MB")
            file.write(block)
            block = next(blocks, b"")
    return name


def _blocks(address: str, opener: urllib.request.OpenerDirector, max_bytes: int) -> Iterator[bytes]:
    """Yield what is at an address, and no more than a little above the bytes asked for."""
    request = urllib.request.Request(address, headers={"User-Agent": "skdcec (image clustering)"})
    end = time.monotonic() + _TIMEOUT + max_bytes / _SLOWEST
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            expected = _length(answer)
            if expected is not None and expected >= max_bytes:
                raise _Refused(f"has {expected / 1e6:.3g} MB")
            n_bytes = 0
            while n_bytes < max_bytes and (block := answer.read1(_BLOCK)):
                n_bytes += len(block)
                if time.monotonic() > end:
                    raise _Refused("is sent too slowly")
                yield block
            if expected is not None and n_bytes < expected:
                raise _Refused("ended early")
    except urllib.error.HTTPError as error:
        error.close()
        raise _Refused(f"{error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = getattr(error, "reason", error)
        raise _Refused(" ".join(str(text).split())[:200] or type(error).__name__) from error


def _length(answer: IO[bytes]) -> int | None:
    text = answer.headers.get("Content-Length", "")  # type: ignore[attr-defined]
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def _write_tables(
    out: Path, named: list[Named], files: list[str | None], reasons: list[str]
) -> None:
    rows = [(p, file) for p, file in zip(named, files, strict=False) if file is not None]
    keys = list(dict.fromkeys(key for picture, _ in rows for key in picture.metadata))
    columns = [
        ("file", [file for _, file in rows]),
        ("label", [picture.label for picture, _ in rows]),
        ("address", [picture.addresses[0] for picture, _ in rows]),
        *((key, [picture.metadata.get(key, "") for picture, _ in rows]) for key in keys),
    ]
    names = distinct(name for name, _ in columns)
    write_table(out / TABLE, {name: c for name, (_, c) in zip(names, columns, strict=True)})
    lost = [(p, reason) for p, reason in zip(named, reasons, strict=False) if reason]
    if lost or os.path.exists(out / FAILED):
        write_table(
            out / FAILED,
            {
                "address": [picture.addresses[0] for picture, _ in lost],
                "label": [picture.label for picture, _ in lost],
                "reason": [reason for _, reason in lost],
            },
        )
