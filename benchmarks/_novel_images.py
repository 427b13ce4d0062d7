"""Pictures that no collection of paintings holds, drawn by code from a seeded generator.

There are two sets of renderings of every kind, "first" and "second", with other fonts, sizes,
colours and layouts. A detector that was worked on with the first is judged by the second as well.
"""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits, load_sample_images

_FONTS = sorted(Path("/usr/share/fonts/truetype").rglob("*.ttf"))
# fmt: off
_WORDS = (
    "the", "of", "collection", "and", "picture", "search", "settings", "open", "file", "a",
    "to", "in", "museum", "page", "result", "table", "archive", "catalogue", "new", "saved",
    "about", "home", "account", "year", "paper", "figure", "method", "data", "light", "shown",
    "we", "between", "value", "list", "date", "report", "section", "model", "river", "window",
    "portrait", "help", "edit", "view", "tools", "inventory", "exhibition", "loan",
    "condition", "12", "1874", "3.5", "%", "2026", "no.", "p.", "vol.", "index",
)
# fmt: on


def render(kind, rng, style, painting):
    """Return one picture of a kind as an RGB image; `painting` is what a negative is made of."""
    if kind == "negatives":
        return Image.fromarray(255 - painting)
    image = _MAKERS[kind][style == "second"](rng)
    # Half of what people upload went through JPEG, as all the paintings did.
    if rng.random() < 0.5:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(60, 96)))
        image = Image.open(file).convert("RGB")
    return image


def _font(rng, size, style):
    if style == "second" and _FONTS:
        return ImageFont.truetype(str(_FONTS[rng.integers(len(_FONTS))]), size)
    return ImageFont.load_default(size=size)


def _text(rng, n_words):
    return " ".join(_WORDS[i] for i in rng.integers(len(_WORDS), size=n_words))


def _color(rng, low=0, high=256):
    return tuple(int(v) for v in rng.integers(low, high, size=3))


def _paragraph(draw, rng, box, font, fill, *, leading=1.4, ragged=True):
    left, top, right, bottom = box
    step = max(4, int(font.size * leading))
    wide = max(1, int((right - left) / max(2, font.size * 3.0)))
    for y in range(int(top), int(bottom - font.size), step):
        words = max(1, wide - int(rng.integers(0, 3) if ragged else 0))
        line = _text(rng, words + 2)
        while len(line) > 1 and draw.textlength(line, font=font) > right - left:
            line = line[:-1]
        draw.text((left, y), line, font=font, fill=fill)
        if rng.random() < 0.08:
            right = left + (box[2] - left) * rng.uniform(0.4, 0.9)
        else:
            right = box[2]


# Screens


