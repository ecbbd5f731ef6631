"""Fixed sets of features to probe, each hard in its own way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Features(NamedTuple):
    x: Tensor  # (N, D), float64
    y: Tensor  # (N,)
    classes: int


def blobs(n: int = 400, width: int = 6, classes: int = 3, *, apart: float = 1.0, seed: int = 0) -> Features:
    """A cloud around each class' centre."""
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, n)
    x = random.standard_normal((n, width)) + apart * random.standard_normal((classes, width))[y]
    return Features(torch.from_numpy(x), torch.from_numpy(y), classes)


def power_law(
    n: int = 300, width: int = 24, classes: int = 4, *, power: float, seed: int = 0, apart: float = 0.6
) -> Features:
    """Blobs whose directions shrink by a power law, then are turned: ill-conditioned, as embeddings are."""
    x, y, _ = blobs(n, width, classes, apart=apart, seed=seed)
    turned, _ = np.linalg.qr(np.random.default_rng(seed + 1).standard_normal((width, width)))
    scales = np.arange(1, width + 1) ** -power
    return Features(x * torch.from_numpy(scales) @ torch.from_numpy(turned), y, classes)


def separable(n: int = 200, width: int = 8, classes: int = 3) -> Features:
    """Classes that no cost confuses: many costs score the same."""
    return blobs(n, width, classes, apart=8.0, seed=3)


def constant(n: int = 120, width: int = 4, classes: int = 3) -> Features:
    """Features that tell nothing: all costs score the same."""
    return Features(torch.ones(n, width, dtype=torch.float64), torch.arange(n) % classes, classes)


SETS = {
    "ill-conditioned": power_law(power=1.0),
    "very ill-conditioned": power_law(power=2.0, seed=5, classes=5),
    "overlapping": blobs(apart=0.4, seed=2),
    "separable": separable(),
    "constant": constant(),
}
