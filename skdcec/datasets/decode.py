"""How does a picture file become pixels? The only decoder: what it accepts can always be drawn."""

import io
import os
import re
import stat
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, NamedTuple, cast

import numpy as np
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin

from skdcec.datasets import heif
from skdcec.datasets.budget import (
    BYTES_PER_PIXEL,
    MAX_PIXELS,
    MIN_BYTES,
    WHOLE_BYTES,
    BoundedFile,
    UnusableImage,
    borrow_content,
    borrow_memory,
    check_memory,
    memory_of,
    needs_worker,
    seconds_for,
)
from skdcec.datasets.no_images import refuse_sheet, why_no_image
from skdcec.datasets.tiff import TiffFile, Values
from skdcec.datasets.within import Place, inflated, place_of, stored_in
from skdcec.datasets.workers import decode_in_worker

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "UNREADABLE",
    "Picture",
    "Source",
    "UnusableImage",
    "fit_picture",
    "kind_of",
    "opened_picture",
    "read_picture",
    "shrink",
    "to_rgb",
]

# Files may come from anyone, so only formats that Pillow decodes by itself: PostScript, for one,
# would start another program. HEIC is read where pillow-heif is installed, always in a worker.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")

# How the reason begins where the system refused the file, which may be another matter next time.
UNREADABLE = "cannot be read: "

# Of open files, what is longer than this is copied to the disk.
_IN_MEMORY = 2**26

# By the orientation that EXIF gives.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}


class Picture(NamedTuple):
    """A decoded picture.

    Attributes
    ----------
    image : PIL.Image.Image
        In mode "L" or "RGB", turned upright.
    size : (width, height)
        Size of the picture in the file, after turning. `image` may be smaller.
    """

    image: Image.Image
    size: tuple[int, int]


class _Limits(NamedTuple):
    """What `opened_picture` is told."""

    side: int
    max_pixels: int
    apart: bool
    page: int = 1


class _Cost(NamedTuple):
    """What a file may take in a worker."""

    memory: int
    seconds: float


# Reading


Source = str | bytes | os.PathLike[str] | IO[bytes] | Image.Image


def read_picture(
    source: Source,
    *,
    side: int,
    max_pixels: int = MAX_PIXELS,
    apart: bool = True,
) -> Picture:
    """Decode an image file, as `opened_picture` does, for a picture that is kept."""
    with opened_picture(source, side=side, max_pixels=max_pixels, apart=apart) as picture:
        return picture


@contextmanager
def opened_picture(
    source: Source,
    *,
    side: int,
    max_pixels: int = MAX_PIXELS,
    apart: bool = True,
) -> Iterator[Picture]:
    """Decode an image file to 8 bits, gray or RGB, and lend its memory until it is of use no more.

    What the file is, is read from its content. Of animated files and files of several pages the
    first is taken, unless the path names another (see :mod:`skdcec.datasets.within`), and it is
    turned as its EXIF orientation says, where that can be read. Pillow's warnings are silenced;
    what they were to become changes nothing.

    Parameters
    ----------
    source : str, bytes or path-like, binary file or PIL image
        Path of the file; an open file, which is read from where it stands to its end; or a picture
        that was opened already, which is left as it is.
    side : int
        How many pixels are needed at least on the longer side. JPEG files with more than twice
        as many on both sides are decoded at a reduced size, which is several times faster.
    max_pixels : int, default=178956970
        A file with more pixels than this, by its header, is not decoded. Pillow's own limit does
        not count. All threads together take at most 16 bytes of memory for each of them.
    apart : bool, default=True
        Whether a process of its own decodes what might not end, or not in silence.

    Yields
    ------
    picture : Picture

    Raises
    ------
    UnusableImage
        If no picture can be had; nothing else is raised. The text is the reason.
    """
    with ExitStack() as lent:
        limits = _Limits(side, max_pixels, apart)
        if isinstance(source, Image.Image):
            yield _of_image(source)
        elif isinstance(source, str | bytes | os.PathLike):
            yield _read(source, limits, lent)
        else:
            yield _read_stream(source, limits, lent)


def _of_image(image: Image.Image) -> Picture:
    """Return what a decoded file would be, of a picture that is open already."""
    try:
        if not (image.width and image.height):
            raise UnusableImage("has no pixels")
        with _silence():
            return _load(image, image.size)
    except (UnusableImage, MemoryError):
        raise
    except Exception as error:
        raise UnusableImage(f"damaged or unsupported: {_text(error)}") from error