def _screen_first(rng):
    """A browser or a program: a title bar, a side bar, paragraphs, buttons; light or dark."""
    width, height = [(1280, 800), (1024, 768), (800, 1000), (900, 900)][rng.integers(4)]
    dark = rng.random() < 0.35
    back = _color(rng, 15, 50) if dark else _color(rng, 236, 256)
    ink = _color(rng, 190, 256) if dark else _color(rng, 0, 80)
    accent = _color(rng)
    image = Image.new("RGB", (width, height), back)
    draw = ImageDraw.Draw(image)
    bar = int(rng.integers(30, 90))
    draw.rectangle((0, 0, width, bar), fill=accent if rng.random() < 0.5 else _color(rng, 40, 230))
    draw.text((20, bar // 4), _text(rng, 5), font=_font(rng, bar // 2, "first"), fill=back)
    side = int(width * rng.uniform(0.12, 0.3)) if rng.random() < 0.7 else 0
    if side:
        shade = tuple(max(0, v - 18) if not dark else v + 18 for v in back)
        draw.rectangle((0, bar, side, height), fill=shade)
        size = int(rng.integers(14, 22))
        for y in range(bar + 20, height - 30, int(rng.integers(28, 60))):
            draw.text((16, y), _text(rng, 2)[:14], font=_font(rng, size, "first"), fill=ink)
    y = bar + 20
    while y < height - 60:
        block = rng.random()
        tall = int(rng.integers(60, 260))
        left, right = side + 30, width - int(rng.integers(20, 120))
        if block < 0.6:
            size = int(rng.integers(12, 26))
            box = (left, y, right, min(height, y + tall))
            _paragraph(draw, rng, box, _font(rng, size, "first"), ink)
        elif block < 0.8:
            for x in range(left, right - 100, 140):
                draw.rounded_rectangle((x, y, x + 110, y + 36), 6, fill=accent)
            tall = 50
        else:
            box = (left, y, right, min(height - 5, y + tall))
            draw.rectangle(
                box, outline=ink, fill=_color(rng, 60, 250) if rng.random() < 0.5 else None
            )
        y += tall + int(rng.integers(10, 40))
    return image


def _screen_second(rng):
    """A desktop with overlapping windows, a terminal, a telephone's screen, or a spreadsheet."""
    kind = rng.integers(4)
    if kind == 0:
        width, height = 1440, 900
        image = Image.new("RGB", (width, height), _color(rng, 20, 200))
        draw = ImageDraw.Draw(image)
        for _ in range(int(rng.integers(2, 5))):
            x, y = int(rng.integers(0, 700)), int(rng.integers(0, 400))
            w, h = int(rng.integers(400, 800)), int(rng.integers(300, 600))
            paper = _color(rng, 225, 256) if rng.random() < 0.7 else _color(rng, 20, 60)
            ink = (20, 20, 20) if sum(paper) > 400 else (220, 220, 220)
            draw.rectangle((x, y, x + w, y + h), fill=paper, outline=(90, 90, 90), width=2)
            draw.rectangle((x, y, x + w, y + 32), fill=_color(rng, 100, 230))
            font = _font(rng, int(rng.integers(13, 24)), "second")
            _paragraph(draw, rng, (x + 14, y + 46, x + w - 14, y + h - 10), font, ink)
        draw.rectangle((0, height - 44, width, height), fill=_color(rng, 20, 80))
    elif kind == 1:
        width, height = 1000, 700
        image = Image.new("RGB", (width, height), _color(rng, 0, 40))
        draw = ImageDraw.Draw(image)
        ink = [(80, 220, 80), (220, 220, 220), (230, 190, 90)][rng.integers(3)]
        font = _font(rng, int(rng.integers(14, 22)), "second")
        full = int(height * rng.uniform(0.6, 1))
        _paragraph(draw, rng, (10, 10, width * rng.uniform(0.6, 1), full), font, ink)
    elif kind == 2:
        width, height = 750, 1334
        paper = _color(rng, 240, 256) if rng.random() < 0.6 else _color(rng, 10, 40)
        image = Image.new("RGB", (width, height), paper)
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 0, width, 130), fill=_color(rng))
        for y in range(160, height - 160, int(rng.integers(100, 180))):
            draw.ellipse((24, y, 94, y + 70), fill=_color(rng, 60, 230))
            ink = (30, 30, 30) if sum(paper) > 400 else (230, 230, 230)
            for line in range(2):
                font = _font(rng, 26, "second")
                draw.text((120, y + 36 * line), _text(rng, 6)[:36], font=font, fill=ink)
            draw.line((120, y + 90, width, y + 90), fill=(150, 150, 150))
    else:
        width, height = 1200, 800
        image = Image.new("RGB", (width, height), (255, 255, 255))
        draw = ImageDraw.Draw(image)
        row, column = int(rng.integers(22, 40)), int(rng.integers(80, 160))
        draw.rectangle((0, 0, width, 2 * row), fill=_color(rng, 150, 240))
        for y in range(2 * row, height, row):
            draw.line((0, y, width, y), fill=(200, 200, 200))
            for x in range(0, width, column):
                if rng.random() < 0.6:
                    text = str(int(rng.integers(0, 10**6)))
                    draw.text(
                        (x + 6, y + 4), text, font=_font(rng, 15, "second"), fill=(20, 20, 20)
                    )
        for x in range(0, width, column):
            draw.line((x, 0, x, height), fill=(200, 200, 200))
    return image


