"""From prepared samples to vectors: those that are known, those that are being computed for somebody already, and new ones.

For use in one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.inference.batcher import Batcher, Network
from service.inference.cache import Cache, Known
from service.inference.keys import Ready
from service.inference.making import InTheMaking, Share
from service.inference.meters import Meters
from service.inference.prepare import Sample
from service.inference.redis_cache import RedisCache
from service.inference.timing import Timing

Vector = NDArray[np.float32]


class Vectors:
    """Equal samples that are asked for at once are computed once, whoever they belong to."""

    def __init__(self, batcher: Batcher, cache: Cache, redis: RedisCache | None, meters: Meters) -> None:
        self._batcher = batcher
        self._cache = cache
        self._redis = redis
        self._meters = meters
        self._making = InTheMaking()

    def recall(self, input_key: bytes | None) -> tuple[Sample, Vector] | None:
        """The outline and the vector of an input that was sent before, without preparing it."""
        known = self._cache.known(input_key) if input_key is not None else None
        vector = self._cache.vector(known.key) if known is not None else None
        return None if known is None or vector is None else (known.outline, vector)

    def remember(self, input_key: bytes, known: Known) -> None:
        self._cache.keep_known(input_key, known)

    async def of(self, network: Network, width: int, wanted: Sequence[Ready], timing: Timing) -> list[Vector]:
        """One each (width). Whoever leaves takes out of the queue what nobody else waits for.

        Raises UnavailableError.
        """
        samples = {each.key: each.sample for each in wanted}
        vectors = {key: vector for key in samples if (vector := self._cache.vector(key)) is not None}
        self._meters.came_from("hit", sum(each.key in vectors for each in wanted))
        if self._redis is not None:
            unknown = [key for key in samples if key not in vectors and key not in self._making]
            found = await self._redis.vectors(unknown, width)
            for key, vector in found.items():
                self._cache.keep_vector(key, vector)
            self._meters.came_from("redis", sum(each.key in found for each in wanted))
            vectors |= found
        rest = [each.key for each in wanted if each.key not in vectors]
        timing.remembered += len(wanted) - len(rest)
        if rest:
            new = {key: samples[key] for key in rest}
            self._meters.came_from("shared", len(rest) - len(new))
            vectors |= await self._made(network, new, timing)
        return [vectors[each.key] for each in wanted]

    async def _made(
        self, network: Network, samples: Mapping[bytes, Sample], timing: Timing
    ) -> dict[bytes, Vector]:
        """Nothing may be awaited before all have been joined or begun: whoever comes meanwhile would begin them too."""
        shares = {key: share for key in samples if (share := self._making.joined(key)) is not None}
        self._meters.came_from("shared", len(shares))
        try:
            shares |= self._begun(network, {key: each for key, each in samples.items() if key not in shares})
            answers = await asyncio.gather(*(asyncio.shield(share.answer) for share in shares.values()))
        finally:
            for key, share in shares.items():
                self._making.leave(key, share)
        promises = [share.promise for share in shares.values()]
        timing.queue_s = max(timing.queue_s, *(each.queue_s for each in promises))
        timing.run_s = max(timing.run_s, *(each.run_s for each in promises))
        return dict(zip(shares, answers, strict=True))

    def _begun(self, network: Network, new: Mapping[bytes, Sample]) -> dict[bytes, Share]:
        if not new:
            return {}
        self._meters.came_from("miss", len(new))
        begun = {}
        for key, promise in zip(new, self._batcher.submit(network, list(new.values())), strict=True):
            begun[key] = self._making.begun(key, promise)
            begun[key].answer.add_done_callback(partial(self._keep, key))
        return begun

    def _keep(self, key: bytes, answer: asyncio.Future[Vector]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        vector = answer.result()
        if np.isfinite(vector).all():
            self._cache.keep_vector(key, vector)
            if self._redis is not None:
                self._redis.keep({key: vector})
