"""Which pictures does a IIIF manifest name? Presentation API 2 and 3, read without trust."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

__all__ = ["MAX_MANIFEST_BYTES", "Named", "is_web_address", "pictures_of"]

MAX_MANIFEST_BYTES = 2**26
MAX_PICTURES = 100_000
_MAX_TEXT = 1000
_MAX_COLUMNS = 50


class Named(NamedTuple):
    """A picture that a manifest names.

    Attributes
    ----------
    name : str
        For its file, without an ending: its number, and its label where that can be spelled.
    addresses : list of str
        Where it is, the best first.
    label : str
    metadata : dict of str to str
        Of the manifest, and of the page.
    """

    name: str
    addresses: list[str]
    label: str
    metadata: dict[str, str]


def is_web_address(text: Any) -> bool:
    """Whether this is an address of http or https, and of nothing else."""
    if not isinstance(text, str) or len(text) > 8000 or re.search(r"[\s\x00-\x1f\x7f]", text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def pictures_of(content: bytes, name: str, side: int | None) -> list[Named]:
    """Read a manifest.

    Parameters
    ----------
    content : bytes
        JSON.
    name : str
        What it is called in errors.
    side : int or None
        Pixels of the longer side that are asked of an image service; None asks for all there are.

    Raises
    ------
    ValueError
        If it is no manifest, or names no pictures.
    """
    try:
        manifest = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON: {str(error)[:200]}.") from error
    kind = _get(manifest, "type") or _get(manifest, "@type")
    if kind in ("Collection", "sc:Collection"):
        raise ValueError(f"{name} is a collection of manifests: fetch each of those that it names.")
    if kind not in ("Manifest", "sc:Manifest"):
        raise ValueError(f"{name} is no IIIF manifest: its type is {str(kind)[:100]!r}.")
    whole = _metadata(manifest)
    found: list[Any] = []
    for label, metadata, images in _pages(manifest):
        for addresses in filter(None, (_addresses(image, side) for image in images)):
            number = len(found) + 1
            if number > MAX_PICTURES:
                raise ValueError(f"{name} names more than {MAX_PICTURES} pictures.")
            stem = re.sub(r"[^\w-]+", "_", label).strip("_")[:60]
            called = f"{number:05}-{stem}" if stem else f"{number:05}"
            found.append(Named(called, addresses, label, whole | metadata))
    if not found:
        raise ValueError(f"{name} names no pictures of http or https.")
    return found


def _pages(manifest: Any) -> Iterator[tuple[str, dict[str, str], list[Any]]]:
    """Yield label, metadata and image resources of each canvas."""
    for canvas in _items(manifest, "items"):
        bodies = [
            body
            for page in _items(canvas, "items")
            for annotation in _items(page, "items")
            if _get(annotation, "motivation") in ("painting", None)
            for body in _as_list(_get(annotation, "body"))
        ]
        # A choice offers several of one picture, the first by default.
        bodies = [
            (_items(body, "items") or [body])[0] if _get(body, "type") == "Choice" else body
            for body in bodies
        ]
        yield _text(_get(canvas, "label")), _metadata(canvas), bodies
    for sequence in _items(manifest, "sequences"):
        for canvas in _items(sequence, "canvases"):
            images = [_get(image, "resource") for image in _items(canvas, "images")]
            images = [_get(image, "default") or image for image in images]
            yield _text(_get(canvas, "label")), _metadata(canvas), images


def _addresses(image: Any, side: int | None) -> list[str]:
    """Return where a picture is: at the size asked for, if a service makes it, else as it is."""
    kind = _get(image, "type") or _get(image, "@type")
    if kind not in ("Image", "dctypes:Image", None):
        return []
    found: list[str] = []
    services = _as_list(_get(image, "service"))
    for service in services:
        base = _get(service, "id") or _get(service, "@id")
        if is_web_address(base):
            sizes = [f"!{side},{side}"] if side else []
            # "full" was the word before version 3, which says "max".
            newer = "3" in str(_get(service, "type"))
            sizes.append("max" if newer else "full")
            found += [f"{base.rstrip('/')}/full/{size}/0/default.jpg" for size in sizes]
            break
    own = _get(image, "id") or _get(image, "@id")
    if is_web_address(own) and own not in found:
        found.append(own)
    return found


def _metadata(thing: Any) -> dict[str, str]:
    """Return pairs of label and value as columns."""
    pairs: dict[str, str] = {}
    for entry in _items(thing, "metadata")[:_MAX_COLUMNS]:
        name = _text(_get(entry, "label"))
        if name:
            pairs.setdefault(name, _text(_get(entry, "value")))
    return pairs


def _text(value: Any) -> str:
    """Return the first language of a text, without markup."""
    if isinstance(value, Mapping):
        if "@value" in value:
            return _text(value["@value"])
        value = next((value[key] for key in ("en", "none") if key in value), None) or next(
            iter(value.values()), ""
        )
    if isinstance(value, list):
        return "; ".join(filter(None, map(_text, value[:20])))[:_MAX_TEXT]
    if not isinstance(value, str | int | float):
        return ""
    plain = re.sub(r"<[^<>]*>", "", str(value)[: 2 * _MAX_TEXT])
    return " ".join(plain.split())[:_MAX_TEXT]


def _get(thing: Any, key: str) -> Any:
    return thing.get(key) if isinstance(thing, Mapping) else None


def _items(thing: Any, key: str) -> list[Any]:
    value = _get(thing, key)
    return value if isinstance(value, list) else []


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
