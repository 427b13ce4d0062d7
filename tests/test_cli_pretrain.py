"""``skdcec pretrain``: an encoder from a folder."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from skdcec import ContrastiveEncoder
from skdcec._cli import main

FAST = ["--size", "16", "--epochs", "1", "--components", "6", "--quiet", "--jobs", "1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{i:02}.png")
    return tmp_path / "images"


def test_the_encoder_of_a_folder_embeds_other_images(folder, tmp_path, capsys):
    path = tmp_path / "encoder.safetensors"
    assert main(["pretrain", str(folder), "--out", str(path), *FAST, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 20
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    others = np.random.default_rng(1).integers(0, 256, (3, 24, 24, 3)).astype(np.uint8)
    encoder = ContrastiveEncoder(6, weights=path, max_epochs=0)
    assert encoder.fit_transform(others).shape == (3, 6)
    further = tmp_path / "further.safetensors"
    arguments = [str(folder), "--out", str(further), "--start", str(path)]
    assert main(["pretrain", *arguments, *FAST]) == 0
    assert "SHA-256" in capsys.readouterr().out
    assert further.exists()


def test_what_is_there_is_not_replaced(folder, tmp_path, capsys):
    path = tmp_path / "encoder.safetensors"
    path.write_text("mine")
    assert main(["pretrain", str(folder), "--out", str(path), *FAST]) == 1
    assert "--force" in capsys.readouterr().err
    assert path.read_text() == "mine"
