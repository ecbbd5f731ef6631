"""Draws Trifeatures: a shape, filled with a texture, in a colour, on grey (Hermann & Lampinen, arXiv:2006.12433).

Two steps. `draw_scenes` takes all random numbers, serially and in the order of the published code, so that the
pictures are the published ones; `render` makes one picture and is a pure function, so that pictures may be made in
any order, on any thread. Rotations are scipy.ndimage.rotate: linear for shapes (their edges become fractions),
nearest for textures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rotate

SHAPES = (
    "triangle", "square", "plus", "circle", "tee", "rhombus", "pentagon", "star", "fivesquare", "trapezoid",
)  # fmt: skip
TEXTURES = ("solid", "stripes", "grid", "hexgrid", "dots", "noise", "triangles", "zigzags", "rain", "pluses")
COLORS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "pink": (1.0, 0.4, 1.0),
    "cyan": (0.0, 1.0, 1.0),
    "purple": (0.3, 0.0, 0.5),
    "ocean": (0.1, 0.4, 0.5),
    "orange": (1.0, 0.6, 0.0),
    "white": (1.0, 1.0, 1.0),
}
SIZE, SHAPE_SIZE, TEXTURE_SIZE = 224, 128, 448
"""Pixels: of the picture, of a shape before and of a texture before it is turned."""
BACKGROUND = 0.5
MAX_OFFSET = 10
MAX_DEGREES = 45
GRAIN = {"noise": 0.5, "rain": 0.05}
"""Textures with random pixels, and how many of them are set."""
DROP = 7
"""Pixels that a drop of rain runs down."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """All that was drawn for one picture. Angles in degrees, places in pixels, row before column."""

    shape: str
    texture: str
    color: str
    angle: int
    place: tuple[int, int]
    texture_offset: tuple[int, int]
    texture_angle: int
    grain: NDArray[np.uint8] | None
    """The random pixels of a texture that has some, 8 in a byte."""


def draw_scenes(rng: np.random.Generator, combinations: Iterable[tuple[str, str, str]]) -> Iterator[Scene]:
    """One scene for each (shape, texture, colour)."""
    for shape, texture, color in combinations:
        angle = int(rng.integers(-MAX_DEGREES, MAX_DEGREES))
        height, width = _turned_size(angle)
        place = (int(rng.integers(0, SIZE - height)), int(rng.integers(0, SIZE - width)))
        x, y = (int(rng.integers(0, MAX_OFFSET)) for _ in "xy")
        if texture == "rain":
            rng.integers(0, MAX_OFFSET)  # The published code draws this number and does not use it.
        grain = None
        if texture in GRAIN:
            grain = np.packbits(
                rng.binomial(1, GRAIN[texture], (TEXTURE_SIZE, TEXTURE_SIZE)).astype(np.uint8)
            )
        texture_angle = int(rng.integers(-MAX_DEGREES, MAX_DEGREES))
        yield Scene(shape, texture, color, angle, place, (y, x), texture_angle, grain)


def render(scene: Scene) -> NDArray[np.uint8]:
    """The picture, (3, 224, 224)."""
    turned = rotate(shape_template(scene.shape), scene.angle, order=1)
    margin = (TEXTURE_SIZE - SIZE) // 2
    texture = rotate(_texture(scene).astype(np.uint8), scene.texture_angle, order=0, reshape=False)
    (row, column), (height, width) = scene.place, turned.shape
    mask = np.zeros((SIZE, SIZE))
    mask[row : row + height, column : column + width] = turned
    mask *= texture[margin:-margin, margin:-margin]
    color = np.array(COLORS[scene.color])[:, None, None]
    return ((mask * color + (1 - mask) * BACKGROUND) * 255).astype(np.uint8)


@cache
def _turned_size(angle: int) -> tuple[int, int]:
    height, width = rotate(np.zeros((SHAPE_SIZE, SHAPE_SIZE)), angle, order=1).shape
    return height, width


def _texture(scene: Scene) -> Bools:
    """The texture before it is turned, (448, 448)."""
    if scene.grain is not None:
        grain = np.unpackbits(scene.grain).reshape(TEXTURE_SIZE, TEXTURE_SIZE).astype(bool)
        return _rain(grain) if scene.texture == "rain" else grain
    y, x = scene.texture_offset
    return texture_plane(scene.texture)[y : y + TEXTURE_SIZE, x : x + TEXTURE_SIZE]


def _rain(drops: Bools) -> Bools:
    painted = drops.copy()
    for below in range(1, DROP):
        painted[below:] |= drops[:-below]
    return painted


@cache
def shape_template(shape: str) -> Floats:
    """1 inside and 0 outside of the upright shape, (128, 128)."""
    i, j = np.mgrid[:SHAPE_SIZE, :SHAPE_SIZE]
    aside = np.abs(j - 64)
    match shape:
        case "triangle":
            inside = aside - i // 2 < 1
        case "square":
            inside = np.ones_like(i, dtype=bool)
        case "plus":
            inside = _within(j, 43, 86) | _within(i, 43, 86)
        case "circle":
            inside = (i + 0.5 - 64) ** 2 + (j + 0.5 - 64) ** 2 < 64**2
        case "tee":
            inside = _within(j, 43, 86) | (i < 42)
        case "rhombus":
            slanted = j - 64 + i // 2
            inside = (slanted > 0) & (slanted < 64)
        case "pentagon":
            inside = np.where(i < 51, aside - 1.25 * i < 1, _narrowed(j, (i - 51) // 3.1))
        case "star":
            arms = (i >= 51) & (i < 76) & _narrowed(j, 2.4 * (i - 51))
            inside = ((i < 51) & (aside - i // 4 < 1)) | arms | _star_feet(i, j)
        case "fivesquare":
            inside = _within(j, 42, 85) == _within(i, 42, 85)
        case "trapezoid":
            inside = _narrowed(j, i // 3.1)
        case _:
            raise ValueError(f"no shape is called {shape}")
    return inside.astype(np.float64)


def _within(position: NDArray[np.int64], low: int, high: int) -> Bools:
    return (position >= low) & (position < high)


def _narrowed(j: NDArray[np.int64], by: Floats) -> Bools:
    return (by < j) & (j < SHAPE_SIZE - by)


def _star_feet(i: NDArray[np.int64], j: NDArray[np.int64]) -> Bools:
    left, right = 42.24 - 0.43 * (i - 70), 79.36 - 1.05 * (i - 70)
    mirrored = SHAPE_SIZE - j
    return (i >= 70) & (((left < j) & (j < right)) | ((left < mirrored) & (mirrored < right)))


@cache
def texture_plane(texture: str) -> Bools:
    """A texture without random pixels, on a plane large enough for every offset into it."""
    y, x = np.mgrid[: TEXTURE_SIZE + MAX_OFFSET, : TEXTURE_SIZE + MAX_OFFSET]
    v, u = y % 10, x % 10
    odd_row = (y // 10) % 2 == 1
    match texture:
        case "solid":
            return np.ones_like(y, dtype=bool)
        case "stripes":
            return v < 3
        case "grid":
            return (v < 3) | (u < 3)
        case "hexgrid":
            slant = (1.73 * y).astype(np.int64)
            return ((x + slant) % 10 < 2) | ((x - slant) % 10 < 2) | (v < 2)
        case "dots":
            return (v - 5) ** 2 + (u - 5) ** 2 < 16
        case "triangles":
            return v // 2 - np.abs(u - 5) > 0
        case "zigzags":
            run, start = np.where(odd_row, 9 - u, u), v // 2
            return (start < run) & (run < 5 + start)
        case "pluses":
            across, down = np.abs(u - 5) < 1.5, np.abs(v - 5) < 1.5
            between = (u < 1.5) | (10 - u < 1.5) | (down & (np.abs(u - 5) > 1.5))
            return np.where(odd_row, between, across | down)
        case _:
            raise ValueError(f"no texture without random pixels is called {texture}")
