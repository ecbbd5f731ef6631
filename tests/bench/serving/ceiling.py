"""What ONNX Runtime gives without a server: the same samples, two threads, in one process."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

from tests.bench.serving.anchors.model import MAX_BATCH, WORKERS, Model

BATCHES = (1, 2, 4, 8)
assert BATCHES[-1] == MAX_BATCH


class Rate(NamedTuple):
    per_s: float
    cpu_ms: float
    """Of this process, for each sample."""


class Ceiling:
    """Of requests with one input each."""

    def __init__(self, model: Model, bodies: Sequence[dict[str, Any]]) -> None:
        self._model = model
        self._bodies = bodies
        self._samples = [model.prepared(body)[0] for body in bodies]

    def run(self, seconds: float) -> Rate:
        """Of samples that are prepared, at the best size of a batch."""
        samples = self._samples
        return self._best(seconds, lambda place: samples[place])

    def prepare_and_run(self, seconds: float) -> Rate:
        """At the best size of a batch."""
        return self._best(seconds, lambda place: self._model.prepared(self._bodies[place])[0])

    def latency_ms(self, seconds: float) -> float:
        """Of preparing and running one after the other: the median."""
        took: list[float] = []
        until = time.perf_counter() + seconds
        for turn in count():
            began = time.perf_counter()
            if began >= until and took:
                return 1e3 * statistics.median(took)
            self._model.run(self._model.prepared(self._bodies[turn % len(self._bodies)]))
            took.append(time.perf_counter() - began)
        raise AssertionError

    def _best(self, seconds: float, sample: Callable[[int], Any]) -> Rate:
        """The sizes take turns, so that a slower moment falls on all of them."""

        def work(first: int, size: int) -> None:
            self._model.served.run([sample((first + turn) % len(self._bodies)) for turn in range(size)])

        rates: dict[int, list[Rate]] = {size: [] for size in BATCHES}
        for _ in range(2):
            for size, seen in rates.items():
                seen.append(_rate(work, size, seconds / 2 / len(BATCHES)))
        return max(Rate(*map(statistics.mean, zip(*seen, strict=True))) for seen in rates.values())


def _rate(work: Callable[[int, int], object], size: int, seconds: float) -> Rate:
    """`work(first, size)` deals with so many samples; as many threads as every server has workers."""
    turns, done = count(), [0] * WORKERS
    until = time.perf_counter() + seconds

    def loop(thread: int) -> None:
        while time.perf_counter() < until:
            work(next(turns) * size, size)
            done[thread] += size

    threads = [threading.Thread(target=loop, args=(thread,)) for thread in range(WORKERS)]
    began, cpu_began = time.perf_counter(), time.process_time()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    samples = max(1, sum(done))
    return Rate(samples / (time.perf_counter() - began), 1e3 * (time.process_time() - cpu_began) / samples)