# Typeset pages


def _page(rng, style):
    width, height = [(850, 1100), (800, 1200), (1000, 1000)][rng.integers(3)]
    if style == "second":
        width, height = [(900, 1273), (1100, 850), (700, 1000)][rng.integers(3)]
    paper = (255, 255, 255) if rng.random() < 0.6 else _color(rng, 225, 250)
    if style == "second" and rng.random() < 0.3:
        paper = (250, 240, 215)
    image = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(image)
    margin = int(width * rng.uniform(0.06, 0.16))
    ink = _color(rng, 0, 60)
    top = margin
    if rng.random() < 0.7:
        font = _font(rng, int(rng.integers(30, 60)), style)
        draw.text((margin, top), _text(rng, 3), font=font, fill=ink)
        top += int(font.size * 1.8)
    columns = int(rng.integers(1, 4 if style == "second" else 3))
    gap = 30
    wide = (width - 2 * margin - gap * (columns - 1)) / columns
    size = int(rng.integers(11, 34 if style == "second" else 26))
    font = _font(rng, size, style)
    for column in range(columns):
        left = margin + column * (wide + gap)
        bottom = height - margin
        if rng.random() < 0.2:
            bottom = top + (height - top) * rng.uniform(0.4, 0.9)
        leading = rng.uniform(1.15, 1.9)
        _paragraph(draw, rng, (left, top, left + wide, bottom), font, ink, leading=leading)
    return image


# Noise


def _noise_first(rng):
    side, kind = int(rng.choice([64, 128, 256])), rng.integers(3)
    channels = 3 if rng.random() < 0.7 else 1
    if kind == 0:
        values = rng.uniform(0, 255, size=(side, side, channels))
    elif kind == 1:
        values = rng.normal(128, rng.uniform(25, 80), size=(side, side, channels))
    else:
        values = _colored(rng, side, channels, rng.uniform(0.6, 1.2))
    return _as_image(values)


def _noise_second(rng):
    side, kind = int(rng.choice([80, 100, 200])), rng.integers(4)
    channels = 3 if rng.random() < 0.7 else 1
    if kind == 0:
        values = 255.0 * (rng.random((side, side, channels)) < rng.uniform(0.2, 0.8))
    elif kind == 1:
        values = rng.exponential(60, size=(side, side, channels))
    elif kind == 2:
        values = (
            128 + 40 * rng.laplace(size=(side, side, channels)) + 40 * rng.normal(size=3)[:channels]
        )
    else:
        values = _colored(rng, side, channels, rng.uniform(0.4, 1.0))
    return _as_image(values)


def _colored(rng, side, channels, exponent):
    """Return noise whose amplitude falls as frequency to the power of minus `exponent`."""
    fx, fy = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    amplitude = np.maximum(np.hypot(fx, fy), 1 / side) ** -exponent
    white = np.fft.rfft2(rng.normal(size=(channels, side, side)))
    field = np.fft.irfft2(white * amplitude, s=(side, side)).transpose(1, 2, 0)
    return 128 + rng.uniform(30, 70) * field / field.std()


def _as_image(values):
    pixels = np.clip(values, 0, 255).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy())


# Diagrams, charts and plots


