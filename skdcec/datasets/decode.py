"""What is a picture file? Which formats are read, and how each kind becomes 8 bits."""

import numpy as np
from PIL import Image

# Files may come from anyone, so only formats that Pillow decodes by itself: PostScript, for one,
# would start another program.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8 bits, gray or RGB: gray images become RGB once they are small."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_8_bit(np.asarray(image), image.mode))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _to_8_bit(values: np.ndarray, mode: str) -> np.ndarray:
    ranges = (1.0, 255.0, 65535.0) if mode == "F" else (65535.0,)
    values = np.where(np.isfinite(values), values, 0).astype(np.float32)
    low, high = min(values.min(), 0.0), values.max()
    if low < 0 or high > ranges[-1]:
        low = values.min()
    else:
        high = next(limit for limit in ranges if high <= limit)
    return np.round((values - low) * (255 / max(high - low, 1e-30))).astype(np.uint8)
