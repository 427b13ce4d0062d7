"""Fixtures that several test modules share."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch


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
