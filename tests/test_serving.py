"""The example of a service, as somebody who uploads things meets it; and those of loggers."""

import importlib.util
import io
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skdcec._runs import save_model
from skdcec.novelty import NoveltyDetector

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def module_of(path):
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client(images, model, tmp_path, monkeypatch):
    pytest.importorskip("fastapi", reason="needs fastapi")
    pytest.importorskip("httpx", reason="needs httpx, by which FastAPI's test client asks")
    from fastapi.testclient import TestClient

    fitted = model.fit(images)
    path = tmp_path / "model.safetensors"
    detector = NoveltyDetector(fitted).fit(images)
    save_model(fitted, path, reading={"resize": "stretch"}, detector=detector)
    monkeypatch.setenv("MODEL", str(path))
    with TestClient(module_of(EXAMPLES / "serving" / "app.py").app) as client:
        client.model = fitted
        yield client


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_upload_is_told_its_cluster(client, images):
    for pixels in images[:4]:
        answer = client.post("/cluster", content=encoded(pixels))
        assert answer.status_code == 200
        found = answer.json()
        assert found["cluster"] == client.model.predict(pixels[None])[0]
        assert not found["unlike_all_known"]
    odd = {"content-length": "many"}
    assert client.post("/cluster", content=encoded(images[0]), headers=odd).status_code == 200
    start = time.process_time()
    client.post("/cluster", content=encoded(images[0]))
    # What is promised is measured elsewhere; here, that nothing is loaded again.
    assert time.process_time() - start < 1


def test_what_is_no_picture_is_told_so(client):
    for content in (b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        answer = client.post("/cluster", content=content)
        assert answer.status_code == 422
        assert "cannot be used" in answer.json()["detail"]
    # The reason itself holds something in parentheses.
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG")
    answer = client.post("/cluster", content=buffer.getvalue()[:3000])
    assert "image file is truncated (" in answer.json()["detail"]


@pytest.mark.parametrize("claims", [True, False])
def test_an_upload_of_500_MB_is_refused_while_it_arrives(client, claims):
    taken = []

    def blocks():
        for _ in range(500):
            taken.append(1)
            yield bytes(10**6)

    headers = {"Content-Length": str(500 * 10**6)} if claims else {}
    answer = client.post("/cluster", content=blocks(), headers=headers)
    assert answer.status_code == 413


def test_a_bomb_of_pixels_is_refused_by_its_header(client):
    huge = Image.new("L", (30_000, 10_000))
    buffer = io.BytesIO()
    huge.save(buffer, "PNG")
    answer = client.post("/cluster", content=buffer.getvalue())
    assert answer.status_code == 422
    assert "max_pixels" in answer.json()["detail"]


def test_curves_come_into_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    module_of(EXAMPLES / "logging_tensorboard.py").main(tmp_path, max_epochs=2)
    for phase in ("pretraining", "joint"):
        content = b"".join(path.read_bytes() for path in (tmp_path / phase).iterdir())
        assert b"train_loss" in content


@pytest.mark.filterwarnings("ignore")  # of MLflow and what it imports
def test_a_training_comes_into_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow")
    monkeypatch.chdir(tmp_path)
    module_of(EXAMPLES / "logging_mlflow.py").main("runs.db", max_epochs=2)
    run = mlflow.search_runs(search_all_experiments=True).iloc[0]
    assert np.isfinite(run["metrics.train_loss"])
    assert np.isfinite(run["metrics.silhouette"])
    assert "example_logging_mlflow" not in sys.modules
