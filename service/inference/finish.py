"""The last step: from what the network gives to what the caller asked for. B inputs, D embedding width."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

TINY = np.float32(1e-12)


def finish(vectors: NDArray[np.float32], dimensions: int | None, normalize: bool) -> NDArray[np.float32]:
    """The first `dimensions` numbers of each (B, D), then scaled to length 1: shortening changes the length."""
    kept = vectors[:, :dimensions]
    if normalize:
        kept = kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), TINY)
    return np.ascontiguousarray(kept, dtype=np.float32)


def as_base64(vector: NDArray[np.float32]) -> str:
    """Little-endian float32, as OpenAI's clients read it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
