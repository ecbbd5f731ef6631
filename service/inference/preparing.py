"""Inputs on their way to samples: decoded in one small pool of threads, each by itself, before anything is put into a batch.

For use in one event loop; what it has still to do may be asked from any thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from models_store.manifest import Manifest
from service.errors import Fault
from service.inference.costs import Costs, Kind, kind_given
from service.inference.keys import Ready, keyed, size
from service.inference.meters import Meters
from service.inference.prepare import Given, Sample, prepare
from service.inference.served import Served
from service.settings import Settings

MOST_PREPARED_AT_ONCE = 1_000
"""Characters and numbers of inputs that are prepared in the event loop: sooner done than sent to a thread and back."""

Outcome = Ready | list[Fault]
Answer = TypeVar("Answer")


class Preparing:
    """Knows what it has still to do, and how long such work took."""

    def __init__(self, threads: int, settings: Settings, meters: Meters) -> None:
        self._threads = threads
        self._settings = settings
        self._meters = meters
        self._pool = ThreadPoolExecutor(threads, "fusebox-prepare")
        self._costs = Costs()
        self._unprepared: Counter[Kind] = Counter()
        self.coming: Counter[Kind] = Counter()
        """Samples that will be computed once they, and those that were sent with them, are prepared."""

    @property
    def left_s(self) -> float:
        """How long the pool is busy with what it has."""
        return self._costs.expected_s(dict(self._unprepared)) / self._threads

    async def outcomes(self, model: Served, inputs: Sequence[Given]) -> list[Outcome]:
        """Of each input the sample, or what is wrong with it (B)."""
        kinds = [kind_given(model, given.values) for given in inputs]
        self.coming.update(kinds)
        try:
            if is_quick(model.manifest, inputs):
                made = [self._outcome(model, given) for given in inputs]
                # What others bring in this turn of the event loop gets into the same batch.
                await asyncio.sleep(0)
                return made
            return await asyncio.gather(
                *(self._sent(model, given, each) for given, each in zip(inputs, kinds, strict=True))
            )
        finally:
            _take(self.coming, kinds)

    async def of_samples(self, model: Served, samples: Sequence[Sample]) -> list[Ready]:
        """Of what is prepared already, with the keys that are missing."""
        return await self.call(lambda: [keyed(model, sample) for sample in samples])

    async def call(self, work: Callable[[], Answer]) -> Answer:
        """For whatever else would hold up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def stop(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _sent(self, model: Served, given: Given, each: Kind) -> asyncio.Future[Outcome]:
        loop = asyncio.get_running_loop()
        self._unprepared[each] += 1
        outcome = loop.run_in_executor(self._pool, self._outcome, model, given)
        # Also when it is called off before its turn.
        outcome.add_done_callback(lambda _: _take(self._unprepared, [each]))
        return outcome

    def _outcome(self, model: Served, given: Given) -> Outcome:
        began = time.monotonic()
        sample = prepare(given, model.manifest, model.tokenizers, self._settings)
        if not isinstance(sample, Sample):
            return sample
        ready = keyed(model, sample)
        took = time.monotonic() - began
        self._meters.took("prepare", took)
        self._costs.took([kind_given(model, given.values)], took)
        return ready


def is_quick(manifest: Manifest, inputs: Sequence[Given]) -> bool:
    """Whether inputs have no image and are short."""
    images = {each.name for each in manifest.inputs if each.kind == "image"}
    return (
        all(images.isdisjoint(given.values) for given in inputs)
        and sum(map(size, inputs)) <= MOST_PREPARED_AT_ONCE
    )


def _take(counts: Counter[Kind], kinds: Sequence[Kind]) -> None:
    counts.subtract(kinds)
    for each in set(kinds):
        if not counts[each]:
            del counts[each]