def _read_stream(file: IO[bytes], limits: _Limits, lent: ExitStack) -> Picture:
    """Decode what an open file holds, in memory or, where that is much, from a file of our own."""
    most = max(limits.max_pixels * BYTES_PER_PIXEL, MIN_BYTES)
    try:
        content = b""
        # One reading may give less than there is.
        while len(content) <= _IN_MEMORY and (block := file.read(_IN_MEMORY + 1 - len(content))):
            if not isinstance(block, bytes):
                raise UnusableImage("an open file of text: open it in mode 'rb'")
            content = content + block if content else block
        if len(content) <= _IN_MEMORY:
            return _read(io.BytesIO(content), limits, lent)
        with tempfile.TemporaryDirectory(prefix="skdcec-") as folder:
            path = os.path.join(folder, "picture")
            with open(path, "wb") as copy:
                while content:
                    if copy.tell() + len(content) > most:
                        raise UnusableImage(f"holds more than {most >> 20} MiB")
                    copy.write(content)
                    content = file.read(2**20)
            return _read(path, limits, lent)
    except (OSError, ValueError) as error:
        raise UnusableImage(UNREADABLE + _text(error)) from error


def _read(
    source: str | bytes | os.PathLike[str] | io.BytesIO, limits: _Limits, lent: ExitStack
) -> Picture:
    try:
        content = source.getvalue() if isinstance(source, io.BytesIO) else None
        place = source if isinstance(source, io.BytesIO) else place_of(source)
        if isinstance(place, Place):
            limits = limits._replace(page=place.page)
            # Opening a pipe would wait for ever.
            mode = os.stat(place.file).st_mode
            if not stat.S_ISREG(mode):
                raise UnusableImage("is a folder" if stat.S_ISDIR(mode) else "not a regular file")
        with _opened(place) as file, _silence():
            plan = _decode(file, limits, lent)
        if isinstance(plan, Picture):
            return plan
        lent.enter_context(borrow_memory(plan.memory, limits.max_pixels))
        if content is None:
            return _from_worker(source, limits, plan)  # type: ignore[arg-type]
        # Another process reads files only.
        with tempfile.TemporaryDirectory(prefix="skdcec-") as folder:
            path = os.path.join(folder, "picture")
            with open(path, "wb") as copy:
                copy.write(content)
            return _from_worker(path, limits, plan)
    except OSError as error:
        raise UnusableImage(UNREADABLE + (error.strerror or _text(error))) from error
    except MemoryError as error:
        raise UnusableImage("takes more memory to decode than there is") from error
    except ValueError as error:
        # A null character in the path.
        raise UnusableImage(UNREADABLE + _text(error)) from error


@contextmanager
def _opened(place: Place | io.BytesIO) -> Iterator[BoundedFile]:
    """Open a file, or unpack one of an archive that begins like an image."""
    if isinstance(place, io.BytesIO) or place.member is None:
        with BoundedFile(place.file if isinstance(place, Place) else place) as file:
            yield file
        return
    member = stored_in(place)
    if member.n_bytes:
        _opener(inflated(place, member, 32)[:16].ljust(16, b"\0"))
    with (
        borrow_content(member.n_bytes),
        BoundedFile(io.BytesIO(inflated(place, member))) as file,
    ):
        yield file


def _from_worker(path: str | bytes | os.PathLike[str], limits: _Limits, plan: _Cost) -> Picture:
    return Picture(*decode_in_worker(path, limits.side, limits.max_pixels, plan.seconds))


