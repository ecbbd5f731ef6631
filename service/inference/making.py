"""Vectors on their way: whoever wants the same one meanwhile joins those who wait for it.

A vector is called off once all who waited for it have left, and not before. For use in one event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.inference.batcher import Promise

Vector = NDArray[np.float32]


@dataclass(eq=False)
class Share:
    """Whoever has one leaves it again, whatever happens."""

    promise: Promise
    answer: asyncio.Future[Vector]
    """The promise's, in the event loop."""
    waiting: int = 1


class InTheMaking:
    def __init__(self) -> None:
        self._shares: dict[bytes, Share] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._shares

    def joined(self, key: bytes) -> Share | None:
        share = self._shares.get(key)
        if share is not None:
            share.waiting += 1
        return share

    def begun(self, key: bytes, promise: Promise) -> Share:
        share = self._shares[key] = Share(promise, asyncio.wrap_future(promise))
        share.answer.add_done_callback(lambda _: self._forget(key, share))
        return share

    def leave(self, key: bytes, share: Share) -> None:
        share.waiting -= 1
        if not share.waiting and not share.answer.done():
            share.promise.cancel()
            share.answer.cancel()
            self._forget(key, share)

    def _forget(self, key: bytes, share: Share) -> None:
        if self._shares.get(key) is share:
            del self._shares[key]
