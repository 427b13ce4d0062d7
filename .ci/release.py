"""Is what is released whole? Builds it, installs the wheel away from here, and uses it.

Writes a source archive and the wheel made from it to dist/. The wheel is installed into a new
environment with the newest dependencies, for this Python and for every other one that is named.
PyTorch comes first, as TORCH says, so that no other package chooses its build.
"""

import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
DIST = HERE / "dist"
# What would be missed late: data that the code reads, and what tells type checkers to look.
IN_WHEEL = (
    "skdcec/py.typed",
    "skdcec/_weights/paintings.safetensors",
    "skdcec/report/viewer/template.html",
    "skdcec/report/vocabulary.txt",
)
IN_SOURCE = ("LICENSE", "CHANGELOG.md", "README.md", "tests/conftest.py", "docs/index.rst")

USE = """
import numpy as np
import skdcec
from pathlib import Path
assert "site-packages" in skdcec.__file__, skdcec.__file__
from skdcec import DeepConvEmbeddingClustering
from skdcec.report import write_report
X = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
X[30:] //= 4
model = DeepConvEmbeddingClustering(2, encoder="paintings", random_state=0).fit(X)
assert (model.labels_[:30] != model.labels_[30:]).all(), model.labels_
model.save("model.safetensors")
again = DeepConvEmbeddingClustering.load("model.safetensors")
assert (again.predict(X) == model.labels_).all()
"""


def main() -> None:
    """Build, look inside, and try with each Python that is named."""
    DIST.mkdir(exist_ok=True)
    for old in DIST.glob("skdcec-*"):
        old.unlink()
    # The wheel is built from the archive, so that the archive is known to be enough.
    _run([sys.executable, "-m", "build", "--outdir", DIST, HERE])
    (archive,), (wheel,) = DIST.glob("skdcec-*.tar.gz"), DIST.glob("skdcec-*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    _check(names, IN_WHEEL, wheel)
    strangers = {name for name in names if not name.startswith(("skdcec/", "skdcec-"))}
    if strangers:
        sys.exit(f"{wheel.name} would install {sorted(strangers)} beside skdcec.")
    with tarfile.open(archive) as file:
        _check({name.partition("/")[2] for name in file.getnames()}, IN_SOURCE, archive)
    for python in sys.argv[1:] or [sys.executable]:
        _use(python, wheel)


def _check(names, wanted, file):
    missing = [name for name in wanted if name not in names]
    if missing:
        sys.exit(f"{file.name} lacks {', '.join(missing)}.")


def _use(python, wheel):
    """Install the wheel for `python` in a folder of its own, and cluster something there."""
    torch = shlex.split(os.environ.get("TORCH", "torch"))
    # Neither variables nor the working directory lead back to the checkout.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with tempfile.TemporaryDirectory() as folder:
        _run([python, "-m", "venv", "venv"], cwd=folder, env=env)
        own = Path(folder, "venv", "bin", "python")
        for wanted in (torch, [wheel]):
            _run([own, "-m", "pip", "install", "--quiet", *wanted], cwd=folder, env=env)
        _run([own, "-m", "pip", "check"], cwd=folder, env=env)
        _run([own, "-W", "error::DeprecationWarning:skdcec", "-c", USE], cwd=folder, env=env)
        _run([own.with_name("skdcec"), "--version"], cwd=folder, env=env)
        _run(
            [own.with_name("skdcec"), "cluster", "--help"],
            cwd=folder,
            env=env,
            stdout=subprocess.DEVNULL,
        )
    print(f"{wheel.name} works with {python}.")


def _run(command, **kwargs):
    subprocess.run([str(part) for part in command], check=True, **kwargs)


if __name__ == "__main__":
    main()