def _decode(file: BoundedFile, limits: _Limits, lent: ExitStack) -> Picture | _Cost:
    try:
        try:
            return _decode_once(file, limits, lent)
        except Image.DecompressionBombError:
            lent.close()
            with _raised_guard(limits.max_pixels):
                return _decode_once(file, limits, lent)
    except (UnusableImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UnusableImage(f"has more pixels than max_pixels={limits.max_pixels}") from error
    except Exception as error:
        # Decoders meet damage with whatever error comes first.
        raise UnusableImage(f"damaged or unsupported: {_text(error)}") from error


def _decode_once(file: BoundedFile, limits: _Limits, lent: ExitStack) -> Picture | _Cost:
    """Return the picture, or what a worker may take for it."""
    side, max_pixels, apart, _ = limits
    file.seek(0)
    prefix = file.read(32)
    if not prefix:
        raise UnusableImage("empty file")
    # Some of the tests for a format expect this length.
    name, opener = _opener(prefix[:16].ljust(16, b"\0"))
    if name == "WEBP":
        # Pillow allocates the canvas before it tells the size.
        size = _webp_size(prefix)
        _check_pixels(size, max_pixels)
        lent.enter_context(borrow_memory(memory_of(name, size, file.length), max_pixels))
        image = _open(file, opener, max_pixels)
        file.end_header(seconds_for(size))
        return _load(image, size)
    check_memory(memory_of(name, (0, 0), file.length), max_pixels)
    data: IO[bytes] = file
    if name == "JPEG" and file.length <= WHOLE_BYTES:
        file.seek(0)
        data = io.BytesIO(file.read())
    image = _open(data, opener, max_pixels)
    if limits.page > 1:
        _turn_to(image, limits.page)
        _check_pixels(image.size, max_pixels)
    size = image.size
    file.end_header(seconds_for(size))
    # Keeps both sides at least as long as asked for, so thin pictures are left as they are.
    image.draft(None, (2 * side, 2 * side))
    apart = apart and needs_worker(image, data, size)
    memory = memory_of(name, size, file.length, image, apart=apart)
    if apart:
        return _Cost(memory, seconds_for(size))
    lent.enter_context(borrow_memory(memory, max_pixels))
    return _load(image, size)


def _open(file: IO[bytes], opener: Callable[..., Image.Image], max_pixels: int) -> Image.Image:
    file.seek(0)
    # Not Image.open, whose guard against huge images is one setting for all of the process.
    image = opener(file, "")
    if not (image.width and image.height):
        raise UnusableImage("has no pixels")
    _check_pixels(image.size, max_pixels)
    return image


def _turn_to(image: Image.Image, page: int) -> None:
    if image.format != "TIFF":
        raise UnusableImage(f"page {page} of a {image.format} file, which has one")
    try:
        image.seek(page - 1)
    except EOFError as error:
        raise UnusableImage(f"has no page {page}") from error


def _load(image: Image.Image, size: tuple[int, int]) -> Picture:
    """Return the pixels of a file whose size was `size` before it was reduced."""
    reduced = image.size != size
    image.load()
    refuse_sheet(image)
    turn = _turn(image)
    values = image.values if isinstance(image, TiffFile) else Values()
    # Without what belongs to the file: its decoder's memory, EXIF data, colour profiles.
    upright = to_rgb(image._new(image.im), values)
    del image
    upright.info = {}
    if turn is not None:
        upright = upright.transpose(turn)
    if not reduced:
        # Formats differ in whether the size before loading is that before turning.
        size = upright.size
    elif turn in _QUARTER_TURNS:
        size = size[1], size[0]
    return Picture(upright, size)


def _opener(prefix: bytes) -> tuple[str, Callable[..., Image.Image]]:
    Image.init()
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        accepted = factory is not None and accept is not None and accept(prefix)
        if isinstance(accepted, str):
            # Right format, but this Pillow was built without its decoder.
            raise UnusableImage(accepted)
        if accepted:
            return name, _OPENERS.get(name) or cast(Callable[..., Image.Image], factory)
    if heif.is_heic(prefix):
        try:
            return "HEIF", heif.opener()
        except ImportError as error:
            # Which may be another matter next time.
            raise UnusableImage(f"{UNREADABLE}{error}") from error
    raise UnusableImage(why_no_image(prefix))


def kind_of(beginning: bytes) -> str | None:
    """Return the format of the image that a file begins like, by Pillow's names, or None."""
    try:
        return _opener(beginning[:16].ljust(16, b"\0"))[0]
    except UnusableImage:
        return "HEIF" if heif.is_heic(beginning) else None


# Pillow's JPEG factory looks for further pictures, and fails where the list of them is damaged.
_OPENERS: dict[str, Callable[..., Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "TIFF": TiffFile,
}


def _turn(image: Image.Image) -> Image.Transpose | None:
    # A picture with broken EXIF data is still a picture.
    with suppress(Exception):
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return None


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UnusableImage(f"{width} x {height} pixels are more than max_pixels={max_pixels}")


def _webp_size(prefix: bytes) -> tuple[int, int]:
    def number(start: int, n_bytes: int) -> int:
        return int.from_bytes(prefix[start : start + n_bytes], "little")

    kind = prefix[12:16]
    if kind == b"VP8X":
        return number(24, 3) + 1, number(27, 3) + 1
    if kind == b"VP8L":
        return (number(21, 4) & 0x3FFF) + 1, (number(21, 4) >> 14 & 0x3FFF) + 1
    return number(26, 2) & 0x3FFF, number(28, 2) & 0x3FFF


def _text(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# Pillow's settings are one for all threads

_FROM_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_GUARD_LOCK = threading.Lock()


@contextmanager
def _silence() -> Iterator[None]:
    """Ignore the warnings that Pillow issues, whatever the caller makes of warnings."""
    if getattr(sys.flags, "context_aware_warnings", False):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
        return
    # catch_warnings puts back the list it found, which takes away what other threads have changed
    # meanwhile. One entry in and the same out is safe: each of the calls is atomic.
    filters = cast(list[Any], warnings.filters)
    filters.insert(0, _FROM_PILLOW)
    try:
        yield
    finally:
        # Whoever resets the filters meanwhile has taken it out.
        with suppress(ValueError):
            filters.remove(_FROM_PILLOW)


@contextmanager
def _raised_guard(max_pixels: int) -> Iterator[None]:
    """Let pictures of up to `max_pixels` pass Pillow's guard.

    The guard is a global setting, so it is touched only for files that it has stopped, which
    takes a `max_pixels` above it.
    """
    with _GUARD_LOCK:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max(max_pixels, before or 0)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


# Pixels

_UNSIGNED = Values()


def to_rgb(image: Image.Image, values: Values = _UNSIGNED) -> Image.Image:
    """Convert to 8 bits, gray or RGB: gray images become RGB once they are small.

    Parameters
    ----------
    image : PIL.Image.Image
        In any mode. Transparency is laid on white. 16-bit images are divided by 257. Float images
        are taken as ranging to 1, 255 or 65535, whichever is the first to hold them, and from
        their least to their greatest value otherwise.
    values : Values, optional
        What the numbers of a picture of more than 8 bits mean.

    Returns
    -------
    image : PIL.Image.Image
        In mode "L" or "RGB"; the same one if it is so.
    """
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        return _gray(image, values)
    if not image.has_transparency_data:
        return image.convert("L" if image.mode in ("1", "L") else "RGB")
    result = Image.new("RGB", image.size)
    for band, box in _bands(image):
        # Of premultiplied gray there is one way only.
        band = band.convert("LA") if band.mode == "La" else band
        white = Image.new("RGBA", band.size, "white")
        result.paste(Image.alpha_composite(white, band.convert("RGBA")), box)
    return result


def _bands(image: Image.Image) -> Iterator[tuple[Image.Image, tuple[int, int]]]:
    """Yield parts, since what is between two forms of a picture would double its memory."""
    rows = max(1, 2**18 // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        yield image.crop((0, top, image.width, bottom)), (0, top)


def _gray(image: Image.Image, values: Values) -> Image.Image:
    def numbers(band: Image.Image) -> np.ndarray:
        array = np.asarray(band)
        array = array if values.dtype is None else array.view(values.dtype)
        return np.where(np.isfinite(array), array, 0).astype(np.float32)

    result = Image.new("L", image.size)
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (float(values.white),)
    with np.errstate(all="ignore"):
        bands = (numbers(band) for band, _ in _bands(image))
        lows, highs = zip(*((pixels.min(), pixels.max()) for pixels in bands), strict=True)
        low, high = float(min(lows)), float(max(highs))
        if low >= 0 and high <= ranges[-1]:
            low, high = 0.0, next(limit for limit in ranges if high <= limit)
        half = high - low > np.finfo(np.float32).max
        if half:
            low, high = low / 2, high / 2
        scale = np.float32(255 / max(high - low, 1e-30))
        for band, box in _bands(image):
            pixels = numbers(band) / 2 if half else numbers(band)
            pixels = np.round((pixels - np.float32(low)) * scale).astype(np.uint8)
            result.paste(Image.fromarray(255 - pixels if values.inverted else pixels), box)
    return result


def fit_picture(image: Image.Image, size: tuple[int, int], resize: str) -> np.ndarray:
    """Bring a picture to a given size.

    Parameters
    ----------
    image : PIL.Image.Image
        In mode "L" or "RGB".
    size : (height, width)
        In pixels.
    resize : {"pad", "crop", "stretch"}
        "pad" keeps the whole picture and fills the bars with the mean colour of its border,
        "crop" keeps the largest centred part, "stretch" ignores the proportions.

    Returns
    -------
    pixels : ndarray of shape (height, width, 3), dtype uint8
    """
    height, width = size
    if resize == "crop":
        fitted = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
        return np.asarray(fitted.convert("RGB"))
    inner = (width, height) if resize == "stretch" else _inside(image.size, (width, height))
    content = np.asarray(_resample(image, inner).convert("RGB"))
    if inner == (width, height):
        return content
    border = np.concatenate([content[0], content[-1], content[:, 0], content[:, -1]])
    padded = np.empty((height, width, 3), dtype=np.uint8)
    padded[:] = border.mean(axis=0).round()
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    padded[top : top + inner[1], left : left + inner[0]] = content
    return padded


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Make a picture small enough for a square, and leave it as it is where it is.

    Parameters
    ----------
    image : PIL.Image.Image
        In mode "L" or "RGB".
    side : int
        Length of the square's sides in pixels.

    Returns
    -------
    image : PIL.Image.Image
        With the proportions of `image`, but never less than one pixel high or wide.
    """
    if max(image.size) <= side:
        return image
    return _resample(image, _inside(image.size, (side, side)))


def _inside(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size of the same proportions that fits into the box."""
    scale = min(box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resample(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if size == image.size:
        return image
    # Large reductions first by whole factors: several times faster, no visible difference.
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
