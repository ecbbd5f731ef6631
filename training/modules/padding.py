"""What of an input is there and what is padding. B batch, L parts: a text's tokens, a sequence's steps, a table's columns."""

from __future__ import annotations

import torch
from torch import Tensor

from training.spec.encoders import Kind


def is_there(kind: Kind, x: Tensor) -> Tensor:
    """(B, L) booleans, false for padding: token 0 of a text, and what follows the last step of a sequence that is not
    all zeros. A sequence of zeros only has its first step. Tables and images have no padding.

    x: texts (B, L), sequences (B, L, F), tables (B, L), or parts of an image (B, L, C). Free of shapes that depend on
    values.
    """
    match kind:
        case "text":
            return x != 0
        case "sequence":
            place = torch.arange(1, x.shape[1] + 1, device=x.device)
            last = ((x != 0).any(-1) * place).amax(1, keepdim=True)
            return place <= last.clamp_min(1)
        case "table":
            return torch.ones_like(x, dtype=torch.bool)
        case "image":
            return torch.ones_like(x[..., 0], dtype=torch.bool)
