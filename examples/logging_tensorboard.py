"""Both phases of a training in TensorBoard, by skorch's callback.

Needs ``pip install tensorboard``. Afterwards, ``tensorboard --logdir FOLDER`` shows the curves.
"""

import sys

from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import TensorBoard
from torch.utils.tensorboard import SummaryWriter

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering


def main(folder="runs", max_epochs=10):
    images = load_digits().images[:500]
    with (
        SummaryWriter(f"{folder}/pretraining") as first,
        SummaryWriter(f"{folder}/joint") as second,
    ):
        # By itself: a clusterer clones its encoder, and a writer cannot be cloned.
        encoder = ConvAutoencoder(
            max_epochs=max_epochs, callbacks=[TensorBoard(first)], random_state=0
        )
        model = DeepConvEmbeddingClustering(
            10,
            encoder=FrozenEstimator(encoder.fit(images)),
            callbacks=[TensorBoard(second)],
            max_epochs=max_epochs,
            random_state=0,
        )
        model.fit(images)
    return model


if __name__ == "__main__":
    main(*sys.argv[1:2])
