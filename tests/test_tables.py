"""Tables: what is written is read, no cell is a formula, and spreadsheets' dialects are one."""

import contextlib
import csv
import importlib.resources
import io
import json
import os
import re
import shutil
import subprocess
import time
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from skdcec import _files
from skdcec.datasets import load_images
from skdcec.datasets import tables as user_tables
from skdcec.report import read_names, read_table, write_table

# Everything that has a meaning to someone who reads tables, more often than chance would have it.
MARKS = [
    *",;|\t\"'\\=+-@#\n\r\v\f\0\x85\u2028\u3000\xa0\ufeff＝＠ ",
    *("\r\n", '""', "=1+1", "-5", "'=x", "sep=", "sep=;", "\\udc80", "\udce9", "ud800", "file"),
]
TEXT = st.lists(st.one_of(st.sampled_from(MARKS), st.characters()), max_size=8).map("".join)
SEPARATORS = ",;\t|"


@st.composite
def any_tables(draw, first=()):
    names = draw(st.lists(TEXT, min_size=not first, max_size=4, unique=True))
    names = [*first, *(name for name in names if name not in first)]
    n_rows = draw(st.integers(0, 4))
    cells = st.lists(TEXT, min_size=n_rows, max_size=n_rows)
    return {name: draw(cells) for name in names}


def is_formula(cell):
    """Whether a spreadsheet that is forgiving about spaces and quotes could run a cell."""
    begins = cell.strip(' \t\r\n\v\f\x85\u2028\u2029"\xa0\u3000\ufeff')[:1] in tuple("=+-@＝＠")
    parts = [part.strip() for part in re.split(f"[{SEPARATORS}]", cell.replace('"', ""))]
    return begins and not all(not part or _files.as_number(part) is not None for part in parts)


@given(any_tables())
@example({"sep=;": ["x"]})
@example({"sep=": ["x"], "": ["y"]})
@example({"": [""], " ": [" "]})
@example({"d": ["1"], "a;b;c": ["2"]})
@example({"name": ["a, b", ";c"]})
@example({"a": ["x" * 200_000]})
@example({"k": ["-1"], "text": ["5+cmd|' /C calc'!A0"]})
@settings(max_examples=600, deadline=None)
def test_any_table_is_read_as_it_was_written(tmp_path_factory, table):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    write_table(path, table)
    assert read_table(path) == table


@given(any_tables())
@example({"k": ["-1"], "text": ["5+cmd|' /C calc'!A0"]})
@example({"a": ["x;=1+1"]})
@example({"a": ["x"], "b": [';"=1+1"']})
@example({"a": ["x"], "b": ["c\n =1+1"]})
@settings(max_examples=600, deadline=None)
def test_no_cell_is_a_formula_whatever_lines_are_split_on(table):
    text = _files.table_as_csv(table)
    pieces = re.split(rf"[{SEPARATORS}\r\n]", text)
    for separator in SEPARATORS:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            pieces += row
    assert [piece for piece in pieces if is_formula(piece)] == []


@given(any_tables(first=["file"]))
@settings(max_examples=300, deadline=None)
def test_any_table_of_ours_is_read_by_those_who_read_others(tmp_path_factory, table):
    path = tmp_path_factory.getbasetemp() / "ours.csv"
    write_table(path, table)
    read = user_tables.read_table(path, "file")
    assert read.files == table["file"]
    named = {name: name.replace("\ufeff", "").strip() for name in table if name != "file"}
    kept = [name for name, heading in named.items() if heading]
    assert list(read.columns) == _files.distinct(named[name] for name in kept)
    assert list(read.columns.values()) == [table[name] for name in kept]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_page_writes_cells_as_we_do():
    random = np.random.default_rng(0)
    # What the page cannot hold, or has no need to guard: stray bytes, and tables without a heading.
    marks = [mark for mark in MARKS if mark.isascii() and not re.search(r"\0|ud|sep", mark)]
    texts = ["".join(random.choice([*marks, "＝", "\u2028"], 6)) for _ in range(5000)]
    texts = [text for text in texts if text.strip()]
    script = importlib.resources.files("skdcec.report") / "viewer" / "files.js"
    code = script.read_text(encoding="utf-8") + (
        "const texts = JSON.parse(require('fs').readFileSync(0));"
        "process.stdout.write(JSON.stringify(texts.map(csvField)));"
    )
    node = ["node", "-e", code]
    run = subprocess.run(node, input=json.dumps(texts), capture_output=True, text=True)
    expected = [_files.table_as_csv({"x": [text]}, line_end="")[1:] for text in texts]
    assert json.loads(run.stdout) == expected


