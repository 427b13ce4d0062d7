"""Fixtures that several test modules share."""

import os

# One thread for each test and what it starts: the nets are tiny, and threads that wait for busy
# cores make them crawl. Has to be said before PyTorch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering

# PyTorch says most warnings once per process, which would hide them from all tests but one.
torch.set_warn_always(True)


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(scope="session")
def shared_data():
    """Folder of the real data sets that stand beside the repository and are not part of it."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the real data sets in ../shared/data, beside the repository")
    return path


def _global_random_states():
    return {
        "random": pickle.dumps(random.getstate()),
        "numpy.random": pickle.dumps(np.random.get_state()),  # noqa: NPY002 (the legacy state is the global one)
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


@pytest.fixture
def untouched_global_rng():
    """Fail a test that moves or reseeds a global random number generator."""
    before = _global_random_states()
    yield
    after = _global_random_states()
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"the global random state of {', '.join(changed)} was changed"


@pytest.fixture(scope="session")
def kinds():
    """Which of three kinds each of the `images` is."""
    return np.tile([0, 1, 2], 20)


@pytest.fixture(scope="session")
def images(kinds):
    """Sixty small colour images of three kinds that nothing should confuse, read-only."""
    pixels = np.random.default_rng(0).integers(0, 60, size=(60, 8, 8, 3), dtype=np.uint8)
    pixels[kinds == 0, :3, :, 0] += 180
    pixels[kinds == 1, :, 5:, 1] += 180
    pixels[kinds == 2, 3:6, 2:5] += 150
    # Black and white, so that the range is known to be that of bytes.
    pixels[0, 7, 7], pixels[0, 0, 0] = 0, 255
    pixels.setflags(write=False)
    return pixels


@pytest.fixture
def model():
    """A small clusterer of images, to be fitted in a fraction of a second."""
    return DeepConvEmbeddingClustering(
        3,
        encoder=ConvAutoencoder(4, filters=(4, 8), max_epochs=2),
        max_epochs=2,
        n_init=2,
        random_state=0,
    )


@pytest.fixture(scope="session")
def fitted(images):
    """`model`, fitted on `images`; only to be read."""
    return DeepConvEmbeddingClustering(
        3,
        encoder=ConvAutoencoder(4, filters=(4, 8), max_epochs=2),
        max_epochs=2,
        n_init=2,
        random_state=0,
    ).fit(images)


@pytest.fixture(scope="session")
def files(images, tmp_path_factory):
    """The `images` as files, in their order; only to be read."""
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / f"{i:02}.png" for i in range(len(images))]
    for path, pixels in zip(paths, images, strict=True):
        Image.fromarray(pixels).save(path)
    return [str(path) for path in paths]
