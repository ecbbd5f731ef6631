"""The last step: from what the network gives to what the caller asked for. B inputs, D embedding width."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Encoding = Literal["float", "base64", "int8", "binary"]
TINY = np.float32(1e-12)


def finish(vectors: NDArray[np.float32], dimensions: int | None, normalize: bool) -> NDArray[np.float32]:
    """The first `dimensions` numbers of each (B, D), then scaled to length 1: shortening changes the length."""
    kept = vectors[:, :dimensions]
    if normalize:
        # In float64: the squares of large numbers are beyond what float32 holds.
        lengths = np.linalg.norm(kept.astype(np.float64), axis=1, keepdims=True)
        kept = kept / np.maximum(lengths, np.finfo(np.float64).tiny)
    return np.ascontiguousarray(kept, dtype=np.float32)


def encoded(vector: NDArray[np.float32], encoding: Encoding) -> NDArray[np.generic] | str:
    """One vector (D) as it goes into an answer."""
    return ENCODED[encoding](vector)


def as_base64(vector: NDArray[np.float32]) -> str:
    """Little-endian float32, as OpenAI's clients read it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def as_int8(vector: NDArray[np.float32]) -> NDArray[np.int8]:
    """Whole numbers of which the greatest in size is ±127: directions stay, within half a step, and lengths do not."""
    scale = np.float32(127) / np.maximum(np.abs(vector).max(), TINY)
    whole: NDArray[np.int8] = np.rint(vector * scale).astype(np.int8)
    return whole


def as_bits(vector: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Bytes of eight signs each, 1 for numbers above zero, the first number in the highest bit; zeros fill the last byte."""
    return np.packbits(vector > 0)


ENCODED: dict[Encoding, Callable[[NDArray[np.float32]], NDArray[np.generic] | str]] = {
    "float": lambda vector: vector,
    "base64": as_base64,
    "int8": as_int8,
    "binary": as_bits,
}
