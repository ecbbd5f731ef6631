"""What SimCLR's views (arXiv:2002.05709) draw: all that is random in them, for the whole batch and before anything is done
to it. With what the drawn numbers mean to whoever does that. B samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.data.geometry import uniform, windows

MIN_AREA, MIRROR = 0.08, 0.5
JITTER, JITTERED = (0.4, 0.4, 0.4, 0.1), 0.8
"""Brightness, contrast, saturation as factors 1 ± value; hue as a part of the colour circle."""
GREY = 0.2
BLUR, BLURRED = (0.1, 2.0), 0.5
"""Radii (standard deviations) in pixels of an image of 224."""
NOT_BLURRED = 1e-2
"""So narrow a kernel is exactly 1 in the middle and 0 elsewhere."""
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Jitter:
    factors: Tensor
    """Brightness, contrast, saturation minus 1, and hue in circles: (4, B)."""
    order: tuple[int, ...]
    """In which the four are changed, for all samples."""


@dataclass(frozen=True)
class Drawn:
    """All that is random in the views of a batch."""

    windows: Tensor
    """(B, 2, 3), from output to input coordinates."""
    jitter: Jitter
    grey: Tensor
    """Booleans (B,)."""
    sigma: Tensor
    """Of the blur, in pixels (B,); next to nothing where there is none."""


def drawn(images: Tensor) -> Drawn:
    return Drawn(
        windows(images, MIN_AREA, MIRROR), draw_jitter(images), draw_grey(images), draw_sigma(images)
    )


def draw_jitter(images: Tensor) -> Jitter:
    """Strengths are drawn per sample, the order of the four changes per batch."""
    n = len(images)
    chosen = _chosen(JITTERED, images)
    factors = torch.stack([uniform(-limit, limit, n, images) * chosen for limit in JITTER])
    # Drawn on the CPU: the order decides what is launched, and the device must not be waited for.
    return Jitter(factors, tuple(torch.randperm(len(JITTER)).tolist()))


def draw_grey(images: Tensor) -> Tensor:
    return _chosen(GREY, images)


def draw_sigma(images: Tensor) -> Tensor:
    scale = images.shape[-1] / 224
    sigma = uniform(BLUR[0] * scale, BLUR[1] * scale, len(images), images)
    return torch.where(_chosen(BLURRED, images), sigma, NOT_BLURRED)


def gauss_kernels(images: Tensor, sigma: Tensor) -> Tensor:
    """(B, 2 · reach + 1), float32."""
    reach = math.ceil(3 * BLUR[1] * images.shape[-1] / 224)
    place = torch.arange(-reach, reach + 1, device=images.device)
    return torch.softmax(-0.5 * (place / sigma[:, None]) ** 2, dim=1)


def _chosen(share: float, images: Tensor) -> Tensor:
    return torch.rand(len(images), device=images.device) < share
