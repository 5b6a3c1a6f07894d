"""Draw charts as PNG with Pillow, so that Braid needs no plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 960, 540
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 50, 60
COLOURS = ("#1b6ca8", "#d1495b", "#3c8d5a", "#e19b2d", "#7b5ea7", "#3aa6a6", "#8a5a44", "#555555")
TEXT_COLOUR, GRID_COLOUR = "#222222", "#dddddd"


class Axes:
    """A white page with a title and horizontal grid lines between two values."""

    def __init__(self, title: str, low: float, high: float) -> None:
        self.low, self.high = low, high if high > low else low + 1
        self.image = Image.new("RGB", (WIDTH, HEIGHT), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default(15)
        self.draw.text((LEFT, 15), title, TEXT_COLOUR, ImageFont.load_default(18))
        for step in range(6):
            value = self.low + (self.high - self.low) * step / 5
            self.draw.line((LEFT, self.y(value), WIDTH - RIGHT, self.y(value)), GRID_COLOUR)
            self.draw.text((LEFT - 8, self.y(value)), f"{value:.3g}", TEXT_COLOUR, self.font, anchor="rm")

    def y(self, value: float) -> float:
        """Return the vertical position of a value."""
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def legend(self, names: Sequence[str]) -> None:
        """Draw the names with their colours at the right."""
        for place, name in enumerate(names):
            y = TOP + 24 * place
            self.draw.rectangle((WIDTH - RIGHT + 15, y, WIDTH - RIGHT + 29, y + 14), COLOURS[place % len(COLOURS)])
            self.draw.text((WIDTH - RIGHT + 36, y + 7), name, TEXT_COLOUR, self.font, anchor="lm")

    def label_x(self, x: float, text: str) -> None:
        """Draw a label under the axis."""
        self.draw.text((x, HEIGHT - BOTTOM + 10), text, TEXT_COLOUR, self.font, anchor="ma")

    def save(self, path: Path) -> None:
        """Write the chart as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.image.save(path, "PNG")


def save_line_chart(path: Path, title: str, lines: Mapping[str, Sequence[float]]) -> None:
    """Draw one line per name over the points 1, 2, 3 and so on."""
    values = [v for line in lines.values() for v in line]
    axes = Axes(title, min(0.0, *values), max(values))
    longest = max(len(line) for line in lines.values())

    def x(place: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * place / max(longest - 1, 1)

    for number, line in enumerate(lines.values()):
        points = [(x(place), axes.y(value)) for place, value in enumerate(line)]
        if len(points) > 1:
            axes.draw.line(points, COLOURS[number % len(COLOURS)], 2)
    for place in sorted({0, (longest - 1) // 2, longest - 1}):
        axes.label_x(x(place), str(place + 1))
    axes.legend(list(lines))
    axes.save(path)


def save_bar_chart(path: Path, title: str, groups: Sequence[str], series: Mapping[str, Sequence[float]]) -> None:
    """Draw one bar per name in each group, side by side."""
    values = [v for line in series.values() for v in line]
    axes = Axes(title, 0.0, max(values))
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    wide = room * 0.8 / max(len(series), 1)
    for number, line in enumerate(series.values()):
        for place, value in enumerate(line):
            begin = LEFT + room * place + room * 0.1 + wide * number
            axes.draw.rectangle((begin, axes.y(value), begin + wide - 1, axes.y(0.0)), COLOURS[number % len(COLOURS)])
    for place, group in enumerate(groups):
        axes.label_x(LEFT + room * (place + 0.5), group)
    axes.legend(list(series))
    axes.save(path)
