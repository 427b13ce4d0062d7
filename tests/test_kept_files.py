"""What earlier versions saved is read, and says what it said then."""

import sys
from pathlib import Path

import numpy as np
import pytest

from skdcec import _persistence
from skdcec._persistence.registry import _registry

KEPT = Path(__file__).resolve().parent / "kept"
FILES = sorted(KEPT.glob("*/*.safetensors"))

sys.path.insert(0, str(KEPT))
from make import answer  # noqa: E402 (it stands beside the files)

sys.path.remove(str(KEPT))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_files_of_earlier_versions_say_what_they_said(path):
    estimator = _persistence.load(_registry[path.stem], path)
    expected = np.load(path.parent / "answers.npz")[path.stem]
    np.testing.assert_allclose(answer(estimator), expected, rtol=1e-3, atol=1e-4)


def test_there_is_a_file_of_every_class_that_files_may_hold():
    held = {name for name, cls in _registry.items() if hasattr(cls, "_fitted_attributes")}
    ours = {name for name in held if _registry[name].__module__.startswith("skdcec.")}
    assert {path.stem for path in FILES} == ours
    for version in {path.parent for path in FILES}:
        assert sum(path.stat().st_size for path in version.iterdir()) < 200_000
