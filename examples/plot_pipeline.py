"""
Prepare images in a pipeline
============================

Clusters form around whatever differs most between images, and that may be an accident: how bright a
scan is, how wide its margin. Such differences are best taken out before clustering. As a step of a
:class:`~sklearn.pipeline.Pipeline`, the preparation is part of the model, so that new images go
through it too.

Here half of the images are underexposed, and the clusters are meant to follow what the images show.
"""

# %%
# Two scanners
# ------------
# Pipelines pass on tables, so each image is a row: 64 values for 8×8 pixels. Every second digit
# comes from a scanner that makes everything three times fainter.

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
images = digits.data[:600].copy()
images[::2] /= 3
scanner = np.arange(600) % 2

# %%
# Without preparation
# -------------------
# ``image_shape`` tells how a row is to be read as an image. For a square gray one it may be left
# out.

from skdcec import DeepConvEmbeddingClustering

model = DeepConvEmbeddingClustering(n_clusters=10, image_shape=(8, 8), random_state=0)
plain = model.fit_predict(images)

# %%
# With preparation
# ----------------
# :class:`~sklearn.preprocessing.Normalizer` stretches each image to the same maximum. The clusterer
# comes last, and the pipeline has its ``fit_predict``.
#
# Scalers that work per column, such as ``StandardScaler``, would treat each pixel position on its
# own and spoil the picture; anything that works per image is fine. A function of your own can be
# such a step by way of :class:`~sklearn.preprocessing.FunctionTransformer`.

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

pipeline = make_pipeline(Normalizer(norm="max"), model)
prepared = pipeline.fit_predict(images)

# %%
# The difference
# --------------
# Random images of each cluster, a row per cluster. On the left all the faint scans are in one
# cluster, whatever digit they show, and the others share what is left; on the right the rows are
# digits, faint and strong alike.

import matplotlib.pyplot as plt

random = np.random.default_rng(0)


def rows_of_images(labels):
    """Put 14 random images of each cluster into a row, and the rows below each other."""
    picture = np.zeros((10, 9, 14, 9))
    for cluster in range(10):
        members = random.permutation(np.flatnonzero(labels == cluster))[:14]
        picture[cluster, :8, : len(members), :8] = images[members].reshape(-1, 8, 8).swapaxes(0, 1)
    return picture.reshape(90, 126)


fig, axes = plt.subplots(1, 2, figsize=(9, 3.7), layout="constrained")
for ax, labels, title in zip(
    axes,
    (plain, prepared),
    ("images as they are", "each stretched to the same maximum"),
    strict=True,
):
    ax.imshow(rows_of_images(labels), cmap="gray_r")
    ax.set_title(title)
    ax.set_axis_off()
plt.show()

# %%
# In numbers: normalized mutual information is 1 where two labellings agree, and about 0 where they
# have nothing to do with each other. The clusters should follow the digit and not the scanner.

from sklearn.metrics import normalized_mutual_info_score

fig, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
for i, (labels, name) in enumerate([(plain, "as they are"), (prepared, "stretched")]):
    scores = [
        normalized_mutual_info_score(known, labels) for known in (digits.target[:600], scanner)
    ]
    bars = ax.barh(np.arange(2) + 0.2 - 0.4 * i, scores, height=0.36, label=name)
    ax.bar_label(bars, fmt="%.2f", padding=3)
ax.set(yticks=[0, 1], yticklabels=["digit", "scanner"], xlim=(0, 1))
ax.set_xlabel("what the clusters have in common with the …")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
ax.invert_yaxis()
plt.show()

# %%
# The pipeline is the model
# -------------------------
# A new scan, underexposed or not, goes through the same steps. All parameters can be reached
# through the pipeline, which is what :class:`~sklearn.model_selection.GridSearchCV` does.

new_scan = digits.data[[700]] / 3
print("cluster of the new scan:", pipeline.predict(new_scan)[0])
print("the same, well exposed: ", pipeline.predict(digits.data[[700]])[0])
pipeline.set_params(deepconvembeddingclustering__n_clusters=5)
