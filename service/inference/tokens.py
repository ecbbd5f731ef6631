"""What images were encoded to lately, so that one image with many texts is encoded once: bounded in bytes.

May be used from any thread.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from service.inference.lately import ENTRY_BYTES, Lately

Array = NDArray[Any]


class Tokens:
    """`max_bytes` 0 remembers nothing."""

    def __init__(self, max_bytes: int) -> None:
        self._kept: Lately[Array] = Lately(max_bytes)

    @property
    def held_bytes(self) -> int:
        return self._kept.held_bytes

    def get(self, key: bytes) -> Array | None:
        return self._kept.get(key)

    def keep(self, key: bytes, tokens: Array) -> None:
        """The array must not be a view of a larger one."""
        self._kept.keep(key, tokens, tokens.nbytes + ENTRY_BYTES)
