"""What lies among images and is none?"""

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


def why_no_image(beginning: bytes) -> str:
    """Return why a file that begins like no image cannot be used."""
    if beginning.startswith(b"%PDF-"):
        return "a PDF document: its pages can be used once they are saved as images"
    return "not an image of a known format"
