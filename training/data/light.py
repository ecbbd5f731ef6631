"""Views of digits and of other small pictures: so close that a digit stays the digit it is, so no mirroring and no tight
crops, and that colours and textures stay what they are.

Nothing is erased either: a few pixels of an 8 × 8 scan may be all that tells two digits apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.data.geometry import random_affine, uniform

DEGREES, SHIFT, SCALE = 10.0, 1 / 8, (0.9, 1.1)
BRIGHTNESS = (0.7, 1.3)
NOISE = 0.05


def view(images: Tensor) -> Tensor:
    """(B, C, H, H) in [0, 1]."""
    n = len(images)
    moved = random_affine(images, DEGREES, SHIFT, SCALE)
    inked = moved * uniform(*BRIGHTNESS, (n, 1, 1, 1), images) + NOISE * torch.randn_like(moved)
    return inked.clamp_(0, 1)
