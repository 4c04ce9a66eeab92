"""Photographs of the demo shop, drawn: a vessel on a plain ground, told by outline, handles, pattern and colour.

Position, size, light and sharpness vary as they do in a shop's photographs. The category only gives the proportions
and a lid, saucer or ring.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 64
"""Pixels of a photograph's side."""
_DRAWN = 4 * SIDE  # drawn larger, then reduced: smooth edges
COLOURS = {
    "red": (190, 50, 45),
    "orange": (225, 130, 40),
    "yellow": (225, 195, 60),
    "green": (70, 140, 75),
    "blue": (55, 95, 175),
    "purple": (125, 75, 150),
    "brown": (125, 85, 55),
    "grey": (125, 130, 135),
}
PROPORTIONS = {
    "vase": (0.34, 0.62),
    "jug": (0.42, 0.54),
    "planter": (0.52, 0.44),
    "lantern": (0.4, 0.5),
    "canister": (0.4, 0.48),
    "bowl": (0.6, 0.34),
}
"""Width and height of each category's body, as shares of the picture."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Look:
    """What can be seen of an item."""

    category: str
    colour: str
    pattern: str
    outline: str
    handles: str


def photograph(look: Look, random: np.random.Generator) -> bytes:
    """JPEG bytes, SIDE x SIDE pixels."""
    ground = _shade((238, 234, 228), random, 14)
    picture = Image.new("RGB", (_DRAWN, _DRAWN), ground)
    box = _place(look.category, random)
    body = Image.new("L", picture.size, 0)
    OUTLINES[look.outline](ImageDraw.Draw(body), box)
    colour = _shade(COLOURS[look.colour], random, 18)
    _draw_handles(ImageDraw.Draw(picture), look.handles, box, _darker(colour))
    _draw_fitting(ImageDraw.Draw(picture), look.category, box, _darker(colour))
    picture.paste(_surface(look.pattern, colour, random), mask=body)
    return _developed(picture, random)


def _place(category: str, random: np.random.Generator) -> Box:
    width, height = (share * _DRAWN * random.uniform(0.9, 1.15) for share in PROPORTIONS[category])
    x, y = (_DRAWN / 2 + random.uniform(-0.06, 0.06) * _DRAWN for _ in range(2))
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _round(draw: ImageDraw.ImageDraw, box: Box) -> None:
    draw.ellipse(box, fill=255)


def _square(draw: ImageDraw.ImageDraw, box: Box) -> None:
    draw.rounded_rectangle(box, radius=_DRAWN * 0.02, fill=255)


def _pointed(draw: ImageDraw.ImageDraw, box: Box) -> None:
    x1, y1, x2, y2 = box
    draw.polygon([((x1 + x2) / 2, y1), (x2, y2), (x1, y2)], fill=255)


def _waisted(draw: ImageDraw.ImageDraw, box: Box) -> None:
    x1, y1, x2, y2 = box
    middle, inner = (y1 + y2) / 2, (x2 - x1) * 0.34
    draw.polygon([(x1, y1), (x2, y1), (x2 - inner, middle), (x2, y2), (x1, y2), (x1 + inner, middle)], fill=255)


OUTLINES: dict[str, Callable[[ImageDraw.ImageDraw, Box], None]] = {
    "round": _round,
    "square": _square,
    "pointed": _pointed,
    "waisted": _waisted,
}
PATTERNS = ("plain", "striped", "dotted", "checked")
HANDLES = ("no handle", "one handle", "two handles")


def _draw_handles(draw: ImageDraw.ImageDraw, handles: str, box: Box, colour: tuple[int, ...]) -> None:
    """Rings that stand out of the body's sides; behind it, so that half of each is seen."""
    x1, y1, x2, y2 = box
    reach, line = _DRAWN * 0.11, round(_DRAWN * 0.035)
    top, bottom = (y1 + y2) / 2 - reach, (y1 + y2) / 2 + reach
    inset = (x2 - x1) * 0.25  # outlines narrow towards the middle: the ring reaches under all of them
    for side in {"no handle": [], "one handle": [x2], "two handles": [x1, x2]}[handles]:
        left, right = (side - reach, side + inset) if side == x1 else (side - inset, side + reach)
        draw.ellipse((left, top, right, bottom), outline=colour, width=line)


def _draw_fitting(draw: ImageDraw.ImageDraw, category: str, box: Box, colour: tuple[int, ...]) -> None:
    """What marks the category: a lantern's ring, a canister's lid, a planter's saucer."""
    x1, y1, x2, y2 = box
    middle, unit = (x1 + x2) / 2, _DRAWN * 0.03
    if category == "lantern":
        draw.ellipse((middle - 2 * unit, y1 - 4 * unit, middle + 2 * unit, y1), outline=colour, width=round(unit / 2))
    if category == "canister":
        draw.rectangle((middle - 2 * unit, y1 - unit, middle + 2 * unit, y1 + unit), fill=colour)
    if category == "planter":
        draw.rectangle((x1 - unit, y2 - unit / 2, x2 + unit, y2 + unit), fill=colour)


def _surface(pattern: str, colour: tuple[int, ...], random: np.random.Generator) -> Image.Image:
    """The body's colour and pattern over the whole picture."""
    period = _DRAWN * random.uniform(0.11, 0.15)
    shift_x, shift_y = random.uniform(0, period, 2)
    y, x = np.mgrid[0:_DRAWN, 0:_DRAWN].astype(np.float32)
    across, down = (x + shift_x) % period / period - 0.5, (y + shift_y) % period / period - 0.5
    marked = {
        "plain": np.zeros_like(x, dtype=bool),
        "striped": down > 0,
        "dotted": across**2 + down**2 < 0.08,
        "checked": (across > 0) ^ (down > 0),
    }[pattern]
    light = np.array(colour, dtype=np.float32)
    second = light * 0.45 if light.mean() > 120 else light + (255 - light) * 0.6
    shading = 1.12 - 0.24 * (x / _DRAWN)[..., None]
    pixels = np.where(marked[..., None], second, light) * shading
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _developed(picture: Image.Image, random: np.random.Generator) -> bytes:
    """Reduced, now and then out of focus, with the sensor's noise."""
    small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    if random.random() < 0.15:
        small = small.filter(ImageFilter.GaussianBlur(0.6))
    noisy = np.asarray(small, dtype=np.float32) * random.uniform(0.88, 1.08) + random.normal(0, 4, (SIDE, SIDE, 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _shade(colour: tuple[int, int, int], random: np.random.Generator, spread: int) -> tuple[int, ...]:
    return tuple(int(np.clip(part + random.integers(-spread, spread + 1), 0, 255)) for part in colour)


def _darker(colour: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(part // 2 for part in colour)
