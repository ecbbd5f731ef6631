"""What images were encoded to lately, so that one image with many texts is encoded once: bounded in bytes.

May be used from any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

ENTRY_BYTES = 400
"""What a key, an array's head and their place in the order take, about."""

Array = NDArray[Any]


class Tokens:
    """What was not asked for the longest leaves first. `max_bytes` 0 remembers nothing."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, Array] = OrderedDict()
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        return self._bytes

    def get(self, key: bytes) -> Array | None:
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key]

    def keep(self, key: bytes, tokens: Array) -> None:
        """The array must not be changed any more, nor be a view of a larger one."""
        with self._lock:
            replaced = self._entries.pop(key, None)
            self._entries[key] = tokens
            self._bytes += _size(tokens) - (0 if replaced is None else _size(replaced))
            while self._bytes > self._max_bytes:
                _, left = self._entries.popitem(last=False)
                self._bytes -= _size(left)


def _size(tokens: Array) -> int:
    return tokens.nbytes + ENTRY_BYTES
