"""Whatever state others set for the whole process: the same results, and none of it changed."""

import contextlib
import locale
import os
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn
import torch
from public_calls import Given, call, numbers_in
from sklearn.base import clone
from test_degenerate import PIXELS

from skdcec.model_selection import NClustersSearch

CALLS = (
    "ConvAutoencoder.transform",
    "ConvAutoencoder.inverse_transform",
    "ConvAutoencoder.score",
    "DenseAutoencoder.transform",
    "ContrastiveEncoder.transform",
    "DeepConvEmbeddingClustering.fit",
    "DeepConvEmbeddingClustering.predict_proba",
    "DeepConvEmbeddingClustering.inverse_transform",
    "DeepConvEmbeddingClustering.score",
    "DeepConvEmbeddingClustering of a ContrastiveEncoder",
    "DeepEmbeddingClustering in a Pipeline",
    "save and load",
    "PretrainedFeatures.transform",
    "NoveltyDetector of images",
    "painting_augmentation",
    "clustering_accuracy",
    "davies_bouldin_scorer",
    "silhouette_scorer in a GridSearchCV",
    "NClustersSearch.fit",
    "NClustersSearch of a Pipeline",
    "compare_models",
    "ClusterGalleryDisplay.from_estimator",
    "EmbeddingDisplay.from_estimator",
    "EmbeddingDisplay.from_predictions",
    "SilhouetteDisplay.from_estimator",
    "ReconstructionDisplay.from_estimator",
    "report_from_estimator",
    "image_table",
    "load_images",
    "ImageLoader",
)


@contextlib.contextmanager
def setting(get, change, value):
    before = get()
    change(value)
    try:
        yield
    finally:
        change(before)


@contextlib.contextmanager
def decimal_comma():
    before = locale.setlocale(locale.LC_ALL)
    try:
        for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "ru_RU.UTF-8", "pt_BR.UTF-8"):
            with contextlib.suppress(locale.Error):
                locale.setlocale(locale.LC_ALL, name)
                break
        else:
            pytest.skip("needs a locale with a decimal comma")
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


@contextlib.contextmanager
def masked(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


STATES = {
    "float64 by default": lambda: setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.float64
    ),
    "no device by default": lambda: setting(
        lambda: None, torch.set_default_device, torch.device("meta")
    ),
    "a device around": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "half the precision": lambda: torch.autocast("cpu", torch.bfloat16),
    "deterministic algorithms": lambda: setting(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "DataFrames from all transformers": lambda: sklearn.config_context(transform_output="pandas"),
    "every numerical oddity an error": lambda: np.errstate(all="raise"),
    "every warning an error": warnings_as_errors,
    "a decimal comma": decimal_comma,
    "files for nobody else": lambda: masked(0o077),
    "files for nobody": lambda: masked(0o777),
}


def state():
    """Return what others may have set, and might miss."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "precision": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "scikit-learn": sklearn.get_config(),
        "NumPy": np.geterr(),
        "warnings": list(warnings.filters),
        "locale": locale.setlocale(locale.LC_ALL),
        "mask": mask,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "random": random.getstate(),
        "NumPy's random": np.random.get_state()[1].tolist(),  # noqa: NPY002 (the global one)
        "PyTorch's random": torch.get_rng_state().tolist(),
    }


@contextlib.contextmanager
def few_images():
    """Leave out what is said of so few images, whether warnings are errors or not."""
    with warnings.catch_warnings():
        for message in (".* images are too few", ".* clusters have members"):
            warnings.filterwarnings("ignore", message)
        yield


def outcome(name, given):
    with few_images():
        return call(name, given)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    given = Given(PIXELS, tmp_path_factory.mktemp("usual"))
    return {name: outcome(name, given) for name in CALLS}


@pytest.mark.parametrize("name", STATES)
def test_the_state_of_others_changes_nothing_and_is_not_changed(name, usual, tmp_path):
    given = Given(PIXELS, tmp_path)
    problems = {}
    for called in CALLS:
        with STATES[name]():
            before = state()
            try:
                found = outcome(called, given)
            except Exception as error:
                problems[called] = f"{type(error).__name__}: {error}"
                continue
            after = state()
        changed = [key for key in before if before[key] != after[key]]
        if changed:
            problems[called] = f"left behind: {changed}"
        elif found.keys() != usual[called].keys():
            problems[called] = f"other parts: {found.keys() ^ usual[called].keys()}"
        else:
            other = [key for key in found if not alike(key, found[key], usual[called][key])]
            if other:
                problems[called] = f"other values: {other}"
    assert not problems


def alike(name, found, usual):
    """Whether numbers are the same, up to the order in which threads add them up."""
    if "fit_time" in name:
        return True
    return found.dtype == usual.dtype and np.allclose(found, usual, 1e-4, 1e-5, equal_nan=True)


def test_parts_that_return_dataframes_give_the_same_results(usual, tmp_path):
    given = Given(PIXELS, tmp_path)
    encoder = clone(given.convolutional).set_output(transform="pandas")
    model = given.clusterer(encoder).set_output(transform="pandas")
    with few_images():
        search = NClustersSearch(model, [2, 3]).fit(PIXELS)
        given.model = clone(model).fit(PIXELS)
    for key, values in numbers_in(search, "result[0]"):
        assert alike(key, values, usual["NClustersSearch.fit"][key])
    for name in CALLS:
        if "DeepConv" in name or "estimator" in name or "Novelty" in name:
            found = outcome(name, given)
            assert all(alike(key, found[key], usual[name][key]) for key in found), name


FORKED = """
import multiprocessing, sys
import numpy as np, torch
from sklearn.base import clone
from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering

images = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
encoder = ConvAutoencoder(4, filters=(8, 8), max_epochs=1)
model = DeepConvEmbeddingClustering(2, encoder=encoder, max_epochs=1, n_init=1, random_state=0)
labels = model.fit(images).predict(images)

def work(name):
    threads = torch.get_num_threads()
    found = getattr(clone(model) if name == "fit_predict" else model, name)(images)
    assert torch.get_num_threads() == threads
    return found

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1) as pool:
        predicted, fitted = pool.map_async(work, ["predict", "fit_predict"]).get(timeout=100)
    assert (predicted == labels).all() and fitted.shape == labels.shape
"""

LIMITED = """
import resource, sys
from pathlib import Path

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
sys.path.insert(0, sys.argv[1])
from public_calls import Given, call
from test_degenerate import PIXELS

given = Given(PIXELS, Path(sys.argv[2]))
for name in ("DeepConvEmbeddingClustering.predict_proba", "report_from_estimator", "load_images"):
    assert call(name, given)
"""


def run(script, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr


def test_a_forked_process_predicts_and_fits(tmp_path):
    # Its parent has threads, which are not forked: who waits for them waits for ever.
    script = tmp_path / "forked.py"
    script.write_text(FORKED)
    run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", OMP_NUM_THREADS="2")


@pytest.mark.parametrize("home", ["", "/proc"])
def test_few_files_and_no_home_that_can_be_written_to_will_do(home, tmp_path):
    run(
        LIMITED,
        os.path.dirname(__file__),
        str(tmp_path),
        HOME=home,
        XDG_CACHE_HOME=home and f"{home}/cache",
        MPLCONFIGDIR=str(tmp_path),
    )
