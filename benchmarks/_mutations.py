"""Damage to files, by a seed: as disks, editors, other programs and hostile hands do it."""

import io
import json

import numpy as np

_VALUES = [
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    "",
    "text",
    "\ud800",
    [],
    {},
    [None],
    [[1, [2]]],
    {"a": 1},
]


def mutated(content, random):
    """Return other bytes in the place of those of a file.

    Parameters
    ----------
    content : bytes
    random : numpy.random.Generator
    """
    kinds = [_flip, _flip, _cut, _nest, _drop, lambda content, random: b""]
    if content[:1] in (b"{", b"["):
        kinds += [_change_json] * 6
    elif content[:2] == b"PK":
        kinds += [_change_arrays] * 6
    for _ in range(100):
        new = kinds[random.integers(len(kinds))](content, random)
        if new != content:
            return new
    raise AssertionError("nothing could be changed")


def _flip(content, random):
    new = bytearray(content)
    if new:
        new[random.integers(len(new))] ^= 1 << random.integers(8)
    return bytes(new)


def _cut(content, random):
    return content[: random.integers(max(1, len(content)))]


def _drop(content, random):
    start = random.integers(max(1, len(content)))
    return content[:start] + content[start + random.integers(1, 50) :]


def _nest(content, random):
    opening, closing = [(b"[", b"]"), (b'{"a":', b"}")][random.integers(2)]
    depth = int(random.choice([900, 100_000]))
    return opening * depth + b"1" + closing * depth


def _change_json(content, random):
    """Put another value into the place of one, somewhere within."""
    try:
        value = json.loads(content)
    except ValueError:
        return _flip(content, random)
    places = []

    def walk(node):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, item in items:
            places.append((node, key))
            if isinstance(item, (dict, list)):
                walk(item)

    walk(value)
    if not places:
        return _flip(content, random)
    node, key = places[random.integers(len(places))]
    what = random.integers(10)
    if what == 0:
        del node[key]
    elif what == 1 and isinstance(node, dict):
        node["another"] = node[key]
    elif what == 2 and isinstance(node[key], int):
        node[key] += 1
    else:
        node[key] = _VALUES[random.integers(len(_VALUES))]
    return json.dumps(value).encode()


def _change_arrays(content, random):
    """Give one array of an archive another type, shape or value."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            arrays = dict(arrays)
    except Exception:
        # What was damaged before.
        return _flip(content, random)
    name = sorted(arrays)[random.integers(len(arrays))]
    array = arrays[name]
    changes = [
        lambda: array[:-1],
        lambda: array[..., None],
        lambda: array.astype("U8"),
        lambda: array.astype(complex),
        lambda: array.astype(object),
        lambda: array[:0],
        lambda: array * np.nan,
        lambda: -array - 1,
        lambda: array.astype(np.float64) * 1e300 * 1e300,
        lambda: np.float64(3),
    ]
    with np.errstate(all="ignore"):
        arrays[name] = changes[random.integers(len(changes))]()
    if random.integers(8) == 0:
        del arrays[name]
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