def _boxes(draw, rng, size, style):
    width, height = size
    centers = []
    for _ in range(int(rng.integers(3, 9))):
        x, y = rng.uniform(0.1, 0.8) * width, rng.uniform(0.1, 0.8) * height
        w, h = rng.uniform(0.1, 0.25) * width, rng.uniform(0.07, 0.15) * height
        centers.append((x + w / 2, y + h / 2, (x, y, x + w, y + h)))
    for one, other in zip(centers, centers[1:], strict=False):
        draw.line(
            (one[0], one[1], other[0], other[1]), fill=(0, 0, 0), width=int(rng.integers(2, 6))
        )
        angle = math.atan2(other[1] - one[1], other[0] - one[0])
        tip = ((one[0] + other[0]) / 2, (one[1] + other[1]) / 2)
        wings = [
            (tip[0] - 18 * math.cos(angle + turn), tip[1] - 18 * math.sin(angle + turn))
            for turn in (-0.4, 0.4)
        ]
        draw.polygon([tip, *wings], fill=(0, 0, 0))
    for _, y, box in centers:
        fill = _color(rng, 170, 256) if rng.random() < 0.6 else (255, 255, 255)
        if style == "second" and rng.random() < 0.5:
            draw.ellipse(box, fill=fill, outline=(0, 0, 0), width=3)
        else:
            draw.rectangle(box, fill=fill, outline=(0, 0, 0), width=3)
        font = _font(rng, int(rng.integers(14, 26)), style)
        draw.text((box[0] + 8, y - 10), _text(rng, 2)[:12], font=font, fill=(0, 0, 0))


def _axes(draw, rng, size, style):
    width, height = size
    left, bottom = 0.12 * width, 0.88 * height
    for tick in range(6):
        y = bottom - tick * 0.14 * height
        if rng.random() < 0.8:
            draw.line((left, y, 0.95 * width, y), fill=(215, 215, 215))
        draw.text((left - 40, y - 8), str(tick * 20), font=_font(rng, 16, style), fill=(0, 0, 0))
    draw.line((left, 0.08 * height, left, bottom, 0.95 * width, bottom), fill=(0, 0, 0), width=3)
    return left, bottom


def _chart(draw, rng, size, style):
    width, height = size
    left, bottom = _axes(draw, rng, size, style)
    n = int(rng.integers(4, 14))
    step = (0.95 * width - left) / n
    color = _color(rng, 20, 220)
    for i, value in enumerate(rng.uniform(0.05, 0.75, size=n)):
        x = left + i * step + 0.15 * step
        draw.rectangle((x, bottom - value * height, x + 0.7 * step, bottom), fill=color)


def _plot(draw, rng, size, style):
    width, height = size
    left, bottom = _axes(draw, rng, size, style)
    xs = np.linspace(left, 0.95 * width, 60)
    for _ in range(int(rng.integers(1, 5))):
        color, walk = _color(rng, 0, 200), np.cumsum(rng.normal(size=60))
        ys = bottom - height * (0.1 + 0.6 * (walk - walk.min()) / np.ptp(walk))
        if style == "second" and rng.random() < 0.5:
            for x, y in zip(xs, ys + rng.normal(0, 20, 60), strict=True):
                draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=color)
        else:
            draw.line(list(zip(xs, ys, strict=True)), fill=color, width=int(rng.integers(2, 7)))


def _pie(draw, rng, size, style):
    width, height = size
    angles = np.r_[0, np.sort(rng.uniform(0, 360, size=int(rng.integers(3, 7)))), 360]
    box = (0.2 * width, 0.15 * height, 0.2 * width + 0.65 * height, 0.8 * height)
    for start, end in zip(angles, angles[1:], strict=False):
        draw.pieslice(box, start, end, fill=_color(rng, 30, 240), outline=(255, 255, 255))
    draw.text((0.1 * width, 10), _text(rng, 4), font=_font(rng, 30, style), fill=(0, 0, 0))


def _diagram(rng, style):
    size = [(800, 600), (700, 700), (640, 480)][rng.integers(3)]
    if style == "second":
        size = [(900, 500), (600, 800), (1000, 1000)][rng.integers(3)]
    dark = style == "second" and rng.random() < 0.15
    image = Image.new("RGB", size, (255, 255, 255) if not dark else (240, 240, 225))
    makers = [_boxes, _chart, _plot] + ([_pie] if style == "second" else [])
    makers[rng.integers(len(makers))](ImageDraw.Draw(image), rng, size, style)
    return image


