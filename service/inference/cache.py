"""Vectors that were computed lately, and which input was which sample: in this process's memory, bounded in bytes.

For use in one event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.inference.prepare import Sample

Vector = NDArray[np.float32]

ENTRY_BYTES = 400
"""What a key, an array's head and their place in the order take, about."""
INPUT_BYTES = 900
"""What an input's key and its sample's outline take, about."""


@dataclass(frozen=True)
class Known:
    """An input that was prepared before: its sample's key and outline."""

    key: bytes
    outline: Sample


class Cache:
    """What was not asked for the longest leaves first. `max_bytes` 0 remembers nothing."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, tuple[Vector | Known, int]] = OrderedDict()
        self._bytes = 0

    @property
    def is_on(self) -> bool:
        return self._max_bytes > 0

    @property
    def held_bytes(self) -> int:
        return self._bytes

    def vector(self, key: bytes) -> Vector | None:
        found = self._found(key)
        return found if isinstance(found, np.ndarray) else None

    def known(self, key: bytes) -> Known | None:
        found = self._found(key)
        return found if isinstance(found, Known) else None

    def keep_vector(self, key: bytes, vector: Vector) -> None:
        """A copy: the vector may be a row of a whole batch."""
        if self.is_on:
            self._keep(key, vector.copy(), vector.nbytes + ENTRY_BYTES)

    def keep_known(self, key: bytes, known: Known) -> None:
        if self.is_on:
            self._keep(key, known, INPUT_BYTES)

    def _found(self, key: bytes) -> Vector | Known | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def _keep(self, key: bytes, value: Vector | Known, size: int) -> None:
        _, replaced = self._entries.pop(key, (None, 0))
        self._entries[key] = (value, size)
        self._bytes += size - replaced
        while self._bytes > self._max_bytes:
            _, (_, left) = self._entries.popitem(last=False)
            self._bytes -= left
