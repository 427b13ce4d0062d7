"""Do fitted models embed and assign what Dask holds, part by part, on its workers?"""

import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec.datasets import load_images

dask = pytest.importorskip("dask", reason="needs Dask")
pytest.importorskip("dask.array", reason="needs Dask's arrays")
pytest.importorskip("dask.bag", reason="needs Dask's bags")
distributed = pytest.importorskip("distributed", reason="needs Dask's workers")

EXAMPLE = Path(__file__).parent.parent / "examples" / "dask_embedding.py"
# What Dask does when its processes end, and others' deprecations, say nothing about us.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE), run_name="example")


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 80, (50, 8, 8, 3))
    pixels[::2, :4] += 120
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def model(images):
    encoder = ConvAutoencoder(3, filters=(4, 8), max_epochs=2)
    model = DeepConvEmbeddingClustering(2, encoder=encoder, max_epochs=1, random_state=0)
    return model.fit(images)


@pytest.fixture(scope="module")
def client(example, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("dask"))
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": example["KEEPING_MEMORY"]}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=folder,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.safetensors"
    model.save(path)
    return str(path)


def test_dask_needs_no_cluster(example, model, saved, images):
    import dask.array as da

    parts = da.from_array(images, chunks=(7, -1, -1, -1))
    found = example["predict_array"](parts, saved).compute(scheduler="threads")
    np.testing.assert_array_equal(found, model.predict(images))


@pytest.mark.parametrize("method", ["transform", "predict"])
def test_an_array_is_embedded_and_assigned_part_by_part(
    method, example, client, model, saved, images
):
    import dask.array as da

    parts = da.from_array(images, chunks=(7, -1, -1, -1))
    result = example[f"{method}_array"](parts, saved)
    # Nothing is computed before it is asked for, and what will come is known.
    expected = getattr(model, method)(images)
    assert isinstance(result, da.Array)
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    assert result.numblocks[0] == 8
    found = result.compute()
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_paths_are_embedded_and_assigned_part_by_part(
    example, client, model, saved, images, tmp_path
):
    import dask.bag as db

    paths = []
    for number, pixels in enumerate(images):
        paths.append(str(tmp_path / f"{number:02}.png"))
        Image.fromarray(pixels).save(paths[-1])
    (tmp_path / "broken.png").write_bytes(b"no image")
    paths.insert(3, str(tmp_path / "broken.png"))
    rows = example["assign_paths"](db.from_sequence(paths, npartitions=4), saved).compute()
    assert [row["path"] for row in rows] == [path for path in paths if "broken" not in path]
    loaded = load_images([row["path"] for row in rows], size=(8, 8), cache=None).images
    np.testing.assert_array_equal([row["cluster"] for row in rows], model.predict(loaded))
    embedding = np.array([row["embedding"] for row in rows])
    np.testing.assert_allclose(embedding, model.transform(loaded), atol=1e-5)


def count_loads():
    """Count in a worker how often a model is read."""
    from skdcec import DeepConvEmbeddingClustering

    load = DeepConvEmbeddingClustering.load
    DeepConvEmbeddingClustering.n_loads = 0

    def counted(path):
        DeepConvEmbeddingClustering.n_loads += 1
        return load(path)

    DeepConvEmbeddingClustering.load = counted


def loads():
    from skdcec import DeepConvEmbeddingClustering

    return DeepConvEmbeddingClustering.n_loads


def test_a_worker_reads_a_model_once(example, client, saved, images):
    import dask.array as da

    client.run(count_loads)
    parts = da.from_array(images, chunks=(5, -1, -1, -1))
    for _ in range(2):
        example["predict_array"](parts, saved).compute()
    counts = client.run(loads).values()
    assert max(counts) == 1


def test_workers_keep_the_memory_that_a_batch_leaves(example, client):
    for name, value in example["KEEPING_MEMORY"].items():
        assert set(client.run(os.environ.get, name).values()) == {os.environ.get(name, value)}
