"""The formulas, against values worked out by hand and against finite differences."""

import math

import pytest
import torch
from torch.testing import assert_close

from skdcec._nn.functional import (
    clustering_loss,
    contrastive_loss,
    cosine_assignment,
    reconstruction_loss,
    student_t_assignment,
    target_distribution,
    warm_up_targets,
    whitening,
)


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(0)
    draw = {"generator": generator, "dtype": torch.float64}
    embedding = torch.randn(7, 3, **draw)
    centers = torch.randn(4, 3, **draw)
    target = torch.softmax(torch.randn(7, 4, **draw), dim=1)
    return embedding, centers, target


@pytest.mark.parametrize(
    ("point", "alpha", "expected"),
    [
        # Squared distances to the centers (0, 0) and (0, 1), then the kernel.
        ((0, 0), 1, [1, 1 / 2]),
        ((2, 0), 1, [1 / 5, 1 / 6]),
        ((2, 0), 3, [(7 / 3) ** -2, (8 / 3) ** -2]),
        ((0, 3), 0.5, [19**-0.75, 9**-0.75]),
    ],
)
def test_assignment_is_the_student_t_kernel_worked_out_by_hand(point, alpha, expected):
    q = student_t_assignment(tensor(point), tensor((0, 0), (0, 1)), alpha)
    assert_close(q, tensor(expected) / sum(expected))


def test_alpha_is_1_unless_given(points):
    embedding, centers, _ = points
    assert_close(
        student_t_assignment(embedding, centers), student_t_assignment(embedding, centers, 1.0)
    )


@pytest.mark.parametrize("distance", [0.0, 1e-20, 1e4, 1e15])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 30.0])
def test_assignment_sums_to_1_at_any_distance(distance, alpha):
    centers = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    q = student_t_assignment(torch.tensor([[distance, 0.0]]), centers, alpha)
    assert torch.isfinite(q).all()
    assert_close(q.sum(dim=1), torch.ones(1))


@pytest.mark.parametrize("length", [1e-3, 1.0, 40.0])
def test_cosine_assignment_is_worked_out_by_hand_from_directions_alone(length):
    centers = length * tensor((2, 0), (0, 3), (-1, 0))
    kernel = torch.exp(tensor((0.6, 0.8, -0.6)) / 0.5)
    assert_close(cosine_assignment(tensor((0.6, 0.8)), centers, 0.5), kernel / kernel.sum())


def test_cosine_assignment_tells_clusters_apart_in_many_dimensions():
    generator = torch.Generator().manual_seed(0)
    centers = torch.nn.functional.normalize(torch.randn(7, 64, generator=generator))
    noise = torch.nn.functional.normalize(torch.randn(7, 64, generator=generator))
    q = cosine_assignment(torch.nn.functional.normalize(centers + noise), centers)
    assert q.diagonal().min() > 0.9
    assert student_t_assignment(centers, centers).diagonal().max() < 0.5


def test_a_point_without_direction_is_assigned_evenly():
    q = cosine_assignment(torch.zeros(1, 2), torch.eye(2))
    assert torch.equal(q, torch.full((1, 2), 0.5))


def test_a_single_cluster_has_everything():
    q = student_t_assignment(torch.randn(5, 2, generator=torch.Generator()), torch.zeros(1, 2))
    assert torch.equal(q, torch.ones(5, 1))
    assert torch.equal(target_distribution(q), torch.ones(5, 1))
    assert clustering_loss(q, target_distribution(q)) == 0


@pytest.mark.parametrize("assignment", [student_t_assignment, cosine_assignment])
def test_the_assignment_of_a_point_does_not_depend_on_its_company(assignment):
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(50, 10, generator=generator)
    centers = torch.randn(6, 10, generator=generator)
    together = assignment(embedding, centers)
    alone = torch.cat([assignment(point[None], centers) for point in embedding])
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        # f = (3/2, 3/2): squares, normalised.
        ([(3 / 4, 1 / 4), (1 / 4, 3 / 4), (1 / 2, 1 / 2)], [(0.9, 0.1), (0.1, 0.9), (0.5, 0.5)]),
        # f = (1.2, 0.8): 0.64/1.2 against 0.04/0.8, and 0.16/1.2 against 0.36/0.8.
        ([(0.8, 0.2), (0.4, 0.6)], [(32 / 35, 3 / 35), (8 / 35, 27 / 35)]),
        # Nobody is in the second cluster.
        ([(1.0, 0.0), (1.0, 0.0)], [(1.0, 0.0), (1.0, 0.0)]),
    ],
)
def test_target_is_the_sharpened_assignment_worked_out_by_hand(q, expected):
    assert_close(target_distribution(tensor(*q)), tensor(*expected))


def test_target_favours_the_smaller_cluster():
    q = tensor(*[(0.9, 0.1)] * 9, (0.5, 0.5))
    p = target_distribution(q)
    assert p[-1, 1] > 0.5


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, [(0.9, 0.1), (0.4, 0.6), (0.3, 0.7)]),
        (0.5, [(0.45, 0.55), (0.7, 0.3), (0.3, 0.7)]),
        (1.0, [(0.0, 1.0), (1.0, 0.0), (0.3, 0.7)]),
    ],
)
def test_given_clusters_lead_the_targets_by_their_share(share, expected):
    p = tensor((0.9, 0.1), (0.4, 0.6), (0.3, 0.7))
    assert_close(warm_up_targets(p, torch.tensor([1, 0, -1]), share), tensor(*expected))


