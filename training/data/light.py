"""Views of digits: small enough that a digit stays the digit it is, so no mirroring and no tight crops."""

from __future__ import annotations

import torch
from torch import Tensor

from training.data.geometry import random_affine, uniform

DEGREES, SHIFT, SCALE = 10.0, 1 / 8, (0.9, 1.1)
BRIGHTNESS = (0.7, 1.3)
NOISE = 0.05
ERASED, ERASE = (0.15, 0.4), 0.5
"""Sides of the erased rectangle, as shares of the width; how often there is one."""


def view(images: Tensor) -> Tensor:
    """(B, 1, H, H) in [0, 1]."""
    n = len(images)
    moved = random_affine(images, DEGREES, SHIFT, SCALE)
    inked = moved * uniform(*BRIGHTNESS, (n, 1, 1, 1), images) + NOISE * torch.randn_like(moved)
    return random_erasing(inked).clamp_(0, 1)


def random_erasing(images: Tensor) -> Tensor:
    """A black rectangle, wholly inside the image, in a part of the samples."""
    n, size = len(images), images.shape[-1]
    centre = (torch.arange(size, device=images.device) + 0.5) / size
    sides = uniform(*ERASED, (2, n, 1), images)
    start = torch.rand((2, n, 1), device=images.device) * (1 - sides)
    y, x = (centre >= start) & (centre < start + sides)
    chosen = torch.rand((n, 1, 1, 1), device=images.device) < ERASE
    return images.masked_fill(chosen & y[:, None, :, None] & x[:, None, None, :], 0)
