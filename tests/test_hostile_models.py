"""What changed files do: models are refused in a sentence or predict, caches give what a fit gives.

The changes are those of the campaign in benchmarks/reliability_models.py.
"""

import importlib.util
import json
import os
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering, DenseAutoencoder
from skdcec._encoders.cache import fit_encoder
from skdcec._persistence.registry import _registry, parameters_of

PATH = Path(__file__).parent.parent / "benchmarks" / "_hostile_models.py"
N_CHANGES = 270
N_CACHE_CHANGES = 300


@pytest.fixture(scope="module")
def hostile():
    spec = importlib.util.spec_from_file_location("hostile_models", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def models(hostile):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hostile.make_models(hostile.make_images())


@pytest.fixture(scope="module")
def contents(hostile, models):
    return hostile.make_files(models)


def test_every_registered_class_is_among_the_models(contents, hostile):
    named = json.dumps([hostile.take_apart(content)[0] for content in contents.values()])
    ours = {name for name, cls in _registry.items() if cls.__module__.startswith("skdcec.")}
    assert [name for name in sorted(ours) if f'"{name}"' not in named] == []


@pytest.mark.filterwarnings("ignore")
def test_a_changed_file_is_refused_in_a_sentence_or_predicts(hostile, models, contents, tmp_path):
    names = list(models)
    outcomes = {}
    for number in range(N_CHANGES):
        name = names[number % len(names)]
        path = tmp_path / "changed.skdcec"
        path.write_bytes(hostile.mutate(contents[name], (1, number)))
        outcomes[number] = hostile.judge(*models[name], path)
    bad = {k: v for k, v in outcomes.items() if v not in ("refused", "predicts")}
    assert not bad
    # Not everything is refused: what is changed to something possible loads.
    assert {"refused", "predicts"} <= set(outcomes.values())


@pytest.mark.filterwarnings("ignore")
def test_unchanged_files_predict(hostile, models, contents, tmp_path):
    for name, content in contents.items():
        path = tmp_path / "model.skdcec"
        header, tensors = hostile.take_apart(content)
        path.write_bytes(hostile.put_together(json.dumps(header), tensors))
        assert hostile.judge(*models[name], path) == "predicts"


# --- what a file may choose ---


SESSION = {"memory", "callbacks", "verbose", "device"}


def test_no_class_takes_what_belongs_to_a_session_from_a_file():
    for cls in _registry.values():
        assert not SESSION & parameters_of(cls).keys()


BOUNDLESS = [10**12, -1, 1e300, float("nan"), float("inf"), True, "cuda:7", "/tmp/x", [10**9], {}]


@pytest.mark.parametrize("name", ["DCEC", "DEC", "ContrastiveEncoder"])
def test_parameters_of_a_later_fit_are_bounded(hostile, models, contents, tmp_path, name):
    model, _ = models[name]
    for param in parameters_of(type(model)):
        for value in BOUNDLESS:
            header, tensors = hostile.take_apart(contents[name])
            header["estimator"]["params"][param] = value
            path = tmp_path / "changed.skdcec"
            path.write_bytes(hostile.put_together(json.dumps(header), tensors))
            with pytest.raises(ValueError, match="or it is damaged"):
                type(model).load(path)


def test_a_device_in_an_old_file_is_passed_over(hostile, models, contents, tmp_path):
    header, tensors = hostile.take_apart(contents["DCEC"])
    header["estimator"]["params"]["device"] = "cuda:7"
    path = tmp_path / "old.skdcec"
    path.write_bytes(hostile.put_together(json.dumps(header), tensors))
    assert DeepConvEmbeddingClustering.load(path).device is None


def test_what_is_beyond_the_bounds_is_named_when_it_is_saved(models, tmp_path):
    model = clone(models["DCEC"][0])
    vars(model).update(vars(models["DCEC"][0]))
    model.set_params(n_init=10**9, batch_size=10**12)
    with pytest.warns(UserWarning, match=r"batch_size=1000000000000, n_init=1000000000"):
        model.save(tmp_path / "model")
    assert DeepConvEmbeddingClustering.load(tmp_path / "model").n_init == 10
    model.labels_ = model.labels_ - 5
    with pytest.raises(ValueError, match=r"labels_.*\.\.\. of .* cannot be saved: it must be"):
        model.save(tmp_path / "model")


def test_attributes_that_do_not_fit_together_are_refused(hostile, contents, tmp_path):
    changes = {
        "scale_": 3.0,
        "n_features_in_": 191,
        "image_shape_": {"tuple": [4, 16, 3]},
        "history_": {"dict": {"loss": [0.5], "lr": [0.1, 0.1]}},
        "converged_": 1,
        "device_": "cuda",
        "feature_names_in_": {"names": ["a"]},
    }
    for key, value in changes.items():
        header, tensors = hostile.take_apart(contents["DCEC"])
        header["estimator"]["fitted"][key] = value
        path = tmp_path / "changed.skdcec"
        path.write_bytes(hostile.put_together(json.dumps(header), tensors))
        with pytest.raises(ValueError, match="or it is damaged: "):
            DeepConvEmbeddingClustering.load(path)


# --- claims ---


def refused_at_once(path):
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises((ValueError, OSError)) as caught:
        DenseAutoencoder.load(path)
    seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.name in str(caught.value)
    assert seconds < 2
    assert peak < 100e6


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**6,
        '{"a":' * 10**5,
        "[" + "[]," * 10**6 + "[]]",
        "[" + "0," * 10**6 + "0]",
        "{" + ",".join(f'"{i}":""' for i in range(10**5 * 3)) + "}",
        '{"a":1,"a":2}',
        '"' + '\\"' * 10**6 + '"',
        "9" * 10**6,
        "1" + "0" * 10**4,
    ],
    ids=["depth", "dicts", "lists", "numbers", "keys", "twice", "quotes", "digits", "huge"],
)
def test_headers_are_counted_before_they_are_parsed(hostile, tmp_path, text):
    path = tmp_path / "claims.skdcec"
    path.write_bytes(hostile.put_together(text, {}))
    refused_at_once(path)
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode())
    refused_at_once(path)


