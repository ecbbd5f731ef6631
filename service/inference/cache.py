"""Vectors that were computed lately, and which input was which sample: in this process's memory, bounded in bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.inference.lately import ENTRY_BYTES, Lately
from service.inference.prepare import Sample

Vector = NDArray[np.float32]

INPUT_BYTES = 900
"""What an input's key and its sample's outline take, about."""


@dataclass(frozen=True)
class Known:
    """An input that was prepared before: its sample's key and outline."""

    key: bytes
    outline: Sample


class Cache:
    """`max_bytes` 0 remembers nothing."""

    def __init__(self, max_bytes: int) -> None:
        self._kept: Lately[Vector | Known] = Lately(max_bytes)

    @property
    def is_on(self) -> bool:
        return self._kept.is_on

    @property
    def held_bytes(self) -> int:
        return self._kept.held_bytes

    def vector(self, key: bytes) -> Vector | None:
        found = self._kept.get(key)
        return found if isinstance(found, np.ndarray) else None

    def known(self, key: bytes) -> Known | None:
        found = self._kept.get(key)
        return found if isinstance(found, Known) else None

    def keep_vector(self, key: bytes, vector: Vector) -> None:
        """A copy: the vector may be a row of a whole batch."""
        if self.is_on:
            self._kept.keep(key, vector.copy(), vector.nbytes + ENTRY_BYTES)

    def keep_known(self, key: bytes, known: Known) -> None:
        self._kept.keep(key, known, INPUT_BYTES)
