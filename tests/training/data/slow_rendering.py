"""Trifeatures pixel by pixel, as one would first write it down: slow, obvious, and what the renderer must equal."""

from __future__ import annotations

import numpy as np

from training.data.rendering import COLORS, Scene


def in_shape(shape: str, i: int, j: int) -> bool:
    aside = abs(j - 64)
    if shape == "triangle":
        return aside - i // 2 < 1
    if shape == "plus":
        return 43 <= j < 86 or 43 <= i < 86
    if shape == "circle":
        return (i + 0.5 - 64) ** 2 + (j + 0.5 - 64) ** 2 < 64**2
    if shape == "tee":
        return 43 <= j < 86 or i < 42
    if shape == "rhombus":
        return 0 < j - 64 + i // 2 < 64
    if shape == "pentagon":
        if i < 51:
            return aside - 1.25 * i < 1
        x = (i - 51) // 3.1
        return x < j < 128 - x
    if shape == "star":
        return in_star(i, j)
    if shape == "fivesquare":
        in_column, in_row = 42 <= j < 85, 42 <= i < 85
        return (in_column and in_row) or not (in_column or in_row)
    if shape == "trapezoid":
        x = i // 3.1
        return x < j < 128 - x
    assert shape == "square"
    return True


def in_star(i: int, j: int) -> bool:
    if i < 51:
        return abs(j - 64) - i // 4 < 1
    x = 2.4 * (i - 51)
    if i < 76 and x < j < 128 - x:
        return True
    if i < 70:
        return False
    left, right = 42.24 - 0.43 * (i - 70), 79.36 - 1.05 * (i - 70)
    return left < j < right or left < 128 - j < right


def in_texture(texture: str, y: int, x: int) -> bool:
    v, u = y % 10, x % 10
    if texture == "stripes":
        return v < 3
    if texture == "grid":
        return v < 3 or u < 3
    if texture == "hexgrid":
        return (x + int(1.73 * y)) % 10 < 2 or (x - int(1.73 * y)) % 10 < 2 or v < 2
    if texture == "dots":
        return (v - 5) ** 2 + (u - 5) ** 2 < 16
    if texture == "triangles":
        return v // 2 - abs(u - 5) > 0
    if texture == "zigzags":
        if (y // 10) % 2:
            u = 9 - u
        start = v // 2
        return start < u < 5 + start
    if texture == "pluses":
        if (y // 10) % 2:
            return abs(u) < 1.5 or 10 - u < 1.5 or (abs(v - 5) < 1.5 and abs(u - 5) > 1.5)
        return abs(u - 5) < 1.5 or abs(v - 5) < 1.5
    assert texture == "solid"
    return True


def plane(inside, name: str, height: int, width: int) -> np.ndarray:
    return np.array([[inside(name, i, j) for j in range(width)] for i in range(height)], dtype=bool)


def rain(drops: np.ndarray) -> np.ndarray:
    painted = np.zeros_like(drops)
    for i, j in zip(*np.nonzero(drops), strict=True):
        painted[i : i + 7, j] = 1
    return painted


def picture(scene: Scene, turned_shape: np.ndarray, turned_texture: np.ndarray) -> np.ndarray:
    """(224, 224, 3) from the turned shape, and the turned texture (448, 448)."""
    mask = np.zeros((224, 224))
    for i in range(turned_shape.shape[0]):
        for j in range(turned_shape.shape[1]):
            mask[scene.place[0] + i, scene.place[1] + j] = turned_shape[i, j]
    mask = mask * turned_texture[112:-112, 112:-112]
    pixels = np.zeros((224, 224, 3), dtype=np.uint8)
    for channel, value in enumerate(COLORS[scene.color]):
        for i in range(224):
            for j in range(224):
                m = float(mask[i, j])
                pixels[i, j, channel] = int((m * value + (1 - m) * 0.5) * 255)
    return pixels
