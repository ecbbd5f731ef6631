"""SimCLR's views one image after the other, as one would write them with Pillow: what the batched ones are measured against.

Pillow works on bytes, so what it does is rounded after every step, and its blur is made of three box filters.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from training.data.simclr_drawn import Drawn

NEXT_TO_NOTHING = 0.02


def plain_views(pictures: list[Image.Image], what: Drawn) -> list[Image.Image]:
    """A view of each, by the numbers that were drawn for it."""
    windows = what.windows.tolist()
    factors = what.jitter.factors.T.tolist()
    drawn = zip(pictures, windows, factors, what.grey.tolist(), what.sigma.tolist(), strict=True)
    return [
        blurred(grey(jittered(cropped(picture, window), strength, what.jitter.order), is_grey), sigma)
        for picture, window, strength, is_grey, sigma in drawn
    ]


def cropped(picture: Image.Image, window: list[list[float]]) -> Image.Image:
    (across, _, x), (_, down, y) = window
    size = picture.width
    left, right = sorted(((x - across + 1) * size / 2, (x + across + 1) * size / 2))
    top, bottom = (y - down + 1) * size / 2, (y + down + 1) * size / 2
    box = tuple(min(max(side, 0.0), float(size)) for side in (left, top, right, bottom))
    view = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)  # type: ignore[arg-type]
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if across < 0 else view


def jittered(picture: Image.Image, factors: list[float], order: tuple[int, ...]) -> Image.Image:
    if not any(factors):
        return picture
    brightness, contrast, saturation, hue = factors
    changes = (
        lambda image: ImageEnhance.Brightness(image).enhance(1 + brightness),
        lambda image: ImageEnhance.Contrast(image).enhance(1 + contrast),
        lambda image: ImageEnhance.Color(image).enhance(1 + saturation),
        lambda image: turned(image, hue),
    )
    for i in order:
        picture = changes[i](picture)
    return picture


def turned(picture: Image.Image, hue: float) -> Image.Image:
    h, s, v = picture.convert("HSV").split()
    shift = round(hue * 256) % 256
    return Image.merge("HSV", (h.point([(k + shift) % 256 for k in range(256)]), s, v)).convert("RGB")


def grey(picture: Image.Image, is_grey: bool) -> Image.Image:
    return picture.convert("L").convert("RGB") if is_grey else picture


def blurred(picture: Image.Image, sigma: float) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(sigma)) if sigma > NEXT_TO_NOTHING else picture


def normalised(picture: Image.Image, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """(3, H, H) float32, as the network takes it."""
    pixels = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
    return (pixels - mean[:, None, None]) / std[:, None, None]
