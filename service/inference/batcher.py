"""The second step: samples of many callers in batches. A batch is what has gathered while the one before was computed.

Nobody waits for a timer: a worker that is free takes what is there at once. Each batch is for one model; of several
models, the one whose oldest sample has waited longest is next. Whatever happens, every caller is answered.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import UnavailableError
from service.inference.prepare import Sample

log = logging.getLogger(__name__)

Vector = NDArray[np.float32]


class Network(Protocol):
    """What computes a batch of samples (B) into vectors (B, D). Networks of one digest are the same."""

    @property
    def digest(self) -> str: ...

    def run(self, samples: Sequence[Sample]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class _Ticket:
    """A sample in the queue, and the promise made to whoever brought it."""

    number: int
    network: Network
    sample: Sample
    vector: Future[Vector]


@dataclass
class Counts:
    """Since the start."""

    batches: int = 0
    samples: int = 0
    dropped: int = 0
    """Samples that nobody waited for any more when their turn came."""


class Batcher:
    """At most `threads` batches at once, of at most `max_batch` samples. May be used from any thread."""

    def __init__(self, threads: int, max_batch: int) -> None:
        self._threads = threads
        self._max_batch = max_batch
        self._pool = ThreadPoolExecutor(threads, "fusebox-inference")
        self._lock = threading.Lock()
        self._numbers = count()
        self._waiting: dict[str, deque[_Ticket]] = {}
        """By digest; never an empty queue."""
        self._busy = 0
        self._stopped = False
        self.counts = Counts()

    def submit(self, network: Network, samples: Sequence[Sample]) -> list[Future[Vector]]:
        """One future each. Cancelling one before its turn comes takes it out of the queue."""
        tickets = [_Ticket(next(self._numbers), network, sample, Future()) for sample in samples]
        with self._lock:
            if self._stopped:
                raise _stopping()
            self._waiting.setdefault(network.digest, deque()).extend(tickets)
            self._call_workers()
        return [ticket.vector for ticket in tickets]

    @property
    def waiting(self) -> int:
        """Samples whose turn has not come."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def stop(self) -> None:
        """Ends after the batches that are being computed; whoever waits for a later one is told so."""
        with self._lock:
            self._stopped = True
            left = [ticket for queue in self._waiting.values() for ticket in queue]
            self._waiting.clear()
        for ticket in left:
            if ticket.vector.set_running_or_notify_cancel():
                ticket.vector.set_exception(_stopping())
        self._pool.shutdown()

    def _call_workers(self) -> None:
        """As many as there are batches waiting and threads free. The caller holds the lock."""
        waiting = sum(-(-len(queue) // self._max_batch) for queue in self._waiting.values())
        for _ in range(min(waiting, self._threads - self._busy)):
            self._busy += 1
            self._pool.submit(self._work).add_done_callback(self._after_work)

    def _work(self) -> None:
        while batch := self._take():
            self._run(batch)

    def _after_work(self, work: Future[None]) -> None:
        """A worker has left: it found nothing to do, or a batch failed, which must not leave others waiting."""
        error = work.exception()
        if error is not None:
            log.error("a batch failed", exc_info=error)
            with self._lock:
                self._busy -= 1
                self._call_workers()

    def _take(self) -> list[_Ticket]:
        """The next batch, without those whose caller has gone. Empty: this worker's work is done."""
        with self._lock:
            while self._waiting:
                digest = min(self._waiting, key=lambda each: self._waiting[each][0].number)
                queue = self._waiting[digest]
                batch: list[_Ticket] = []
                while queue and len(batch) < self._max_batch:
                    ticket = queue.popleft()
                    if ticket.vector.set_running_or_notify_cancel():
                        batch.append(ticket)
                    else:
                        self.counts.dropped += 1
                if not queue:
                    del self._waiting[digest]
                if batch:
                    self.counts.batches += 1
                    self.counts.samples += len(batch)
                    return batch
            self._busy -= 1
            return []

    def _run(self, batch: list[_Ticket]) -> None:
        try:
            vectors = batch[0].network.run([ticket.sample for ticket in batch])
            for ticket, vector in zip(batch, vectors, strict=True):
                ticket.vector.set_result(vector)
        finally:
            for ticket in batch:
                if not ticket.vector.done():
                    ticket.vector.set_exception(_failed())


def _failed() -> UnavailableError:
    return UnavailableError(
        "inference_failed", "the model could not compute this; the reason is in the server's log"
    )


def _stopping() -> UnavailableError:
    return UnavailableError("stopping", "the server is shutting down; try again soon", retry_after_s=5)
