"""The table of all that is known of each image, as other tools read it."""

import json

import numpy as np
import pytest

from skdcec.report import export_table, image_table, read_table

EMBEDDING = np.array([[0.5, 1, -2], [0.25, 1e-7, 3], [0, 0, 1]], dtype=np.float32)


@pytest.fixture
def table():
    return image_table(
        [0, 1, 0],
        paths=["é/a.jpg", "-b,c.jpg", "d\udcff.jpg"],
        probabilities=[[0.9, 0.1], [0.2, 0.8], [1, 0]],
        map_coordinates=[[0, 0], [1, 0.5], [0.5, 1]],
        metadata={
            "year": ["1888", "", "1901"],
            "inventory": ["007", "012", "100"],
            "title": ["=1+1", "", "x"],
            "path": ["own", "column", ""],
            "file": ["1.5", "2", ""],
        },
    )


@pytest.fixture
def exported(table, tmp_path):
    """A Parquet file of three images."""
    pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra [parquet]")
    names = {0: {"name": "Ships", "note": "at sea"}, 1: "Trees"}
    return export_table(
        tmp_path / "images.parquet", table, embedding=EMBEDDING, cluster_names=names
    )


def test_pyarrow_reads_numbers_as_numbers_and_codes_as_text(exported):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(exported)
    columns = table.to_pydict()
    assert columns["path"] == ["é/a.jpg", "-b,c.jpg", "d\\udcff.jpg"]
    assert columns["cluster"] == [0, 1, 0]
    assert columns["cluster_name"] == ["Ships", "Trees", "Ships"]
    assert columns["probability"] == [0.9, 0.8, 1.0]
    assert columns["year"] == [1888, None, 1901]
    assert columns["inventory"] == ["007", "012", "100"]
    assert columns["title"] == ["=1+1", "", "x"]
    # What users call by a name of ours is kept beside it.
    assert columns["path_2"] == ["own", "column", ""]
    assert columns["metadata_file"] == [1.5, 2, None]
    np.testing.assert_array_equal(columns["embedding"], EMBEDDING)
    assert table.schema.field("embedding").type.list_size == 3


def test_pandas_reads_it(exported):
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    frame = pandas.read_parquet(exported)
    assert frame["x"].tolist() == [0, 1, 0.5]
    np.testing.assert_array_equal(np.stack(frame["embedding"]), EMBEDDING)
    assert frame.groupby("cluster_name")["year"].mean()["Ships"] == 1894.5


def test_duckdb_reads_it(exported):
    duckdb = pytest.importorskip("duckdb", reason="needs duckdb")
    found = duckdb.sql(
        f"select path, list_sum(embedding::float[]) from '{exported}' where probability < 0.85"
    ).fetchall()
    assert found == [("-b,c.jpg", pytest.approx(3.25))]


def test_csv_has_a_column_for_each_number(table, tmp_path):
    file = export_table(tmp_path / "images.csv", table, embedding=EMBEDDING)
    columns = read_table(file)
    assert [float(columns[f"embedding_{i}"][1]) for i in range(3)] == pytest.approx(EMBEDDING[1])
    assert columns["path"][:2] == ["é/a.jpg", "-b,c.jpg"]
    assert "cluster_name" not in columns


@pytest.mark.parametrize(
    ("name", "embedding", "reason"),
    [
        ("images.txt", None, "should end in .parquet or .csv"),
        ("images.csv", EMBEDDING[:2], "embedding has 2 rows, but there are 3 labels"),
        ("images.csv", [[np.nan]] * 3, "contains NaN"),
    ],
)
def test_what_cannot_be_exported_leaves_the_old_file(name, embedding, reason, table, tmp_path):
    (tmp_path / name).write_text("old")
    with pytest.raises(ValueError, match=reason):
        export_table(tmp_path / name, table, embedding=embedding)
    assert (tmp_path / name).read_text() == "old"


def test_without_pyarrow_the_extra_is_named(table, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"skdcec\[parquet\]"):
        export_table(tmp_path / "images.parquet", table)
    assert json.dumps([p.name for p in tmp_path.iterdir()]) == "[]"
