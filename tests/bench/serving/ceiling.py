"""What ONNX Runtime gives without a server: the same samples, two threads, in one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from service.inference.prepare import Sample
from tests.bench.serving.anchors.model import WORKERS, Model

BATCHES = (1, 2, 4, 8)


def per_s(model: Model, bodies: Sequence[dict[str, Any]], seconds: float) -> dict[str, float]:
    """Samples a second, at the best size of a batch: of prepared samples, and with their preparation."""
    samples = [model.prepared(body)[0] for body in bodies]

    def taken(first: int, size: int) -> list[Sample]:
        return [samples[(first + turn) % len(samples)] for turn in range(size)]

    def prepared(first: int, size: int) -> list[Sample]:
        return [model.prepared(bodies[(first + turn) % len(bodies)])[0] for turn in range(size)]

    return {
        name: max(
            rate(lambda first, size=size, of=of: model.served.run(of(first, size)), size, seconds)  # type: ignore[misc]
            for size in BATCHES
        )
        for name, of in (("run", taken), ("prepare_and_run", prepared))
    }


def rate(work: Callable[[int], object], size: int, seconds: float) -> float:
    """`work(first)` deals with `size` samples; as many threads as every server has workers."""
    turns, done = count(), [0] * WORKERS
    until = time.perf_counter() + seconds

    def loop(thread: int) -> None:
        while time.perf_counter() < until:
            work(next(turns) * size)
            done[thread] += size

    threads = [threading.Thread(target=loop, args=(thread,)) for thread in range(WORKERS)]
    began = time.perf_counter()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return sum(done) / (time.perf_counter() - began)
