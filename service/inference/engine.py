"""The inference engine: prepare → batch → run, for one API process.

The event loop only passes things on. Inputs are decoded in one small pool and batches computed by a crew of threads; models
come from the store when first asked for. What is sent again is remembered. No database is touched.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_store.heads import Head
from models_store.manifest import ImageInput, Manifest, Precision, SequenceInput, TableInput
from models_store.store import ModelStore
from service.errors import DeadlineError, Fault, InvalidError, UnavailableError
from service.inference.addresses import Addresses
from service.inference.batcher import Batcher
from service.inference.cache import Cache, Known
from service.inference.devices import on_gpu
from service.inference.heads import Heads
from service.inference.keys import MOST_HASHED_AT_ONCE, Ready, input_key, outline, size
from service.inference.meters import Meters
from service.inference.models import Models
from service.inference.predict import Prediction, predict
from service.inference.prepare import Given, Sample
from service.inference.preparing import Preparing
from service.inference.redis_cache import RedisCache
from service.inference.room import Bounds, Room
from service.inference.served import Served
from service.inference.serving_on import ServingOn
from service.inference.timing import Timing, current
from service.inference.tokens import Tokens
from service.inference.vectors import Vector, Vectors
from service.settings import Settings

MAX_BATCH_CPU, MAX_BATCH_GPU = 8, 64
"""On a CPU, larger batches are slower per sample: they no longer fit its cache."""
GPU_THREADS = 2
"""One puts the next batch together while that of the other is computed."""
MOST_ALONE = 8
"""Threads for a batch that runs alone, unless told otherwise. Of more, each has so little to do that waking it takes longer."""
MEASURED = (SequenceInput, TableInput)
"""Modalities that are sent as numbers."""
LOOKED_FOR = "the model was still being looked for in the store, or loaded; try again soon"
MAX_FAULTS = 100
"""Named in one answer."""


@dataclass(frozen=True)
class Found:
    """What a reference means at present."""

    label: str
    """`name@version`, or the digest of a model that has no such name."""
    served: Served

    @property
    def digest(self) -> str:
        return self.served.digest

    @property
    def manifest(self) -> Manifest:
        return self.served.manifest

    @property
    def precision(self) -> Precision:
        return self.served.precision


@dataclass(frozen=True)
class _Place:
    """Where an input stands in the request."""

    pointer: str
    row: str = ""
    """Said of one of several that stand there."""


class InferenceEngine:
    """Made at start-up and started with the event loop that it is then used from."""

    def __init__(self, store: ModelStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def start(self) -> None:
        """May follow a stop: then everything begins anew, the counts as well."""
        settings = self._settings
        self.meters = Meters()
        cpus = settings.inference_threads or len(os.sched_getaffinity(0))
        self.tokens = Tokens(settings.inference_token_cache_bytes)
        alone = settings.inference_threads_alone or min(cpus, MOST_ALONE)
        self.models = Models(self._store, settings.max_models, self.tokens, alone)
        self.references = ServingOn(self.models)
        self.heads = Heads(self._store)
        self.addresses = Addresses(settings)
        threads, batch = (GPU_THREADS, MAX_BATCH_GPU) if on_gpu() else (cpus, MAX_BATCH_CPU)
        self.batcher = Batcher(threads, batch, self.meters)
        self._preparing = Preparing(max(2, cpus), settings, self.meters)
        bounds = Bounds(
            settings.inference_queue, settings.inference_queue_per_model, settings.inference_max_wait_s
        )
        self.room = Room(bounds, self.wait_s, self.meters)
        self.cache = Cache(settings.inference_cache_bytes)
        self._redis = (
            RedisCache(settings.redis_url, settings.inference_cache_redis_s)
            if settings.inference_cache_redis_s and settings.redis_url
            else None
        )
        self._vectors = Vectors(self.batcher, self.cache, self._redis, self.meters)
        self.meters.gauge("waiting", "Samples whose turn has not come.", lambda: self.batcher.waiting)
        self.meters.gauge("wait_seconds", "What a sample that comes now would wait.", self.wait_s)
        self.meters.gauge("inside", "Inputs admitted and not yet answered.", lambda: self.room.inside)
        self.meters.gauge("models", "Models in memory.", lambda: len(self.models.loaded))
        self.meters.gauge("cache_bytes", "Held by the cache.", lambda: self.cache.held_bytes)
        self.meters.gauge("token_cache_bytes", "Held of encoded images.", lambda: self.tokens.held_bytes)

    def stop(self) -> None:
        """Whoever still waits is told that the server stops."""
        self._preparing.stop()
        self.batcher.stop()
        self.models.close()
        self.heads.close()
        if self._redis is not None:
            self._redis.close()

    def wait_s(self) -> float:
        """How long an input that comes now would wait until it is computed, if all goes on as it went lately."""
        return self._preparing.left_s + self.batcher.free_in_s(self._preparing.coming)

    async def find(self, reference: str, precision: Precision | None = None) -> Found:
        """Raises NotFoundError for an unknown model, UnavailableError for one that cannot be used, InvalidError where it is
        not to be had in the precision.

        While what a reference has come to mean cannot be loaded, it means what it meant before.
        """
        async with self._in_time(current(), 1, LOOKED_FOR):
            return Found(*await self.references.find(reference, precision))

    async def attached(self, found: Found) -> Mapping[str, str]:
        """As `Heads.attached`, in time."""
        async with self._in_time(current(), 1, LOOKED_FOR):
            return await self.heads.attached(found.digest)

    async def open_heads(self, found: Found, heads: Mapping[str, str]) -> list[Head]:
        """As `Heads.find`, in time."""
        async with self._in_time(current(), 1, LOOKED_FOR):
            return await self.heads.find(found.digest, heads)

    async def embed(self, found: Found, inputs: Sequence[Given]) -> tuple[list[Sample], NDArray[np.float32]]:
        """The inputs' outlines (B), as `keys.outline`, and their embeddings (B, D), as the network gives them.

        Raises InvalidError naming every bad input, OverloadedError when too many wait, DeadlineError and UnavailableError.
        """
        timing = current()
        async with self._in_time(timing, len(inputs)):
            inputs = await self._fetched(found, inputs, timing, len(inputs))
            keys = await self._input_keys(found, inputs)
            told = [self._vectors.recall(key) for key in keys]
            new = [row for row, each in enumerate(told) if each is None]
            timing.inputs += len(inputs)
            timing.remembered += len(inputs) - len(new)
            self.meters.came_from("hit", len(inputs) - len(new))
            if new:
                with self.room.taken(found.digest, len(new), self._left_s(timing)):
                    given = [inputs[row] for row in new]
                    ready = await self._prepared(found, given, len(inputs), timing)
                    places = [_Place(each.pointer) for each in given]
                    vectors = await self._computed(found, ready, places, len(inputs), timing)
                for row, each, vector in zip(new, ready, vectors, strict=True):
                    seen = outline(each.sample)
                    told[row] = seen, vector
                    if (key := keys[row]) is not None:
                        self._vectors.remember(key, Known(each.key, seen))
        samples, rows = zip(*(each for each in told if each is not None), strict=True)
        timing.ready_at = time.monotonic()
        return list(samples), np.stack(rows)

    async def embed_with_parts(
        self, found: Found, inputs: Sequence[Given], parts: Sequence[tuple[int, Sequence[str]]]
    ) -> tuple[list[Sample], NDArray[np.float32]]:
        """The inputs' samples (B), and the embeddings (B + P, D) of these and of `parts` of them: the row of an input, and the
        modalities that are left of it. They are admitted once, all together, or not at all.

        Raises what `embed` does.
        """
        timing, count = current(), len(inputs) + len(parts)
        async with self._in_time(timing, count):
            inputs = await self._fetched(found, inputs, timing, count)
            with self.room.taken(found.digest, count, self._left_s(timing)):
                ready = await self._prepared(found, inputs, len(inputs), timing)
                samples = [each.sample for each in ready]
                ready += await self._preparing.of_samples(
                    found.served, [samples[row].part(names) for row, names in parts]
                )
                timing.inputs += count
                places = [_Place(each.pointer) for each in [*inputs, *(inputs[row] for row, _ in parts)]]
                vectors = await self._computed(found, ready, places, count, timing)
        timing.ready_at = time.monotonic()
        return samples, np.stack(vectors)

    async def embed_prepared(
        self, found: Found, samples: Sequence[Sample], pointer: str
    ) -> NDArray[np.float32]:
        """The embeddings (B, D) of samples that fit the model, which are the rows of what stands at a pointer in the request.

        Raises what `embed` does.
        """
        timing = current()
        async with self._in_time(timing, len(samples)):
            with self.room.taken(found.digest, len(samples), self._left_s(timing)):
                ready = await self._preparing.of_samples(found.served, samples)
                timing.inputs += len(samples)
                places = [_Place(pointer, f"row {row}: ") for row in range(len(samples))]
                vectors = await self._computed(found, ready, places, len(samples), timing, tensors=True)
        timing.ready_at = time.monotonic()
        return np.stack(vectors)

    async def predict(self, head: Head, vectors: NDArray[np.float32], top: int | None) -> list[Prediction]:
        """What a head says of embeddings (B, D) as the network gives them. Raises UnavailableError and DeadlineError."""
        async with self._in_time(current(), len(vectors)):
            return await self._preparing.call(lambda: predict(head, vectors, top))

    async def _fetched(
        self, found: Found, inputs: Sequence[Given], timing: Timing, count: int
    ) -> Sequence[Given]:
        """Inputs with files in the place of addresses. What would be refused afterwards, of `count` embeddings that are asked
        for, is refused before."""

        def assert_room() -> None:
            self.room.assert_free(found.digest, count, self._left_s(timing))

        return await self.addresses.fetched(found.manifest, inputs, assert_room)

    async def _input_keys(self, found: Found, inputs: Sequence[Given]) -> list[bytes | None]:
        if not self.cache.is_on:
            return [None] * len(inputs)
        if sum(map(size, inputs)) <= MOST_HASHED_AT_ONCE:
            return [input_key(found, given) for given in inputs]
        return await self._preparing.call(lambda: [input_key(found, given) for given in inputs])

    async def _prepared(
        self, found: Found, inputs: Sequence[Given], total: int, timing: Timing
    ) -> list[Ready]:
        """total: inputs of the request, of which these are some."""
        began = time.monotonic()
        outcomes = await self._preparing.outcomes(found.served, inputs)
        timing.prepare_s += time.monotonic() - began
        bad = [each for each in outcomes if not isinstance(each, Ready)]
        if bad:
            raise _refusal([fault for faults in bad for fault in faults], len(bad), total)
        return [each for each in outcomes if isinstance(each, Ready)]

    async def _computed(
        self,
        found: Found,
        ready: Sequence[Ready],
        places: Sequence[_Place],
        total: int,
        timing: Timing,
        tensors: bool = False,
    ) -> list[Vector]:
        """total: inputs of the request, of which these are some. tensors: whether images too were sent as numbers."""
        vectors = await self._vectors.of(found.served, found.manifest.embedding_dim, ready, timing)
        beyond = [row for row, vector in enumerate(vectors) if not np.isfinite(vector).all()]
        if beyond:
            kinds = (ImageInput, *MEASURED) if tensors else MEASURED
            measured = {each.name for each in found.manifest.inputs if isinstance(each, kinds)}
            if not all(measured & ready[row].sample.arrays.keys() for row in beyond):
                raise UnavailableError(
                    "not_finite", "the model gave numbers that are not finite; use another version"
                )
            raise _refusal([_overflowing(places[row]) for row in beyond], len(beyond), total)
        return vectors

    @asynccontextmanager
    async def _in_time(
        self, timing: Timing, count: int, remedy: str = "send fewer inputs at once, or try again later"
    ) -> AsyncIterator[None]:
        """Raises DeadlineError once a request has taken too long; what has not begun by then is not computed."""
        try:
            async with asyncio.timeout(max(0, self._left_s(timing))) as timer:
                yield
        except TimeoutError:
            if not timer.expired():
                raise
            self.meters.refused("deadline", count)
            raise DeadlineError(
                "deadline_exceeded",
                f"not done within {self._patience_s(timing):g} s; {remedy}",
            ) from None
        except asyncio.CancelledError:
            self.meters.refused("gone", count)
            raise

    def _patience_s(self, timing: Timing) -> float:
        """The service's, or that of the caller where it is less."""
        return min(self._settings.inference_deadline_s, timing.patience_s)

    def _left_s(self, timing: Timing) -> float:
        return timing.began_at + self._patience_s(timing) - time.monotonic()


def _overflowing(place: _Place) -> Fault:
    """It is the numbers that were sent: no image's file and no text is out of all bounds."""
    said = "the model's own numbers overflow from such large ones; send the units of the training data"
    return Fault(place.pointer, "number_out_of_range", f"{place.row}{said}")


def _refusal(faults: Sequence[Fault], bad: int, total: int) -> InvalidError:
    first = faults[0]
    which = "the input" if total == 1 else f"{bad} of {total} inputs" if bad > 1 else f"one of {total} inputs"
    return InvalidError(
        "invalid_input",
        f"{which} cannot be embedded: {first.detail} (at {first.pointer})",
        faults=tuple(faults[:MAX_FAULTS]),
    )
