"""SimCLR's views (arXiv:2002.05709): crop and mirror, colour jitter, grey, blur, as CoMM and InfMasking train on."""

from __future__ import annotations

import math

import torch
from kornia.enhance import adjust_hue
from kornia.filters import gaussian_blur2d
from torch import Tensor

from training.data.geometry import random_resized_crop, uniform

MIN_AREA, MIRROR = 0.08, 0.5
JITTER, JITTERED = (0.4, 0.4, 0.4, 0.1), 0.8
"""Brightness, contrast, saturation as factors 1 ± value; hue as a part of the colour circle."""
GREY = 0.2
BLUR, BLURRED = (0.1, 2.0), 0.5
"""Radii (standard deviations) in pixels of an image of 224."""
LUMA = (0.299, 0.587, 0.114)


def view(images: Tensor) -> Tensor:
    """(B, 3, H, H) in [0, 1]."""
    cropped = random_resized_crop(images, MIN_AREA, flip=MIRROR)
    return random_blur(random_grey(random_jitter(cropped)))


def random_jitter(images: Tensor) -> Tensor:
    """Strengths are drawn per sample, the order of the four changes per batch."""
    n = len(images)
    chosen = _chosen(JITTERED, images)
    brightness, contrast, saturation, hue = (
        uniform(-limit, limit, (n, 1, 1, 1), images) * chosen for limit in JITTER
    )
    changes = (
        lambda x: x * (1 + brightness),
        lambda x: torch.lerp(_grey(x).mean((1, 2, 3), keepdim=True), x, 1 + contrast),
        lambda x: torch.lerp(_grey(x), x, 1 + saturation),
        lambda x: adjust_hue(x, hue.flatten() * (2 * math.pi)),
    )
    # Drawn on the CPU: the order decides what is launched, and the device must not be waited for.
    for i in torch.randperm(len(changes)).tolist():
        images = changes[i](images).clamp_(0, 1)
    return images


def random_grey(images: Tensor) -> Tensor:
    return torch.where(_chosen(GREY, images), _grey(images), images)


def random_blur(images: Tensor) -> Tensor:
    scale = images.shape[-1] / 224
    sigma = uniform(BLUR[0] * scale, BLUR[1] * scale, (len(images), 1), images)
    # So narrow a kernel is exactly 1 in the middle and 0 elsewhere.
    sigma = torch.where(_chosen(BLURRED, images).view(-1, 1), sigma, 1e-2)
    width = 2 * math.ceil(3 * BLUR[1] * scale) + 1
    return gaussian_blur2d(images, (width, width), sigma.expand(-1, 2), border_type="replicate")


def _chosen(share: float, images: Tensor) -> Tensor:
    return torch.rand((len(images), 1, 1, 1), device=images.device) < share


def _grey(images: Tensor) -> Tensor:
    red, green, blue = (weight * images[:, i : i + 1] for i, weight in enumerate(LUMA))
    return red + green + blue
