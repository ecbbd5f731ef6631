"""Raw inputs without some of their parts. B batch, L parts: an image's cells, a text's tokens, steps, columns."""

from __future__ import annotations

import torch
from torch import Tensor

from training.modules.encoders import Encoder, WordEncoder
from training.modules.padding import is_there
from training.modules.patches import without
from training.spec import Modality


def hideable(modality: Modality, encoder: Encoder, x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, L) booleans: every cell of an image, every word of a text, every step that is no padding, every column."""
    if isinstance(encoder, WordEncoder):
        return encoder.words.among(x)
    if modality.kind == "image":
        return x.new_ones(len(x), grid[0] * grid[1], dtype=torch.bool)
    return is_there(modality.kind, x)


def hide(
    modality: Modality,
    encoder: Encoder,
    x: Tensor,
    hidden: Tensor,
    grid: tuple[int, int],
    blank: Tensor | float = 0.0,
) -> Tensor:
    """The raw input x without its hidden parts (B, L): cells of the grid in the mean colour, the mask for words, `blank`
    for the numbers of steps and columns. grid: of images; without meaning elsewhere."""
    if isinstance(encoder, WordEncoder):
        return x.masked_fill(hidden, encoder.words.mask_id)
    if modality.kind == "image":
        return without(x, hidden, grid)
    return torch.where(hidden.unsqueeze(-1) if modality.kind == "sequence" else hidden, blank, x)
