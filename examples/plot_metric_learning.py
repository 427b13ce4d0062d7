"""
Distances that are learned
==========================

An autoencoder puts images near each other when their pixels are alike. That suits signs, but not
textures and colours: two patches of one lawn have hardly a pixel in common. A
:class:`~skdcec.ContrastiveEncoder` learns its distances from the images. It is shown two random
views of each and has to recognise which belong together.
"""

# %%
# Patches of two photographs
# --------------------------
# They come with scikit-learn. Which photograph a patch is from will serve to see how good the
# distances are; no encoder is told.

import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.feature_extraction.image import extract_patches_2d

photographs = load_sample_images().images
images = np.concatenate(
    [extract_patches_2d(photo, (32, 32), max_patches=300, random_state=0) for photo in photographs]
)
photograph = np.repeat([0, 1], 300)
print(f"{images.shape=}")

# %%
# Two encoders
# ------------
# Both are transformers of scikit-learn. The contrastive one is made small here to be quick.

from skdcec import ContrastiveEncoder, ConvAutoencoder

encoders = {
    "autoencoder": ConvAutoencoder(max_epochs=10, random_state=0),
    "contrastive": ContrastiveEncoder(16, filters=(16, 32, 64), max_epochs=10, random_state=0),
}
spaces = {name: encoder.fit_transform(images) for name, encoder in encoders.items()}

# %%
# What is near what
# -----------------
# Each row starts with a patch, framed; its nearest neighbours follow.

import matplotlib.pyplot as plt
from sklearn.neighbors import NearestNeighbors

asked = [20, 150, 320, 450]
fig = plt.figure(figsize=(9, 4), layout="constrained")
parts = fig.subfigures(1, 2)
for part, (name, space) in zip(parts, spaces.items(), strict=True):
    part.suptitle(name)
    neighbors = NearestNeighbors(n_neighbors=7).fit(space).kneighbors(space[asked])[1]
    for axs, row in zip(part.subplots(4, 7), neighbors, strict=True):
        for ax, index in zip(axs, row, strict=True):
            ax.imshow(images[index])
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(index == row[0])
            ax.spines[:].set(color="crimson", linewidth=3)
plt.show()

# %%
# In numbers
# ----------
# How often do the ten nearest neighbours name the right photograph? 1 is always.

from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

for name, space in spaces.items():
    vote = KNeighborsClassifier(10, weights="distance")
    print(f"{name:12} {cross_val_score(vote, space, photograph, cv=5).mean():.2f}")

# %%
# Clusters in that space
# ----------------------
# The clusterer takes the encoder as its ``encoder``, and goes on training it together with the
# clusters.

from sklearn.frozen import FrozenEstimator

from skdcec import DeepConvEmbeddingClustering
from skdcec.inspection import ClusterGalleryDisplay

model = DeepConvEmbeddingClustering(
    n_clusters=5,
    encoder=FrozenEstimator(encoders["contrastive"]),
    max_epochs=5,
    random_state=0,
)
model.fit(images)
ClusterGalleryDisplay.from_estimator(model, images)
plt.show()
