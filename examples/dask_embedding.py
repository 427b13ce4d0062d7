"""Embed and assign more images than fit into memory, on the workers of a Dask cluster.

A model is fitted once, on the collection or on a part of it, and saved. Dask then takes images to
it: arrays block by block, and lists of files partition by partition. Each worker reads the model
once, and keeps the memory that one batch leaves for the next. Run it by
``python examples/dask_embedding.py``; for a cluster of machines, give ``Client`` its address,
start its workers with `KEEPING_MEMORY` in their environment, and put the model where all of them
can read it.
"""

import tempfile
from pathlib import Path

import dask
import dask.array as da
import dask.bag as db
import numpy as np
from distributed import Client, LocalCluster, get_worker
from PIL import Image
from sklearn.datasets import load_digits

from skdcec import DeepConvEmbeddingClustering
from skdcec.datasets import load_images

# Dask has workers give memory back after each batch, and to ask for it again takes a sixth of their
# time. These are bytes: up to 256 MiB stay with a worker, in pieces of up to 32 MiB.
KEEPING_MEMORY = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}


def model_here(path):
    """Return the model of a file, which a worker keeps when it has read it."""
    try:
        place = vars(get_worker())
    except ValueError:
        # Dask without a cluster works in threads of this process.
        place = globals()
    models = place.setdefault("skdcec_models", {})
    if path not in models:
        models[path] = DeepConvEmbeddingClustering.load(path)
    return models[path]


def predict_block(images, path):
    return model_here(path).predict(images)


def transform_block(images, path):
    return model_here(path).transform(images)


def predict_array(images, path):
    """Return the cluster of each image of a Dask array, as a Dask array."""
    images = images.rechunk(dict.fromkeys(range(1, images.ndim), -1))
    return images.map_blocks(
        predict_block,
        path,
        drop_axis=[*range(1, images.ndim)],
        dtype=np.int64,
        meta=np.empty(0, dtype=np.int64),
    )


def transform_array(images, path):
    """Return the embedding of each image of a Dask array, as a Dask array."""
    n_components = DeepConvEmbeddingClustering.load(path).cluster_centers_.shape[1]
    images = images.rechunk(dict.fromkeys(range(1, images.ndim), -1))
    return images.map_blocks(
        transform_block,
        path,
        drop_axis=[*range(1, images.ndim)],
        new_axis=1,
        chunks=(images.chunks[0], (n_components,)),
        dtype=np.float32,
        meta=np.empty((0, 0), dtype=np.float32),
    )


def assign_files(paths, path):
    """Return path, cluster and embedding of the images of a partition, as far as they are any."""
    paths = list(paths)
    if not paths:
        return []
    model = model_here(path)
    # Nothing is kept: each file is looked at once.
    loaded = load_images(paths, size=model.image_shape_[:2], cache=None, n_jobs=1)
    clusters, embedding = model.predict(loaded.images), model.transform(loaded.images)
    return [
        {"path": name, "cluster": int(cluster), "embedding": row}
        for name, cluster, row in zip(loaded.filenames, clusters, embedding, strict=True)
    ]


def assign_paths(paths, path):
    """Return what `assign_files` does for a bag of paths, as a bag."""
    return paths.map_partitions(assign_files, path)


def main():
    digits = np.repeat((load_digits().images * 15).astype(np.uint8)[..., None], 3, axis=3)
    with tempfile.TemporaryDirectory() as folder:
        model_path = str(Path(folder, "model.safetensors"))
        DeepConvEmbeddingClustering(10, random_state=0).fit(digits[::3]).save(model_path)
        files = [str(Path(folder, f"{number:04}.png")) for number in range(200)]
        for file, image in zip(files, digits, strict=False):
            Image.fromarray(image).save(file)

        with (
            dask.config.set({"distributed.nanny.pre-spawn-environ": KEEPING_MEMORY}),
            LocalCluster(threads_per_worker=1) as cluster,
            Client(cluster),
        ):
            images = da.from_array(digits, chunks=(300, -1, -1, -1))
            labels = predict_array(images, model_path).compute()
            embedding = transform_array(images, model_path).mean(axis=0).compute()
            rows = assign_paths(db.from_sequence(files, npartitions=8), model_path)
            of_files = rows.pluck("cluster").frequencies().compute()
        print("Images in each cluster:", np.bincount(labels))
        print("Mean of the embedding:", embedding.round(2))
        print("Files in each cluster:", dict(sorted(of_files)))


if __name__ == "__main__":
    main()
