"""What was made or asked for lately, by key: in this process's memory, bounded in bytes. May be used from any thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

ENTRY_BYTES = 400
"""What a key, an array's head and their place in the order take, about."""

Value = TypeVar("Value")


class Lately(Generic[Value]):
    """What was not asked for the longest leaves first. `max_bytes` 0 remembers nothing."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()
        self._bytes = 0

    @property
    def is_on(self) -> bool:
        return self._max_bytes > 0

    @property
    def held_bytes(self) -> int:
        return self._bytes

    def get(self, key: bytes) -> Value | None:
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def keep(self, key: bytes, value: Value, size: int) -> None:
        """The value must not be changed any more. size: the bytes that it and its entry take."""
        with self._lock:
            _, replaced = self._entries.pop(key, (None, 0))
            self._entries[key] = (value, size)
            self._bytes += size - replaced
            while self._bytes > self._max_bytes:
                _, (_, left) = self._entries.popitem(last=False)
                self._bytes -= left