NAMES = st.text(st.characters(exclude_characters="/\\\0"), min_size=1, max_size=12)


@given(st.lists(st.one_of(NAMES, st.sampled_from("=@+-' ")), min_size=1, max_size=5))
@example(["=1+1", "@x", "-5", "+a", "'quoted'", "'=x", " led", "trailed ", "a;=b", "caf\udce9"])
@settings(max_examples=60, deadline=None)
def test_any_names_of_files_are_found_again(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("names")
    for i, name in enumerate(dict.fromkeys(names)):
        try:
            Image.new("RGB", (9, 9), (i, 0, 0)).save(folder / f"n{name}"[:60], "PNG")
        except (OSError, UnicodeEncodeError):
            continue
    for i, name in enumerate(("=1.png", "@ 2.png", "-3.png", "+4.png", "'5.png", " 6.png")):
        Image.new("RGB", (9, 9), (0, i, 0)).save(folder / name, "PNG")
    bunch = load_images(folder, size=8)
    files = [os.path.basename(path) for path in bunch.filenames]
    write_table(folder / "own.csv", {"file": files, "n": [str(i) for i in range(len(files))]})
    source = load_images(folder / "own.csv", size=8)
    assert source.filenames.tolist() == bunch.filenames.tolist()
    np.testing.assert_array_equal(source.images, bunch.images)
    with_table = load_images(folder, size=8, metadata=folder / "own.csv")
    assert with_table.metadata["n"].tolist() == [str(i) for i in range(len(files))]


# As spreadsheets write them

PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=9)
ODD = ["a\nb", "a\r\nb", 'say "a"', "a;b", "a,b", "a|b", "x\ty"]
CELLS = st.one_of(PLAIN, st.sampled_from(ODD))
CELLS = CELLS.filter(lambda text: not re.search("'[ '\"]*[-=+@＝＋－＠]", text))
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_dialects_of_spreadsheets_are_one(tmp_path_factory, data):
    header = ["Image\nfile", "title", "title", "note; or | so", ""]
    rows = data.draw(st.lists(st.tuples(*[CELLS] * 4), max_size=5))
    rows = [[f"{i}.png", *row] for i, row in enumerate(rows)]
    separator = data.draw(st.sampled_from(SEPARATORS))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    text = io.StringIO(newline="")
    # A lone \r is a line break, which the writer quotes with this line end only.
    writer = csv.writer(text, delimiter=separator, lineterminator="\r\n", quoting=quoting)
    writer.writerows([header, *rows])
    marker = data.draw(st.sampled_from(["", f"sep={separator}{end}"]))
    blank = data.draw(st.sampled_from(["", end, 2 * end, 4 * separator + end]))
    body = (
        text.getvalue()
        if end == "\r\n" or any("\r\n" in c for r in rows for c in r)
        else (text.getvalue().replace("\r\n", end))
    )
    trailing = data.draw(st.sampled_from(["", 4 * separator + end, end]))
    path = tmp_path_factory.getbasetemp() / "dialect.csv"
    encoding = data.draw(st.sampled_from(ENCODINGS))
    path.write_bytes((marker + blank + body + trailing).encode(encoding))
    table = user_tables.read_table(path, None)
    assert table.files == [row[0] for row in rows]
    assert list(table.columns) == ["title", "title_2", "note; or | so"]
    assert list(table.columns.values()) == [[row[i] for row in rows] for i in (1, 2, 3)]


def table_of(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return user_tables.read_table(path, None)


def test_lists_of_one_column_may_hold_separators(tmp_path):
    assert table_of(tmp_path, "file\nMonet, Lilies.jpg\na;b.jpg\n").files == [
        "Monet, Lilies.jpg",
        "a;b.jpg",
    ]


def test_the_separator_that_gives_a_column_of_files_is_taken(tmp_path):
    table = table_of(tmp_path, "file;title, artist, year\na.png;x, y, z\n")
    assert table.files == ["a.png"]
    assert table.columns == {"title, artist, year": ["x, y, z"]}


def test_apostrophes_of_others_stay(tmp_path):
    table = table_of(tmp_path, "file,title\n'a'.png,'Olympia'\n,'t Hooft\nb.png,it's\n")
    assert table.files == ["'a'.png", "", "b.png"]
    assert table.columns["title"] == ["'Olympia'", "'t Hooft", "it's"]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('a.png,x\nb.png,"Monet\nc.png,Klimt\n', 3),
        ('a.png,"Monet\nb.png,"Klimt"\nc.png,"x"\n', 2),
        ('a.png,"x\ny"\nb.png,"', 4),
    ],
)
def test_a_quotation_mark_that_is_not_closed_is_named_by_its_row(tmp_path, rows, line):
    with pytest.raises(ValueError, match=rf"t\.csv.*quotation mark.*row {line} .*not closed"):
        table_of(tmp_path, "file,artist\n" + rows)