# Maps, flat colours, digits, photographs


def _map(rng, style):
    width, height = 800, 800 if style == "first" else 600
    # The nearest of some points says to which region a place belongs; waves bend the borders.
    ys, xs = np.mgrid[0:height:4, 0:width:4].astype(float)
    for _ in range(3):
        a, b, phase = rng.normal(0, 0.02, 2).tolist() + [rng.uniform(0, 6)]
        xs, ys = (
            xs + 15 * np.sin(a * ys + b * xs + phase),
            ys + 15 * np.cos(b * ys - a * xs + phase),
        )
    n = int(rng.integers(5, 25))
    px, py = rng.uniform(0, width, n), rng.uniform(0, height, n)
    nearest = ((xs[..., None] - px) ** 2 + (ys[..., None] - py) ** 2).argmin(axis=2)
    low = 150 if style == "first" else 90
    colors = rng.integers(low, 250, size=(n, 3)).astype(np.uint8)
    colors[: n // 4] = [160, 200, 235]
    image = Image.fromarray(colors[nearest]).resize((width, height), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 12))):
        steps = np.cumsum(rng.normal(0, 60, size=(12, 2)), axis=0) + rng.uniform(0, width, 2)
        line = [tuple(p) for p in steps.tolist()]
        draw.line(line, fill=(255, 255, 255), width=10)
        draw.line(
            line, fill=[(240, 180, 60), (120, 120, 120), (200, 60, 60)][rng.integers(3)], width=6
        )
    for _ in range(int(rng.integers(5, 30))):
        spot = tuple(rng.uniform(0, 0.9 * width, 2).tolist())
        font = _font(rng, int(rng.integers(14, 32)), style)
        draw.text(spot, _text(rng, 1).title(), font=font, fill=(20, 20, 20))
    return image


def _flat(rng, style):
    side = 128 if style == "first" else 200
    image = np.empty((side, side, 3))
    image[:] = _color(rng)
    if rng.random() < 0.5:
        ys, xs = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
        angle = rng.uniform(0, 2 * math.pi)
        weight = (xs - 0.5) * math.cos(angle) + (ys - 0.5) * math.sin(angle)
        if style == "second" and rng.random() < 0.5:
            weight = np.hypot(xs - 0.5, ys - 0.5)
        weight = (weight - weight.min()) / np.ptp(weight)
        image += weight[..., None] * (np.array(_color(rng)) - image)
    return _as_image(image)


def _digit(rng, style):
    digits = load_digits().images
    digit = digits[rng.integers(len(digits))] * (255 / 16)
    if style == "second":
        digit = 255 - digit
    filters = (Image.Resampling.NEAREST, Image.Resampling.BICUBIC)
    small = Image.fromarray(digit.astype(np.uint8))
    return small.resize((128, 128), filters[rng.integers(2)]).convert("RGB")


def _photograph(rng, style):
    image = load_sample_images().images[int(style == "second")]
    side = int(rng.integers(150, 400))
    y, x = (int(rng.integers(0, length - side)) for length in image.shape[:2])
    return Image.fromarray(image[y : y + side, x : x + side])


_MAKERS = {
    "screens": (_screen_first, _screen_second),
    "text": (lambda rng: _page(rng, "first"), lambda rng: _page(rng, "second")),
    "noise": (_noise_first, _noise_second),
    "diagrams": (lambda rng: _diagram(rng, "first"), lambda rng: _diagram(rng, "second")),
    "maps": (lambda rng: _map(rng, "first"), lambda rng: _map(rng, "second")),
    "flat": (lambda rng: _flat(rng, "first"), lambda rng: _flat(rng, "second")),
    "digits": (lambda rng: _digit(rng, "first"), lambda rng: _digit(rng, "second")),
    "photographs": (lambda rng: _photograph(rng, "first"), lambda rng: _photograph(rng, "second")),
}
KINDS = (*_MAKERS, "negatives")
