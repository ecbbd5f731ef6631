"""Equal samples are computed once, whoever asks for them and wherever they are remembered."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from service.errors import UnavailableError
from service.inference.batcher import Batcher
from service.inference.cache import Cache
from service.inference.keys import Ready
from service.inference.meters import Meters
from service.inference.redis_cache import PATIENCE_S, RedisCache
from service.inference.timing import Timing
from service.inference.vectors import Vectors
from tests.service.inference.networks import Doubling, sample
from tests.service.inference.test_batcher import Failing

ASKED = 100
"""So many that waiting for each of them could not be taken for a slow machine."""


class Place:
    """Vectors with what is behind them."""

    def __init__(self, redis: RedisCache | None = None, cache_bytes: int = 2**20) -> None:
        self.network = Doubling()
        self.meters = Meters()
        self.batcher = Batcher(1, 4, self.meters)
        self.redis = redis
        self.vectors = Vectors(self.batcher, Cache(cache_bytes), redis, self.meters)

    async def ask(self, *numbers: float, timing: Timing | None = None) -> list[float]:
        wanted = [Ready(sample(number), str(number).encode().ljust(32)) for number in numbers]
        found = await self.vectors.of(self.network, 1, wanted, timing or Timing())
        return [float(vector[0]) for vector in found]

    def stop(self) -> None:
        self.network.may_go_on.set()
        self.batcher.stop()
        if self.redis is not None:
            self.redis.close()


@contextmanager
def place(redis: RedisCache | None = None, cache_bytes: int = 2**20) -> Iterator[Place]:
    made = Place(redis, cache_bytes)
    try:
        yield made
    finally:
        made.stop()


async def begun(made: Place, *calls: Coroutine[Any, Any, list[float]]) -> list[asyncio.Task[list[float]]]:
    """All of them under way: the network has the first in its hands, and the others wait."""
    tasks = [asyncio.ensure_future(calls[0])]
    while not made.network.begun.is_set():
        await asyncio.sleep(0.001)
    tasks += [asyncio.ensure_future(call) for call in calls[1:]]
    await asyncio.sleep(0.001)
    return tasks


def computed(made: Place) -> list[float]:
    return [number for batch in made.network.batches for number in batch]


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_equal_samples_are_computed_once_within_a_request_and_between_requests(cache_bytes: int) -> None:
    async def ask(made: Place) -> None:
        tasks = await begun(made, made.ask(1, 2, 1), made.ask(2, 3), made.ask(1))
        made.network.may_go_on.set()
        assert await asyncio.gather(*tasks) == [[2, 4, 2], [4, 6], [2]]

    with place(cache_bytes=cache_bytes) as made:
        asyncio.run(ask(made))
        assert sorted(computed(made)) == [1, 2, 3]
        assert 'fusebox_inference_vectors_total{cache="shared"} 3.0' in made.meters.exposition()
        assert 'fusebox_inference_vectors_total{cache="miss"} 3.0' in made.meters.exposition()


def test_who_leaves_does_not_take_the_others_vector_along() -> None:
    async def leave(made: Place) -> None:
        first, one, other = await begun(made, made.ask(0), made.ask(1, 2), made.ask(1))
        one.cancel()
        await asyncio.wait([one])
        assert made.batcher.waiting == 1, "nobody wants 2 any more, and somebody still wants 1"
        made.network.may_go_on.set()
        assert (await first, await other) == ([0], [2])
        again = asyncio.ensure_future(made.ask(5))
        again.cancel()
        await asyncio.wait([again])
        assert await made.ask(5) == [10], "what was called off is begun anew"

    with place() as made:
        asyncio.run(leave(made))
        assert computed(made) == [0, 1, 5]


def test_who_begins_and_leaves_at_once_does_not_take_the_others_vector_along() -> None:
    async def leave(made: Place) -> None:
        first, one, other = await begun(made, made.ask(0), made.ask(1), made.ask(1))
        one.cancel()
        made.network.may_go_on.set()
        assert (await first, await other) == ([0], [2])

    with place() as made:
        asyncio.run(leave(made))


def test_a_failure_is_everybodys_who_waits_and_is_not_remembered(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(made: Place) -> None:
        sound, made.network = made.network, Failing(SystemExit(1))
        tasks = await begun(made, made.ask(1), made.ask(1))
        made.network.may_go_on.set()
        for task in tasks:
            with pytest.raises(UnavailableError):
                await task
        made.network = sound
        made.network.may_go_on.set()
        assert await made.ask(1) == [2]

    with caplog.at_level(logging.CRITICAL), place() as made:
        asyncio.run(fail(made))


def test_what_is_remembered_is_not_computed_and_says_so() -> None:
    async def ask(made: Place) -> tuple[str, str, str]:
        made.network.may_go_on.set()
        told = []
        for numbers in ((1, 2), (2, 3), (3, 1)):
            timing = Timing(inputs=2)
            await made.ask(*numbers, timing=timing)
            timing.ready_at = time.monotonic()
            told.append(timing.header(time.monotonic()).rpartition("=")[2])
        return told[0], told[1], told[2]

    with place() as made:
        assert asyncio.run(ask(made)) == ("miss", "partial", "hit")
        assert sorted(computed(made)) == [1, 2, 3]


def test_numbers_that_are_not_finite_are_not_remembered() -> None:
    async def ask(made: Place) -> None:
        made.network.may_go_on.set()
        for _ in range(2):
            assert await made.ask(np.inf) == [np.inf]

    with place() as made:
        asyncio.run(ask(made))
        assert len(computed(made)) == 2


class TestWithRedis:
    def test_another_process_finds_what_one_has_computed(self, redis_url: str) -> None:
        async def one(made: Place) -> None:
            made.network.may_go_on.set()
            assert await made.ask(7, 8) == [14, 16]

        async def other(made: Place) -> None:
            deadline = time.monotonic() + 5
            while len(await made.redis.vectors(keys, 1)) < 2 and time.monotonic() < deadline:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
            assert await made.ask(7, 8) == [14, 16]

        keys = [b"7".ljust(32), b"8".ljust(32)]
        with place(RedisCache(redis_url, 60)) as first, place(RedisCache(redis_url, 60)) as second:
            asyncio.run(one(first))
            asyncio.run(other(second))
            assert computed(second) == []
            assert 'fusebox_inference_vectors_total{cache="redis"} 2.0' in second.meters.exposition()

    def test_a_vector_of_another_width_is_not_taken(self, redis_url: str) -> None:
        redis = RedisCache(redis_url, 60)
        redis._client.set(b"fusebox:vector:" + b"9".ljust(32).hex().encode(), b"\0" * 8)

        async def ask(made: Place) -> None:
            made.network.may_go_on.set()
            assert await made.ask(9) == [18]

        with place(redis) as made:
            asyncio.run(ask(made))
            assert computed(made) == [9]

    def test_nobody_waits_long_for_a_turn_with_redis(self, redis_url: str) -> None:
        redis = RedisCache(redis_url, 60)

        async def ask(made: Place) -> float:
            for _ in range(8):
                redis._readers.submit(time.sleep, 1)
            made.network.may_go_on.set()
            began = time.monotonic()
            assert await made.ask(5) == [10]
            return time.monotonic() - began

        with place(redis) as made:
            assert asyncio.run(ask(made)) < 1

    @pytest.mark.parametrize("how", ["away", "silent"])
    def test_without_redis_vectors_are_computed_and_soon(self, how: str) -> None:
        async def ask(made: Place) -> float:
            made.network.may_go_on.set()
            assert await made.ask(1, 2) == [2, 4]
            began = time.monotonic()
            for number in range(3, 3 + ASKED):
                assert await made.ask(number) == [2 * number]
            return time.monotonic() - began

        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            if how == "silent":
                listener.listen(8)  # takes connections and says nothing
            url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
            with place(RedisCache(url, 60)) as made:
                began = time.monotonic()
                rest_s = asyncio.run(ask(made))
                assert time.monotonic() - began < ASKED * PATIENCE_S
                assert rest_s < ASKED / 2 * PATIENCE_S, "after it has failed it is not asked for a while"
