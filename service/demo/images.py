"""Handwritten digits that the demo's training never sees, to embed.

`unseen_digits.png` shows scans of the trainer's test split (E. Alpaydin and C. Kaynak, Optical Recognition of
Handwritten Digits, UCI, CC BY 4.0): a row per numeral, 8 × 8 pixels each. They are a file so that the demo needs
neither torch nor scikit-learn; a test compares them with the split.
"""

from __future__ import annotations

from importlib.resources import files
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

SIDE = 8
SHADES = " ░▒▓█"


def unseen_digits(per_numeral: int) -> list[tuple[int, Pixels]]:
    """Numeral and scan (8, 8), as many of each numeral; there are 30."""
    with Image.open(BytesIO((files("service.demo") / "unseen_digits.png").read_bytes())) as image:
        sheet = np.asarray(image)
    return [
        (row, sheet[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE])
        for row in range(10)
        for column in range(per_numeral)
    ]


def as_png(pixels: Pixels) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def as_text(pixels: Pixels) -> str:
    """For a terminal: two characters per pixel."""
    shades = pixels.astype(int) * len(SHADES) // 256
    return "\n".join("".join(SHADES[shade] * 2 for shade in row) for row in shades)
