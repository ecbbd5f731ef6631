"""Calls that are shared by all who need their answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class SharedCalls(Generic[Answer]):
    """Runs `call(key)` in `pool`, once at a time per key; whoever asks meanwhile waits for the same answer.

    A caller that leaves does not end the call for the others, and a call that fails fails for all who wait, and is
    made anew for the next. For use in one event loop.
    """

    def __init__(self, call: Callable[[str], Answer], pool: Executor) -> None:
        self._call = call
        self._pool = pool
        self._running: dict[str, asyncio.Future[Answer]] = {}

    async def __call__(self, key: str) -> Answer:
        running = self._running.get(key)
        if running is None:
            running = asyncio.get_running_loop().run_in_executor(self._pool, self._call, key)
            self._running[key] = running
            running.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(running)

    def _forget(self, key: str, done: asyncio.Future[Answer]) -> None:
        self._running.pop(key, None)
        if not done.cancelled():
            done.exception()  # when all callers have left, nobody else asks for it
