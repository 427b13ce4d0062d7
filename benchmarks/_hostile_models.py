"""Models of every class, changed in ways that know what a file is made of, and what they do."""

import copy
import json
import struct

import numpy as np

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec import augmentation as augment
from skdcec._persistence import as_bytes
from skdcec.features import BalancedBlocks, ColorEdgeFeatures, Resized, SideBySide
from skdcec.novelty import NoveltyDetector

# Of values that stand where others stood.
VALUES = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 255, 2**31, 2**63, 10**12, 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1e-300, 1e-9, 1e9, 1e38, 1e300, float("nan"), float("inf"), -float("inf")),
    *(
        "",
        "cpu",
        "cuda:7",
        "meta",
        "/etc/passwd",
        "os.system",
        "\ud800",
        "\0",
        "ж" * 50,
        "x" * 5000,
    ),
    *("channels_first", "gray", "rows", "cosine", "euclidean", "auto", "k-means", "relu", "gelu"),
    *("polars", "pandas", "default", "bfloat16", "ConvAutoencoder", "NoveltyDetector", "Compose"),
    *([], {}, [[]], [1, 2], [0.5] * 3, [8] * 50, ["a", "b"], {"x": 1}, {"class": "Compose"}),
    *({"tuple": []}, {"tuple": [8, 8, 3]}, {"tuple": [4096, 4096, 3]}, {"tuple": [3, 8, 8]}),
    *({"tuple": [192, 1, 1]}, {"dict": {}}, {"names": ["a"] * 192}, {"names": [1, None]}),
    *({"frozen": True}, {"foreign": True}, {"reference": "model"}, {"reference": "encoder_"}),
    *({"name": "a.b"}, {"array": "labels_"}, {"array": "cluster_centers_"}, {"array": "none"}),
    {"class": "RandomFlip", "params": {}},
    {"class": "ConvAutoencoder", "params": {"filters": [60_000, 60_000]}},
    {"class": "DenseAutoencoder", "params": {"n_components": 10**9}},
]
NAMES = ["memory", "callbacks", "verbose", "device", "predict", "__class__", "__dict__", "module_"]
NAMES += ["encoder_", "fitted", "params", "class", "image_shape_", "_sklearn_output_config"]
NAMES += ["feature_names_in_", "companions", "notes", "format", "weights", "", "joblib"]


def make_images():
    """Return sixty small colour images of three kinds."""
    pixels = np.random.default_rng(0).integers(0, 60, size=(60, 8, 8, 3), dtype=np.uint8)
    pixels[::3, :3, :, 0] += 180
    pixels[1::3, :, 5:, 1] += 180
    pixels[0, 0, 0] = 255
    return pixels


def make_models(images):
    """Return a fitted tiny model of every class by name, and what it takes."""
    short = {"max_epochs": 1, "random_state": 0, "device": "cpu"}
    changes = augment.Compose(
        [
            augment.RandomAffine(),
            augment.RandomFlip(),
            augment.RandomResizedCrop((8, 8)),
            augment.ColorJitter(),
            augment.RandomGrayscale(),
        ]
    )
    conv = ConvAutoencoder(3, filters=(2, 3), augmentation=changes, **short)
    dense = DenseAutoencoder(3, hidden_layer_sizes=(6,), **short)
    contrastive = ContrastiveEncoder(3, filters=(4, 8), **short)
    few = short | {"n_init": 1}
    rows = images.reshape(len(images), -1)
    init = np.eye(3) * 0.1
    models = {
        "ConvAutoencoder": (conv, images),
        "DenseAutoencoder": (dense, rows),
        "ContrastiveEncoder": (contrastive, images),
        "SideBySide": (SideBySide([contrastive, ColorEdgeFeatures()], n_components=3), images),
        "Resized": (
            SideBySide([Resized(contrastive, size=6), ColorEdgeFeatures()], n_components=3),
            images,
        ),
        "DEC, side by side": (
            DeepEmbeddingClustering(3, encoder=BalancedBlocks([100, 92], n_components=3), **few),
            rows,
        ),
        "DCEC": (DeepConvEmbeddingClustering(3, encoder=conv, **few), images),
        "DCEC, cosine": (DeepConvEmbeddingClustering(3, encoder=contrastive, **few), images),
        "DEC": (DeepEmbeddingClustering(3, encoder=dense, init=init, **few), rows),
        "IDEC": (DeepEmbeddingClustering(3, encoder=dense, reconstruction_weight=1.0, **few), rows),
    }
    fitted = {name: (copy.deepcopy(model).fit(X), X) for name, (model, X) in models.items()}
    for name in ("DCEC", "DEC"):
        model, X = fitted[name]
        fitted[f"NoveltyDetector, {name}"] = (NoveltyDetector(model).fit(X), X)
    return fitted


