"""What clusters say: each number against values found by hand or by another library."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.datasets import load_digits
from sklearn.feature_selection import chi2
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import (
    completeness_score,
    homogeneity_score,
    normalized_mutual_info_score,
    silhouette_samples,
)
from sklearn.metrics.cluster import contingency_matrix
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, normalize

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec._analysis.contingency import (
    adjusted_residuals,
    agreement,
    cross_table,
    expected_counts,
)
from skdcec._analysis.exemplars import exemplars, membership
from skdcec._analysis.images import as_images, images_of, to_pixels, value_range
from skdcec._analysis.palette import MAX_CLUSTERS, NO_CLUSTER, cluster_color, cluster_colors
from skdcec._analysis.projection import map_projection, unit_square
from skdcec._analysis.samples import sample_rows
from skdcec._analysis.silhouette import distance_matrix, silhouettes
from skdcec._analysis.spaces import (
    as_rows,
    best_of,
    center_distances,
    distances_to_means,
    embed,
    last_step,
    space_of,
)
from skdcec.model_selection import TransductiveSplit


def listed(chosen):
    return {
        label: {kind: rows.tolist() for kind, rows in kinds.items()}
        for label, kinds in chosen.items()
    }


# --- exemplars ---

# Cluster 0 has five images, cluster 1 two, and one is in none.
LABELS = np.array([0, 0, 1, 0, -1, 0, 1, 0])
DISTANCE = np.array([0.3, 0.1, 0.5, 0.9, 0.7, 0.2, 0.4, 0.8])
MARGIN = np.array([0.1, 0.9, 0.3, 0.2, np.nan, 0.8, 0.6, 0.0])


def test_exemplars_against_hand_values():
    counts = {"typical": 2, "borderline": 1, "odd": 1}
    chosen = exemplars(LABELS, counts, distance=DISTANCE, margin=MARGIN)
    assert listed(chosen) == {
        -1: {"typical": [4], "borderline": [], "odd": []},
        # Image 3 is the farthest; of images 0 and 7, which are left, 7 has the smaller margin.
        0: {"typical": [1, 5], "borderline": [7], "odd": [3]},
        1: {"typical": [6], "borderline": [], "odd": [2]},
    }


def test_exemplars_of_one_kind_take_the_whole_cluster():
    assert listed(exemplars(LABELS, {"typical": 9}, distance=DISTANCE)) == {
        -1: {"typical": [4]},
        0: {"typical": [1, 5, 0, 7, 3]},
        1: {"typical": [6, 2]},
    }
    odd = exemplars(LABELS, {"odd": 2, "typical": 0}, distance=DISTANCE)
    assert listed(odd)[0] == {"odd": [3, 7]}


def test_exemplars_share_a_small_cluster():
    labels, distance = np.zeros(5, dtype=int), np.arange(5.0)
    counts = dict.fromkeys(("typical", "odd", "borderline"), 9)
    chosen = exemplars(labels, counts, distance=distance, margin=distance)
    # Half of five, half of the two left, and the rest.
    assert listed(chosen)[0] == {"typical": [0, 1, 2], "odd": [4], "borderline": [3]}


def test_exemplars_of_equal_rank_come_in_their_order():
    chosen = exemplars(
        np.zeros(6, dtype=int),
        {"typical": 2, "borderline": 2, "odd": 1},
        distance=np.ones(6),
        margin=np.ones(6),
    )
    assert listed(chosen)[0] == {"typical": [0, 1], "borderline": [3, 4], "odd": [2]}


@pytest.mark.parametrize("seed", range(20))
def test_no_image_is_chosen_twice(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 6, 40)
    counts = dict(zip(("typical", "borderline", "odd"), rng.integers(0, 6, 3), strict=True))
    chosen = exemplars(labels, counts, distance=rng.random(40), margin=rng.random(40))
    for label, kinds in chosen.items():
        rows = np.concatenate([*kinds.values(), []]).astype(int)
        assert len(rows) == len(set(rows.tolist()))
        assert (labels[rows] == label).all()
        assert all(len(kinds[kind]) <= counts[kind] for kind in kinds)


def test_borderline_images_need_margins():
    with pytest.raises(ValueError, match="margin=None"):
        exemplars(LABELS, {"borderline": 2}, distance=DISTANCE)


def test_exemplars_of_named_clusters():
    names = np.array(["none", "dark", "light"])[LABELS + 1]
    chosen = exemplars(names, {"typical": 1}, distance=DISTANCE)
    assert listed(chosen) == {
        "dark": {"typical": [1]},
        "light": {"typical": [6]},
        "none": {"typical": [4]},
    }


# --- membership ---


def test_membership_by_probabilities():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.3, 0.6]])
    distances = np.array([[1.0, 2, 3], [4, 5, 6], [9, 8, 7]])
    # The second image is in another cluster than its most probable one, the third in none.
    found = membership(np.array([0, 0, -1]), probabilities=probabilities, distances=distances)
    assert_allclose(found.confidence, [0.7, 0.3, np.nan])
    assert_array_equal(found.second, [1, 1, 2])
    assert_allclose(found.margin, [0.5, -0.3, np.nan])
    assert_array_equal(found.distance, [1, 4, 7])


def test_membership_by_distances_is_students_t():
    # 1 / (1 + d^2): 1/2, 1/5, 1/10.
    found = membership(np.array([0, 1, -3]), distances=np.array([[1.0, 2, 3]] * 3))
    assert_allclose(found.confidence, [5 / 8, 2 / 8, np.nan])
    assert_allclose(found.margin, [3 / 8, -3 / 8, np.nan])
    assert_array_equal(found.second, [1, 0, 0])
    assert_array_equal(found.distance, [1, 2, 1])


def test_distances_by_probabilities_keep_their_order():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.0, 1.0]])
    found = membership(np.array([0, 0, 0]), probabilities=probabilities)
    assert np.isfinite(found.distance).all()
    assert_array_equal(found.distance.argsort(), [0, 1, 2])


def test_membership_in_the_only_cluster():
    found = membership(np.array([0, -1]), distances=np.array([[2.0], [3.0]]))
    assert_array_equal(found.second, [-1, 0])
    assert_allclose(found.margin, [1, np.nan])
    assert_array_equal(found.distance, [2, 3])


def test_membership_with_an_empty_cluster():
    found = membership(np.array([0, 0]), distances=np.array([[1.0, np.inf], [0.0, np.inf]]))
    assert_array_equal(found.margin, [1, 1])


def test_membership_changes_nothing_that_it_is_given():
    probabilities = np.array([[0.7, 0.3]])
    membership(np.array([0]), probabilities=probabilities)
    assert_array_equal(probabilities, [[0.7, 0.3]])
    with pytest.raises(ValueError, match="both None"):
        membership(np.array([0]))


# --- spaces ---


@pytest.fixture(scope="module")
def images():
    """Colour images that are wider than high, so that no wrong order of axes goes unseen."""
    gray = load_digits().images[:60]
    return np.stack([gray, gray[::-1], 0 * gray], axis=-1).repeat(2, axis=2)


def clusterer(encoder, **options):
    options = {"max_epochs": 1, "lr": 1e-4, "n_init": 1, "random_state": 0} | options
    return DeepConvEmbeddingClustering(3, encoder=encoder, **options)


def convolutional(**options):
    return ConvAutoencoder(4, filters=(2,), max_epochs=1, random_state=0, **options)


def dense():
    return DenseAutoencoder(4, hidden_layer_sizes=(8,), max_epochs=1, random_state=0)


def first(images):
    return images.transpose(0, 3, 1, 2)


def test_space_of_a_clusterer(images):
    model = clusterer(convolutional()).fit(images)
    space = space_of(model, images)
    assert_array_equal(space.points, model.encoder_.transform(images))
    assert space[1:] == ("euclidean", "pretrained embedding")
    refined = space_of(model, images, "embedding")
    assert_array_equal(refined.points, model.transform(images))
    assert refined[1:] == ("euclidean", "embedding")
    assert_array_equal(space_of(model, images, "input").points, as_rows(images))


@pytest.mark.parametrize("encoder", [convolutional, dense])
@pytest.mark.parametrize("form", ["channels_last", "channels_first", "rows"])
def test_space_does_not_depend_on_the_form_of_images(encoder, form, images):
    wanted = clusterer(encoder()).fit(images)
    given = {"channels_last": images, "channels_first": first(images), "rows": as_rows(images)}
    options = {"data_format": form} if form != "rows" else {"image_shape": (8, 16, 3)}
    model = clusterer(encoder(), **options).fit(given[form])
    for space in ("auto", "embedding"):
        assert_allclose(
            space_of(model, given[form], space).points,
            space_of(wanted, images, space).points,
            atol=1e-6,
        )
    assert_allclose(
        center_distances(model, given[form]), center_distances(wanted, images), atol=1e-5
    )


def test_encoders_that_expect_another_order_of_axes_are_given_it(images):
    encoder = convolutional(data_format="channels_first").fit(first(images))
    wanted = encoder.transform(first(images))
    assert_allclose(embed(encoder, images), wanted, atol=1e-6)
    assert_allclose(embed(encoder, first(images), "channels_first"), wanted, atol=1e-6)
    model = clusterer(FrozenEstimator(encoder)).fit(images)
    assert_allclose(space_of(model, images).points, wanted, atol=1e-6)


def test_space_of_a_cosine_embedding(images):
    encoder = ContrastiveEncoder(4, filters=(2,), max_epochs=1, random_state=0)
    model = clusterer(encoder).fit(images)
    for space in ("pretrained", "embedding"):
        assert space_of(model, images, space).metric == "cosine"
    assert space_of(model, images, "input").metric == "euclidean"
    assert space_of(model.encoder_, images).metric == "cosine"


def test_space_of_vectors():
    vectors = load_digits().data[:60]
    model = DeepEmbeddingClustering(
        3, encoder=dense(), max_epochs=1, lr=1e-4, n_init=1, random_state=0
    ).fit(vectors)
    assert_array_equal(space_of(model, vectors).points, model.encoder_.transform(vectors))


def test_space_of_other_estimators(images):
    rows = as_rows(images)
    k_means = KMeans(3, n_init=1, random_state=0).fit(rows)
    assert space_of(k_means, rows)[1:] == ("euclidean", "input")
    assert_array_equal(space_of(k_means, rows).points, rows)
    encoder = dense().fit(rows)
    space = space_of(encoder, rows)
    assert_array_equal(space.points, encoder.transform(rows))
    assert space.name == "embedding"
    with pytest.raises(ValueError, match=r"space='pretrained' needs .* KMeans has none"):
        space_of(k_means, rows, "pretrained")
    with pytest.raises(ValueError, match="space='refined' must be one of 'auto'"):
        space_of(k_means, rows, "refined")


def test_space_of_pipelines_and_searches(images):
    pipeline = make_pipeline(FunctionTransformer(as_rows), StandardScaler(), KMeans(3, n_init=1))
    pipeline.fit(images)
    assert_allclose(space_of(pipeline, images).points, pipeline[:-1].transform(images))
    last, reached = last_step(pipeline, images)
    assert last is pipeline[-1]
    assert_allclose(reached, pipeline[:-1].transform(images))
    alone = make_pipeline(KMeans(3, n_init=1)).fit(as_rows(images))
    assert last_step(alone, images)[1] is images
    assert last_step(alone[-1], images) == (alone[-1], images)

    model = clusterer(convolutional()).fit(images)
    scaled = make_pipeline(FunctionTransformer(lambda X: X / 2), model)
    assert_array_equal(space_of(scaled, images).points, model.encoder_.transform(images / 2))

    search = GridSearchCV(model, {"n_clusters": [2]}, cv=TransductiveSplit()).fit(images)
    assert best_of(search) is search.best_estimator_
    assert best_of(model) is model
    wanted = search.best_estimator_.encoder_.transform(images)
    assert_array_equal(space_of(search, images).points, wanted)


def test_center_distances(images):
    rows = as_rows(images)
    k_means = KMeans(3, n_init=1, random_state=0).fit(rows)
    wanted = euclidean_distances(rows, k_means.cluster_centers_)
    assert_allclose(center_distances(k_means, rows), wanted)
    model = clusterer(convolutional()).fit(images)
    wanted = euclidean_distances(model.transform(images), model.cluster_centers_)
    assert_allclose(center_distances(model, images), wanted)
    # With as many clusters as components, the embedding is not taken for distances.
    model = clusterer(convolutional()).set_params(n_clusters=4).fit(images)
    wanted = euclidean_distances(model.transform(images), model.cluster_centers_)
    assert_allclose(center_distances(model, images), wanted)
    for other in (DBSCAN(), AgglomerativeClustering(3), model.encoder_):
        with pytest.raises(TypeError, match=f"{type(other).__name__} does not say how far"):
            center_distances(other, images)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_distances_to_means(dtype):
    points = np.array([[0, 0], [2, 0], [9, 9], [9, 9], [1, 4]], dtype=dtype)
    distances = distances_to_means(points, np.array([0, 0, 2, 2, -1]))
    assert_array_equal(distances[:, 1], np.inf)
    assert_allclose(distances[:, 0], np.hypot(*(points - [1.0, 0.0]).T))
    assert_allclose(distances[:, 2], np.hypot(*(points - [9.0, 9.0]).T))
    assert_array_equal(distances_to_means(points, np.full(5, -1)), np.zeros((5, 1)))


def test_distances_to_means_of_large_images():
    points = np.random.default_rng(0).integers(0, 256, (30, 500_000), dtype=np.uint8)
    labels = np.arange(30) % 2
    distances = distances_to_means(points, labels)
    for row, cluster in ((0, 0), (17, 0), (29, 1)):
        mean = points[labels == cluster].mean(axis=0)
        assert distances[row, cluster] == pytest.approx(np.linalg.norm(points[row] - mean))


# --- contingency ---

COUNTS = np.array([[30, 10, 5], [10, 50, 5], [0, 2, 1]])


def test_cross_table_counts_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 4, 50), rng.integers(0, 3, 50)
    assert_array_equal(cross_table(rows, columns, (4, 3)), contingency_matrix(rows, columns))
    wide = cross_table(np.array([1, 1]), np.array([0, 0]), (3, 2))
    assert_array_equal(wide, [[0, 0], [2, 0], [0, 0]])


def test_adjusted_residuals_against_hand_values():
    # Expected 16, variance 16 * (1 - .4) * (1 - .4).
    residuals = adjusted_residuals(np.array([[30, 10], [10, 50]]))
    assert_allclose(residuals, 14 / np.sqrt(16 * 0.36) * np.array([[1, -1], [-1, 1]]))
    # The squared residual of a 2 x 2 table is Pearson's statistic.
    expected = expected_counts(np.array([[30, 10], [10, 50]]))
    statistic = np.sum((np.array([[30, 10], [10, 50]]) - expected) ** 2 / expected)
    assert residuals[0, 0] ** 2 == pytest.approx(statistic)


def test_adjusted_residuals_compare_one_row_and_column_with_the_rest():
    """Each residual is that of the table that the row, the column and all others make."""
    total = COUNTS.sum()
    residuals = adjusted_residuals(COUNTS)
    for i, j in np.ndindex(COUNTS.shape):
        inside, row, column = COUNTS[i, j], COUNTS[i].sum(), COUNTS[:, j].sum()
        folded = np.array(
            [[inside, row - inside], [column - inside, total - row - column + inside]]
        )
        assert_allclose(residuals[i, j], adjusted_residuals(folded)[0, 0])


def test_adjusted_residuals_agree_with_the_chi_squared_of_scikit_learn():
    rows = np.repeat([0, 0, 1, 1], [30, 10, 10, 50])
    columns = np.repeat([0, 1, 0, 1], [30, 10, 10, 50])
    # chi2 compares the sums of one column alone: (observed - expected)^2 / expected over rows.
    statistic, _ = chi2((columns == 0).astype(float)[:, None], rows)
    expected = expected_counts(cross_table(rows, columns, (2, 2)))
    residuals = adjusted_residuals(cross_table(rows, columns, (2, 2)))
    pearson = residuals[:, 0] ** 2 * (1 - np.array([40, 60]) / 100) * (1 - 40 / 100)
    assert_allclose(statistic, pearson.sum())
    assert_allclose(expected.sum(axis=1), [40, 60])


@pytest.mark.parametrize("counts", [[[3, 4]], [[3], [4]], [[0, 0], [3, 4]], [[0]]])
def test_residuals_are_zero_where_the_totals_leave_no_choice(counts):
    assert_array_equal(adjusted_residuals(np.array(counts)), np.zeros(np.shape(counts)))


def test_residuals_of_independent_counts_are_standard_normal():
    rng = np.random.default_rng(0)
    residuals = [
        adjusted_residuals(cross_table(rng.integers(0, 3, 400), rng.integers(0, 4, 400), (3, 4)))
        for _ in range(300)
    ]
    assert np.mean(residuals) == pytest.approx(0, abs=0.02)
    assert np.std(residuals) == pytest.approx(1, abs=0.03)


def test_agreement_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 5, 200)
    clusters = np.where(rng.random(200) < 0.5, classes, rng.integers(0, 8, 200))
    found = agreement(classes, clusters)
    assert found.nmi == pytest.approx(normalized_mutual_info_score(classes, clusters))
    assert found.homogeneity == pytest.approx(homogeneity_score(classes, clusters))
    assert found.completeness == pytest.approx(completeness_score(classes, clusters))
    assert 0 < found.chance < 0.2 < found.nmi
    assert agreement(classes, clusters) == found
    assert agreement(classes, clusters, random_state=1).chance != found.chance


def test_chance_is_what_unrelated_clusters_reach():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 100, 150)
    found = agreement(classes, rng.integers(0, 40, 150))
    assert found.nmi > 0.5
    assert found.nmi == pytest.approx(found.chance, abs=0.05)
    names = np.array([f"class {i}" for i in classes])
    assert agreement(names, classes).nmi == pytest.approx(1)


# --- palette ---


def cielab(color):
    value = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(matrix @ linear / matrix.sum(axis=1))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_ten_thousand_clusters_have_colours_of_their_own():
    colors = cluster_colors(MAX_CLUSTERS)
    assert len({*colors, NO_CLUSTER}) == MAX_CLUSTERS + 1 == 10_001
    assert all(len(color) == 7 and int(color[1:], 16) >= 0 for color in colors)
    with pytest.raises(ValueError, match="10001 is more than the 10000 colours"):
        cluster_color(MAX_CLUSTERS)


def test_the_first_colours_are_well_apart():
    labs = np.array([cielab(color) for color in (*cluster_colors(24), NO_CLUSTER)])
    distances = euclidean_distances(labs)
    np.fill_diagonal(distances, np.inf)
    # Differences of 2.3 can just be seen.
    assert distances.min() > 12
    # Neither too pale on white nor too dark on black.
    assert labs[:, 0].min() > 30
    assert labs[:, 0].max() < 86


@pytest.mark.parametrize("n_clusters", [1, 12, 13, 24, 25, 399, 400, 401, 3_000])
def test_a_cluster_keeps_its_colour_however_many_there_are(n_clusters):
    assert cluster_colors(n_clusters) == cluster_colors(MAX_CLUSTERS)[:n_clusters]
    assert cluster_color(n_clusters - 1) == cluster_colors(n_clusters)[-1]


def test_no_cluster_is_gray():
    assert cluster_color(-1) == cluster_color(-3) == NO_CLUSTER
    assert cluster_colors(0) == ()


# --- projection ---


def test_unit_square_keeps_proportions():
    square = unit_square([[10, 0], [30, 0], [20, 5]], 3)
    assert_allclose(square, [[0, 0.375], [1, 0.375], [0.5, 0.625]])


@pytest.mark.parametrize(
    "points",
    [[[5, 5]], [[5, 5]] * 3, [[-1.7e308, 0], [1.7e308, 1e308]], [[0, 0], [5e-324, 0]]],
    ids=["one", "equal", "huge", "tiny"],
)
def test_unit_square_of_any_finite_points(points):
    square = unit_square(points, len(points))
    assert ((square >= 0) & (square <= 1)).all()
    if points == [[5, 5]] * len(points):
        assert_array_equal(square, 0.5)


def test_unit_square_says_what_it_needs():
    with pytest.raises(ValueError, match=r"map_coordinates has shape \(3, 2\); \(4, 2\)"):
        unit_square(np.zeros((3, 2)), 4)
    with pytest.raises(ValueError, match="map_coordinates contains NaN"):
        unit_square([[0, np.nan]], 1)


def test_map_keeps_neighbours_together():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    rows = 20 * np.eye(3)[labels] + rng.normal(size=(120, 3))
    coordinates = map_projection(rows)
    assert silhouette_samples(coordinates, labels).min() > 0.3
    assert_array_equal(map_projection(rows), coordinates)
    assert coordinates.min() == 0
    assert coordinates.max() == 1


DEGENERATE = {
    "one value": lambda rng: np.ones((50, 3)),
    "one point": lambda rng: np.tile([1.0, 2.0, 3.0], (50, 1)),
    "one point of many": lambda rng: np.tile(rng.normal(size=(1, 32)), (6500, 1)),
    "one column of one value": lambda rng: np.zeros((9, 1)),
    "one column": lambda rng: np.arange(9.0)[:, None],
    "two points": lambda rng: np.repeat([[0.0, 5], [1, 5]], [99, 1], axis=0),
    "two points, five images": lambda rng: np.repeat([[0.0, 0], [1, 1]], [4, 1], axis=0),
    "copies": lambda rng: np.repeat(rng.normal(size=(10, 4)), 20, axis=0),
    "landmarks that are equal": lambda rng: np.r_[np.zeros((40_000, 2)), np.ones((1, 2))],
    "rounding": lambda rng: rng.normal(size=(1, 32)) + 1e-7 * rng.normal(size=(100, 32)),
    "huge": lambda rng: rng.normal(size=(50, 4)) * 1e30,
    "beyond single precision": lambda rng: rng.normal(size=(50, 4)) * 1e300,
    "tiny": lambda rng: rng.normal(size=(50, 4)) * 1e-30,
    "three": lambda rng: np.eye(3),
    "two": lambda rng: np.eye(2),
    "one": lambda rng: np.ones((1, 4)),
}


def project_all():
    for name, make in DEGENERATE.items():
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
        rows = make(np.random.default_rng(0))
        coordinates = map_projection(rows)
        assert coordinates.shape == (len(rows), 2)
        assert ((coordinates >= 0) & (coordinates <= 1)).all()
        if np.ptp(rows, axis=0).max() < 1e-6 * np.abs(rows).max() or not rows.any():
            assert (coordinates == 0.5).all()
        else:
            assert np.ptp(coordinates, axis=0).max() == pytest.approx(1)


def test_maps_of_degenerate_embeddings():
    # In another process: what goes wrong in t-SNE ends it without an exception.
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[:-1] == list(DEGENERATE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_map_of_values_that_are_not_finite_says_so(value):
    rows = np.zeros((9, 3))
    rows[4, 1] = value
    with pytest.raises(ValueError, match="embedding contains (NaN|infinity)"):
        map_projection(rows)


# --- silhouettes ---


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_silhouettes_are_those_of_scikit_learn(metric):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 4))
    labellings = [rng.integers(0, k, 60) for k in (2, 5, 20)] + [np.r_[9, np.full(59, -1)]]
    values = silhouettes(distance_matrix(points, metric), labellings)
    for found, labels in zip(values, labellings, strict=True):
        assert_allclose(found, silhouette_samples(points, labels, metric=metric), atol=1e-12)


def test_silhouettes_are_undefined_for_one_cluster_or_as_many_as_points():
    distances = distance_matrix(np.arange(4.0)[:, None], "euclidean")
    values = silhouettes(distances, [np.zeros(4), np.arange(4), np.array([0, 0, 1, 1])])
    assert np.isnan(values[:2]).all()
    # Within its cluster each point is 1 from the other; from the two others 2.5 or 1.5.
    assert_allclose(values[2], [1.5 / 2.5, 0.5 / 1.5, 0.5 / 1.5, 1.5 / 2.5])


def test_silhouettes_of_points_that_coincide_are_zero():
    distances = distance_matrix(np.ones((6, 2)), "euclidean")
    assert_array_equal(silhouettes(distances, [np.arange(6) % 2]), np.zeros((1, 6)))


def test_silhouettes_do_not_depend_on_company():
    rng = np.random.default_rng(0)
    distances = distance_matrix(rng.normal(size=(50, 3)), "euclidean")
    labellings = [rng.integers(0, k, 50) for k in (2, 3, 7)]
    together = silhouettes(distances, labellings)
    alone = [silhouettes(distances, [labels])[0] for labels in labellings]
    assert_array_equal(together, alone)


def test_a_matrix_of_distances_is_not_changed():
    given = np.ones((3, 3))
    assert_array_equal(np.diag(distance_matrix(given, "precomputed")), 0)
    assert_array_equal(given, 1)


def test_sampled_rows():
    assert_array_equal(sample_rows(5, None, 0), range(5))
    assert_array_equal(sample_rows(5, 5, 0), range(5))
    rows = sample_rows(100, 10, 0)
    assert len(set(rows.tolist())) == 10
    assert_array_equal(rows, np.sort(rows))
    assert_array_equal(rows, sample_rows(100, 10, 0))
    assert sample_rows(100, 10, 1).tolist() != rows.tolist()


# --- images ---


def test_images_of_an_estimator(images):
    last = SimpleNamespace(image_shape_=(8, 16, 3))
    ahead = SimpleNamespace(image_shape_=(8, 16, 3), data_format="channels_first")
    for estimator, X in [
        (last, images),
        (last, as_rows(images)),
        (ahead, first(images)),
        (ahead, as_rows(images)),
        (SimpleNamespace(best_estimator_=ahead), first(images)),
    ]:
        assert_array_equal(images_of(estimator, X), images)
    gray = images[..., 0]
    assert_array_equal(images_of(KMeans(), as_rows(images), gray)[..., 0], gray)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        images_of(KMeans(), as_rows(images), gray[:5])


def test_images_are_views(images):
    for X, data_format in ((images, "channels_last"), (first(images), "channels_first")):
        assert np.shares_memory(as_images(X, None, data_format), images)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, bool])
def test_the_range_of_values_is_drawn_from_black_to_white(dtype):
    images = np.zeros((2, 3, 4, 1), dtype=dtype)
    images[0] = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    low, high = value_range(images)
    assert_array_equal(to_pixels(images[0], low, high), np.full((3, 4, 3), 255))
    assert_array_equal(to_pixels(images[1], low, high), np.zeros((3, 4, 3)))


def test_values_that_are_not_finite_do_not_decide_what_is_black_or_white():
    images = np.array([0.0, 0.5, 1.0, np.nan, np.inf, -np.inf]).reshape(1, 2, 3, 1)
    low, high = value_range(images)
    assert (low, high) == (0, 1)
    drawn = to_pixels(images[0], low, high)
    assert_array_equal(drawn[..., 0], [[0, 128, 255], [0, 255, 0]])
    assert value_range(np.full((1, 2, 2, 1), np.nan)) == (0, 1)


def test_cosine_distances_rank_as_the_metric_does():
    rng = np.random.default_rng(0)
    points, centers = normalize(rng.normal(size=(20, 5))), normalize(rng.normal(size=(3, 5)))
    model = SimpleNamespace(
        encoder_=SimpleNamespace(metric_="cosine"),
        cluster_centers_=centers,
        transform=lambda X: X,
    )
    order = center_distances(model, points).argsort(axis=1)
    assert_array_equal(order, (-points @ centers.T).argsort(axis=1))


if __name__ == "__main__":
    project_all()
