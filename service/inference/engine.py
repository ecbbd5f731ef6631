"""The inference engine: prepare → batch → run, for one API process.

The event loop only passes things on. Inputs are decoded in one small pool and batches computed in another; models come
from the store when first asked for. No database is touched.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from models_store.heads import Head
from models_store.manifest import Manifest, SequenceInput, TableInput
from models_store.store import ModelStore
from service.errors import Fault, InvalidError, OverloadedError, UnavailableError
from service.inference.batcher import Batcher
from service.inference.heads import Heads
from service.inference.models import Models
from service.inference.predict import Prediction, predict
from service.inference.prepare import Given, Sample, prepare
from service.inference.served import Served, on_gpu
from service.settings import Settings

MAX_BATCH_CPU, MAX_BATCH_GPU = 8, 32
"""On a CPU, larger batches are slower per sample: they no longer fit its cache."""
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


class InferenceEngine:
    """Made at start-up and started with the event loop that it is then used from."""

    def __init__(self, store: ModelStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._inside = 0
        """Inputs admitted and not yet answered."""

    def start(self) -> None:
        threads = self._settings.inference_threads or len(os.sched_getaffinity(0))
        self.models = Models(self._store, self._settings.max_models)
        self.heads = Heads(self._store)
        self.batcher = Batcher(threads, MAX_BATCH_GPU if on_gpu() else MAX_BATCH_CPU)
        self._preparing = ThreadPoolExecutor(max(2, threads), "fusebox-prepare")

    def stop(self) -> None:
        """Whoever still waits is told that the server stops."""
        self._preparing.shutdown(cancel_futures=True)
        self.batcher.stop()
        self.models.close()
        self.heads.close()

    async def find(self, reference: str) -> Found:
        """Raises NotFoundError for an unknown model, UnavailableError for one that cannot be used."""
        return Found(*await self.models.find(reference))

    async def embed(self, found: Found, inputs: Sequence[Given]) -> tuple[list[Sample], NDArray[np.float32]]:
        """The prepared inputs (B) and their embeddings (B, D), as the network gives them.

        Raises InvalidError naming every bad input, OverloadedError when too many wait, and UnavailableError.
        """
        with self._room_for(len(inputs)):
            samples = await self._prepared(found, inputs)
            futures = self.batcher.submit(found.served, samples)
            vectors = np.stack(await asyncio.gather(*map(asyncio.wrap_future, futures)))
        beyond = [inputs[row] for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist()]
        if beyond:
            raise _not_finite(found.manifest, beyond, len(inputs))
        return samples, vectors

    async def predict(self, head: Head, vectors: NDArray[np.float32], top: int | None) -> list[Prediction]:
        """What a head says of embeddings (B, D) as the network gives them. Raises UnavailableError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._preparing, predict, head, vectors, top)

    async def _prepared(self, found: Found, inputs: Sequence[Given]) -> list[Sample]:
        loop = asyncio.get_running_loop()
        step = partial(
            prepare, manifest=found.manifest, tokenizers=found.served.tokenizers, settings=self._settings
        )
        outcomes = await asyncio.gather(
            *(loop.run_in_executor(self._preparing, step, given) for given in inputs)
        )
        bad = [each for each in outcomes if not isinstance(each, Sample)]
        if bad:
            raise _refusal([fault for faults in bad for fault in faults], len(bad), len(inputs))
        return [each for each in outcomes if isinstance(each, Sample)]

    @contextmanager
    def _room_for(self, count: int) -> Iterator[None]:
        """One request may exceed the bound when it is alone: it would be refused for ever otherwise."""
        if self._inside and self._inside + count > self._settings.inference_queue:
            raise OverloadedError(
                "overloaded", f"{self._inside} inputs are waiting already; try again soon", retry_after_s=1
            )
        self._inside += count
        try:
            yield
        finally:
            self._inside -= count


def _not_finite(manifest: Manifest, beyond: Sequence[Given], total: int) -> InvalidError | UnavailableError:
    """It is the numbers that were sent, where there are any: no image and no text is out of all bounds."""
    measured = {each.name for each in manifest.inputs if isinstance(each, SequenceInput | TableInput)}
    if not all(measured & given.values.keys() for given in beyond):
        return UnavailableError(
            "not_finite", "the model gave numbers that are not finite; use another version"
        )
    said = "the model's own numbers overflow from such large ones; send the units of the training data"
    faults = [Fault(given.pointer, "number_out_of_range", said) for given in beyond]
    return _refusal(faults, len(beyond), total)


def _refusal(faults: Sequence[Fault], bad: int, total: int) -> InvalidError:
    first = faults[0]
    which = "the input" if total == 1 else f"{bad} of {total} inputs" if bad > 1 else f"one of {total} inputs"
    return InvalidError(
        "invalid_input",
        f"{which} cannot be embedded: {first.detail} (at {first.pointer})",
        faults=tuple(faults[:MAX_FAULTS]),
    )
