"""The formulas of deep embedded clustering, as pure functions of tensors."""

import torch
from torch import Tensor

# Deviations and variances below this share are rounding errors.
_TINY_SHARE = 1e-5


def student_t_assignment(embedding: Tensor, centers: Tensor, alpha: float = 1.0) -> Tensor:
    """Soft assignment of points to clusters by a Student's t kernel.

    Parameters
    ----------
    embedding : tensor of shape (n_samples, n_components)
        Embedded points ``z``.
    centers : tensor of shape (n_clusters, n_components)
        Cluster centers ``mu``.
    alpha : float, default=1.0
        Degrees of freedom of the kernel.

    Returns
    -------
    tensor of shape (n_samples, n_clusters)
        ``q``, whose rows sum to 1.

    References
    ----------
    Xie, Girshick & Farhadi, *Unsupervised Deep Embedding for Clustering Analysis*,
    ICML 2016, equation 1.
    """
    # Differences rather than a matrix product: exact for a point that lies on a center,
    # and the same for a row whatever other rows stand beside it.
    squared_distance = (embedding.unsqueeze(1) - centers).square().sum(dim=2)
    # The power runs through logarithms, so that far points do not underflow to 0 / 0.
    log_kernel = torch.log1p(squared_distance / alpha).mul(-(alpha + 1) / 2)
    return torch.softmax(log_kernel, dim=1)


def cosine_assignment(embedding: Tensor, centers: Tensor, temperature: float = 0.1) -> Tensor:
    """Soft assignment of directions to clusters by a von Mises-Fisher kernel.

    In many dimensions, points of length 1 are nearly equally far from all centers, so a
    Student's t kernel would tell next to nothing apart.

    Parameters
    ----------
    embedding : tensor of shape (n_samples, n_components)
        Embedded points, of length 1.
    centers : tensor of shape (n_clusters, n_components)
        Cluster centers, of any length.
    temperature : float, default=0.1
        What cosine similarities are divided by.

    Returns
    -------
    tensor of shape (n_samples, n_clusters)
        ``q``, whose rows sum to 1.

    References
    ----------
    Banerjee, Dhillon, Ghosh & Sra, *Clustering on the Unit Hypersphere using von
    Mises-Fisher Distributions*, JMLR 2005, equation 4.1, with equal weights and
    concentrations.
    """
    directions = torch.nn.functional.normalize(centers)
    # Products rather than a matrix product: the same for a row whatever rows stand beside it.
    cosine = (embedding.unsqueeze(1) * directions).sum(dim=2)
    return torch.softmax(cosine / temperature, dim=1)


def target_distribution(assignment: Tensor, size: Tensor | None = None) -> Tensor:
    """Sharpened targets that favour confident points and even out cluster sizes.

    Parameters
    ----------
    assignment : tensor of shape (n_samples, n_clusters)
        Soft assignment ``q`` of the whole data set, or of a part of it.
    size : tensor of shape (n_clusters,), optional
        Soft cluster sizes in the whole; by default those in `assignment`.

    Returns
    -------
    tensor of shape (n_samples, n_clusters)
        ``p``, proportional to ``q² / f`` with the soft cluster sizes ``f = sum_i q_ij``;
        rows sum to 1.

    References
    ----------
    Xie, Girshick & Farhadi, ICML 2016, equation 3.
    """
    # A cluster that nobody uses has f = 0 and q = 0: its target is 0, not 0 / 0.
    size = assignment.sum(dim=0) if size is None else size
    size = size.clamp_min(torch.finfo(assignment.dtype).tiny)
    weight = assignment.square() / size
    return weight / weight.sum(dim=1, keepdim=True)


