"""
Choose the number of clusters
=============================

How many clusters? :class:`~sklearn.model_selection.GridSearchCV` fits a model for each number and
compares them by a score. Three things are particular to clustering:

- there are no labels to score with, so the score is the *silhouette*: how much nearer images are to
  their own cluster than to the next one, from −1 to 1;
- there is nothing to hold out: the clusters are to describe these images, so
  :class:`~skdcec.model_selection.TransductiveSplit` fits and scores on all of them;
- distances have to be taken in one and the same space for all candidates. Each model shapes an
  embedding of its own in which its clusters look well separated, whether they are or not.
  :data:`~skdcec.model_selection.silhouette_scorer` uses the embedding from before that, which all
  candidates share.
"""

# %%
# The search
# ----------
# The first half of training, learning an embedding, is the same for every number of clusters. With
# ``memory``, a folder, it is done once and read from there afterwards: by the other candidates, and
# by any later search on the same images. A lasting folder such as ``memory=".skdcec_cache"`` is the
# usual choice; the one here goes away with the example. A fixed ``random_state`` is needed, because
# without it no two pretrainings are the same.
#
# These images are of five digits, and which is which is known. That is not used to learn or to
# choose (``refit`` names the score that chooses), but scikit-learn can watch it during the search.

import tempfile

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skdcec import DeepConvEmbeddingClustering
from skdcec.model_selection import TransductiveSplit, silhouette_scorer

images, digit = load_digits(n_class=5, return_X_y=True)
images, digit = images[:400].reshape(-1, 8, 8), digit[:400]

folder = tempfile.TemporaryDirectory()
search = GridSearchCV(
    DeepConvEmbeddingClustering(max_epochs=10, memory=folder.name, random_state=0),
    {"n_clusters": [2, 3, 4, 5, 6, 7, 8]},
    scoring={"silhouette": silhouette_scorer, "digits": "normalized_mutual_info_score"},
    refit="silhouette",
    cv=TransductiveSplit(),
)
search.fit(images, digit)
folder.cleanup()
print(search.best_params_)

# %%
# Without such knowledge, ``scoring=silhouette_scorer`` and ``search.fit(images)`` are all it takes.
#
# The score for each number
# -------------------------
# The score is on the left; on the right is how far the clusters agree with the digits (normalized
# mutual information, 1 is perfect), which one usually cannot know. The two rise and fall together.
# More clusters than digits are no mistake where a digit is written in several ways. And where the
# score is almost flat, the images do not decide between coarser and finer clusters, so you may.

import matplotlib.pyplot as plt

best = search.best_params_["n_clusters"]
results = search.cv_results_

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for ax, score, label in zip(
    axes, ("silhouette", "digits"), ("silhouette", "agreement with the digits"), strict=True
):
    ax.axvline(best, color="0.88", linewidth=10)
    ax.plot(results["param_n_clusters"].astype(int), results[f"mean_test_{score}"], marker="o")
    ax.set(xlabel="number of clusters", ylabel=label)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].annotate(
    "chosen", (best, axes[0].get_ylim()[0]), xytext=(0, 6), ha="center", textcoords="offset points"
)
plt.show()

# %%
# The chosen model
# ----------------
# ``best_estimator_`` has been fitted to all the images. A row of random images from each of its
# clusters:

import numpy as np

random = np.random.default_rng(0)
labels = search.best_estimator_.labels_
picture = np.zeros((best, 9, 24, 9))
for cluster in range(best):
    members = random.permutation(np.flatnonzero(labels == cluster))[:24]
    picture[cluster, :8, : len(members), :8] = images[members].swapaxes(0, 1)

fig, ax = plt.subplots(figsize=(8, 8 * best / 24 + 0.2), layout="constrained")
ax.imshow(picture.reshape(best * 9, -1), cmap="gray_r")
ax.set_axis_off()
plt.show()

# %%
# What it cost
# ------------
# The first candidate learned the embedding for all of them.
# :class:`~skdcec.model_selection.NClustersSearch`, which is made for this question, trains only the
# plausible candidates, and says whether there are clusters at all
# (:ref:`sphx_glr_auto_examples_plot_choose_k.py`).

print("seconds per candidate:", search.cv_results_["mean_fit_time"].round(1))
