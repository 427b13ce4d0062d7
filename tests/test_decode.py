import io
import os
import re
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from skdcec.datasets import ImageLoader, load_images
from skdcec.datasets.decode import (
    MAX_PIXELS,
    Picture,
    UnusableImage,
    fit_picture,
    read_picture,
    shrink,
    to_rgb,
)

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")


def gradient(size=(40, 30), mode="RGB"):
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    pixels = np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def exif(orientation=6):
    """An EXIF block with directories below the first."""
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "maker"
    block[0x011A] = 72.0
    block.get_ifd(0x8769).update({0x9003: "2020:01:01 00:00:00", 37500: b"maker note" * 5})
    block.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0)})
    return block


def encode(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def deep(dtype, factor=1):
    return Image.fromarray(np.asarray(gradient(mode="L")).astype(dtype) * dtype(factor))


def valid_files():
    image = gradient((60, 40))
    turned = {"save_all": True, "append_images": [image.transpose(Image.Transpose.ROTATE_180)]}
    files = {
        "JPEG": encode(image, "JPEG", exif=exif()),
        "JPEG progressive": encode(image, "JPEG", progressive=True),
        "JPEG CMYK": encode(image.convert("CMYK"), "JPEG"),
        "JPEG large": encode(gradient((300, 200)), "JPEG"),
        "JPEG of several": encode(image, "MPO", **turned),
        "PNG": encode(image, "PNG", exif=exif()),
        "PNG palette": encode(image.convert("P"), "PNG", transparency=bytes(range(200))),
        "PNG transparent": encode(image.convert("RGBA"), "PNG"),
        "PNG 16 bits": encode(deep(np.uint16, 200), "PNG"),
        "PNG animated": encode(image, "PNG", **turned),
        "WebP": encode(image, "WEBP", exif=exif()),
        "WebP simple": encode(image, "WEBP"),
        "WebP lossless": encode(image, "WEBP", lossless=True),
        "WebP animated": encode(image, "WEBP", **turned),
        "GIF": encode(image, "GIF"),
        "GIF animated": encode(image, "GIF", disposal=2, transparency=0, **turned),
        "BMP": encode(image, "BMP"),
        "BMP palette": encode(image.convert("P"), "BMP"),
        "TIFF": encode(image, "TIFF", exif=exif()),
        "TIFF LZW": encode(image, "TIFF", exif=exif(), compression="tiff_lzw"),
        "TIFF JPEG": encode(image, "TIFF", compression="jpeg"),
        "TIFF 16 bits": encode(deep(np.uint16), "TIFF", exif=exif()),
        "TIFF float": encode(deep(np.float32), "TIFF", exif=exif()),
        "PPM": encode(image, "PPM"),
        "PPM text": b"P3 2 2 255\n" + b"1 2 3 " * 4,
        "PGM": encode(image.convert("L"), "PPM"),
    }
    for name in ("AVIF", "JPEG2000"):
        try:
            files[name] = encode(image, name)
        except (KeyError, OSError):
            # Pillow was built without it.
            continue
    return files


FILES = valid_files()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("decode") / "picture"


def outcome(path, side=8, max_pixels=10**6):
    """Return the picture, checked to be of the form that is promised, or the reason."""
    try:
        picture = read_picture(path, side=side, max_pixels=max_pixels)
    except UnusableImage as error:
        reason = str(error)
    else:
        return checked(picture, side, max_pixels)
    assert reason.strip()
    return reason


def checked(picture, side, max_pixels):
    image, (width, height) = picture
    assert image.mode in ("L", "RGB")
    assert min(image.size) >= 1
    assert width * height <= max_pixels
    assert min(side, width, height) <= max(image.size) <= max(width, height)
    assert max(image.size) >= min(side, max(width, height))
    assert (image.width > image.height) <= (width >= height)
    return picture


# Generated damage


OVERWRITE = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from([b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"]),
)


@st.composite
def mutated(draw, data, span=None):
    """Bytes with some of them overwritten, left out, inserted, or the end cut off."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, min(span or len(data), len(data)) - 1)))
        kind = draw(st.sampled_from(["overwrite", "overwrite", "delete", "insert", "cut"]))
        if kind == "overwrite":
            new = draw(OVERWRITE)
            data[start : start + len(new)] = new
        elif kind == "delete":
            del data[start : start + draw(st.integers(1, 20))]
        elif kind == "insert":
            data[start:start] = draw(OVERWRITE)
        else:
            del data[len(data) - draw(st.integers(0, len(data))) :]
    return bytes(data)


def with_checksums(data):
    """Make the checksums of a PNG file right, so that the damage behind them is met."""
    fixed, start = bytearray(data[:8]), 8
    while start + 12 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        body = data[start + 4 : start + 8 + length]
        fixed += data[start : start + 4] + body + struct.pack(">I", zlib.crc32(body))
        start += 12 + length
    return bytes(fixed)


@st.composite
def damaged_files(draw):
    name = draw(st.sampled_from(sorted(FILES)))
    # Most of what can go wrong is in the header.
    data = draw(mutated(FILES[name], draw(st.sampled_from([40, 400, None]))))
    return with_checksums(data) if name.startswith("PNG") and draw(st.booleans()) else data


@st.composite
def files_with_damaged_exif(draw):
    block = draw(mutated(exif(draw(st.integers(0, 9))).tobytes()[6:]))
    name = draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))
    return encode(gradient(), name, exif=b"Exif\0\0" + block)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(data=st.one_of(damaged_files(), files_with_damaged_exif()))
def test_damaged_file_gives_a_picture_or_a_reason_for_everyone(path, data):
    path.write_bytes(data)
    small, large = outcome(path, 8), outcome(path, 1000)
    usable = isinstance(small, Picture)
    # What training at one size accepts can be drawn at another.
    assert isinstance(large, Picture) == usable
    loader = ImageLoader(8, on_error="blank", max_pixels=10**6)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "1 file.*cannot be used")
        loader.transform([path])
    assert loader.errors_ == ([] if usable else [(0, str(path), small)])
    if usable:
        assert len(load_images([path], 8, max_pixels=10**6).images) == 1
    else:
        with pytest.raises(ValueError, match=re.escape(small)):
            load_images([path], 8, max_pixels=10**6)
    if usable:
        assert small.size == large.size
        for resize in ("pad", "crop", "stretch"):
            assert fit_picture(small.image, (5, 7), resize).shape == (5, 7, 3)
        assert max(shrink(large.image, 16).size) <= 16


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(data=files_with_damaged_exif())
def test_damaged_exif_loses_no_picture(path, data):
    path.write_bytes(data)
    assert sorted(outcome(path).size) == [30, 40]


# Rules


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_read(path, name):
    path.write_bytes(FILES[name])
    picture = outcome(path, 1000)
    assert isinstance(picture, Picture)
    assert picture.image.size == picture.size
    # Nothing of the file but its pixels goes on into what is written.
    assert picture.image.info == {}
    assert not dict(picture.image.getexif())


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "TIFF", "TIFF LZW", "TIFF float"])
def test_size_is_that_of_the_turned_picture(path, name):
    path.write_bytes(FILES[name])
    width, height = outcome(path).size
    assert height > width


def test_reduced_jpeg_tells_the_size_of_the_file(path):
    gradient((1600, 1200)).save(path, "JPEG", exif=exif(6))
    picture = outcome(path, 64, max_pixels=MAX_PIXELS)
    assert picture.size == (1200, 1600)
    assert picture.image.size == (150, 200)
    gradient((1600, 1200)).save(path, "JPEG", exif=exif(3))
    assert outcome(path, 64, max_pixels=MAX_PIXELS).size == (1600, 1200)


@pytest.mark.parametrize("size", [(600, 1), (1, 600), (2000, 20), (517, 301)])
@pytest.mark.parametrize("side", [1, 8, 100, 257, 5000])
def test_jpeg_keeps_the_pixels_that_are_needed(path, size, side):
    gradient(size).save(path, "JPEG")
    picture = outcome(path, side)
    assert picture.size == size
    assert max(picture.image.size) >= min(side, max(size))


@pytest.mark.parametrize("size", [(600, 1), (1, 600)])
@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "gif", "bmp", "tif", "ppm"])
def test_thin_pictures(tmp_path, size, extension):
    file = tmp_path / f"thin.{extension}"
    gradient(size).save(file)
    picture = outcome(file, 32)
    assert picture.size == size
    assert shrink(picture.image, 32).size == ((32, 1) if size[1] == 1 else (1, 32))
    for resize in ("pad", "crop", "stretch"):
        assert fit_picture(picture.image, (16, 24), resize).shape == (16, 24, 3)


@pytest.mark.parametrize("name", FILES)
def test_max_pixels_holds_for_every_format_before_decoding(path, name, monkeypatch):
    path.write_bytes(FILES[name])
    width, height = outcome(path, 1000).size
    n_pixels = width * height
    # Pillow's own limit, which raises an error from twice as many pixels on, does not count.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", n_pixels // 4)
    assert isinstance(outcome(path, 1000, max_pixels=n_pixels), Picture)
    assert n_pixels // 4 == Image.MAX_IMAGE_PIXELS

    def fail(self):
        raise AssertionError("decoded")

    for cls in (Image.Image, *Image.Image.__subclasses__()):
        monkeypatch.setattr(cls, "load", fail)
    reason = outcome(path, max_pixels=n_pixels - 1)
    assert f"more pixels than max_pixels={n_pixels - 1}" in reason or (
        f"pixels are more than max_pixels={n_pixels - 1}" in reason
    )


def test_canvas_of_a_webp_file_is_not_made_to_learn_its_size(path):
    # Its header only: were the canvas made, the file would be damaged instead.
    header = b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x0f\x27\0" + b"\x0f\x27\0"
    path.write_bytes(header + bytes(34))
    reason = outcome(path, max_pixels=10**7)
    assert reason == "10000 x 10000 pixels are more than max_pixels=10000000"


def test_default_of_max_pixels(path):
    header = b"P5 %d 10 255\n"
    path.write_bytes(header % (MAX_PIXELS // 10 + 1))
    with pytest.raises(UnusableImage, match=f"more than max_pixels={MAX_PIXELS}"):
        read_picture(path, side=8)
    path.write_bytes(header % (MAX_PIXELS // 10))
    with pytest.raises(UnusableImage, match="damaged"):
        read_picture(path, side=8)


def test_damaged_lists_of_further_pictures_do_not_matter(path):
    data = FILES["JPEG of several"]
    start = data.index(b"MPF\0")
    path.write_bytes(data[: start + 4] + b"\xff" * 40 + data[start + 44 :])
    assert outcome(path).size == (60, 40)


def test_damaged_directory_of_a_tiff_file_loses_no_picture(path):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    # The directory of GPS data begins before the file.
    info.tagtype[0x8825] = 9
    info[0x8825], info[0x0112] = -9, 6
    gradient().save(path, "TIFF", tiffinfo=info)
    assert outcome(path).size == (30, 40)


# A damaged entry, of which Pillow warns, and after it none, since some versions read no further.
CORRUPT = encode(gradient(), "TIFF", tiffinfo={0x8298: "maker" * 20}).replace(
    struct.pack("<HHI", 0x8298, 2, 101), struct.pack("<HHI", 0x8298, 2, 10**6)
)


def test_what_the_caller_makes_of_warnings_changes_nothing(path):
    path.write_bytes(CORRUPT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        assert isinstance(outcome(path), Picture)
        assert warnings.filters == before
    with pytest.warns(UserWarning, match="larger than file|Truncated"):
        # The file is one that Pillow warns of.
        Image.open(path).close()
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        assert isinstance(outcome(path), Picture)
    assert record == []


def test_threads_do_not_take_away_each_other_s_filters(path):
    path.write_bytes(CORRUPT)
    before = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inside = list(warnings.filters)
        results = []
        threads = [
            threading.Thread(target=lambda: results.extend(outcome(path) for _ in range(100)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warnings.filters == inside
    assert warnings.filters == before
    assert len(results) == 800
    assert all(isinstance(result, Picture) for result in results)


def test_numpy_set_to_raise_changes_nothing(path):
    low, high = -3e38, 3e38
    Image.fromarray(np.array([[low, 0, high, np.inf]], dtype=np.float32)).save(path, "TIFF")
    with np.errstate(all="raise"):
        picture = outcome(path)
    assert np.asarray(picture.image).tolist() == [[0, 128, 255, 128]]


@posix
def test_pipes_and_folders_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert outcome(tmp_path / "pipe") == "not a regular file"
    assert outcome(tmp_path) == "is a folder"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"P", "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image of a known format"),
        (b"P6 0 5 255\n", ""),
    ],
)
def test_files_that_hold_no_picture(path, data, reason):
    path.write_bytes(data)
    assert reason in outcome(path)


def test_paths_that_cannot_be_opened(tmp_path):
    assert outcome(tmp_path / "none.png").startswith("cannot be read: No such file")
    assert outcome(f"{tmp_path}/nu\0ll.png").startswith("cannot be read: ")


@pytest.mark.parametrize("as_type", [str, os.fsencode, Path])
def test_paths_of_any_type(path, as_type):
    path.write_bytes(FILES["PNG"])
    assert isinstance(outcome(as_type(path)), Picture)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I", "F"])
def test_every_mode_becomes_gray_or_rgb(mode):
    image = gradient(mode="L").convert("RGB").convert("L").convert(mode)
    expected = "L" if mode in ("1", "L", "I", "F") else "RGB"
    converted = to_rgb(image)
    assert converted.mode == expected
    if mode not in ("1", "I", "P"):
        difference = np.asarray(converted.convert("L")).astype(int) - gradient(mode="L")
        assert np.abs(difference).max() <= 2


def test_shrink_keeps_small_pictures_and_proportions():
    image = gradient((60, 40))
    assert shrink(image, 60) is image
    assert shrink(image, 30).size == (30, 20)
    assert shrink(gradient((60, 40), "L"), 30).mode == "L"