def warm_up_targets(target: Tensor, labels: Tensor, share: float) -> Tensor:
    """Mix targets with the clusters that training starts from.

    Parameters
    ----------
    target : tensor of shape (n_samples, n_clusters)
        Target distribution ``p``.
    labels : tensor of shape (n_samples,), dtype int64
        Cluster of each point; one without a cluster, below 0, keeps its target.
    share : float
        How much those clusters count, from 1 at the start of the warm-up to 0 at its end.

    Returns
    -------
    tensor of shape (n_samples, n_clusters)
        Rows sum to 1.
    """
    clusters = torch.arange(target.shape[1])
    starting = (labels[:, None] == clusters).to(target.dtype)
    return torch.where(labels[:, None] < 0, target, target.lerp(starting, share))


def clustering_loss(assignment: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(P || Q), averaged over points.

    Parameters
    ----------
    assignment : tensor of shape (n_samples, n_clusters)
        Soft assignment ``q``.
    target : tensor of shape (n_samples, n_clusters)
        Target distribution ``p``, held fixed.

    Returns
    -------
    tensor of shape ()
        ``mean_i sum_j p_ij log(p_ij / q_ij)``.

    References
    ----------
    Guo, Liu, Zhu & Yin, *Deep Clustering with Convolutional Autoencoders*, ICONIP 2017,
    equation 6.
    """
    tiny = torch.finfo(assignment.dtype).tiny
    log_ratio = target.clamp_min(tiny).log() - assignment.clamp_min(tiny).log()
    return (target * log_ratio).sum(dim=1).mean()


def reconstruction_loss(reconstruction: Tensor, batch: Tensor) -> Tensor:
    """Mean squared error over all values of a batch."""
    return torch.nn.functional.mse_loss(reconstruction, batch)


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised, temperature-scaled cross entropy of pairs (NT-Xent).

    Each row is to be matched with its partner among all other rows of both sets.

    Parameters
    ----------
    first, second : tensors of shape (n_samples, n_components)
        Two views of the same samples, of any length.
    temperature : float
        What cosine similarities are divided by.

    Returns
    -------
    tensor of shape ()
        0 for a single sample, whose partner has no rival.

    References
    ----------
    Chen, Kornblith, Norouzi & Hinton, *A Simple Framework for Contrastive Learning of
    Visual Representations*, ICML 2020, equation 1.
    """
    n = len(first)
    rows = torch.nn.functional.normalize(torch.cat([first, second]))
    # No row is its own partner or rival.
    itself = torch.eye(2 * n, dtype=torch.bool, device=rows.device)
    similarity = (rows @ rows.T / temperature).masked_fill(itself, -torch.inf)
    partner = torch.arange(2 * n, device=rows.device).roll(n)
    return torch.nn.functional.cross_entropy(similarity, partner)


def whitening(
    mean: Tensor, covariance: Tensor, n_components: int, strength: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Linear map to the leading principal components, of equal or of less unequal variance.

    Features are brought to variance 1 first, so that none counts for its unit.

    Parameters
    ----------
    mean : tensor of shape (n_features,), dtype float64
    covariance : tensor of shape (n_features, n_features), dtype float64
    n_components : int
    strength : float
        1 brings all components to variance 1, 0 leaves them as principal component analysis
        does; a variance v becomes ``v ** (1 - strength)``.

    Returns
    -------
    weight : tensor of shape (n_components, n_features)
    bias : tensor of shape (n_components,)
        ``weight @ x + bias`` has these variances, mean 0 and no correlations. What has next to no
        variance is mapped to 0.
    """
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    inverse = torch.where(deviation > _TINY_SHARE * mean.abs() + 1e-9, 1 / deviation, 0.0)
    correlation = inverse[:, None] * covariance * inverse
    variances, directions = torch.linalg.eigh(correlation)
    n_kept = min(n_components, int((variances > _TINY_SHARE * variances[-1]).sum()))
    variances, directions = variances.flip(0)[:n_kept], directions.flip(1)[:, :n_kept]
    # The sign of a direction is arbitrary; it is fixed here, because solvers differ in it.
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    rows = (directions * largest.sign() * variances.pow(-strength / 2)).T * inverse
    weight = torch.zeros(n_components, len(mean), dtype=rows.dtype)
    weight[:n_kept] = rows
    return weight, -weight @ mean