def test_a_file_of_nothing_but_a_size_is_refused(hostile, contents, tmp_path):
    path = tmp_path / "sparse.skdcec"
    header, _ = hostile.take_apart(contents["DenseAutoencoder"])
    n = 2**38
    entry = {"dtype": "F32", "shape": [n // 4], "data_offsets": [0, n]}
    text = json.dumps({"__metadata__": {"skdcec": json.dumps(header)}, "module_.x": entry})
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text.encode())
        try:
            file.truncate(8 + len(text) + n)
        except OSError:
            pytest.skip("the file system takes no such file")
    refused_at_once(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused_at_once(tmp_path / "pipe")
    refused_at_once(tmp_path)


@pytest.mark.parametrize("depth", [30, 100, 10_000])
def test_compositions_without_end_are_refused(hostile, contents, tmp_path, depth):
    header, tensors = hostile.take_apart(contents["ConvAutoencoder"])
    start = '{"class": "Compose", "params": {"augmentations": ['
    header["estimator"]["params"]["augmentation"] = "here"
    text = json.dumps(header).replace('"here"', start * depth + "]}}" * depth)
    path = tmp_path / "changed.skdcec"
    path.write_bytes(hostile.put_together(text, tensors))
    with pytest.raises(ValueError, match="nested deeper|holds more values"):
        ConvAutoencoder.load(path)


# --- caches ---


def damage(rng, files, others, folder):
    """Do something to the files of an entry."""
    file = files[rng.integers(len(files))]
    content = file.read_bytes()
    ways = [
        "flip",
        "cut",
        "empty",
        "other",
        "folder",
        "link",
        "swap",
        "both",
        "add",
        "gone",
        "text",
    ]
    way = ways[rng.integers(len(ways))]
    if way == "flip" and content:
        changed = bytearray(content)
        changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
        file.write_bytes(changed)
    elif way == "cut":
        file.write_bytes(content[: rng.integers(len(content) + 1)])
    elif way == "empty":
        file.write_bytes(b"")
    elif way == "other":
        file.write_bytes(others[file.suffix])
    elif way == "folder":
        file.unlink()
        file.mkdir()
    elif way == "link":
        target = folder / "elsewhere"
        target.write_bytes(others[file.suffix])
        file.unlink()
        file.symlink_to(target if rng.random() < 0.5 else folder / "nowhere")
    elif way == "swap":
        other = files[rng.integers(len(files))].read_bytes()
        file.write_bytes(other)
    elif way == "both":
        for one in files:
            one.write_bytes(others[one.suffix])
    elif way == "add":
        file.write_bytes(content + b"\0")
    elif way == "gone":
        file.unlink()
    else:
        deep = [b"[" * 10**5, b"{}", b"null", b'{"key": 1}', b"\xff", b"9" * 10**5]
        file.write_bytes(deep[rng.integers(len(deep))])
    return way


def weights(encoder):
    return [value.numpy() for value in encoder.module_.state_dict().values()]


@pytest.mark.skipif(sys.platform == "win32", reason="links and folders in the place of files")
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_cache_gives_what_a_fit_gives_and_stops_no_run(images, tmp_path, monkeypatch):
    fitted = {}

    def fit_once(encoder, X):
        # Fitting is deterministic: three hundred fits would only take their time.
        seed = encoder.random_state
        if seed not in fitted:
            fitted[seed] = clone(encoder)._fit_really(X)
        vars(encoder).update(vars(fitted[seed]))
        return encoder

    monkeypatch.setattr(ConvAutoencoder, "_fit_really", ConvAutoencoder.fit, raising=False)
    monkeypatch.setattr(ConvAutoencoder, "fit", fit_once)
    folder = tmp_path / "cache"

    def fit(seed):
        encoder = ConvAutoencoder(2, filters=(2,), max_epochs=1, random_state=seed)
        return fit_encoder(encoder, images, memory=folder, device="cpu", seeded=True)

    fit(1)
    others = {file.suffix: file.read_bytes() for file in folder.iterdir()}
    expected = weights(fit(0))
    entries = [file for file in sorted(folder.iterdir()) if file.suffix != ".lock"]
    mine = [file for file in entries if file.read_bytes() != others[file.suffix]]
    pristine = {file: file.read_bytes() for file in mine}
    rng = np.random.default_rng(0)
    for number in range(N_CACHE_CHANGES):
        way = damage(rng, mine, others, tmp_path)
        for _ in range(2):
            for found, wanted in zip(weights(fit(0)), expected, strict=True):
                np.testing.assert_array_equal(found, wanted, err_msg=f"{number}: {way}")
        for file, content in pristine.items():
            if file.is_dir() and not file.is_symlink():
                file.rmdir()
            file.unlink(missing_ok=True)
            file.write_bytes(content)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_the_cache_is_not_waited_for(images, tmp_path):
    encoder = ConvAutoencoder(2, filters=(2,), max_epochs=1, random_state=0)
    arguments = {"memory": tmp_path, "device": "cpu", "seeded": True}
    expected = weights(fit_encoder(clone(encoder), images, **arguments))
    for suffix in (".json", ".safetensors"):
        (file,) = tmp_path.glob(f"*{suffix}")
        file.unlink()
        os.mkfifo(file)
        with pytest.warns(UserWarning, match="cannot be used .*no regular file"):
            found = weights(fit_encoder(clone(encoder), images, **arguments))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
