"""Images as patches of pixels. B batch, C channels, H height and width, P pixels along a patch, N patches."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

EPSILON = 1e-6


def patchify(images: Tensor, side: int) -> Tensor:
    """(B, C, H, H) → (B, N, P · P · C), row by row."""
    batch, channels, height, _ = images.shape
    rows = height // side
    cut = images.view(batch, channels, rows, side, rows, side)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * rows, side * side * channels)


def normalised_patches(patches: Tensor) -> Tensor:
    """Each patch (…, K) with zero mean and unit deviation of its own; a patch of one colour is all zeros.

    Source: masked autoencoders (arXiv:2111.06377), §3, "reconstruction target".
    """
    mean, var = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True, correction=0)
    return (patches - mean) / (var + EPSILON).sqrt()


def without(images: Tensor, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
    """The images (B, C, H, W) with the hidden cells (B, rows · columns) of a grid painted over in the data's mean
    colour, which is 0 in normalised pixels."""
    cells = hidden.view(-1, 1, *grid).to(images.dtype)
    covered = interpolate(cells, size=images.shape[-2:], mode="nearest") > 0.5
    return images.masked_fill(covered, 0.0)