def make_files(models):
    """Return the content of the file of each model."""
    return {name: as_bytes(model)[0] for name, (model, _) in models.items()}


# --- files, taken apart and put together ---


def take_apart(content):
    """Return the header of a model, and what the file says of each tensor with its bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    outer = json.loads(content[8 : 8 + length])
    header = json.loads(outer.pop("__metadata__")["skdcec"])
    data = content[8 + length :]
    return header, {
        name: {**entry, "data": data[slice(*entry.pop("data_offsets"))]}
        for name, entry in outer.items()
    }


def put_together(text, tensors):
    """Return a file of which the header is any text, and tensors claim what they like."""
    outer, data = {"__metadata__": {"skdcec": text}}, b""
    for name, entry in tensors.items():
        offsets = [len(data), len(data) + len(entry["data"])]
        outer[name] = {"dtype": entry["dtype"], "shape": entry["shape"], "data_offsets": offsets}
        data += entry["data"]
    packed = json.dumps(outer).encode()
    return struct.pack("<Q", len(packed)) + packed + data


def _places(value, path=()):
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from _places(item, (*path, key))


def _pick(rng, values):
    return values[int(rng.integers(len(values)))]


def _within(header, path):
    for key in path[:-1]:
        header = header[key]
    return header, path[-1]


def _change_header(rng, header):
    places = list(_places(header))
    node, key = _within(header, _pick(rng, places))
    value = node[key]
    action = rng.integers(7)
    if action == 0:
        del node[key]
    elif action == 1 and isinstance(node, dict):
        node[_pick(rng, NAMES)] = copy.deepcopy(_pick(rng, VALUES))
    elif action == 2:
        other, at = _within(header, _pick(rng, places))
        node[key] = copy.deepcopy(other[at])
    elif action == 3 and isinstance(value, (int, float)) and not isinstance(value, bool):
        node[key] = value * _pick(rng, [-1, 0, 2, 10, 0.5, 1e9, 1e-9]) + _pick(rng, [0, 1])
    elif action == 4 and isinstance(node, dict):
        node[_pick(rng, NAMES)] = node.pop(key)
    elif action == 5 and isinstance(value, list):
        value *= int(_pick(rng, [0, 2, 3, 50]))
    else:
        node[key] = copy.deepcopy(_pick(rng, VALUES))


def _change_text(rng, text):
    depth = int(_pick(rng, [30, 100, 10_000, 100_000]))
    deep = _pick(
        rng,
        [
            "[" * depth + "]" * depth,
            '{"a":' * depth + "1" + "}" * depth,
            '{"class":"Compose","params":{"augmentations":[' * depth + "]}}" * depth,
            '{"tuple":[' * depth + "]}" * depth,
            "[" + "0," * (10 * depth) + "0]",
            "{" + ",".join(f'"k{i}":0' for i in range(depth)) + "}",
            "9" * depth,
            '"' + "a" * (10 * depth) + '"',
            "1e" + "9" * 10,
            "nonsense",
        ],
    )
    for old in rng.permutation([": null", ": 0", ": 1", ": 3", ': "cpu"', ": true", ": {}"]):
        if old in text:
            return text.replace(old, f": {deep}", 1)
    return deep


def _change_tensor(rng, tensors):
    name = _pick(rng, list(tensors))
    entry = tensors[name]
    action = rng.integers(9)
    if action == 0:
        del tensors[name]
    elif action == 1:
        entry["shape"] = entry["shape"][::-1] + _pick(rng, [[], [1]])
    elif action == 2:
        entry["shape"] = _pick(rng, [[], [0], [2**40], [-1, -4], [10**30], [1.5], "x", None])
    elif action == 3:
        entry["dtype"] = _pick(rng, ["F64", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8", 3])
    elif action == 4:
        tensors[_pick(rng, ["labels_", "module_.x", "encoder_", "", "a" * 999])] = tensors.pop(name)
    elif action == 5:
        other = _pick(rng, list(tensors))
        tensors[name], tensors[other] = tensors[other], tensors[name]
    elif action == 6:
        entry["data"] = entry["data"][: len(entry["data"]) // 2]
    elif action == 7:
        sizes = {"F64": 8, "I64": 8, "F32": 4}
        n = len(entry["data"]) // sizes.get(entry["dtype"], 1)
        of = _pick(rng, [np.float64, np.float32, np.int64, np.uint8])
        entry["data"] = np.zeros(n, of).tobytes()
        names = {np.float64: "F64", np.float32: "F32", np.int64: "I64", np.uint8: "U8"}
        entry["dtype"] = names[of]
    else:
        _change_numbers(rng, entry)


def _change_numbers(rng, entry):
    kind = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}.get(entry["dtype"])
    if kind is None or not entry["data"]:
        return
    values = np.frombuffer(entry["data"], kind).copy()
    if values.dtype.kind == "i":
        value = _pick(rng, [-1, 2**40, 3, 2, -(2**62)])
    else:
        value = _pick(rng, [np.nan, np.inf, -np.inf, 3e38, 1e20, -1e9, 1e7, 0.0, 1e-40])
    if rng.random() < 0.5:
        values[:] = value
    else:
        values[rng.integers(len(values))] = value
    entry["data"] = values.tobytes()


def _change_bytes(rng, content):
    content = bytearray(content)
    end = 8 + struct.unpack("<Q", content[:8])[0]
    action = rng.integers(5)
    if action == 0:
        return bytes(content[: int(rng.integers(len(content)))])
    if action == 1:
        return bytes(content) + bytes(int(_pick(rng, [1, 8, 100_000])))
    if action == 2:
        length = _pick(rng, [0, 1, end, 2**22, 2**40, 2**63, len(content), end - 9])
        return struct.pack("<Q", length) + bytes(content[8:])
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(end if action == 3 else len(content)))
        content[place] ^= 1 << int(rng.integers(8))
    return bytes(content)


def mutate(content, seed):
    """Return the file of a model with something else in it."""
    rng = np.random.default_rng(seed)
    way = rng.random()
    if way < 0.2:
        return _change_bytes(rng, content)
    header, tensors = take_apart(content)
    text = None
    if way < 0.7:
        for _ in range(int(rng.integers(1, 3))):
            _change_header(rng, header)
    elif way < 0.77:
        text = _change_text(rng, json.dumps(header))
    else:
        _change_tensor(rng, tensors)
    return put_together(json.dumps(header) if text is None else text, tensors)


# --- what they do ---


def judge(model, X, path):
    """Load a file as what it was, and use it: "refused", "predicts", or what was unclear."""
    try:
        loaded = type(model).load(path)
    except (ValueError, TypeError, OSError) as error:
        said = str(error)
        if path.name in said and "\n" not in said and len(said) < 1000:
            return "refused"
        return f"unclear: {type(error).__name__}: {said[:300]}"
    except BaseException as error:
        return f"unclear: {type(error).__name__}: {str(error)[:300]}"
    try:
        return _use(loaded, X, getattr(model, "estimator", model))
    except BaseException as error:
        return f"unclear: loaded, then {type(error).__name__}: {str(error)[:300]}"


def _use(loaded, X, original):
    inner = getattr(loaded, "estimator", loaded)
    shape = getattr(inner, "image_shape_", (inner.n_features_in_,))
    if shape == X.shape[1:]:
        # In the units that the model says that it takes.
        X = X[:8] / original.scale_ * inner.scale_
    else:
        X = np.random.default_rng(0).random((2, *shape)) * inner.scale_
    if X.ndim == 4 and inner.data_format == "channels_first":
        X = X.transpose(0, 3, 1, 2)
    n = len(X)
    results = {}
    for name in ("predict", "predict_proba", "transform", "score_samples"):
        if hasattr(loaded, name):
            results[name] = np.asarray(getattr(loaded, name)(X))
    if hasattr(loaded, "inverse_transform"):
        results["inverse_transform"] = np.asarray(
            loaded.inverse_transform(np.asarray(results["transform"]))
        )
    for name, result in results.items():
        if len(result) != n or not np.isfinite(result).all():
            return f"unclear: {name} gives shape {result.shape} or no numbers"
    if "predict_proba" in results:
        if results["predict_proba"].shape != (n, len(loaded.cluster_centers_)):
            return f"unclear: predict_proba gives shape {results['predict_proba'].shape}"
        if abs(results["predict_proba"].sum(axis=1) - 1).max() > 1e-3:
            return "unclear: predict_proba does not sum to 1"
    return "predicts"
