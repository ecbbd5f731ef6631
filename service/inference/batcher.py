"""The second step: samples of many callers in batches. A batch is what has gathered while the one before was computed.

Nobody waits for a timer: a worker that is free takes what is there at once. Each batch is for one network; of several,
the one whose oldest sample has waited longest is next. Samples that lack different modalities share batches, as a network
runs each encoder on those rows only that have something for it: no queue per combination is needed, and traffic
that alternates between images and texts makes full batches. Whatever happens, every caller is answered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import UnavailableError
from service.inference.costs import Ahead, Kind, kind
from service.inference.crew import Crew, Worker
from service.inference.meters import Meters
from service.inference.prepare import Sample

log = logging.getLogger(__name__)

Vector = NDArray[np.float32]

WORTH_SHARING_S = 0.008
"""Of one thread's work: less is done about as soon by one thread as by several, which take turns with all others meanwhile."""
MOST_ALONE = 3
"""Samples of a failed batch that may fail alone, one after the other, before the rest is given up."""


class Network(Protocol):
    """What computes a batch of samples (B) into vectors (B, D)."""

    @property
    def digest(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def width(self) -> int:
        """Threads of this machine that a batch uses which runs alone."""
        ...

    def run(self, samples: Sequence[Sample], alone: bool = False) -> NDArray[np.float32]: ...


class Promise(Future[Vector]):
    """A vector to come, and when its turn was; moments are those of `time.monotonic`."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_at = time.monotonic()
        self.begun_at = self.ended_at = 0.0

    @property
    def queue_s(self) -> float:
        return max(0.0, self.begun_at - self.asked_at)

    @property
    def run_s(self) -> float:
        return max(0.0, self.ended_at - self.begun_at)


@dataclass(frozen=True, eq=False)
class _Ticket:
    """A sample in the queue, and the promise made to whoever brought it."""

    number: int
    network: Network
    kind: Kind
    sample: Sample
    vector: Promise


@dataclass
class Counts:
    """Since the start."""

    batches: int = 0
    samples: int = 0
    dropped: int = 0
    """Samples that nobody waited for any more when their turn came, or before."""
    restarts: int = 0
    """Threads that died and were replaced."""


@dataclass(frozen=True)
class Failure:
    """The last thread that died."""

    reason: str
    """The class of what it died of."""
    at: float
    is_over: bool
    """Whether a batch has been computed since."""


class Batcher:
    """At most `threads` batches at once, of at most `max_batch` samples. May be used from any thread."""

    def __init__(self, threads: int, max_batch: int, meters: Meters | None = None) -> None:
        self._threads = threads
        self._max_batch = max_batch
        self._meters = meters or Meters()
        self._numbers = count()
        self._waiting: dict[int, dict[int, _Ticket]] = {}
        """By network and number, in their order; never an empty queue. One that waits keeps its network alive."""
        self._changed = threading.Condition()
        self._stopped = False
        self._progress_at = time.monotonic()
        self._failure: tuple[str, float] | None = None
        self._ahead = Ahead(threads)
        self.counts = Counts()
        self._crew: Crew[_Ticket] = Crew(threads, self._turn, self._bury)

    def submit(self, network: Network, samples: Sequence[Sample]) -> list[Promise]:
        """One promise each. Cancelling one before its turn comes takes it out of the queue."""
        tickets = [
            _Ticket(next(self._numbers), network, kind(network, sample.arrays), sample, Promise())
            for sample in samples
        ]
        with self._changed:
            if self._stopped:
                raise _stopping()
            queue = self._waiting.setdefault(id(network), {})
            queue.update((ticket.number, ticket) for ticket in tickets)
            self._ahead.came(ticket.kind for ticket in tickets)
            self._changed.notify(-(-len(queue) // self._max_batch))
        for ticket in tickets:
            ticket.vector.add_done_callback(partial(self._leave, ticket))
        return [ticket.vector for ticket in tickets]

    @property
    def waiting(self) -> int:
        """Samples whose turn has not come."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    @property
    def missing(self) -> int:
        """Threads that are not there at present."""
        return self._crew.missing

    @property
    def failure(self) -> Failure | None:
        """Of the last thread that died."""
        last = self._failure
        return Failure(*last, is_over=self._progress_at > last[1]) if last else None

    def stalled_s(self) -> float:
        """For how long no batch has come to its end though there was work all the time; 0 without work."""
        with self._changed:
            begun = [ticket.vector.begun_at for ticket in self._crew.held]
            asked = [next(iter(queue.values())).vector.asked_at for queue in self._waiting.values()]
        since = min([*begun, *asked], default=None)
        return 0.0 if since is None else time.monotonic() - max(since, self._progress_at)

    def free_in_s(self, coming: Mapping[Kind, int]) -> float:
        """As `Ahead.free_in_s`."""
        return self._ahead.free_in_s(coming)

    def stop(self) -> None:
        """Ends after the batches that are being computed; whoever waits for a later one is told so."""
        with self._changed:
            self._stopped = True
            left = [ticket for queue in self._waiting.values() for ticket in queue.values()]
            self._waiting.clear()
            self._changed.notify_all()
        for ticket in left:
            if ticket.vector.set_running_or_notify_cancel():
                ticket.vector.set_exception(_stopping())
        self._crew.stop()

    def _turn(self, worker: Worker[_Ticket]) -> bool:
        """Waits for work and does one batch. False: there will be no more.

        Nothing of it may stay in the worker's hands, or an idle thread would keep a model in memory that has left.
        """
        with self._changed:
            while not self._waiting and not self._stopped:
                self._changed.wait()
            if self._stopped:
                return False
            self._take(worker.holds)
            alone = not self._waiting and self._crew.busy == 1
        if worker.holds:
            self._work(worker.holds, alone)
            worker.holds = []
        return True

    def _take(self, batch: list[_Ticket]) -> None:
        """Puts the next batch into `batch`, without those whose caller has gone. The caller holds the lock."""
        place = min(self._waiting, key=lambda each: next(iter(self._waiting[each])))
        queue = self._waiting[place]
        while queue and len(batch) < self._max_batch:
            ticket = queue.pop(next(iter(queue)))
            self._ahead.left(ticket.kind)
            if ticket.vector.set_running_or_notify_cancel():
                batch.append(ticket)
            else:
                self.counts.dropped += 1
        if not queue:
            del self._waiting[place]
        self.counts.batches += bool(batch)
        self.counts.samples += len(batch)
        now = time.monotonic()
        for ticket in batch:
            ticket.vector.begun_at = now

    def _leave(self, ticket: _Ticket, done: Future[Vector]) -> None:
        """Takes a sample out of the queue that nobody waits for any more."""
        if not done.cancelled():
            return
        with self._changed:
            queue = self._waiting.get(id(ticket.network), {})
            if queue.pop(ticket.number, None):
                self._ahead.left(ticket.kind)
                self.counts.dropped += 1
                if not queue:
                    del self._waiting[id(ticket.network)]

    def _work(self, batch: Sequence[_Ticket], alone: bool) -> None:
        """What the batch fails of may be one sample's doing, so each is tried alone. Raises what the last one raised."""
        try:
            self._compute(batch, alone)
        except Exception as error:
            left = [ticket for ticket in batch if not ticket.vector.done()]
            if len(batch) == 1 or not left:
                raise
            log.error("a batch of %d failed; each is tried alone", len(batch), exc_info=error)
            self._compute_each(left)

    def _compute_each(self, batch: Sequence[_Ticket]) -> None:
        failed = 0
        for ticket in batch:
            try:
                self._compute([ticket])
            except Exception as error:
                failed += 1
                if failed == MOST_ALONE or ticket is batch[-1]:
                    raise
                log.error("a sample failed alone", exc_info=error)
                ticket.vector.set_exception(_failed())

    def _compute(self, batch: Sequence[_Ticket], alone: bool = False) -> None:
        """Books are kept before anybody is answered, who may look at them next."""
        network, kinds, began = batch[0].network, [ticket.kind for ticket in batch], time.monotonic()
        alone = alone and self._ahead.expected_s(kinds) >= WORTH_SHARING_S
        with self._ahead.busy(kinds, network.width if alone else 1):
            vectors = network.run([ticket.sample for ticket in batch], alone)
        ended = time.monotonic()
        self._progress_at = ended
        self._meters.took("run", ended - began)
        self._meters.ran(ticket.sample.arrays for ticket in batch)
        for ticket in batch:
            self._meters.took("queue", ticket.vector.queue_s)
        for ticket, vector in zip(batch, vectors, strict=True):
            ticket.vector.ended_at = ended
            ticket.vector.set_result(vector)

    def _bury(self, worker: Worker[_Ticket]) -> None:
        """Answers those whose batch a thread has died of."""
        lost = [ticket for ticket in list(worker.holds) if not ticket.vector.done()]
        if not self._stopped or worker.error is not None:
            reason = type(worker.error).__name__ if worker.error else "killed"
            log.error("a thread of the engine died: %s", reason, exc_info=worker.error)
            self._failure = (reason, time.monotonic())
            self.counts.restarts += 1
            self._meters.restarted()
            self._meters.refused("failed", len(lost))
        for ticket in lost:
            ticket.vector.set_exception(_failed())


def _failed() -> UnavailableError:
    return UnavailableError(
        "inference_failed", "the model could not compute this; the reason is in the server's log"
    )


def _stopping() -> UnavailableError:
    return UnavailableError("stopping", "the server is shutting down; try again soon", retry_after_s=5)
