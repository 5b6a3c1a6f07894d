"""Charts draw every line and every bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from model.plot import COLOURS, HEIGHT, WIDTH, save_bar_chart, save_line_chart


def drawn(path: Path, colour: str) -> int:
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    return int((pixels == ImageColor.getrgb(colour)).all(2).sum())


def test_each_line_has_a_colour_of_its_own(tmp_path: Path) -> None:
    save_line_chart(tmp_path / "c.png", "losses", {"a": [2.0, 1.0, 0.5], "b": [1.0, 1.0, 1.0], "short": [0.3]})
    assert all(drawn(tmp_path / "c.png", colour) > 100 for colour in COLOURS[:3])
    assert drawn(tmp_path / "c.png", COLOURS[3]) == 0


def test_a_bar_is_as_high_as_its_value(tmp_path: Path) -> None:
    save_bar_chart(tmp_path / "b.png", "accuracy", ["T", "A"], {"one": [1.0, 1.0], "two": [0.25, 0.25]})
    assert drawn(tmp_path / "b.png", COLOURS[0]) > 3 * drawn(tmp_path / "b.png", COLOURS[1])
