"""
Cluster images in a script
==========================

:class:`~skdcec.DeepConvEmbeddingClustering` takes an array of images and gives each a label. It
needs no labels to learn from: it finds a short description of each image (an *embedding*) and
groups of similar descriptions, and improves both together.

This example clusters small scans of handwritten digits, looks at what is in each cluster, and then
puts images that were not there during training into the clusters found.
"""

# %%
# The images
# ----------
# An array of shape ``(n_images, height, width)`` for gray images, or ``(n_images, height, width,
# 3)`` for colour. The range of the values does not matter, only that it is the same for all images.
# Some images are kept back for later.

from sklearn.datasets import load_digits

digits = load_digits()
images, new_images = digits.images[:900], digits.images[900:920]
print(f"{images.shape=}")

# %%
# One line to cluster
# -------------------
# The number of clusters has to be given; :ref:`sphx_glr_auto_examples_plot_tune_k.py` shows how to
# choose it. ``random_state`` makes the result the same each time, and ``verbose=1`` would show
# progress bars.

from skdcec import DeepConvEmbeddingClustering

model = DeepConvEmbeddingClustering(n_clusters=10, random_state=0)
labels = model.fit_predict(images)
print(labels[:20])

# %%
# What is in the clusters?
# ------------------------
# Numbers say little, so look at the images. The first in each row is the center of a cluster,
# decoded into an image that nobody ever wrote: what the members have in common. Then come the
# images nearest to the center, and those farthest from it, where mistakes collect.

import matplotlib.pyplot as plt
import numpy as np

centers = model.inverse_transform(model.cluster_centers_)
distance = np.linalg.norm(model.transform(images) - model.cluster_centers_[labels], axis=1)

fig = plt.figure(figsize=(9, 6), layout="constrained")
parts = fig.subfigures(1, 3, width_ratios=[1.3, 10, 5])
grids = [part.subplots(10, n) for part, n in zip(parts, (1, 10, 5), strict=True)]
for part, title in zip(parts, ("center", "nearest", "farthest"), strict=True):
    part.suptitle(title)
for ax in np.concatenate([grid.ravel() for grid in grids]):
    ax.set_axis_off()

for cluster in range(10):
    members = np.flatnonzero(labels == cluster)
    members = members[distance[members].argsort()]
    grids[0][cluster].imshow(centers[cluster], cmap="gray_r", vmin=0, vmax=16)
    for ax, member in zip(grids[1][cluster], members, strict=False):
        ax.imshow(images[member], cmap="gray_r", vmin=0, vmax=16)
    for ax, member in zip(grids[2][cluster], members[10:][::-1], strict=False):
        ax.imshow(images[member], cmap="gray_r", vmin=0, vmax=16)
plt.show()

# %%
# Did training settle?
# --------------------
# ``history_`` holds what happened in each epoch of the joint training, the second half of ``fit``,
# which improves descriptions and clusters together. Here few labels change any more at the end, so
# more epochs would not lead to other clusters.

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
epochs = np.arange(1, model.n_iter_ + 1)
ax.plot(epochs, 100 * np.array(model.history_["label_change"]), marker="o")
ax.set(xlabel="epoch", ylabel="labels changed (%)", ylim=(0, None))
ax.xaxis.get_major_locator().set_params(integer=True)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# New images
# ----------
# The fitted model assigns images that it has never seen. ``predict_proba`` tells clear cases from
# doubtful ones: each row has the probability of every cluster for one image, and sums to 1.

assignment = model.predict_proba(new_images)

fig, axes = plt.subplots(2, 10, figsize=(9, 2.5), layout="constrained")
for ax, image, shares in zip(axes.flat, new_images, assignment, strict=True):
    ax.imshow(image, cmap="gray_r")
    ax.set_title(f"{shares.argmax()} ({shares.max():.0%})", fontsize=9)
    ax.set_axis_off()
fig.suptitle("cluster of each new image, and its share")
plt.show()

# %%
# How good is it?
# ---------------
# For these images the digits are known, though the model has not seen them. Normalized mutual
# information is 1 where clusters and digits agree perfectly and about 0 where they have nothing to
# do with each other; plain k-means on the pixels stands beside it.

from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

known = digits.target[:900]
by_pixels = KMeans(10, n_init=20, random_state=0).fit_predict(images.reshape(900, -1))
print(f"embedded clustering  {normalized_mutual_info_score(known, labels):.2f}")
print(f"k-means on pixels    {normalized_mutual_info_score(known, by_pixels):.2f}")
