"""Random changes of where things are in an image: each sample is resampled once, through its own affine map.

Maps go from output to input coordinates in [-1, 1], (B, 2, 3), as torch.nn.functional.affine_grid takes them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TRIES = 10
RATIO = math.log(4 / 3)


def uniform(low: float, high: float, shape: tuple[int, ...] | int, like: Tensor) -> Tensor:
    return torch.empty(shape, device=like.device).uniform_(low, high)


def random_resized_crop(images: Tensor, min_area: float, flip: float = 0.0) -> Tensor:
    """One of the `windows` of each image, enlarged to the whole."""
    return resample_windows(images, windows(images, min_area, flip))


def windows(images: Tensor, min_area: float, flip: float = 0.0) -> Tensor:
    """Maps (B, 2, 3) that show a window of `min_area` to 1 of the area and 3/4 to 4/3 in aspect of each image, mirrored
    with probability `flip`. A shape that does not fit into the image is drawn again, ten times at most, as torchvision does.
    """
    area = uniform(min_area, 1, (len(images), TRIES), images)
    ratio = uniform(-RATIO, RATIO, (len(images), TRIES), images).exp()
    width, height = (area * ratio).sqrt(), (area / ratio).sqrt()
    fits = (width <= 1) & (height <= 1)
    first = fits.int().argmax(1, keepdim=True)
    whole = ~fits.any(1)
    width = width.gather(1, first)[:, 0].masked_fill(whole, 1)
    height = height.gather(1, first)[:, 0].masked_fill(whole, 1)
    x, y = (uniform(-1, 1, len(images), images) * (1 - side) for side in (width, height))
    mirror = 1 - 2 * (torch.rand(len(images), device=images.device) < flip).float()
    zero = torch.zeros_like(x)
    return _rows([width * mirror, zero, x], [zero, height, y])


def random_affine(images: Tensor, degrees: float, shift: float, scale: tuple[float, float]) -> Tensor:
    """Turned by up to ±`degrees`, shifted by up to ±`shift` of the width, enlarged by `scale`; black comes in."""
    n = len(images)
    angle = torch.deg2rad(uniform(-degrees, degrees, n, images))
    zoom = 1 / uniform(*scale, n, images)
    x, y = uniform(-2 * shift, 2 * shift, (2, n), images)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    return resample(images, _rows([cos, -sin, x], [sin, cos, y]), padding="zeros")


def resample(images: Tensor, maps: Tensor, padding: str) -> Tensor:
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def resample_windows(images: Tensor, maps: Tensor) -> Tensor:
    """By maps that do not turn: what `resample` gives, with a grid that is made of a row and a column."""
    n, _, height, width = images.shape
    across, down = (
        torch.arange(1 - size, size, 2, device=images.device) / size * maps[:, axis, axis, None]
        + maps[:, axis, 2, None]
        for axis, size in enumerate((width, height))
    )
    grid = torch.stack(
        [across[:, None].expand(n, height, width), down[:, :, None].expand(n, height, width)], dim=-1
    )
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _rows(*rows: list[Tensor]) -> Tensor:
    """(B, 2, 3) of two rows of three (B,)."""
    return torch.stack([torch.stack(row, -1) for row in rows], 1)
