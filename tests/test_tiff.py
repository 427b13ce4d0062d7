"""TIFF files are read as another reader reads them, or refused."""

import itertools
import re
import struct
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from skdcec.datasets.decode import UnusableImage, read_picture

tifffile = pytest.importorskip("tifffile")

COMPRESSIONS = [None, "zlib", "packbits"]
SAMPLES = {"minisblack": 1, "miniswhite": 1, "rgb": 3}
KINDS = [
    (dtype, photometric, planar, extra)
    for dtype, photometric, planar, extra in itertools.product(
        ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"],
        SAMPLES,
        ["contig", "separate"],
        [None, "unassalpha", "assocalpha", "unspecified"],
    )
    if (planar == "contig" or SAMPLES[photometric] + (extra is not None) > 1)
    and (extra is None or dtype in ("u1", "u2"))
]


def pixels(dtype, photometric, planar, extra):
    """Values over all of the range, in which rows and bands differ."""
    y, x = np.mgrid[:40, :52]
    plane = ((x * 4 + y * 2 + 10 * np.sin(x / 3)) % 255) / 255
    n_samples = SAMPLES[photometric] + (extra is not None)
    planes = np.stack([np.roll(plane, 5 * i, 0) for i in range(n_samples)], -1)
    if extra == "assocalpha":
        planes[..., :-1] *= planes[..., -1:]
    if np.dtype(dtype).kind != "f":
        limits = np.iinfo(dtype)
        planes = limits.min + planes * (0.999 * limits.max - limits.min)
    planes = planes.astype(dtype)
    if n_samples == 1:
        return planes[..., 0]
    return planes if planar == "contig" else np.moveaxis(planes, -1, 0)


def expected(read, photometric, planar, extra):
    """Return 8 bits, by the rules that `load_images` states."""
    values = read.astype(float)
    if read.dtype.kind == "f":
        values *= 255
    elif read.dtype in (np.uint8, np.uint16):
        values *= 255 / np.iinfo(read.dtype).max
    else:
        values = (values - values.min()) / (values.max() - values.min()) * 255
    if photometric == "miniswhite":
        values = 255 - values
    if values.ndim == 2:
        return values
    if planar == "separate":
        values = np.moveaxis(values, 0, -1)
    if extra is None:
        return values
    values, alpha = values[..., :-1], values[..., -1:] / 255
    white = 255 * (1 - alpha)
    return {"unassalpha": values * alpha + white, "assocalpha": values + white}.get(extra, values)


def write(path, array, kind, **options):
    _, photometric, planar, extra = kind
    tifffile.imwrite(
        path,
        array,
        photometric=photometric,
        planarconfig=planar if array.ndim > 2 else None,
        extrasamples=None if extra is None else [extra],
        metadata=None,
        **options,
    )


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: " ".join(map(str, kind)))
def test_pixels_are_those_of_another_reader(tmp_path, kind, compression):
    array = pixels(*kind)
    refused = []
    forms = itertools.product("<>", [{}, {"rowsperstrip": 7}, {"tile": (16, 32)}], [False, True])
    for byteorder, pieces, predictor in forms:
        if predictor and compression != "zlib":
            continue
        path = tmp_path / "picture.tif"
        try:
            write(
                path,
                array,
                kind,
                byteorder=byteorder,
                compression=compression,
                predictor=predictor,
                **pieces,
            )
        except (ValueError, NotImplementedError, RuntimeError):
            # Without its codecs tifffile writes less.
            continue
        try:
            image = read_picture(path, side=1000).image
        except UnusableImage as reason:
            refused.append(str(reason))
            continue
        want = expected(tifffile.imread(path), *kind[1:])
        got = np.asarray(image).astype(float)
        if got.ndim > want.ndim:
            want = want[..., None]
        elif got.ndim < want.ndim:
            want = want[..., 0]
        assert np.abs(got - want).max() <= (2 if kind[3] is None else 4)
    for reason in refused:
        assert re.search("separate planes|signed|unknown pixel|string index", reason)
    assert not refused or kind not in READ


# What is common must not be refused to be on the safe side.
READ = [
    *(("u1", photometric, "contig", None) for photometric in SAMPLES),
    ("u1", "rgb", "separate", None),
    ("u2", "rgb", "contig", None),
    *((dtype, "minisblack", "contig", None) for dtype in ("u2", "i2", "i4", "f4")),
    *(
        (dtype, "rgb", "contig", extra)
        for dtype in ("u1", "u2")
        for extra in ("unassalpha", "assocalpha")
    ),
]


def test_16_bits_of_which_zero_is_white(tmp_path):
    array = pixels("u2", "miniswhite", "contig", None)
    for compression in (None, "zlib"):
        write(
            tmp_path / "p.tif",
            array,
            ("u2", "miniswhite", "contig", None),
            byteorder="<",
            compression=compression,
        )
        got = np.asarray(read_picture(tmp_path / "p.tif", side=99).image)
        assert np.abs(got - (255 - array / 257)).max() <= 1


