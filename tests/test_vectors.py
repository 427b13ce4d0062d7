"""Vectors that come with the files: which row is of which file, and clusters of them."""

import json

import numpy as np
import pytest
from PIL import Image

from skdcec import DeepEmbeddingClustering
from skdcec._cli import main
from skdcec.datasets.files import list_files
from skdcec.datasets.vectors import read_vectors
from skdcec.features.balanced import BalancedBlocks
from skdcec.report import read_table

N = 54
KINDS = np.arange(N) % 3


def rows_of(kinds, seed=0):
    """Vectors of three kinds that have nothing to do with how the images look."""
    noise = np.random.default_rng(seed).normal(size=(len(kinds), 40)) * 0.2
    return (noise + 4 * np.eye(40)[kinds]).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Fifty-four images whose names have one order only; only to be read."""
    path = tmp_path_factory.mktemp("images") / "paintings"
    path.mkdir()
    random = np.random.default_rng(1)
    for i in range(N):
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{i:02}.png")
    return path


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run the command; return its status and what it said on stderr."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments):
        status = main([*map(str, arguments), "--jobs", "1", "--quiet"])
        return status, capsys.readouterr().err

    return run


def found_kinds(out):
    """The kinds of the images in each cluster of a run, by their file names."""
    table = read_table(out / "clusters.csv")
    clusters: dict = {}
    for name, cluster in zip(table["file"], table["cluster"], strict=True):
        clusters.setdefault(cluster, set()).add(int(name[:2]) % 3)
    return sorted(sorted(kinds) for kinds in clusters.values())


def test_vectors_in_the_order_of_the_files_are_clustered(folder, tmp_path, run):
    np.save(tmp_path / "vectors.npy", rows_of(KINDS))
    out = tmp_path / "out"
    status, said = run(
        *("cluster", folder, "--features", tmp_path / "vectors.npy", "-k", 3, "--out", out)
    )
    assert (status, said) == (0, "")
    # The images are noise: what was found is in the vectors.
    assert found_kinds(out) == [[0], [1], [2]]
    model = DeepEmbeddingClustering.load(out / "model.safetensors")
    assert isinstance(model.encoder_, BalancedBlocks)
    others = np.array([0, 1, 2, 2])
    assert len({*zip(model.predict(rows_of(others, seed=5)).tolist(), others, strict=True)}) == 3
    assert json.loads((out / "run.json").read_text())["arguments"]["features"].endswith(".npy")


@pytest.mark.parametrize("kind", ["list", "table of files", "parquet"])
def test_rows_find_their_files_in_any_order(kind, folder, tmp_path, run):
    order = np.random.default_rng(2).permutation(N)
    names = [f"{i:02}.png" for i in order]
    file, source = tmp_path / "vectors.npy", folder
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra [parquet]")
        parquet = pytest.importorskip("pyarrow.parquet")
        file = tmp_path / "vectors.parquet"
        vectors = rows_of(KINDS[order]).tolist()
        parquet.write_table(pyarrow.table({"embedding": vectors, "path": names}), file)
    else:
        np.save(file, rows_of(KINDS[order]).astype(np.float16))
    if kind == "list":
        (tmp_path / "vectors.txt").write_text("\n".join(names), encoding="utf-8")
    elif kind == "table of files":
        source = tmp_path / "paintings.csv"
        source.write_text("\n".join(["file", *(str(folder / name) for name in names)]))
    out = tmp_path / "out"
    assert run("cluster", source, "--features", file, "-k", 3, "--out", out) == (0, "")
    assert [len(kinds) for kinds in found_kinds_by_name(out)] == [1, 1, 1]


def found_kinds_by_name(out):
    table = read_table(out / "clusters.csv")
    clusters: dict = {}
    for name, cluster in zip(table["file"], table["cluster"], strict=True):
        clusters.setdefault(cluster, set()).add(int(name[-6:-4]) % 3)
    return clusters.values()


def test_an_autoencoder_may_learn_from_the_vectors(folder, tmp_path, run):
    np.save(tmp_path / "vectors.npy", rows_of(KINDS))
    out = tmp_path / "out"
    options = ["-k", 3, "--encoder", "autoencoder", "--epochs", 2, "--out", out]
    status, said = run("cluster", folder, "--features", tmp_path / "vectors.npy", *options)
    assert status == 0, said
    model = DeepEmbeddingClustering.load(out / "model.safetensors")
    assert model.n_features_in_ == 40
    assert model.n_iter_ > 0


def test_numbers_of_clusters_of_vectors_are_compared(folder, tmp_path, run):
    np.save(tmp_path / "vectors.npy", rows_of(KINDS))
    out = tmp_path / "out"
    status, said = run(
        *("choose-k", folder, "--features", tmp_path / "vectors.npy", "--k", "2..4", "--out", out)
    )
    assert status == 0, said
    assert json.loads((out / "run.json").read_text())["best_n_clusters"] == 3


def test_what_was_found_is_exported_with_the_run_and_later(folder, tmp_path, run):
    np.save(tmp_path / "vectors.npy", rows_of(KINDS))
    out, first, later = tmp_path / "out", tmp_path / "first.csv", tmp_path / "later.csv"
    given = ("--features", tmp_path / "vectors.npy", "-k", 3, "--out", out)
    assert run("cluster", folder, *given, "--export", first) == (0, "")
    names = tmp_path / "names.csv"
    names.write_text("cluster,name\n0,Ships\n")
    assert run("report", out, "--names", names, "--export", later)[0] == 0
    columns, again = read_table(first), read_table(later)
    clusters = read_table(out / "clusters.csv")
    assert columns["path"] == clusters["file"]
    assert columns["probability"] == clusters["confidence"]
    vectors = np.array([columns[f"embedding_{i}"] for i in range(40)], dtype=float).T
    kinds = BalancedBlocks([40], n_components=40).fit_transform(rows_of(KINDS))
    np.testing.assert_allclose(vectors, kinds, atol=1e-5)
    assert {*zip(again["cluster"], again["cluster_name"], strict=True)} == {
        ("0", "Ships"),
        ("1", ""),
        ("2", ""),
    }
    status, said = run("report", out, "--export", later)
    assert status == 1
    assert "--force replaces it" in said


def _npy(array):
    return lambda path: np.save(path, array, allow_pickle=True)


bad = rows_of(KINDS)
bad[7, 3] = np.nan


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (_npy(rows_of(KINDS)[:-2]), "has 52 rows, but the source has 54 files"),
        (_npy(bad), "a value in row 7 (counted from 0) that is NaN"),
        (_npy(np.full((N, 2), 1e300)), "beyond 1e+07"),
        (_npy(np.full((N, 2), "seven")), "holds <U5; numbers are needed"),
        (_npy(np.full((N, 2), None)), "holds Python objects"),
        (_npy(np.zeros(N)), "has shape (54,)"),
        (_npy(np.zeros((N, 0))), "has shape (54, 0)"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\0"), "cannot be read as an array"),
        (lambda path: path.write_text("file,a\n"), "neither a .npy nor a Parquet file"),
        (lambda path: None, "does not exist"),
    ],
)
def test_bad_vectors_are_refused_before_any_work(write, reason, folder, tmp_path, run, monkeypatch):
    monkeypatch.setattr(
        "skdcec._cli.images.load_bunch", lambda *args, **kwargs: pytest.fail("images were read")
    )
    file = tmp_path / "vectors.npy"
    write(file)
    out = tmp_path / "out"
    status, said = run("cluster", folder, "--features", file, "--out", out)
    assert status == 1
    assert reason in said
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert not out.exists()


def test_an_array_that_claims_more_than_its_file_holds_is_refused(tmp_path):
    np.save(tmp_path / "vectors.npy", rows_of(KINDS))
    content = (tmp_path / "vectors.npy").read_bytes()
    (tmp_path / "vectors.npy").write_bytes(content.replace(b"(54, 40)", b"(9**99,)", 1))
    with pytest.raises(ValueError, match="cannot be read as an array of numbers"):
        read_vectors(tmp_path / "vectors.npy")


def test_files_of_two_orders_need_a_list(tmp_path):
    for name in ("2.png", "10.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    np.save(tmp_path / "vectors.npy", rows_of(KINDS[:2]))
    vectors = read_vectors(tmp_path / "vectors.npy")
    with pytest.raises(ValueError, match=r"'2.png' or '10.png' first.* into .*vectors.txt"):
        vectors.row_of(list_files(tmp_path, None, None))
    (tmp_path / "vectors.txt").write_text("10.png\n2.png\n")
    found = read_vectors(tmp_path / "vectors.npy").row_of(list_files(tmp_path, None, None))
    assert found == {"10.png": 0, "2.png": 1}


def test_an_image_without_a_row_is_named(folder, tmp_path, run):
    np.save(tmp_path / "vectors.npy", rows_of(KINDS)[:-1])
    (tmp_path / "vectors.txt").write_text("\n".join(f"{i:02}.png" for i in range(N - 1)))
    status, said = run(
        *("cluster", folder, "--features", tmp_path / "vectors.npy", "--out", tmp_path / "out")
    )
    assert status == 1
    assert "no row for 1 of 54 images, such as '53.png'" in said


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"path": ["a"], "x": [1.0]}, "needs one column of lists of numbers"),
        ({"embedding": [[1.0]]}, "no column of files"),
        ({"path": ["a", "b"], "embedding": [[1.0], [1.0, 2.0]]}, "different lengths"),
        ({"path": ["a", "b"], "embedding": [[1.0], [None]]}, "missing values"),
        ({"path": ["a"], "embedding": [[float("inf")]]}, "NaN, infinite"),
        ({"path": ["a"], "embedding": [["1"]]}, "needs one column of lists of numbers"),
        ({"path": ["a"], "one": [[1.0]], "other": [[1.0]]}, "found ['one', 'other']"),
    ],
)
def test_other_columns_of_parquet_are_refused(columns, reason, tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra [parquet]")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), tmp_path / "vectors.parquet")
    with pytest.raises(ValueError) as error:  # noqa: PT011 (what it says is compared below)
        read_vectors(tmp_path / "vectors.parquet")
    assert reason in str(error.value)


def test_damaged_parquet_is_refused_in_one_line(tmp_path):
    pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra [parquet]")
    (tmp_path / "vectors.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(ValueError, match="cannot be read as Parquet") as error:
        read_vectors(tmp_path / "vectors.parquet")
    assert "\n" not in str(error.value)


def test_other_encoders_and_weights_do_not_go_with_vectors(folder, tmp_path, run):
    np.save(tmp_path / "vectors.npy", rows_of(KINDS))
    status, said = run(
        *("cluster", folder, "--features", tmp_path / "vectors.npy", "--encoder", "paintings")
    )
    assert status == 1
    assert "--encoder paintings looks at images" in said
