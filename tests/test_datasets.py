import io
import json
import os
import pickle
import struct
import subprocess
import sys
import unicodedata
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile, JpegImagePlugin
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdcec._files import write_json, write_table
from skdcec.datasets import ImageLoader, load_images, steps, store
from skdcec.datasets.decode import UnusableImage
from skdcec.model_selection import TransductiveSplit

PAINTINGS = Path(__file__).parents[2] / "shared/data/paintings"

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")


def paint(path, colour="teal", size=(40, 30), mode="RGB", **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **save)
    return path


def gradient(size=(40, 30)):
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8))


def png_header(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    return data + struct.pack(">II", zlib.crc32(header), 9) + b"IDAT"


@pytest.fixture
def folder(tmp_path):
    """Three usable files, in two folders."""
    paint(tmp_path / "pictures/b/10.png", "gold")
    paint(tmp_path / "pictures/b/2.png", "teal")
    paint(tmp_path / "pictures/a/1.png", "navy")
    return tmp_path / "pictures"


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files decoded, in order."""
    names = []

    def spy(path, original=steps.opened_picture, **options):
        names.append(os.path.basename(path))
        return original(path, **options)

    monkeypatch.setattr(steps, "opened_picture", spy)
    return names


# Sources


@pytest.mark.parametrize("as_type", [str, Path, os.fsencode])
def test_folder_is_read_recursively_in_natural_order(folder, as_type):
    bunch = load_images(as_type(folder), size=8)
    assert bunch.paths.tolist() == ["a/1.png", "b/2.png", "b/10.png"]
    assert bunch.filenames.tolist() == [str(folder / name) for name in bunch.paths]
    assert bunch.images.shape == (3, 8, 8, 3)
    assert bunch.images.dtype == np.uint8
    assert bunch.images[:, 4, 4].tolist() == [[0, 0, 128], [0, 128, 128], [255, 215, 0]]
    assert bunch.metadata == {}
    assert bunch.skipped == []


def test_relative_folder(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    bunch = load_images("pictures", size=8)
    assert bunch.paths[0] == "a/1.png"
    assert bunch.filenames[0] == str(folder / "a/1.png")


def test_what_systems_leave_behind_is_passed_over_in_silence(folder):
    for name in (".hidden.png", "._1.png", "@eaDir/1.png", ".git/1.png", "__MACOSX/1.png"):
        paint(folder / name)
    (folder / "Thumbs.db").write_bytes(b"thumbs")
    bunch = load_images(folder, size=8)
    assert len(bunch.images) == 3
    assert bunch.skipped == []


def test_what_commands_wrote_among_the_images_is_none_of_them(folder):
    every = load_images(folder, size=8).paths.tolist()
    for out in (folder, folder / "a-choose-k"):
        paint(out / "choose_k.png")
        (out / "choose_k.html").write_text("page")
        (out / "run.json").write_text('{"program": "skdcec"}')
    paint(folder / "b/like 2.jpg", format="JPEG")
    heads = "image,rank,similar,distance\r\n"
    (folder / "b/like 2.csv").write_text(heads + "2.png,1,10.png,.5", encoding="utf-8-sig")
    bunch = load_images(folder, size=8)
    assert (bunch.paths.tolist(), bunch.skipped) == (every, [])
    assert load_images(f"{folder}/**/*.png", size=8).paths.tolist() == every
    # Whoever names a file means it.
    assert len(load_images([folder / "choose_k.png"], size=8).images) == 1


def test_files_that_are_only_called_like_results_are_images(folder):
    every = load_images(folder, size=8).paths.tolist()
    paint(folder / "b/choose_k.png")
    (folder / "b/2.csv").write_text("image,rank\n2.png,1")
    with pytest.warns(UserWarning, match="b/2.csv"):
        found = load_images(folder, size=8).paths.tolist()
    assert sorted(found) == sorted([*every, "b/choose_k.png"])
    # A record of something else is not ours.
    (folder / "b/run.json").write_text('{"program": "another"}')
    with pytest.warns(UserWarning, match="2 file"):
        assert load_images(folder, size=8).paths.tolist() == found


def test_content_counts_not_the_extension(tmp_path):
    paint(tmp_path / "picture.txt", format="PNG")
    paint(tmp_path / "noextension", format="JPEG")
    paint(tmp_path / "wrong.jpg", format="WEBP")
    assert len(load_images(tmp_path, size=8).images) == 3


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*/*.png", ["a/1.png", "b/2.png", "b/10.png"]),
        ("**/1*.png", ["a/1.png", "b/10.png"]),
        ("b/?.png", ["2.png"]),
        ("[b]/*", ["b/2.png", "b/10.png"]),
    ],
)
def test_pattern(folder, pattern, expected):
    assert load_images(f"{folder}/{pattern}", size=8).paths.tolist() == expected


def test_folder_whose_name_looks_like_a_pattern(tmp_path):
    paint(tmp_path / "scans [2020]/1.png")
    assert load_images(tmp_path / "scans [2020]", size=8).paths.tolist() == ["1.png"]


def test_list_keeps_its_order_and_names_files_from_the_common_folder(folder):
    paths = [folder / "b/10.png", folder / "a/1.png", folder / "b/2.png"]
    assert load_images(paths, size=8).paths.tolist() == ["b/10.png", "a/1.png", "b/2.png"]
    assert load_images(iter(paths[::2]), size=8).paths.tolist() == ["10.png", "2.png"]
    assert load_images(paths[0], size=8).paths.tolist() == ["10.png"]


def test_repeated_and_missing_paths_are_skipped(folder):
    paths = [folder / "a/1.png", folder / "a/none.png", folder / "a/1.png"]
    with pytest.warns(UserWarning, match="2 file"):
        bunch = load_images(paths, size=8)
    assert bunch.paths.tolist() == ["1.png"]
    assert dict(bunch.skipped) == {
        "1.png": "listed more than once",
        "none.png": "cannot be read: No such file or directory",
    }


def test_table_as_source(folder):
    table = folder / "list.csv"
    table.write_text('artist,File,year\n"Klimt, G.",b/10.png,1907\nMonet,a\\1.png\n\n')
    bunch = load_images(table, size=8)
    assert bunch.paths.tolist() == ["b/10.png", "a/1.png"]
    assert list(bunch.metadata) == ["artist", "year"]
    assert bunch.metadata["artist"].tolist() == ["Klimt, G.", "Monet"]
    assert bunch.metadata["year"].tolist() == ["1907", ""]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_table_of_a_spreadsheet(folder, delimiter):
    table = folder / "list.csv"
    rows = [["file", "artist", "artist", ""], ["a/1.png", "Cézanne", "P.", ""]]
    table.write_text("\r\n".join(map(delimiter.join, rows)), encoding="utf-8-sig")
    bunch = load_images(table, size=8)
    assert {name: list(values) for name, values in bunch.metadata.items()} == {
        "artist": ["Cézanne"],
        "artist_2": ["P."],
    }


@pytest.mark.parametrize(
    ("source", "told"), [(np.zeros((2, 4, 4, 3)), "ndarray of shape .2, 4, 4, 3."), (3, "int")]
)
def test_what_is_no_source(source, told):
    with pytest.raises(TypeError, match=f"source is a {told}.*array of images needs no loading"):
        load_images(source)


def test_pictures_and_frames_are_no_source_but_lead_to_one(folder):
    pictures = [Image.open(path) for path in sorted(folder.rglob("*.png"))]
    with pytest.raises(TypeError, match="ImageLoader..[.]transform.source. reads PIL images"):
        load_images(pictures)
    assert len(ImageLoader(8).transform(pictures)) == len(pictures)
    frame = pd.DataFrame({"where": [picture.filename for picture in pictures], "year": 1900})
    with pytest.raises(TypeError, match="DataFrame: give its column of files.* 'where', 'year'"):
        load_images(frame, size=8)
    assert len(load_images(frame["where"], size=8).images) == len(pictures)


def test_table_of_a_run_finds_the_collection(folder, tmp_path):
    """Its names are paths within the collection, wherever the table itself is."""
    bunch = load_images(folder, size=8)
    out = tmp_path / "out"
    out.mkdir()
    write_table(out / "clusters.csv", {"file": bunch.paths.tolist(), "cluster": [0, 1, 0]})
    with pytest.raises(ValueError, match="Names in a table count from its folder, '.*out'"):
        load_images(out / "clusters.csv", size=8)
    texts = {"paths": bunch.paths.tolist(), "filenames": bunch.filenames.tolist()}
    write_json(out / "data.json", texts)
    again = load_images(out / "clusters.csv", size=8)
    assert again.paths.tolist() == bunch.paths.tolist()
    assert again.filenames.tolist() == bunch.filenames.tolist()
    assert again.metadata["cluster"].tolist() == ["0", "1", "0"]
    np.testing.assert_array_equal(again.images, bunch.images)
    # What lies where the table says comes first.
    first = bunch.paths[0]
    paint(out / first, (1, 2, 3))
    assert load_images(out / "clusters.csv", size=8).filenames[0] == str(out / first)
    for damaged in ("", "[]", '{"paths": 3, "filenames": [1]}', '{"paths": [1], "filenames": []}'):
        (out / "data.json").write_text(damaged)
        with pytest.warns(UserWarning, match="2 file"):
            assert len(load_images(out / "clusters.csv", size=8).images) == 1


def test_a_search_that_wants_rows_is_told_what_to_give(folder):
    bunch = load_images(folder / "a", size=8)
    search = GridSearchCV(KMeans(1), {"n_clusters": [1]}, cv=TransductiveSplit())
    with pytest.raises(TypeError, match="no row 0: .* give its images"):
        search.fit(bunch)
    with pytest.raises(KeyError, match="pictures"):
        bunch["pictures"]


def test_table_that_is_not_utf8(folder):
    (folder / "list.csv").write_bytes("file;artist\na/1.png;Cézanne\n".encode("cp1252"))
    with pytest.warns(UserWarning, match="Windows-1252") as record:
        bunch = load_images(folder / "list.csv", size=8)
    assert bunch.metadata["artist"].tolist() == ["Cézanne"]
    assert len(record) == 1


def test_table_without_a_column_of_files(folder):
    table = folder / "list.csv"
    table.write_text("artist,work\nMonet,no file\n")
    with pytest.raises(ValueError, match=r"found \['artist', 'work'\]"):
        load_images(table, size=8)
    # Which of two would be meant is not guessed.
    table.write_text("artist,work,copy\nMonet,a/1.png,a/1.png\n")
    with pytest.raises(ValueError, match="no column of files"):
        load_images(table, size=8)
    table.write_text("artist;Datei\nMonet;a/1.png\n")
    bunch = load_images(table, size=8)
    assert (bunch.paths.tolist(), [*bunch.metadata]) == (["a/1.png"], ["artist"])
    table.write_text("artist,work\nMonet,a/1.png\n")
    with pytest.raises(ValueError, match="file_column='picture'.*found"):
        load_images(table, size=8, file_column="picture")
    assert load_images(table, size=8, file_column="work").paths.tolist() == ["a/1.png"]


def test_table_row_without_a_file(folder):
    (folder / "list.csv").write_text("file,artist\na/1.png,Monet\n,Klimt\nb/2.png,Titian\n")
    with pytest.warns(UserWarning, match="row 2"):
        bunch = load_images(folder / "list.csv", size=8)
    assert bunch.metadata["artist"].tolist() == ["Monet", "Titian"]


def test_sample_is_spread_over_all_files(tmp_path):
    for index in range(11):
        paint(tmp_path / f"{index}.png")
    assert load_images(tmp_path, size=8, sample=3).paths.tolist() == ["0.png", "5.png", "10.png"]
    assert len(load_images(tmp_path, size=8, sample=99).paths) == 11


def test_nothing_to_load(tmp_path):
    with pytest.raises(ValueError, match=r"looked for JPEG, PNG.*no files at all"):
        load_images(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"looked for JPEG.*'notes.txt' \(not an image"):
        load_images(tmp_path)
    with pytest.raises(ValueError, match="looked for JPEG"):
        load_images([])
    with pytest.raises(FileNotFoundError, match=rf"neither a folder.*looked in '{tmp_path}'"):
        load_images(tmp_path / "missing")
    (tmp_path / "paintings").mkdir()
    with pytest.raises(FileNotFoundError, match=r"; is 'paintings' meant\?$"):
        load_images(tmp_path / "painting")


# Hostile files


BAD = {
    "zero.jpg": (b"", "empty file"),
    "notes.txt": (b"hello", "not an image of a known format"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known"),
    "bomb.png": (png_header(60_000, 60_000), "60000 x 60000 pixels are more than max_pixels"),
    "header.png": (png_header(10, 10), "damaged"),
    "noise.gif": (b"GIF89a" + bytes(range(256)), "damaged"),
    "noise.tif": (b"II*\0\x08" + bytes(20), "damaged"),
    "noise.webp": (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(24), "damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_skipped(folder, name):
    data, reason = BAD[name]
    (folder / name).write_bytes(data)
    with pytest.warns(UserWarning, match="1 file") as record:
        bunch = load_images(folder, size=8)
    assert len(record) == 1
    assert record[0].filename == __file__
    assert name in str(record[0].message)
    assert len(bunch.images) == len(bunch.paths) == 3
    [(path, why)] = bunch.skipped
    assert path == name
    assert why.startswith(reason)
    with pytest.raises(ValueError, match=name):
        load_images(folder, size=8, on_error="raise")


@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "webp", "gif", "bmp", "ppm"])
def test_truncated_file_is_skipped(folder, extension):
    path = folder / f"cut.{extension}"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (90, 90, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match="damaged"):
        bunch = load_images(folder, size=8)
    assert len(bunch.images) == 3


def test_one_summary_for_many_bad_files(folder):
    for index in range(9):
        (folder / f"bad{index}.jpg").write_bytes(b"no")
    with pytest.warns(UserWarning, match=r"9 file.*'bad0.jpg'.*and 4 more") as record:
        bunch = load_images(folder, size=8)
    assert len(record) == 1
    assert len(bunch.skipped) == 9


def test_max_pixels(folder, monkeypatch):
    with pytest.raises(ValueError, match="40 x 30 pixels are more than max_pixels=1199"):
        load_images(folder, max_pixels=1199)
    # Pillow's own limits are for others to set, and do not get in the way.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert len(load_images(folder, size=8, max_pixels=1200).images) == 3
    assert Image.MAX_IMAGE_PIXELS == 100


def test_no_global_state_is_left_behind(folder):
    (folder / "zero.jpg").write_bytes(b"")
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        inner = list(warnings.filters)
        load_images(folder, size=8, n_jobs=2)
        assert list(warnings.filters) == inner
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    assert before == after


@posix
def test_pipes_are_not_waited_for(folder):
    os.mkfifo(folder / "pipe.jpg")
    with pytest.warns(UserWarning, match="not a regular file"):
        load_images(folder, size=8)
    with pytest.raises(ValueError, match="not a regular file"):
        ImageLoader(8).transform([folder / "pipe.jpg"])


@posix
def test_link_loops_and_linked_folders(folder, tmp_path):
    (folder / "a/loop").symlink_to(folder)
    (folder / "a/self").symlink_to("self")
    (folder / "0_alias").symlink_to(folder / "b")
    paint(tmp_path / "elsewhere/5.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="'a/self' .cannot be read"):
        bunch = load_images(folder, size=8)
    assert bunch.paths.tolist() == ["a/1.png", "b/2.png", "b/10.png", "linked/5.png"]
    with pytest.warns(UserWarning, match="a/self"):
        assert len(load_images(f"{folder}/**/*", size=8).paths) == 4


@posix
@pytest.mark.parametrize(
    "name",
    [b'it\'s "quoted".png', b"two\nlines.png", b"<script>.png", b"caf\xe9.png", b"%s {0}.png"],
)
def test_odd_names(tmp_path, name):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    try:
        gradient().save(path, "PNG")
    except OSError:
        pytest.skip("this file system does not take the name")
    for _ in range(2):
        bunch = load_images(tmp_path, size=8, cache=tmp_path / "cache")
        assert bunch.paths.tolist() == [os.fsdecode(name)]
    assert ImageLoader(8).transform(bunch.filenames).shape == (1, 8, 8, 3)
    Path(path).write_bytes(b"")
    with pytest.raises(ValueError, match="empty file"):
        load_images(tmp_path, size=8)


def test_ids_are_in_normal_form_and_unique(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é.png")
    paint(tmp_path / decomposed)
    assert load_images(tmp_path, size=8).paths.tolist() == ["é.png"]
    paint(tmp_path / "é.png")
    if len(os.listdir(tmp_path)) == 2:
        assert len(set(load_images(tmp_path, size=8).paths)) == 2


def test_null_character_in_a_table(folder):
    (folder / "list.csv").write_bytes(b"file\na/1.png\na\0b.png\n")
    with pytest.warns(UserWarning, match="null"):
        load_images(folder / "list.csv", size=8)


# Pixels


def as_16_bit(path):
    Image.fromarray(np.full((30, 40), 32768, dtype=np.uint16)).save(path)


def as_16_bit_big_endian(path):
    path.write_bytes(b"P5 40 30 65535\n" + np.full(1200, 32768, dtype=">u2").tobytes())


def as_16_bit_rgb(path):
    pixels = np.full((30, 40, 3), 32768, dtype=">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 40, 30, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def as_float(scale):
    def save(path):
        values = np.full((30, 40), 0.5 * scale, dtype=np.float32)
        values[0, 0], values[-1, -1] = scale, np.nan
        Image.fromarray(values).save(path)

    return save


def as_any(mode, colour, **options):
    def save(path):
        Image.new(mode, (40, 30), colour).save(path, **options)

    return save


def as_palette(transparent):
    def save(path):
        image = Image.new("P", (40, 30), 1)
        image.putpalette([0, 0, 0, 200, 100, 50])
        image.save(path, **({"transparency": 1} if transparent else {}))

    return save


@pytest.mark.parametrize(
    ("name", "save", "expected"),
    [
        ("gray.png", as_any("L", 77), (77, 77, 77)),
        ("gray.jpg", as_any("L", 77), (77, 77, 77)),
        ("bilevel.png", as_any("1", 1), (255, 255, 255)),
        ("bilevel.tif", as_any("1", 1), (255, 255, 255)),
        ("palette.png", as_palette(False), (200, 100, 50)),
        ("transparent_palette.png", as_palette(True), (255, 255, 255)),
        ("cmyk.jpg", as_any("CMYK", (0, 255, 0, 0), quality=95), (255, 0, 255)),
        ("cmyk.tif", as_any("CMYK", (0, 255, 0, 0)), (255, 0, 255)),
        ("ycbcr.tif", as_any("YCbCr", (128, 128, 128)), (128, 128, 128)),
        ("alpha.png", as_any("RGBA", (200, 0, 0, 51)), (244, 204, 204)),
        ("clear.webp", as_any("RGBA", (0, 0, 0, 0)), (255, 255, 255)),
        ("gray_alpha.png", as_any("LA", (0, 51)), (204, 204, 204)),
        ("colour_key.png", as_any("RGB", (1, 2, 3), transparency=(1, 2, 3)), (255, 255, 255)),
        ("deep.png", as_16_bit, (127, 127, 127)),
        ("deep.tif", as_16_bit, (127, 127, 127)),
        ("deep.pgm", as_16_bit_big_endian, (127, 127, 127)),
        ("deep_rgb.png", as_16_bit_rgb, (128, 128, 128)),
        ("float_1.tif", as_float(1), (128, 128, 128)),
        ("float_255.tif", as_float(255), (128, 128, 128)),
        ("float_65535.tif", as_float(65535), (128, 128, 128)),
        ("float_1e6.tif", as_float(1e6), (128, 128, 128)),
        ("rgb.bmp", as_any("RGB", (200, 100, 50)), (200, 100, 50)),
        ("rgb.gif", as_any("RGB", (200, 100, 50)), (200, 100, 50)),
    ],
)
def test_every_kind_of_image_becomes_rgb(tmp_path, name, save, expected):
    save(tmp_path / name)
    [image] = load_images(tmp_path, size=(30, 40)).images
    assert np.abs(image[15, 20].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("extension", ["jp2", "avif"])
def test_formats_that_need_a_library(tmp_path, extension):
    try:
        gradient().save(tmp_path / f"a.{extension}")
    except (OSError, KeyError, ValueError):
        pytest.skip("Pillow was built without it")
    assert len(load_images(tmp_path, size=8).images) == 1


def test_signed_values_range_from_least_to_greatest(tmp_path):
    Image.fromarray(np.array([[-1.0, 0.0, 1.0]], dtype=np.float32)).save(tmp_path / "a.tif")
    [image] = load_images(tmp_path, size=(1, 3)).images
    assert image[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, extension, orientation):
    # Undoing the orientation when writing has to give the same picture when reading.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = gradient((60, 40))
    stored = picture.transpose(undo[orientation]) if orientation > 1 else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{extension}", exif=exif)
    [image] = load_images(tmp_path, size=(40, 60)).images
    difference = np.abs(image.astype(int) - np.asarray(picture))
    assert difference.mean() < 4


@pytest.mark.parametrize("extension", ["png", "webp", "jpg"])
def test_broken_exif_does_not_lose_the_picture(tmp_path, extension):
    gradient().save(tmp_path / f"a.{extension}", exif=b"Exif\0\0no TIFF header")
    assert len(load_images(tmp_path, size=8).images) == 1


@pytest.mark.parametrize("extension", ["gif", "webp", "tif", "png"])
def test_first_frame(tmp_path, extension):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a.{extension}", save_all=True, append_images=frames[1:])
    [image] = load_images(tmp_path, size=8).images
    assert image[4, 4, 0] > 240
    assert image[4, 4, 2] < 15


def test_large_jpeg_is_decoded_at_a_reduced_size(tmp_path, monkeypatch):
    picture = gradient((1600, 1200))
    picture.save(tmp_path / "a.jpg", quality=95)
    sizes = []
    load = JpegImagePlugin.JpegImageFile.load
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, "load", lambda self: sizes.append(self.size) or load(self)
    )
    [image] = load_images(tmp_path, size=(48, 64)).images
    assert sizes[0] == (200, 150)
    expected = np.asarray(picture.resize((64, 48), Image.Resampling.LANCZOS))
    assert np.abs(image.astype(int) - expected).max() <= 4


def test_pad_fills_with_the_mean_of_the_border(tmp_path):
    pixels = np.full((20, 40, 3), 50, dtype=np.uint8)
    pixels[5:15, 5:35] = 250
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "high.png")
    high, wide = load_images(tmp_path, size=40).images
    np.testing.assert_array_equal(wide[10:30], pixels)
    assert (wide[:10] == 50).all()
    assert (wide[30:] == 50).all()
    np.testing.assert_array_equal(high, wide.transpose(1, 0, 2))


def test_crop_and_stretch(tmp_path):
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    [cropped] = load_images(tmp_path, size=20, resize="crop").images
    assert (cropped == 200).all()
    [stretched] = load_images(tmp_path, size=30, resize="stretch").images
    assert (stretched[:, 2] == 0).all()
    assert (stretched[:, 15] == 200).all()
    [padded] = load_images(tmp_path, size=(20, 30), resize="pad").images
    assert (padded[[0, -1], 15] < 100).all()


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_extreme_proportions(tmp_path, size, resize):
    paint(tmp_path / "a.png", size=size)
    [image] = load_images(tmp_path, size=16, resize=resize).images
    assert (image == [0, 128, 128]).all()


def test_duplicates(folder):
    (folder / "copy.png").write_bytes((folder / "b/2.png").read_bytes())
    paint(folder / "same_pixels.bmp", "teal")
    bunch = load_images(folder, size=8)
    [group] = bunch.duplicates
    assert bunch.paths[group].tolist() == ["b/2.png", "copy.png", "same_pixels.bmp"]
    assert (bunch.images[group] == bunch.images[group[0]]).all()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"size": 0}, "size"),
        ({"size": (8, 8, 3)}, "size"),
        ({"size": (8, 1.5)}, "size"),
        ({"size": (8, 0)}, "size"),
        ({"resize": "fit"}, "resize"),
        ({"on_error": "blank"}, "on_error"),
        ({"max_pixels": 0}, "max_pixels"),
        ({"sample": 0}, "sample"),
    ],
)
def test_wrong_option(folder, option, message):
    with pytest.raises(ValueError, match=message):
        load_images(folder, **option)


def test_threads_give_the_same_in_the_same_order(tmp_path):
    for index in range(70):
        Image.new("RGB", (40, 30), (index, 0, 0)).save(tmp_path / f"{index}.png")
    images = load_images(tmp_path, size=8, n_jobs=3).images
    assert images[:, 0, 0, 0].tolist() == list(range(70))
    np.testing.assert_array_equal(images, load_images(tmp_path, size=8).images)


def test_progress_only_when_asked_for(folder, capsys):
    load_images(folder, size=8)
    assert capsys.readouterr() == ("", "")
    load_images(folder, size=8, verbose=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err


# Metadata


def test_metadata_from_folders(folder):
    paint(folder / "top.png")
    paint(folder / "b/c/3.png")
    bunch = load_images(folder, size=8, metadata="folders")
    assert bunch.paths.tolist() == ["a/1.png", "b/2.png", "b/10.png", "b/c/3.png", "top.png"]
    assert bunch.metadata["folder"].tolist() == ["a", "b", "b", "b", ""]
    assert bunch.metadata["folder_2"].tolist() == ["", "", "", "c", ""]


def test_metadata_makes_a_frame(folder):
    pd = pytest.importorskip("pandas")
    bunch = load_images(folder, size=8, metadata="folders")
    frame = pd.DataFrame(bunch.metadata, index=bunch.paths)
    assert frame.loc["b/2.png", "folder"] == "b"


@pytest.mark.parametrize(
    "rows",
    [
        ["a/1.png", "b/2.png", "b/10.png"],
        ["a\\1.PNG", "./B/2.png", "b/10.png"],
        ["a/1", "b/2", "b/10"],
        ["1.png", "2.png", "10.png"],
        ["1", "2", "10"],
        ["1.jpg", "2.jpg", "10.jpg"],
        ["pictures/a/1.png", "pictures/b/2.png", "pictures/b/10.png"],
        ["/elsewhere/1.png", "/elsewhere/2.png", "/elsewhere/10.png"],
    ],
)
def test_metadata_matches_by_path_name_or_stem(folder, rows):
    table = folder.parent / "about.csv"
    table.write_text("".join(f"{row},{i}\n" for i, row in enumerate(["file", *rows])))
    bunch = load_images(folder, size=8, metadata=table)
    assert bunch.metadata["0"].tolist() == ["1", "2", "3"]


@pytest.mark.parametrize(
    "rows",
    [
        ["a/1.png", "b/1.png"],
        ["A\\1", "b\\1"],
        ["pictures/a/1.png", "Pictures/b/1.png"],
        ["./pictures/a/1", "./pictures/b/1"],
        ["{}/a/1.png", "{}/b/1"],
    ],
)
def test_metadata_of_images_that_share_a_name(tmp_path, rows):
    pictures = tmp_path / "pictures"
    paint(pictures / "a/1.png")
    paint(pictures / "b/1.png")
    lines = ["file,n", *(f"{row.format(pictures)},{i}" for i, row in enumerate(rows))]
    (tmp_path / "about.csv").write_text("\n".join(lines))
    bunch = load_images(pictures, size=8, metadata=tmp_path / "about.csv")
    assert bunch.metadata["n"].tolist() == ["0", "1"]


def test_metadata_from_a_table_inside_the_folder(folder):
    paint(folder / "1.png")
    # By its place the row means one image, by the folder of all images another.
    (folder / "a/about.csv").write_text("file,n\n1.png,1\n../b/2.png,2\n")
    with pytest.warns(UserWarning, match="3 of 4 images have no row"):
        bunch = load_images(folder, size=8, metadata=folder / "a/about.csv")
    assert bunch.metadata["n"].tolist() == ["", "", "2", ""]


def test_first_row_of_an_image_counts(folder):
    (folder.parent / "about.csv").write_text("file,n\na/1.png,1\n2,2\n10,3\na\\1.png,4\n")
    with pytest.warns(UserWarning, match="1 of 4 rows have no image"):
        bunch = load_images(folder, size=8, metadata=folder.parent / "about.csv")
    assert bunch.metadata["n"].tolist() == ["1", "2", "3"]


def test_metadata_matches_across_normal_forms_and_case(tmp_path):
    paint(tmp_path / unicodedata.normalize("NFD", "Café.PNG"), format="PNG")
    paint(tmp_path / "12.5.png")
    (tmp_path / "about.csv").write_text("file,n\ncafé.png,1\n12.5,2\n", encoding="utf-8")
    bunch = load_images(tmp_path, size=8, metadata=tmp_path / "about.csv")
    assert dict(zip(bunch.paths, bunch.metadata["n"], strict=True)) == {
        "Café.PNG": "1",
        "12.5.png": "2",
    }


def test_metadata_is_not_guessed(folder):
    # Two images of one name: a row with the name alone belongs to neither.
    paint(folder / "a/2.png")
    table = folder.parent / "about.csv"
    table.write_text("file,n\n2.png,x\n1.png,y\n10.png,z\n")
    with pytest.warns(UserWarning, match="2 of 4 images have no row"):
        bunch = load_images(folder, size=8, metadata=table)
    assert bunch.metadata["n"].tolist() == ["y", "", "", "z"]
    # The row that names its folder belongs to one, the rest is then clear.
    table.write_text("file,n\nb/2.png,x\n1.png,y\n10.png,z\n2.png,w\n")
    bunch = load_images(folder, size=8, metadata=table)
    assert bunch.metadata["n"].tolist() == ["y", "w", "x", "z"]


def test_a_collection_is_shown_without_its_pixels(folder):
    bunch = load_images(folder, size=8, metadata="folders")
    assert repr(bunch) == (
        "Bunch(images: ndarray of shape (3, 8, 8, 3), paths: ndarray of shape (3,), "
        "filenames: ndarray of shape (3,), metadata: dict of 1, skipped: list of 0, "
        "duplicates: list of 0)"
    )
    bunch.note = None
    copy = pickle.loads(pickle.dumps(bunch))
    assert "note: None" in repr(copy)
    np.testing.assert_array_equal(copy.images, bunch.images)


def test_metadata_warns_both_ways_and_keeps_all_images(folder):
    table = folder / "about.csv"
    table.write_text("file,n\na/1.png,1\nb/99.png,2\n")
    with pytest.warns(UserWarning, match="have no row") as record:
        bunch = load_images(folder, size=8, metadata=table)
    [message] = [str(warning.message) for warning in record]
    assert "2 of 3 images have no row (such as 'b/2.png', 'b/10.png')" in message
    assert "1 of 2 rows have no image (such as 'b/99.png')" in message
    assert record[0].filename == __file__
    assert bunch.metadata["n"].tolist() == ["1", "", ""]
    # The table itself lies in the folder and is no bad file.
    assert bunch.skipped == []


def test_metadata_of_skipped_files_is_not_missed(folder):
    (folder / "bad.png").write_bytes(b"")
    (folder.parent / "about.csv").write_text("file,n\n1,1\n2,2\n10,3\nbad.png,4\n")
    with pytest.warns(UserWarning, match="1 file") as record:
        bunch = load_images(folder, size=8, metadata=folder.parent / "about.csv")
    assert len(record) == 1
    assert bunch.metadata["n"].tolist() == ["1", "2", "3"]


# Cache


def store_of(cache):
    [store] = cache.iterdir()
    return store


def test_second_run_reads_no_image(folder, tmp_path, decoded):
    (folder / "bad.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 file"):
        first = load_images(folder, size=8, cache=tmp_path / "cache")
    assert len(decoded) == 4
    with pytest.warns(UserWarning, match="1 file"):
        second = load_images(folder, size=8, cache=tmp_path / "cache")
    assert len(decoded) == 4
    with pytest.warns(UserWarning, match="1 file"):
        fresh = load_images(folder, size=8)
    for bunch in (first, second):
        assert isinstance(bunch.images, np.memmap)
        assert not bunch.images.flags.writeable
        np.testing.assert_array_equal(bunch.images, fresh.images)
        assert bunch.paths.tolist() == fresh.paths.tolist()
        assert bunch.skipped == fresh.skipped


def test_only_new_and_changed_files_are_read_again(folder, tmp_path, decoded):
    cache = tmp_path / "cache"
    load_images(folder, size=8, cache=cache)
    held = load_images(folder, size=8, cache=cache).images
    before = held.copy()
    decoded.clear()

    paint(folder / "b/3.png", "white")
    changed = paint(folder / "a/1.png", "red")
    os.utime(changed, ns=(1, 1))
    bunch = load_images(folder, size=8, cache=cache)
    assert sorted(decoded) == ["1.png", "3.png"]
    assert bunch.paths.tolist() == ["a/1.png", "b/2.png", "b/3.png", "b/10.png"]
    np.testing.assert_array_equal(bunch.images, load_images(folder, size=8).images)
    # An array handed out before keeps its values.
    np.testing.assert_array_equal(held, before)

    decoded.clear()
    (folder / "b/2.png").unlink()
    bunch = load_images(folder, size=8, cache=cache)
    assert decoded == []
    assert bunch.paths.tolist() == ["a/1.png", "b/3.png", "b/10.png"]
    np.testing.assert_array_equal(bunch.images, load_images(folder, size=8).images)
    assert len(list(store_of(cache).glob("images-*"))) == 1


def test_settings_have_stores_of_their_own(folder, tmp_path, decoded):
    for _ in range(2):
        for option in ({"size": 8}, {"size": 9}, {"size": 8, "resize": "crop"}):
            load_images(folder, cache=tmp_path / "cache", **option)
    assert len(decoded) == 9


def test_store_is_plain_npy_and_json(folder, tmp_path):
    images = load_images(folder, size=8, cache=tmp_path / "cache").images
    store = store_of(tmp_path / "cache")
    [data] = store.glob("*.npy")
    np.testing.assert_array_equal(np.load(data, allow_pickle=False), images)
    for line in (store / "index.jsonl").read_text().splitlines():
        json.loads(line)


def test_cache_inside_the_source_is_not_searched(folder):
    for _ in range(2):
        assert len(load_images(folder, size=8, cache=folder / "cache").images) == 3
        assert len(load_images(f"{folder}/*/*", size=8, cache=folder / "cache").images) == 3


def test_auto_cache_is_used_above_a_size(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    needed = 3 * 8 * 8 * 3
    images = load_images(folder, size=8, cache_above=needed).images
    assert not isinstance(images, np.memmap)
    assert not (tmp_path / "home").exists()
    assert isinstance(load_images(folder, size=8, cache_above=needed - 1).images, np.memmap)
    assert (tmp_path / "home/skdcec").exists()
    assert not isinstance(load_images(folder, size=8, cache=None, cache_above=0).images, np.memmap)


KILLED = """
import os, sys
from skdcec.datasets import load_images, steps
steps.STEP_FILES = 4
original, count = steps.opened_picture, 0
def dying(path, **options):
    global count
    count += 1
    if count == 11:
        os._exit(9)
    return original(path, **options)
steps.opened_picture = dying
load_images(sys.argv[1], size=8, cache=sys.argv[2])
"""


def test_killed_run_is_resumed(tmp_path, decoded, monkeypatch):
    pictures, cache = tmp_path / "pictures", tmp_path / "cache"
    for index in range(15):
        paint(pictures / f"{index}.png", (index, 0, 0))
    (pictures / "1.png").write_bytes(b"")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(pictures), str(cache)]
    assert subprocess.run(command, env=environment, check=False).returncode == 9
    # Killed while writing: the line and the images after the last complete step are cut off.
    store = store_of(cache)
    with open(store / "building.jsonl", "a") as index:
        index.write('[["8.png", 1')
    [data] = store.glob("*.npy")
    with open(data, "ab") as file:
        file.write(b"torn")

    with pytest.warns(UserWarning, match="'1.png' .empty file"):
        bunch = load_images(pictures, size=8, cache=cache)
    assert decoded == [f"{index}.png" for index in range(8, 15)]
    assert bunch.images[:, 0, 0, 0].tolist() == [0, *range(2, 15)]
    np.testing.assert_array_equal(np.load(data, allow_pickle=False), bunch.images)
    assert not (store / "building.jsonl").exists()


def test_interrupted_update_is_resumed_though_files_changed(tmp_path, decoded, monkeypatch):
    pictures, cache = tmp_path / "pictures", tmp_path / "cache"
    monkeypatch.setattr(steps, "STEP_FILES", 2)
    for index in range(10, 16):
        paint(pictures / f"{index}.png", (index, 0, 0))
    spied = steps.opened_picture

    def interrupted(path, **options):
        if path.endswith("14.png"):
            raise KeyboardInterrupt
        return spied(path, **options)

    monkeypatch.setattr(steps, "opened_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_images(pictures, size=8, cache=cache)
    monkeypatch.setattr(steps, "opened_picture", spied)
    decoded.clear()
    paint(pictures / "9.png", (9, 0, 0))
    bunch = load_images(pictures, size=8, cache=cache)
    assert decoded == ["9.png", "14.png", "15.png"]
    assert bunch.images[:, 0, 0, 0].tolist() == list(range(9, 16))


def garble_index(store):
    (store / "index.jsonl").write_bytes(b"\xff{")


def foreign_index(store):
    lines = (store / "index.jsonl").read_text().splitlines(keepends=True)
    header = json.loads(lines[0])
    header["data"] = "../elsewhere.npy"
    (store / "index.jsonl").write_text(json.dumps(header) + "\n" + "".join(lines[1:]))


def odd_entries(store):
    with open(store / "index.jsonl", "a") as index:
        index.write('[["a/1.png"]]\n')


def cut_data(store):
    [data] = store.glob("*.npy")
    data.write_bytes(data.read_bytes()[:-1])


def zero_data(store):
    [data] = store.glob("*.npy")
    data.write_bytes(bytes(data.stat().st_size))


def lose_data(store):
    [data] = store.glob("*.npy")
    data.unlink()


@pytest.mark.parametrize(
    "damage", [garble_index, foreign_index, odd_entries, cut_data, zero_data, lose_data]
)
def test_damaged_cache_is_made_anew(folder, tmp_path, decoded, damage):
    cache = tmp_path / "cache"
    expected = load_images(folder, size=8, cache=cache).images.copy()
    damage(store_of(cache))
    decoded.clear()
    with pytest.warns(UserWarning, match="damaged"):
        images = load_images(folder, size=8, cache=cache).images
    np.testing.assert_array_equal(images, expected)
    assert len(decoded) == 3
    load_images(folder, size=8, cache=cache)
    assert len(decoded) == 3


def test_cache_that_cannot_be_written(folder, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.warns(UserWarning, match="kept in memory") as record:
        images = load_images(folder, size=8, cache=tmp_path / "cache").images
    assert record[0].filename == __file__
    np.testing.assert_array_equal(images, load_images(folder, size=8).images)
    monkeypatch.setattr(store, "physical_memory", lambda: 100)
    with pytest.raises(OSError, match="do not fit into memory"):
        load_images(folder, size=8, cache=tmp_path / "cache")


@posix
def test_full_disk(folder, tmp_path):
    import resource

    cache = tmp_path / "cache"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # The header and the first image fit, the second does not.
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
        with pytest.warns(UserWarning, match="File too large.*kept in memory"):
            images = load_images(folder, size=80, cache=cache).images
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    np.testing.assert_array_equal(images, load_images(folder, size=80).images)
    assert list(store_of(cache).glob("images-*")) == []


def test_complete_cache_is_read_where_nothing_can_be_written(
    folder, tmp_path, decoded, monkeypatch
):
    load_images(folder, size=8, cache=tmp_path / "cache")

    def refuse(lock):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store.FileLock, "acquire", refuse)
    assert isinstance(load_images(folder, size=8, cache=tmp_path / "cache").images, np.memmap)
    assert len(decoded) == 3


def test_file_that_became_readable_is_read(folder, tmp_path, monkeypatch):
    spied = steps.opened_picture

    def refused(path, **options):
        if path.endswith("10.png"):
            raise UnusableImage("cannot be read: Permission denied")
        return spied(path, **options)

    monkeypatch.setattr(steps, "opened_picture", refused)
    with pytest.warns(UserWarning, match="Permission denied"):
        load_images(folder, size=8, cache=tmp_path / "cache")
    monkeypatch.setattr(steps, "opened_picture", spied)
    assert len(load_images(folder, size=8, cache=tmp_path / "cache").images) == 3


def test_simultaneous_runs_share_one_cache(tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(steps, "STEP_FILES", 2)
    for index in range(40):
        paint(tmp_path / f"pictures/{index}.png", (index, 0, 0))

    def load(_):
        return load_images(tmp_path / "pictures", size=8, cache=tmp_path / "cache").images

    with ThreadPoolExecutor(3) as pool:
        for images in pool.map(load, range(3)):
            assert images[:, 0, 0, 0].tolist() == list(range(40))
    assert len(decoded) == 40


# ImageLoader


@pytest.fixture
def paths(tmp_path):
    names = []
    for index in range(12):
        colour = (250, index, 0) if index % 2 else (0, index, 250)
        names.append(str(paint(tmp_path / f"{index}.png", colour)))
    return names


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        np.array,
        lambda paths: np.array(paths, dtype=object),
        lambda paths: np.array(paths)[:, None],
        lambda paths: [Path(path) for path in paths],
        lambda paths: [[path] for path in paths],
        lambda paths: pytest.importorskip("pandas").Series(paths),
        lambda paths: pytest.importorskip("pandas").DataFrame({"file": paths}),
    ],
)
def test_loader_takes_paths_in_any_form(paths, form):
    images = ImageLoader(8, n_jobs=2).fit_transform(form(paths))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, load_images(paths, size=8).images)


def test_loader_needs_no_fit_and_clones(paths):
    loader = ImageLoader(size=(6, 8), resize="crop", max_pixels=10**6)
    assert loader.transform(paths).shape == (12, 6, 8, 3)
    copy = clone(loader)
    assert copy.get_params() == loader.get_params()
    assert not hasattr(copy, "errors_")
    np.testing.assert_array_equal(copy.fit(paths).transform(paths), loader.transform(paths))
    assert loader.errors_ == []


def test_loader_fit_reads_no_file():
    assert ImageLoader().fit(["missing.png"]).get_params()["size"] == 128


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("scans/*.png", r"load_images\('scans/\*.png', size=...\).filenames"),
        (Path("scans.csv"), "'scans.csv' stands for several files"),
        (os.curdir, r"X='.' stands for several files"),
        ([], "0 sample"),
        ([["a", "b"]], r"got shape \(1, 2\)"),
        (["a", 3], "got 3 at position 1"),
        (np.zeros((2, 3)), "shape"),
    ],
)
def test_loader_refuses_what_is_no_paths(X, message):
    for method in (ImageLoader().fit, ImageLoader().transform):
        with pytest.raises(ValueError, match=message):
            method(X)


def test_loader_takes_one_image_as_predict_does(paths, tmp_path):
    expected = ImageLoader(8).transform(paths[:1])
    odd = tmp_path / "what [1].png"
    odd.write_bytes(Path(paths[0]).read_bytes())
    for one in (str(paths[0]), Path(paths[0]), odd):
        np.testing.assert_array_equal(ImageLoader(8).fit_transform(one), expected)
    with pytest.raises(ValueError, match=r"'missing.png' \(cannot be read"):
        ImageLoader(8).transform("missing.png")


@pytest.mark.parametrize("params", [{"size": 0}, {"on_error": "skip"}, {"resize": "fit"}])
def test_loader_refuses_wrong_parameters(paths, params):
    [name] = params
    with pytest.raises(ValueError, match=name):
        ImageLoader(**params).fit(paths)


def test_loader_never_drops_a_row(paths):
    Path(paths[3]).write_bytes(b"")
    X = [paths[0], "missing.png", paths[3], paths[1]]
    loader = ImageLoader(8, on_error="blank")
    with pytest.warns(UserWarning, match=r"2 file.*are black") as record:
        images = loader.fit_transform(X)
    assert len(record) == 1
    assert images.shape == (4, 8, 8, 3)
    assert (images[1:3] == 0).all()
    assert images[0].any()
    assert images[3].any()
    assert loader.errors_ == [
        (1, "missing.png", "cannot be read: No such file or directory"),
        (2, paths[3], "empty file"),
    ]
    with pytest.raises(
        ValueError, match=r"'missing.png'.*`filenames` are whole.*on_error=\"blank\""
    ):
        ImageLoader(8).fit_transform(X)


def test_an_address_is_not_fetched_and_that_is_said():
    with pytest.raises(FileNotFoundError, match="nothing is fetched: save its images"):
        load_images("https://example.org/painting.jpg")


def test_of_many_files_that_are_not_there_the_first_is_named():
    with pytest.raises(ValueError, match="No image found") as error:
        load_images([f"{i}.png" for i in range(1000)])
    assert "source=['0.png', ...], 1000 of them" in str(error.value)
    assert len(str(error.value)) < 600


def test_loader_stops_reading_at_the_first_failures(paths, decoded, monkeypatch):
    monkeypatch.setattr(steps, "STEP_FILES", 2)
    with pytest.raises(ValueError, match="missing.png"):
        ImageLoader(8).transform(["missing.png", *paths])
    assert len(decoded) == 2


def test_loader_repeated_path(paths):
    images = ImageLoader(8).fit_transform([paths[0], paths[1], paths[0]])
    np.testing.assert_array_equal(images[0], images[2])


def flatten(images):
    return images.reshape(len(images), -1).astype(float)


def test_loader_in_a_pipeline_and_a_grid(paths):
    model = make_pipeline(
        ImageLoader(size=8), FunctionTransformer(flatten), KMeans(2, n_init=1, random_state=0)
    )
    labels = model.fit_predict(paths)
    assert labels[0] != labels[1]
    np.testing.assert_array_equal(labels[::2], labels[0])
    np.testing.assert_array_equal(model.predict(paths[:3]), labels[:3])
    for X in (paths, [Path(path) for path in paths], np.array(paths)[:, None]):
        search = GridSearchCV(model, {"imageloader__size": [4, 8]}, cv=2).fit(X)
        assert search.predict(X).shape == (12,)


# Real data


@pytest.mark.skipif(not PAINTINGS.exists(), reason=f"the paintings are not at {PAINTINGS}")
def test_paintings():
    pattern = f"{PAINTINGS}/Jan_van_Eyck/*.jpg"
    bunch = load_images(pattern, metadata=PAINTINGS.with_suffix(".csv"), sample=20)
    assert bunch.images.shape == (20, 128, 128, 3)
    assert set(bunch.metadata["artist"]) == {"Jan_van_Eyck"}
    expected = np.asarray(Image.open(io.BytesIO(Path(bunch.filenames[7]).read_bytes())))
    np.testing.assert_array_equal(bunch.images[7], expected)
