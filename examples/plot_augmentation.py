"""
Teach what does not matter
==========================

A digit stays the same digit when it is shifted or turned a little. An autoencoder does not know
that: to it, the same sign a pixel further left is another picture. *Augmentation* shows each image
changed at random in each step of the training, so that the network learns to take no notice.
"""

# %%
# What the network sees
# ---------------------
# :func:`~skdcec.augmentation.digit_augmentation` is the preset for signs. An augmentation is called
# with a batch of shape ``(n, channels, height, width)``. Each row here is one digit: as it is, and
# as the network may see it.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

from skdcec.augmentation import digit_augmentation

digits = load_digits()
images, known = digits.images[:600], digits.target[:600]

augment = digit_augmentation()
generator = torch.Generator().manual_seed(0)
batch = torch.from_numpy(images[:4, None]).float()
seen = [batch, *(augment(batch, generator=generator) for _ in range(7))]

fig, axes = plt.subplots(4, 8, figsize=(8, 4.4), layout="constrained")
for row, axs in enumerate(axes):
    for column, ax in enumerate(axs):
        ax.imshow(seen[column][row, 0], cmap="gray_r", vmin=0, vmax=16)
        ax.set_axis_off()
axes[0, 0].set_title("as it is")
plt.show()

# %%
# Train with it
# -------------
# The augmentation is a parameter of the encoder, and is used in both phases of the training. The
# targets of the joint phase, and everything after training, take the images as they are.
#
# With augmentation there is more to learn, so it pays to pretrain longer than here: twice as long
# (``max_epochs=100`` of the encoder) gave the results in :ref:`augmentation`. The labels of the
# digits only score: the number is the normalized mutual information, where 1 is perfect.

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering

plain = DeepConvEmbeddingClustering(n_clusters=10, random_state=0)
augmented = DeepConvEmbeddingClustering(
    n_clusters=10,
    encoder=ConvAutoencoder(augmentation=augment),
    random_state=0,
)

from sklearn.metrics import normalized_mutual_info_score

for name, model in {"plain": plain, "augmented": augmented}.items():
    labels = model.fit_predict(images)
    print(f"{name:10} {normalized_mutual_info_score(known, labels):.2f}")

# %%
# Did it learn that?
# ------------------
# Shift each digit by one pixel and ask again. How many keep their cluster?

import numpy as np

shifted = np.roll(images, 1, axis=2)
for name, model in {"plain": plain, "augmented": augmented}.items():
    kept = np.mean(model.predict(shifted) == model.labels_)
    print(f"{name:10} {kept:.0%} of the shifted digits keep their cluster")
