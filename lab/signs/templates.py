"""Eighteen traffic signs as flat pictures, drawn with Pillow from plain geometry.

Coordinates are fractions of the canvas, (0, 0) the upper left corner. Every sign is drawn large
and reduced once, so that edges are smooth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

CANVAS = 512
"""Side of the canvas that signs are drawn on, in pixels."""

RED = (196, 22, 32, 255)
WHITE = (250, 250, 250, 255)
BLACK = (18, 18, 20, 255)
BLUE = (18, 78, 170, 255)
YELLOW = (250, 190, 10, 255)
GREY = (120, 120, 125, 255)

Colour = tuple[int, int, int, int]
Point = tuple[float, float]


class Canvas:
    """A transparent square that takes shapes in fractions of its side."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (CANVAS, CANVAS), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: list[Point], fill: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * CANVAS, y * CANVAS) for x, y in points], fill=fill)

    def disc(self, centre: Point, radius: float, fill: Colour) -> None:
        """Fill a circle."""
        (x, y), r = centre, radius
        self._draw.ellipse([v * CANVAS for v in (x - r, y - r, x + r, y + r)], fill=fill)

    def line(self, points: list[Point], width: float, fill: Colour) -> None:
        """Draw a line with round ends and joints."""
        scaled = [(x * CANVAS, y * CANVAS) for x, y in points]
        self._draw.line(scaled, fill=fill, width=round(width * CANVAS), joint="curve")
        for end in (points[0], points[-1]):
            self.disc(end, width / 2, fill)

    def arc(self, radius: float, start: float, stop: float, width: float, fill: Colour) -> None:
        """Draw an arc about the centre, angles in degrees clockwise from the right."""
        outer = radius + width / 2
        box = [v * CANVAS for v in (0.5 - outer, 0.5 - outer, 0.5 + outer, 0.5 + outer)]
        self._draw.arc(box, start, stop, fill=fill, width=round(width * CANVAS))

    def text(self, words: str, box: tuple[float, float], fill: Colour, weight: float) -> None:
        """Write bold text in the middle, stretched to the width and height of ``box``."""
        font = ImageFont.load_default(size=CANVAS // 2)
        stroke = round(weight * CANVAS)
        left, top, right, bottom = font.getbbox(words, stroke_width=stroke)
        mask = Image.new("L", (math.ceil(right - left), math.ceil(bottom - top)), 0)
        pen = ImageDraw.Draw(mask)
        pen.text((-left, -top), words, fill=255, font=font, stroke_width=stroke)
        wide, high = (round(side * CANVAS) for side in box)
        corner = ((CANVAS - wide) // 2, (CANVAS - high) // 2)
        self.image.paste(fill, corner, mask.resize((wide, high), Image.Resampling.LANCZOS))

    def triangle(self, centre: Point, radius: float, fill: Colour, *, up: bool) -> None:
        """Fill an equilateral triangle with its tip up or down."""
        x, y = centre
        tip, base = (-radius, radius / 2) if up else (radius, -radius / 2)
        half = radius * math.sqrt(3) / 2
        self.polygon([(x, y + tip), (x + half, y + base), (x - half, y + base)], fill)


def _turned(points: list[Point], degrees: float) -> list[Point]:
    """Turn points about the centre, clockwise as seen."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [
        (0.5 + c * (x - 0.5) - s * (y - 0.5), 0.5 + s * (x - 0.5) + c * (y - 0.5))
        for x, y in points
    ]


def _ring(canvas: Canvas) -> None:
    """The white disc with a red rim of prohibitions."""
    canvas.disc((0.5, 0.5), 0.48, RED)
    canvas.disc((0.5, 0.5), 0.375, WHITE)


def _warning(canvas: Canvas) -> None:
    """The white triangle with a red rim, tip up, of warnings."""
    canvas.triangle((0.5, 0.62), 0.56, RED, up=True)
    canvas.triangle((0.5, 0.635), 0.395, WHITE, up=True)


def _limit(canvas: Canvas, number: int) -> None:
    digits = str(number)
    _ring(canvas)
    canvas.text(digits, (0.54 if len(digits) == 2 else 0.62, 0.41), BLACK, weight=0.016)


def _stop(canvas: Canvas) -> None:
    corners = [_turned([(0.5, 0.0)], 22.5 + 45 * k)[0] for k in range(8)]
    for shrink, colour in ((0.98, WHITE), (0.88, RED)):
        canvas.polygon(
            [(0.5 + shrink * (x - 0.5), 0.5 + shrink * (y - 0.5)) for x, y in corners], colour
        )
    canvas.text("STOP", (0.74, 0.30), WHITE, weight=0.014)


def _yield(canvas: Canvas) -> None:
    canvas.triangle((0.5, 0.38), 0.56, RED, up=False)
    canvas.triangle((0.5, 0.365), 0.35, WHITE, up=False)


def _no_entry(canvas: Canvas) -> None:
    canvas.disc((0.5, 0.5), 0.48, RED)
    canvas.line([(0.22, 0.5), (0.78, 0.5)], 0.17, WHITE)


def _priority_road(canvas: Canvas) -> None:
    for half, colour in ((0.49, BLACK), (0.475, WHITE), (0.35, YELLOW)):
        canvas.polygon(
            [(0.5, 0.5 - half), (0.5 + half, 0.5), (0.5, 0.5 + half), (0.5 - half, 0.5)], colour
        )


def _keep(canvas: Canvas, degrees: float) -> None:
    canvas.disc((0.5, 0.5), 0.48, WHITE)
    canvas.disc((0.5, 0.5), 0.455, BLUE)
    shaft = [(0.22, 0.435), (0.55, 0.435), (0.55, 0.565), (0.22, 0.565)]
    head = [(0.52, 0.27), (0.83, 0.5), (0.52, 0.73)]
    canvas.polygon(_turned(shaft, degrees), WHITE)
    canvas.polygon(_turned(head, degrees), WHITE)


def _roundabout(canvas: Canvas) -> None:
    canvas.disc((0.5, 0.5), 0.48, WHITE)
    canvas.disc((0.5, 0.5), 0.455, BLUE)
    for turn in (0, 120, 240):
        canvas.arc(0.26, turn, turn + 72, 0.11, WHITE)
        head = [(0.63, 0.5), (0.89, 0.5), (0.76, 0.345)]
        canvas.polygon(_turned(head, turn), WHITE)


def _pedestrians(canvas: Canvas) -> None:
    canvas.polygon([(0.04, 0.04), (0.96, 0.04), (0.96, 0.96), (0.04, 0.96)], BLUE)
    canvas.triangle((0.5, 0.60), 0.50, WHITE, up=True)
    canvas.disc((0.51, 0.34), 0.055, BLACK)
    canvas.line([(0.51, 0.42), (0.49, 0.60)], 0.085, BLACK)
    canvas.line([(0.49, 0.60), (0.38, 0.79)], 0.06, BLACK)
    canvas.line([(0.49, 0.60), (0.60, 0.79)], 0.06, BLACK)
    canvas.line([(0.40, 0.55), (0.51, 0.44), (0.61, 0.55)], 0.045, BLACK)


def _car(canvas: Canvas, x: float, colour: Colour) -> None:
    canvas.polygon([(x - 0.07, 0.42), (x + 0.07, 0.42), (x + 0.11, 0.51), (x - 0.11, 0.51)], colour)
    canvas.polygon([(x - 0.13, 0.49), (x + 0.13, 0.49), (x + 0.13, 0.60), (x - 0.13, 0.60)], colour)
    for wheel in (x - 0.085, x + 0.085):
        canvas.polygon(
            [
                (wheel - 0.035, 0.59),
                (wheel + 0.035, 0.59),
                (wheel + 0.035, 0.65),
                (wheel - 0.035, 0.65),
            ],
            colour,
        )


def _no_overtaking(canvas: Canvas) -> None:
    _ring(canvas)
    _car(canvas, 0.345, RED)
    _car(canvas, 0.655, BLACK)


def _road_work(canvas: Canvas) -> None:
    _warning(canvas)
    canvas.disc((0.47, 0.40), 0.05, BLACK)
    canvas.line([(0.45, 0.49), (0.40, 0.63)], 0.085, BLACK)
    canvas.line([(0.40, 0.63), (0.33, 0.79)], 0.055, BLACK)
    canvas.line([(0.40, 0.63), (0.48, 0.79)], 0.055, BLACK)
    canvas.line([(0.42, 0.52), (0.64, 0.72)], 0.04, BLACK)
    canvas.polygon([(0.56, 0.82), (0.67, 0.66), (0.79, 0.82)], BLACK)


def _caution(canvas: Canvas) -> None:
    _warning(canvas)
    canvas.polygon([(0.445, 0.38), (0.555, 0.38), (0.53, 0.65), (0.47, 0.65)], BLACK)
    canvas.disc((0.5, 0.745), 0.052, BLACK)


def _end_of_limits(canvas: Canvas) -> None:
    canvas.disc((0.5, 0.5), 0.48, GREY)
    canvas.disc((0.5, 0.5), 0.445, WHITE)
    for shift in (-0.11, 0.0, 0.11):
        half = math.sqrt(0.44**2 - shift**2)
        ends = [(0.5 - half, 0.5 + shift), (0.5 + half, 0.5 + shift)]
        canvas.line(_turned(ends, -45), 0.055, BLACK)


_SIGNS: dict[str, Callable[[Canvas], None]] = {
    "30 km/h limit": partial(_limit, number=30),
    "50 km/h limit": partial(_limit, number=50),
    "60 km/h limit": partial(_limit, number=60),
    "80 km/h limit": partial(_limit, number=80),
    "100 km/h limit": partial(_limit, number=100),
    "120 km/h limit": partial(_limit, number=120),
    "stop": _stop,
    "yield": _yield,
    "no entry": _no_entry,
    "priority road": _priority_road,
    "keep right": partial(_keep, degrees=45),
    "keep left": partial(_keep, degrees=135),
    "roundabout": _roundabout,
    "pedestrian crossing": _pedestrians,
    "no overtaking": _no_overtaking,
    "road work": _road_work,
    "caution": _caution,
    "end of limits": _end_of_limits,
}

CLASS_NAMES: tuple[str, ...] = tuple(_SIGNS)
"""Name of each class; the index is the label."""


def draw_templates(size: int) -> npt.NDArray[np.float32]:
    """Draw every sign face-on.

    Parameters
    ----------
    size
        Side of the pictures in pixels.

    Returns
    -------
    ndarray
        float32 [classes, 4, size, size] in [0, 1], channels red, green, blue, alpha, in the order
        of `CLASS_NAMES`. Colours are premultiplied by alpha, so that interpolation at the rim
        mixes in no colour from outside the sign.
    """
    pictures = []
    for draw in _SIGNS.values():
        canvas = Canvas()
        draw(canvas)
        premultiplied = canvas.image.convert("RGBa")
        small = premultiplied.resize((size, size), Image.Resampling.BOX)
        pictures.append(np.frombuffer(small.tobytes(), np.uint8).reshape(size, size, 4))
    return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255.0