@pytest.mark.parametrize(
    ("q", "p", "expected"),
    [
        ([(1 / 4, 3 / 4)], [(1 / 2, 1 / 2)], math.log(4 / 3) / 2),
        ([(1 / 2, 1 / 2)], [(1.0, 0.0)], math.log(2)),
        ([(0.3, 0.7), (0.6, 0.4)], [(0.3, 0.7), (0.6, 0.4)], 0.0),
        # Summed over clusters, averaged over points: ln 2 and 0.
        ([(1 / 2, 1 / 2), (1 / 2, 1 / 2)], [(1.0, 0.0), (1 / 2, 1 / 2)], math.log(2) / 2),
    ],
)
def test_clustering_loss_is_the_divergence_worked_out_by_hand(q, p, expected):
    assert clustering_loss(tensor(*q), tensor(*p)).item() == pytest.approx(expected, abs=1e-12)


def test_clustering_loss_is_finite_where_an_assignment_is_0():
    q = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = clustering_loss(q, torch.tensor([[0.5, 0.5]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(q.grad).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_gradients_of_the_clustering_loss_equal_finite_differences(points, alpha):
    embedding, centers, target = points

    def loss(z, mu):
        return clustering_loss(student_t_assignment(z, mu, alpha), target)

    assert torch.autograd.gradcheck(loss, (embedding.requires_grad_(), centers.requires_grad_()))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_gradients_of_the_clustering_loss_are_those_of_the_paper(points, alpha):
    """Xie et al. 2016, equations 4 and 5, divided by the number of points."""
    z, mu, p = points
    q = student_t_assignment(z.requires_grad_(), mu.requires_grad_(), alpha)
    clustering_loss(q, p).backward()
    with torch.no_grad():
        difference = z[:, None] - mu
        pull = (p - q) / (1 + difference.square().sum(dim=2) / alpha)
        force = (alpha + 1) / alpha * pull[..., None] * difference / len(z)
    assert_close(z.grad, force.sum(dim=1))
    assert_close(mu.grad, -force.sum(dim=0))


def test_gradients_are_finite_for_a_point_on_a_center():
    z = tensor((1, 2)).requires_grad_()
    centers = tensor((1, 2), (3, 4)).requires_grad_()
    clustering_loss(student_t_assignment(z, centers), tensor((0.2, 0.8))).backward()
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(centers.grad).all()


def test_reconstruction_loss_is_the_mean_over_all_values():
    batch = torch.zeros(2, 3, 4, 5)
    reconstruction = batch.clone()
    reconstruction[0, 0, 0, 0] = 6.0
    assert reconstruction_loss(reconstruction, batch).item() == pytest.approx(36 / 120)


# --- contrastive loss ---


def test_contrastive_loss_of_a_hand_worked_batch():
    # Views of length other than 1; cosines: partners 1 and 0, strangers 0, 1 and 0, 0.
    first = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    e = math.exp(1 / 0.5)
    rows = [
        -math.log(e / (1 + e + e)),  # first[0]: stranger 0, partner 1, stranger 1
        -math.log(1 / 3),  # first[1]: all at right angles
        -math.log(e / (e + 1 + e)),  # second[0]: partner 1, stranger first[1] 0, second[1] 1
        -math.log(1 / (e + 1 + e)),  # second[1]: partner 0, strangers 1 and 1
    ]
    assert contrastive_loss(first, second, 0.5).item() == pytest.approx(sum(rows) / 4)


def test_contrastive_loss_of_a_single_pair_is_0_and_has_a_gradient_without_nan():
    first = torch.tensor([[1.0, 2.0]], requires_grad=True)
    loss = contrastive_loss(first, torch.tensor([[-1.0, 0.5]]), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(first.grad, torch.zeros(1, 2))


# --- whitening ---


def moments(rows):
    return rows.mean(dim=0), torch.cov(rows.T, correction=0)


def test_whitened_rows_are_uncorrelated_with_variance_1_whatever_the_units():
    generator = torch.Generator().manual_seed(0)
    mixed = (
        torch.randn(500, 6, generator=generator).double()
        @ torch.randn(6, 6, generator=generator).double()
    )
    weight, bias = whitening(*moments(mixed), 4)
    white = mixed @ weight.T + bias
    mean, covariance = moments(white)
    assert torch.allclose(mean, torch.zeros(4).double(), atol=1e-9)
    assert torch.allclose(covariance, torch.eye(4).double(), atol=1e-9)
    units = torch.tensor([1, 10, 0.1, 1e3, 5, 1e-2]).double()
    weight, bias = whitening(*moments(mixed * units + 7), 4)
    assert torch.allclose((mixed * units + 7) @ weight.T + bias, white, atol=1e-6)


@pytest.mark.parametrize("strength", [0, 0.75])
def test_whitening_in_part_leaves_a_power_of_the_variances(strength):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(500, 3, generator=generator).double()
    rows[:, 1] += rows[:, 0]
    weight, bias = whitening(*moments(rows), 3, strength)
    variances = torch.linalg.eigvalsh(torch.corrcoef(rows.T)).flip(0)
    _, covariance = moments(rows @ weight.T + bias)
    assert torch.allclose(covariance, variances.pow(1 - strength).diag(), atol=1e-9)


def test_directions_without_variance_are_0():
    rows = torch.arange(10).double()[:, None] * torch.tensor([[1.0, -2.0, 0.0]]).double() + 3
    weight, bias = whitening(*moments(rows), 5)
    white = rows @ weight.T + bias
    assert white.shape == (10, 5)
    assert white[:, 0].var(correction=0).item() == pytest.approx(1)
    assert (white[:, 1:] == 0).all()


def test_constant_rows_are_whitened_to_0():
    weight, bias = whitening(*moments(torch.full((4, 3), 2.5).double()), 2)
    assert (torch.full((4, 3), 2.5).double() @ weight.T + bias == 0).all()
