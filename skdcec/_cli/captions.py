"""In which letters are names drawn below pictures?"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from skdcec._cli.console import printable

if TYPE_CHECKING:
    from PIL import ImageFont

# Pillow finds them where Linux, macOS and Windows keep their fonts. Its own has few accents.
FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf"),
    *("Arial Unicode.ttf", "Arial.ttf", "arial.ttf", "segoeui.ttf"),
)
# What is not a letter with an accent that could be left out.
_PLAIN = str.maketrans({"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}) | {
    **str.maketrans("øØłŁđĐı", "oOlLdDi"),
    **str.maketrans("–—’‘“”", "--''\"\""),
}
_MISSING = "\U0010ffff"


def caption_font(size: int = 11) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font with the letters of many languages, or else Pillow's own."""
    from PIL import ImageFont

    for name in _candidates():
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default()


def _candidates() -> Iterator[str]:
    yield from FONTS
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin is not None:
        yield str(Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


def drawable(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return text in the letters that a font has: without their accents, or as question marks."""
    # macOS writes letters and their accents apart in the names of files.
    text = unicodedata.normalize("NFC", printable(text))
    return "".join(
        letter if _has(font, letter) else _without_accents(letter, font) for letter in text
    )


def _without_accents(letter: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    apart = unicodedata.normalize("NFKD", letter.translate(_PLAIN))
    plain = "".join(part for part in apart if not unicodedata.combining(part))
    return plain if plain and all(_has(font, part) for part in plain) else "?"


def _has(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, letter: str) -> bool:
    if letter.isascii():
        return True
    try:
        return bytes(font.getmask(letter)) != bytes(font.getmask(_MISSING))
    except UnicodeEncodeError:
        # Pillow's font without FreeType knows Latin-1 only.
        return False
