"""The encoder that comes with the package is what its model card says."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from skdcec import ContrastiveEncoder
from skdcec._encoders.weights import weights_file
from skdcec.features import SideBySide
from skdcec.features.side_by_side import painting_space

CARD = Path(__file__).parent.parent / "docs" / "guide" / "painting_encoder.rst"

DIGEST = "2ee0bc88463f463befc32476138c55c206d1a1077b70a6d2f613864028c1c7ef"

# The first six components of each of the pictures.
EMBEDDING = [
    [-0.0194, 0.2960, -0.0344, -0.0031, -0.1611, 0.1930],
    [-0.0084, 0.2314, -0.0717, 0.0268, -0.1910, 0.1241],
    [-0.0479, 0.2879, -0.0224, 0.0588, -0.1454, 0.2692],
]


def pictures():
    """Return waves, a slope and spots, without a random generator that may change."""
    y, x = np.mgrid[:64, :64] / 64
    waves = [np.sin(2 * np.pi * (f * x + g * y)) for f, g in ((3, 1), (5, 2), (1, 7))]
    slope = [2 * x - 1, 2 * y - 1, 1 - x - y]
    spots = [np.cos(40 * (x - c) ** 2 + 60 * (y - 0.5) ** 2) for c in (0.2, 0.5, 0.8)]
    values = np.stack([np.stack(one, axis=2) for one in (waves, slope, spots)])
    return (127.5 * (values + 1)).round().astype(np.uint8)


def test_the_file_is_what_it_was():
    path = weights_file("paintings")
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == DIGEST
    assert len(content) < 6e6


@pytest.mark.skipif(not CARD.exists(), reason="the docs are not here")
def test_the_model_card_is_about_this_file():
    assert DIGEST in CARD.read_text()


def test_pictures_lie_where_they_lay():
    encoder = ContrastiveEncoder(weights="paintings", max_epochs=0)
    found = encoder.fit_transform(pictures())
    assert found.shape == (3, 64)
    np.testing.assert_allclose(found[:, :6], EMBEDDING, atol=1e-3)


def test_the_space_of_paintings_is_made_without_training(tmp_path):
    space = painting_space().fit(pictures())
    embedding = space.transform(pictures())
    assert embedding.shape == (3, 96)
    np.testing.assert_allclose(SideBySide().fit_transform(pictures()), embedding, atol=1e-6)
    space.save(tmp_path / "space.safetensors")
    loaded = SideBySide.load(tmp_path / "space.safetensors")
    np.testing.assert_allclose(loaded.transform(pictures()), embedding, atol=1e-6)
    np.testing.assert_allclose(loaded.fit_transform(pictures()), embedding, atol=1e-5)
