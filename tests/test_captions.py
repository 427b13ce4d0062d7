"""Names below pictures, in letters that a font has."""

import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from skdcec._cli import captions
from skdcec._cli.captions import caption_font, drawable


@pytest.fixture
def poor(monkeypatch):
    """Pillow's own font, as where no other is found."""
    monkeypatch.setattr(captions, "_candidates", lambda: iter(["no such font.ttf"]))
    return caption_font()


def test_without_another_font_accents_are_left_out(poor):
    assert type(poor) is type(ImageFont.load_default())
    assert drawable("Étude n° 7, Fluß, Łódź.jpg", poor).startswith("Etude n")
    assert "Fluss, Lodz.jpg" in drawable("Étude n° 7, Fluß, Łódź.jpg", poor)
    assert drawable("🎨 富士.png", poor) == "? ??.png"


def test_a_font_of_the_system_draws_names_as_they_are():
    font = caption_font()
    if not isinstance(font, ImageFont.FreeTypeFont) or font.getname()[0] == "Aileron":
        pytest.skip("needs a font of many letters")
    name = "Frühling am Fluß, Étude n° 7.jpg"
    assert drawable(name, font) == name
    # As macOS writes it.
    assert drawable(unicodedata.normalize("NFD", name), font) == name


def test_nothing_that_is_drawn_is_a_box(poor):
    for font in (poor, caption_font()):
        for letter in "éüßøŁж富🎨":
            drawn = [paint(part, font) for part in drawable(letter, font)]
            assert all((one != paint("\U0010ffff", font)).any() for one in drawn)


def paint(letter, font):
    picture = Image.new("L", (40, 40))
    ImageDraw.Draw(picture).text((5, 5), letter, fill=255, font=font)
    return np.asarray(picture)
