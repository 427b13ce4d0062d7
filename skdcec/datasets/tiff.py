"""Does Pillow understand this TIFF file? It decodes some kinds of them to something else."""

import math
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from PIL import ImagePalette, TiffImagePlugin

from skdcec.datasets.budget import UnusableImage

__all__ = ["TiffFile", "Values"]

_MAX_PIECES = 100_000

# Bytes of one tag, each number of which becomes an object; what is stored as bytes stays so.
_MAX_NUMBERS = 2**20
_BYTES = (1, 2, 7)

_NATIVE = {"I;16BS": "I;16NS", "I;32S": "I;32NS", "I;32BS": "I;32NS"}
_NATIVE |= {"F;32F": "F;32NF", "F;32BF": "F;32NF"}

_BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _SAMPLES, _ROWS = 258, 259, 262, 273, 277, 278
_PLANAR, _PREDICTOR, _COLORS, _TILE_WIDTH, _TILE_LENGTH, _TILES = 284, 317, 320, 322, 323, 324
_EXTRA, _FORMAT, _SUBSAMPLING, _DEPTH = 338, 339, 530, 32997


class Values(NamedTuple):
    """What the numbers of a picture of more than 8 bits mean."""

    white: int = 65535
    inverted: bool = False
    dtype: Any = None


class TiffFile(TiffImagePlugin.TiffImageFile):
    """Pillow's reader for what it reads rightly."""

    values = Values()
    working_bytes = 0

    def _setup(self) -> None:
        bits = self._check()
        super()._setup()
        if self.mode in ("P", "PA") and max(self.tag_v2[_COLORS]) < 256:
            # Some programs write bytes where 16 bits are meant.
            colors = bytes(self.tag_v2[_COLORS])
            self.palette = ImagePalette.raw("RGB;L", colors)
        if self.use_load_libtiff:
            # It gives numbers in the order of the machine, whatever the file's.
            tile: Any = self.tile[0]
            args = (_NATIVE.get(tile[3][0], tile[3][0]), *tile[3][1:])
            # A named tuple since version 11.
            tiles: Any = [getattr(type(tile), "_make", tuple)((*tile[:3], args))]
            self.tile = tiles
        white_is_zero = self.tag_v2.get(_PHOTOMETRIC, 0) == 0
        self.values = Values(
            white=4095 if bits == 12 else 65535,
            inverted=white_is_zero and self.mode.startswith(("I", "F")),
            dtype=np.uint32 if bits == 32 and self._numbers() == 1 else None,
        )

    def _numbers(self) -> int:
        kinds = _all(self.tag_v2.get(_FORMAT, 1))
        return int(kinds[0]) if kinds else 1

    def _check(self) -> int:
        """Refuse what is decoded to something else, and return the bits of a sample."""
        tags = self.tag_v2
        for tag, data in tags._tagdata.items():
            if len(data) > _MAX_NUMBERS and tags.tagtype[tag] not in _BYTES:
                raise UnusableImage(f"TIFF with {len(data)} bytes of numbers in tag {tag}")
        samples = tags.get(_SAMPLES, 1)
        if samples > TiffImagePlugin.MAX_SAMPLESPERPIXEL:
            # Pillow writes a line about it, and raises.
            raise UnusableImage(f"TIFF with {samples} samples per pixel")
        bits = max(_all(tags.get(_BITS, 1)), default=1)
        planes = samples if tags.get(_PLANAR, 1) == 2 else 1
        raw = tags.get(_COMPRESSION, 1) == 1
        photometric = tags.get(_PHOTOMETRIC, 0)
        premultiplied = 1 in _all(tags.get(_EXTRA, ()))
        if planes > 1 and (bits != 8 or photometric not in (2, 5) or premultiplied):
            raise UnusableImage(
                f"TIFF with separate planes of {bits} bits, of which only RGB and CMYK of 8 bits"
                " are read"
            )
        if bits == 8 and self._numbers() == 2:
            raise UnusableImage("TIFF with signed numbers of 8 bits")
        if photometric == 6 and raw and _all(tags.get(_SUBSAMPLING, (2, 2))) != (1, 1):
            raise UnusableImage("TIFF with subsampled colours that are not compressed")
        if raw and tags.get(_PREDICTOR, 1) != 1:
            raise UnusableImage("TIFF with a predictor but no compression")
        if tags.get(_DEPTH, 1) != 1:
            raise UnusableImage("TIFF of a volume")
        self._check_pieces(planes, raw, samples * bits / 8)
        return bits

    def _check_pieces(self, planes: int, raw: bool, pixel_bytes: float) -> None:
        tags = self.tag_v2
        width, height = tags.get(256), tags.get(257)
        rows = tags.get(_ROWS, height)
        column, offsets = width, tags.get(_STRIPS)
        if offsets is None:
            column, rows, offsets = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH), tags.get(_TILES)
        sides: Any = (width, height, column, rows)
        if offsets is None or not all(isinstance(side, int) and side > 0 for side in sides):
            raise UnusableImage("damaged: TIFF without the size of its picture or its pieces")
        width, height, column, rows = sides
        rows = min(rows, height) if _STRIPS in tags else rows
        needed = math.ceil(width / column) * math.ceil(height / rows) * planes
        found = len(_all(offsets))
        if max(found, needed) > _MAX_PIECES:
            raise UnusableImage(f"TIFF in {max(found, needed)} pieces")
        if found < needed or (raw and found > needed):
            raise UnusableImage(f"damaged: TIFF with {found} of {needed} pieces")
        self.working_bytes = 0 if raw else int(column * rows * pixel_bytes * 2)

    def load_end(self) -> None:
        """Read the orientation while the file is open, but no other EXIF directories.

        Pillow reads all of them and turns the picture here, and fails where one is damaged.
        """
        with suppress(Exception):
            self.getexif()


def _all(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)
