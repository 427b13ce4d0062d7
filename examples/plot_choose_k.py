"""
Search for the number of clusters
=================================

:class:`~skdcec.model_selection.NClustersSearch` compares many numbers of clusters for about twice
the cost of one training, and says in words whether there are groups at all. What it does, and when
not to believe it, is told in :ref:`choosing_k`.
"""

# %%
# The search
# ----------
# These images are of five digits; the search is not told. The embedding is trained once. Each
# number of clusters is then screened by k-means in it, and only the plausible ones are trained
# further.

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
# The line shows how well k-means does at each number, with two standard errors of the difference
# to the best one. The dashed line is what points without any clusters reach. Plausible numbers are
# shaded, and those that were trained have a diamond.

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
