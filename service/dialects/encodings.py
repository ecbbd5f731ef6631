"""Vectors in the forms that other services name, each for one vector (D)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.inference.finish import as_base64, as_bits, as_int8
from service.schemas.dialects import DType, EmbeddingType

Vector = NDArray[np.float32]


def as_uint8(vector: Vector) -> NDArray[np.uint8]:
    """Those of int8, 128 higher."""
    return (as_int8(vector).astype(np.int16) + 128).astype(np.uint8)


def as_offset_bits(vector: Vector) -> NDArray[np.int8]:
    """Bytes of eight signs each, 128 lower, so that they are signed."""
    return (as_bits(vector).astype(np.int16) - 128).astype(np.int8)


NUMBERS: dict[DType, Callable[[Vector], NDArray[np.generic]]] = {
    "float": lambda vector: vector.astype("<f4"),
    "int8": as_int8,
    "uint8": as_uint8,
    "binary": as_offset_bits,
    "ubinary": as_bits,
}


def typed(vector: Vector, kind: EmbeddingType) -> NDArray[np.generic] | str:
    return as_base64(vector) if kind == "base64" else NUMBERS[kind](vector)
