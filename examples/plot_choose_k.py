"""
Search for the number of clusters
=================================

:class:`~skdcec.model_selection.NClustersSearch` compares many numbers of clusters for about twice
the cost of one training, and says in words whether there are groups at all. :ref:`choosing_k` tells
what it does, and when not to believe it.
"""

# %%
# The search
# ----------
# These images are of five digits; the search is not told. The embedding is trained once. In it,
# clusters are then sought for each number in several ways, which takes seconds, and only the best
# of the plausible numbers, at most three, are trained further.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from skdcec import DeepConvEmbeddingClustering
from skdcec.inspection import ClusterGalleryDisplay, NClustersSearchDisplay
from skdcec.model_selection import NClustersSearch

images = load_digits(n_class=5).images[:400]

search = NClustersSearch(
    DeepConvEmbeddingClustering(max_epochs=10, random_state=0), n_clusters=range(2, 11)
).fit(images)
print(search.verdict_)

# %%
# Look at the range in the verdict rather than at the one number. People write a digit in more than
# one way, so more clusters than digits may fit as well or better, and the range should hold five.
#
# The line shows how far apart the clusters of k-means lie at each number (their silhouette), with
# two standard errors of the difference to the best one. The dashed line is what points without any
# clusters reach. Diamonds are the models that were trained, the larger one the chosen model.
# Plausible numbers are shaded; they are found by more than this line, as :ref:`choosing_k` says.

NClustersSearchDisplay.from_estimator(search)
plt.show()

# %%
# What the clusters are
# ---------------------
# The best model is ready to use, as ``search.best_estimator_``.

ClusterGalleryDisplay.from_estimator(search.best_estimator_, images)
plt.show()

# %%
# A set without clusters
# ----------------------
# Noise has a best number of clusters, too. The verdict is what tells the difference.

import numpy as np

noise = np.random.default_rng(0).normal(128, 40, size=(300, 8, 8)).clip(0, 255)
search = NClustersSearch(
    DeepConvEmbeddingClustering(max_epochs=2, random_state=0), n_clusters=range(2, 7)
).fit(noise)
print(search.best_n_clusters_)
print(search.verdict_)
