"""Callers, some of whom leave early, and what they were answered."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np

from tests.soak.requests import MODEL, Asked, Drawn

CLOSE = 1e-5
"""In any number of any vector."""
BUSY = (429,)
"""What a good request may be answered at any time."""
LEAVES = 0.03
"""Of the callers' requests, those that nobody waits for."""
PATIENCE_S = 60
MOST_TOLD = 10
TOLD_EVERY_S = 30


@dataclass
class Seen:
    statuses: Counter[int] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    left: int = 0
    vectors: int = 0
    largest_difference: float = 0.0
    unexpected: list[str] = field(default_factory=list)
    """What must not have been answered; some of it."""
    wrong: int = 0

    def note(self, asked: Asked, status: int, content: bytes) -> None:
        self.statuses[status] += 1
        self.asked[asked.name] += 1
        if status in BUSY and asked.status == 200:
            return
        if status != asked.status:
            self._complain(f"{asked.name}: {status} instead of {asked.status}: {content[:300]!r}")
        elif asked.vectors:
            self._compare(asked, json.loads(content))

    def failed(self, asked: Asked, error: Exception) -> None:
        self._complain(f"{asked.name}: {type(error).__name__} {error}")

    def _compare(self, asked: Asked, answer: Any) -> None:
        found = np.array(asked.read(answer), dtype=np.float32)
        wanted = np.stack(asked.vectors)
        off = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
        self.vectors += len(wanted)
        self.largest_difference = max(self.largest_difference, off)
        if not off <= CLOSE:
            self._complain(f"{asked.name}: a vector is off by {off:g}")

    def _complain(self, what: str) -> None:
        self.wrong += 1
        if len(self.unexpected) < MOST_TOLD:
            self.unexpected.append(what)


async def under_load(url: str, drawn: Drawn, callers: int, seconds: float) -> Seen:
    """Each caller sends its next request when it has its answer. Tells how far it is, on standard error."""
    seen, end = Seen(), time.monotonic() + seconds
    patience = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(url, timeout=patience) as session:

        async def call(number: int) -> None:
            turn = 0
            while time.monotonic() < end:
                turn += 1
                if (turn * 7919 + number) % round(1 / LEAVES) == 0:
                    await _leave(url, whole=turn % 2 == 0)
                    seen.left += 1
                else:
                    await _ask(session, drawn.request(), seen)

        telling = asyncio.create_task(_tell(seen, end))
        await asyncio.gather(*(call(each) for each in range(callers)))
        telling.cancel()
    return seen


async def _tell(seen: Seen, end: float) -> None:
    while True:
        await asyncio.sleep(TOLD_EVERY_S)
        left = max(0, end - time.monotonic())
        print(f"{seen.statuses.total():,} answers, {seen.wrong} wrong; {left:.0f} s left", file=sys.stderr)


async def _ask(session: aiohttp.ClientSession, asked: Asked, seen: Seen) -> None:
    try:
        async with session.request(asked.method, asked.path, **asked.sent) as answer:
            seen.note(asked, answer.status, await answer.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        # A server may close the connection on a body that it will not read to its end.
        if asked.status != 413 or not isinstance(error, aiohttp.ClientConnectionError):
            seen.failed(asked, error)


async def _leave(url: str, whole: bool) -> None:
    """A caller who hangs up: in the middle of the body, or right after it."""
    place = urlsplit(url)
    body = json.dumps({"model": MODEL, "input": ["a handwritten three"] * 8}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(head.encode() + (body if whole else body[: len(body) // 2]))
    await writer.drain()
    writer.transport.abort()