def test_quotation_marks_within_a_line_are_forgiven(tmp_path):
    table = table_of(tmp_path, 'file,title\na.png,"Bathers" by C.\nb.png,a "b" c\n')
    assert table.columns["title"] == ["Bathers by C.", 'a "b" c']


@pytest.mark.parametrize("name", ["a", "file", ""])
def test_many_columns_take_little_time(tmp_path, name):
    start = time.perf_counter()
    header = ["file", *[name] * 10_000, *(f"a_{i}" for i in range(2, 10_000))]
    table = table_of(tmp_path, ",".join(header) + "\nx.png" + ",1" * 19_998 + "\n")
    assert time.perf_counter() - start < 5
    assert len(table.columns) == 9_998 + 10_000 * bool(name)
    assert len(read_table(tmp_path / "t.csv")) == 19_999


@pytest.mark.parametrize("text", ["\n", '"', "'", "\\", ";", " ", "-", '"\n', "\\ud", "\r"])
def test_reading_takes_time_in_proportion(tmp_path, text):
    start = time.perf_counter()
    write_table(tmp_path / "t.csv", {"file": [text * 200_000, "x"]})
    assert read_table(tmp_path / "t.csv") == {"file": [text * 200_000, "x"]}
    with contextlib.suppress(ValueError):
        table_of(tmp_path, "file,a\n" + text * 200_000)
    assert time.perf_counter() - start < 10


def test_no_global_state_is_changed(tmp_path):
    limit = csv.field_size_limit()
    long = "x" * (limit + 1)
    assert table_of(tmp_path, f'file,a\na.png,{long}\nb.png,"{long}"\n').columns["a"] == [long] * 2
    assert csv.field_size_limit() == limit


def archive(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            is_type = name == "mimetype"
            # Of one date: the content names the tests, which is to be the same in all processes.
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            file.writestr(info, "application/vnd.oasis.opendocument.spreadsheet" * is_type)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (archive("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook"),
        (archive("mimetype", "content.xml"), "an OpenDocument spreadsheet"),
        (archive("Index/Document.iwa"), "a Numbers spreadsheet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an Excel workbook of before 2007"),
        (b"PAR1\x15\x04", "a Parquet file"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.xlsx", "t"])
def test_workbooks_are_named(tmp_path, data, kind, name):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"{name}' is {kind}.*save it as CSV"):
        load_images(tmp_path, size=8, metadata=tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}' is {kind}.*save it as CSV"):
        read_names(tmp_path / name)
    if name != "t":
        with pytest.raises(ValueError, match=f"{name}' is {kind}.*save it as CSV"):
            load_images(tmp_path / name, size=8)


def test_names_of_clusters_come_back_from_any_spreadsheet(tmp_path):
    text = "sep=;\r\n\r\ncluster;name;note\r\n0;Höfe;'=sic\r\n-1;;\r\n;;\r\n"
    (tmp_path / "n.csv").write_bytes(text.encode("utf-16"))
    assert read_names(tmp_path / "n.csv") == {
        0: {"name": "Höfe", "note": "=sic"},
        -1: {"name": "", "note": ""},
    }
    (tmp_path / "n.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is not valid JSON"):
        read_names(tmp_path / "n.json")


@pytest.mark.parametrize("read", [read_table, read_names, _files.read_cells])
def test_folders_and_missing_files_are_no_tables(tmp_path, read):
    with pytest.raises(IsADirectoryError, match="is a folder; a.* is needed"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist; a.* is needed"):
        read(tmp_path / "none.csv")


def test_empty_tables(tmp_path):
    for text in ("", "\n\n", ";;\n", "\ufeff"):
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"found \[\]"):
            user_tables.read_table(tmp_path / "t.csv", None)
        with pytest.raises(ValueError, match="it is empty"):
            read_table(tmp_path / "t.csv")


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore:.*Windows-1252")
def test_any_bytes_are_a_table_or_an_error_that_names_the_file(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes.csv"
    path.write_bytes(data)
    for read in (read_table, lambda path: user_tables.read_table(path, None)):
        problem = ""
        try:
            read(path)
        except ValueError as error:
            problem = str(error)
        assert not problem or "bytes.csv" in problem
