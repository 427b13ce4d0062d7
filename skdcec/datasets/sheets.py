"""How are contact sheets told from the images that they show? By a note in the file itself."""

from contextlib import suppress

from PIL import ExifTags, Image

from skdcec.datasets.budget import UnusableImage

_MARK = "skdcec contact sheet"


def sheet_note() -> Image.Exif:
    """Return what a contact sheet is saved with."""
    note = Image.Exif()
    note[ExifTags.Base.Software] = _MARK
    return note


def refuse_sheet(image: Image.Image) -> None:
    """Raise :class:`UnusableImage` for a contact sheet, which is no image of a collection."""
    software = None
    # A picture with broken EXIF data is still a picture.
    with suppress(Exception):
        software = image.getexif().get(ExifTags.Base.Software)
    if software == _MARK:
        raise UnusableImage("a contact sheet that skdcec similar wrote")