def tiff(tags, data):
    """A TIFF file of one directory; a tag is a number, a type and values."""
    sizes = {1: "B", 3: "H", 4: "I"}
    tags = sorted(tags)
    extra_at = 8 + 2 + 12 * len(tags) + 4
    extra, entries = b"", b""
    for number, kind, values in tags:
        body = struct.pack(f"<{len(values)}{sizes[kind]}", *values)
        if len(body) > 4:
            body, extra = struct.pack("<I", extra_at + len(extra)), extra + body
        entries += struct.pack("<HHI", number, kind, len(values)) + body.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head + extra, data


def gray(offsets=None, n_rows=8, side=32, more=(), data=None):
    """An uncompressed gray picture in strips, the offsets of which are counted from the data."""
    data = bytes(range(256)) * (side * side // 256) if data is None else data
    offsets = list(range(0, side * side, n_rows * side)) if offsets is None else offsets
    known = {number for number, *_ in more}
    tags = [(256, 3, [side]), (257, 3, [side]), (258, 3, [8]), (259, 3, [1]), (262, 3, [1])]
    tags += [(277, 3, [1]), (278, 3, [n_rows]), (279, 4, [n_rows * side] * len(offsets))]
    tags = [tag for tag in tags if tag[0] not in known] + list(more)
    head, _ = tiff([*tags, (273, 4, offsets)], b"")
    return b"".join(tiff([*tags, (273, 4, [len(head) + at for at in offsets])], b"")) + data


def reason_of(path, data):
    path.write_bytes(data)
    with pytest.raises(UnusableImage) as caught:
        read_picture(path, side=8)
    return str(caught.value)


def test_what_tags_say_otherwise_is_refused(tmp_path):
    path = tmp_path / "p.tif"
    path.write_bytes(gray())
    assert np.asarray(read_picture(path, side=99).image).ravel().tolist() == list(range(256)) * 4
    assert reason_of(path, gray([0, 256])) == "damaged: TIFF with 2 of 4 pieces"
    assert reason_of(path, gray([0] * 9)) == "damaged: TIFF with 9 of 4 pieces"
    assert reason_of(path, gray([0] * 100_001)) == "TIFF in 100001 pieces"
    assert "bytes of numbers in tag 273" in reason_of(path, gray([0] * 300_000))
    assert "predictor" in reason_of(path, gray(more=[(317, 3, [2])]))
    assert "signed" in reason_of(path, gray(more=[(339, 3, [2])]))
    assert "volume" in reason_of(path, gray(more=[(32997, 3, [2])]))
    ycbcr = [(262, 3, [6]), (277, 3, [3]), (258, 3, [8, 8, 8])]
    assert "subsampled" in reason_of(path, gray(more=ycbcr, data=bytes(4096)))


def test_12_bits_are_not_read_as_16(tmp_path):
    data = bytes([0xFF, 0xFF, 0xFF]) * 512
    (tmp_path / "p.tif").write_bytes(gray(more=[(258, 3, [12])], data=data))
    assert np.asarray(read_picture(tmp_path / "p.tif", side=99).image).min() == 255


def test_palette_of_bytes(tmp_path):
    colors = [(320, 3, [*range(256)] * 3), (262, 3, [3])]
    (tmp_path / "p.tif").write_bytes(gray(more=colors))
    image = read_picture(tmp_path / "p.tif", side=99).image
    assert np.asarray(image)[..., 0].ravel().tolist() == list(range(256)) * 4


@pytest.mark.parametrize("seed", range(20))
def test_damage_is_not_told_on_stderr(tmp_path, seed, capfd):
    rng = np.random.default_rng(seed)
    kind = ("u1", "rgb", "contig", None)
    path = tmp_path / "damaged.tif"
    write(path, pixels(*kind), kind, compression=COMPRESSIONS[1 + seed % 2])
    damaged = bytearray(path.read_bytes())
    for at in rng.integers(300, len(damaged), 20):
        damaged[at] ^= 0xFF
    path.write_bytes(damaged[: rng.integers(400, len(damaged))])
    with suppress(UnusableImage):
        read_picture(path, side=8)
    assert capfd.readouterr() == ("", "")


def test_samples_that_nobody_has_are_refused_without_a_word(tmp_path, caplog):
    path = tmp_path / "many.tif"
    Image.new("RGB", (4, 4)).save(path)
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (n_entries,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * n_entries, 12):
        if struct.unpack_from("<H", content, entry) == (277,):
            struct.pack_into("<H", content, entry + 8, 32515)
    path.write_bytes(content)
    with pytest.raises(UnusableImage, match="32515 samples per pixel"):
        read_picture(path, side=4)
    assert caplog.text == ""
