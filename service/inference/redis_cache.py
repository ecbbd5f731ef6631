"""Vectors in Redis, for several processes of one service. Redis may be slow, full or away: then they are computed.

It is asked in threads of its own, with short patience, and left alone for a while once it has failed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import redis
from numpy.typing import NDArray
from redis.backoff import NoBackoff
from redis.retry import Retry

log = logging.getLogger(__name__)

Vector = NDArray[np.float32]

PATIENCE_S = 0.1
REST_S = 5.0
"""After a failure."""
READERS = 2
MOST_KEPT_WAITING = 64
"""Answers that wait to be stored; further ones are not stored."""
PREFIX = b"fusebox:vector:"


class RedisCache:
    """For use in one event loop, once `close` has not been called."""

    def __init__(self, url: str, ttl_s: int) -> None:
        self._ttl_s = ttl_s
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=PATIENCE_S,
            socket_connect_timeout=PATIENCE_S,
            max_connections=READERS + 1,
            retry=Retry(NoBackoff(), 0),
        )
        self._readers = ThreadPoolExecutor(READERS, "fusebox-redis-read")
        self._writer = ThreadPoolExecutor(1, "fusebox-redis-write")
        self._rests_until = 0.0
        self._storing = threading.Semaphore(MOST_KEPT_WAITING)

    async def vectors(self, keys: Sequence[bytes], width: int) -> dict[bytes, Vector]:
        """Those that are there, of `width` finite numbers; none when Redis does not answer in time."""
        if not keys or self._rests:
            return {}
        try:
            async with asyncio.timeout(PATIENCE_S):  # for its turn among others as well
                found = await asyncio.get_running_loop().run_in_executor(
                    self._readers, self._read, list(keys)
                )
        except TimeoutError:
            return {}
        vectors = {
            key: np.frombuffer(content, "<f4").astype(np.float32)
            for key, content in zip(keys, found, strict=False)
            if content is not None and len(content) == 4 * width
        }
        return {key: vector for key, vector in vectors.items() if np.isfinite(vector).all()}

    def keep(self, vectors: Mapping[bytes, Vector]) -> None:
        """Soon; nobody waits for it."""
        if vectors and not self._rests and self._storing.acquire(blocking=False):
            contents = {key: vector.astype("<f4").tobytes() for key, vector in vectors.items()}
            self._writer.submit(self._write, contents)

    def close(self) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=True)
        self._client.close()

    @property
    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def _read(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        if self._rests:  # it failed while this waited for a thread
            return []
        try:
            found: Any = self._client.mget([PREFIX + key.hex().encode() for key in keys])
        except redis.RedisError as error:
            self._rest(error)
            return []
        return cast(Sequence[bytes | None], found)

    def _write(self, contents: Mapping[bytes, bytes]) -> None:
        try:
            if not self._rests:
                pipeline: Any = self._client.pipeline(transaction=False)
                for key, content in contents.items():
                    pipeline.set(PREFIX + key.hex().encode(), content, ex=self._ttl_s)
                pipeline.execute()
        except redis.RedisError as error:
            self._rest(error)
        finally:
            self._storing.release()

    def _rest(self, error: redis.RedisError) -> None:
        log.warning("Redis keeps no vectors for %g s: %s", REST_S, type(error).__name__)
        self._rests_until = time.monotonic() + REST_S
