"""A training and its model in MLflow, by skorch's callback.

Needs ``pip install mlflow``. Afterwards, ``mlflow ui --backend-store-uri sqlite:///FILE`` shows it.
"""

import sys
import tempfile
from pathlib import Path

import mlflow
from sklearn.datasets import load_digits
from skorch.callbacks import MlflowLogger

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering


def main(file="mlflow.db", max_epochs=10):
    mlflow.set_tracking_uri(f"sqlite:///{file}")
    images = load_digits().images[:500]
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
        model = DeepConvEmbeddingClustering(
            10,
            encoder=ConvAutoencoder(max_epochs=max_epochs),
            callbacks=[MlflowLogger(run=run, terminate_after_train=False)],
            max_epochs=max_epochs,
            random_state=0,
        )
        model.fit(images)
        mlflow.log_params({"n_clusters": 10, "max_epochs": max_epochs})
        mlflow.log_metric("silhouette", model.score(images))
        # The file holds no code, as MLflow's own format, a pickle, would.
        path = Path(folder, "model.safetensors")
        model.save(path)
        mlflow.log_artifact(path)
    return model


if __name__ == "__main__":
    main(*sys.argv[1:2])
