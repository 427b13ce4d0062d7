"""DCEC as its paper has it, in plain PyTorch: what `peers.py` compares with.

Guo, Liu, Zhu & Yin, *Deep Clustering with Convolutional Autoencoders*, ICONIP 2017.
"""

import time

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import nn
from torch.nn.functional import mse_loss, relu

BATCH_SIZE = 256
LR = 1e-3
GAMMA = 0.1
UPDATE_INTERVAL = 140
TOL = 1e-3


class Autoencoder(nn.Module):
    """Convolutions of 32, 64 and 128 filters with strides of 2, and their mirror image."""

    def __init__(self, side, n_components):
        super().__init__()
        widths, kernels, sides = (1, 32, 64, 128), (5, 5, 3), [side]
        self.down, up = nn.ModuleList(), []
        for i, kernel in enumerate(kernels):
            padding = kernel // 2 if i < 2 or side % 8 == 0 else 0
            self.down.append(nn.Conv2d(widths[i], widths[i + 1], kernel, 2, padding))
            sides.append((sides[-1] + 2 * padding - kernel) // 2 + 1)
            missing = sides[-2] - ((sides[-1] - 1) * 2 - 2 * padding + kernel)
            up.append(nn.ConvTranspose2d(widths[i + 1], widths[i], kernel, 2, padding, missing))
        self.up = nn.ModuleList(reversed(up))
        self.shape = (widths[-1], sides[-1], sides[-1])
        size = int(np.prod(self.shape))
        self.embed, self.unembed = nn.Linear(size, n_components), nn.Linear(n_components, size)

    def encode(self, x):
        for layer in self.down:
            x = relu(layer(x))
        return self.embed(x.flatten(1))

    def decode(self, z):
        x = relu(self.unembed(z)).view(-1, *self.shape)
        for layer in self.up[:-1]:
            x = relu(layer(x))
        return self.up[-1](x)


def assign(z, centers):
    q = 1 / (1 + (z[:, None] - centers).square().sum(2))
    return q / q.sum(1, keepdim=True)


def targets(q):
    p = q.square() / q.sum(0)
    return p / p.sum(1, keepdim=True)


def dcec(images, n_clusters, pretraining, joint, seed):
    """Return labels, and the seconds of an epoch in both phases.

    The embedding has as many numbers as there are clusters.
    """
    torch.manual_seed(seed)
    x = torch.from_numpy(np.ascontiguousarray(images))[:, None]
    network = Autoencoder(x.shape[-1], n_clusters)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR)
    start = time.perf_counter()
    for _ in range(pretraining):
        for rows in torch.randperm(len(x)).split(BATCH_SIZE):
            loss = mse_loss(network.decode(network.encode(x[rows])), x[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    first = (time.perf_counter() - start) / pretraining

    def embedded():
        with torch.inference_mode():
            return torch.cat([network.encode(part) for part in x.split(BATCH_SIZE)])

    k_means = KMeans(n_clusters, n_init=20, random_state=seed).fit(embedded().numpy())
    centers = nn.Parameter(torch.from_numpy(k_means.cluster_centers_))
    optimizer = torch.optim.Adam([*network.parameters(), centers], lr=LR)
    labels = torch.from_numpy(k_means.labels_).long()
    parts = torch.arange(len(x)).split(BATCH_SIZE)
    start, step = time.perf_counter(), 0
    for step in range(joint * len(parts)):
        if step % UPDATE_INTERVAL == 0:
            q = assign(embedded(), centers.detach())
            p, before, labels = targets(q), labels, q.argmax(1)
            if step and (labels != before).double().mean() < TOL:
                break
        # In their order, as the authors' program does.
        rows = parts[step % len(parts)]
        z = network.encode(x[rows])
        q = assign(z, centers)
        clustering = (p[rows] * (p[rows] / q).log()).sum(1).mean()
        loss = mse_loss(network.decode(z), x[rows]) + GAMMA * clustering
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    second = (time.perf_counter() - start) / max(1, step) * len(parts)
    return assign(embedded(), centers.detach()).argmax(1).numpy(), (first, second)
