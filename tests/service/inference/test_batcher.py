"""Samples of many callers are computed together, and whatever happens, every caller is answered."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import UnavailableError
from service.inference.batcher import WORTH_SHARING_S, Batcher
from service.inference.costs import kind
from service.inference.prepare import Sample
from tests.processes import eventually
from tests.service.inference.networks import Doubling, samples


class Failing(Doubling):
    def __init__(self, error: BaseException) -> None:
        super().__init__("failing")
        self.error = error

    def computed(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        raise self.error


class Poisoned(Doubling):
    """Cannot compute what is below zero, nor anything beside it."""

    def computed(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        if (numbers < 0).any():
            raise MemoryError
        return 2 * numbers


class Endless(Doubling):
    """Works in Python, where a thread can be killed, until it may go on."""

    def run(self, samples: Sequence[Sample], alone: bool = False) -> NDArray[np.float32]:
        self.thread = threading.get_ident()
        self.begun.set()
        while not self.may_go_on.is_set():
            time.sleep(0.001)
        return super().run(samples, alone)


class Forgetting(Doubling):
    def computed(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        return 2 * numbers[:-1]


@contextmanager
def batcher(threads: int = 1, max_batch: int = 4) -> Iterator[Batcher]:
    batcher = Batcher(threads, max_batch)
    yield batcher
    batcher.stop()


def answers(futures: Sequence[Future[NDArray[np.float32]]]) -> list[float]:
    return [float(future.result(timeout=10)[0]) for future in futures]


def test_what_gathers_while_a_batch_runs_is_the_next_batch() -> None:
    network = Doubling()
    with batcher() as work:
        first = work.submit(network, samples(1))
        assert network.begun.wait(10)
        later = [work.submit(network, samples(number))[0] for number in (2, 3, 4, 5, 6)]
        network.may_go_on.set()
        assert answers([*first, *later]) == [2, 4, 6, 8, 10, 12]
    assert network.batches == [[1], [2, 3, 4, 5], [6]]
    assert (work.counts.batches, work.counts.samples) == (3, 6)


def test_a_lone_sample_does_not_wait_for_company() -> None:
    network = Doubling()
    network.may_go_on.set()
    with batcher() as work:
        took = []
        for _ in range(20):
            began = time.perf_counter()
            answers(work.submit(network, samples(1)))
            took.append(time.perf_counter() - began)
    assert min(took) < 0.002


def test_free_workers_share_what_is_there() -> None:
    network = Doubling()
    with batcher(threads=2) as work:
        futures = work.submit(network, samples(*range(8)))
        network.may_go_on.set()
        assert answers(futures) == [2.0 * number for number in range(8)]
    assert sorted(map(len, network.batches)) == [4, 4]


class Tedious(Doubling):
    """Its batches take long enough for several threads."""

    def computed(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(2 * WORTH_SHARING_S)
        return super().computed(numbers)


def known_to(work: Batcher, network: Doubling) -> None:
    """Has it compute something, so that it is known how long that takes."""
    network.may_go_on.set()
    answers(work.submit(network, samples(1)))
    eventually(lambda: not work._crew.busy)
    assert network.alone.pop() is False, "nothing was known of it"
    network.may_go_on.clear()
    network.begun.clear()


def test_a_long_batch_that_is_all_there_is_to_do_is_for_all_threads() -> None:
    network = Tedious()
    with batcher() as work:
        known_to(work, network)
        first = work.submit(network, samples(1))
        assert network.begun.wait(10)
        rest = work.submit(network, samples(*range(6)))
        network.may_go_on.set()
        answers([*first, *rest])
    assert network.alone == [True, False, True]


def test_a_long_batch_beside_another_is_not() -> None:
    network = Tedious()
    with batcher(threads=2) as work:
        known_to(work, network)
        first = work.submit(network, samples(1))
        assert network.begun.wait(10)
        network.begun.clear()
        second = work.submit(network, samples(2))
        assert network.begun.wait(10)
        network.may_go_on.set()
        answers([*first, *second])
    assert network.alone == [True, False]


def test_a_short_batch_is_for_one_thread() -> None:
    network = Doubling()
    with batcher() as work:
        known_to(work, network)
        network.may_go_on.set()
        for number in range(20):
            answers(work.submit(network, samples(number)))
            eventually(lambda: not work._crew.busy)
    assert network.alone.count(False) > 10, "but for those that the machine let wait"


def test_a_batch_is_for_one_model_and_the_longest_wait_ends_first() -> None:
    one, other = Doubling("one"), Doubling("other")
    one.may_go_on.set()
    with batcher() as work:
        other_first = work.submit(other, samples(0))
        assert other.begun.wait(10)
        order: list[str] = []
        futures = []
        for network, number in ((one, 1), (other, 2), (one, 3), (other, 4)):
            (future,) = work.submit(network, samples(number))
            future.add_done_callback(lambda _, name=network.digest: order.append(name))
            futures.append(future)
        other.may_go_on.set()
        assert answers([*other_first, *futures]) == [0, 2, 4, 6, 8]
    assert one.batches == [[1, 3]]
    assert other.batches == [[0], [2, 4]]
    assert order == ["one", "one", "other", "other"]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), SystemExit(1), KeyboardInterrupt()])
def test_a_worker_that_fails_leaves_nobody_waiting(error: BaseException) -> None:
    failing, sound = Failing(error), Doubling()
    sound.may_go_on.set()
    with batcher() as work:
        lost = work.submit(failing, samples(1, 2))
        assert failing.begun.wait(10)
        behind = work.submit(failing, samples(3))
        others = work.submit(sound, samples(4))
        failing.may_go_on.set()
        for future in (*lost, *behind):
            with pytest.raises(UnavailableError, match="server's log"):
                future.result(timeout=10)
        assert answers(others) == [8]
        assert answers(work.submit(sound, samples(5))) == [10]


def test_a_network_that_answers_too_little_fails_the_ones_it_forgot_only() -> None:
    network = Forgetting()
    network.may_go_on.set()
    with batcher() as work:
        first, second, last = work.submit(network, samples(1, 2, 3))
        assert answers([first, second]) == [2, 4]
        with pytest.raises(UnavailableError):
            last.result(timeout=10)


def test_what_nobody_waits_for_any_more_is_not_computed() -> None:
    network = Doubling()
    with batcher() as work:
        running = work.submit(network, samples(1))
        assert network.begun.wait(10)
        gone, staying = work.submit(network, samples(2, 3))
        assert gone.cancel()
        network.may_go_on.set()
        assert answers([*running, staying]) == [2, 6]
    with pytest.raises(CancelledError):
        gone.result()
    assert network.batches == [[1], [3]]
    assert work.counts.dropped == 1


def test_stopping_finishes_what_runs_and_tells_the_others() -> None:
    network = Doubling()
    work = Batcher(threads=1, max_batch=1)
    running, waiting, gone = work.submit(network, samples(1, 2, 3))
    assert network.begun.wait(10)
    gone.cancel()
    stopper = threading.Thread(target=work.stop)
    stopper.start()
    with pytest.raises(UnavailableError, match="shutting down"):
        waiting.result(timeout=10)
    network.may_go_on.set()
    stopper.join(10)
    assert answers([running]) == [2]
    with pytest.raises(UnavailableError, match="shutting down"):
        work.submit(network, samples(4))


def test_many_callers_from_many_threads_each_get_their_own_answer() -> None:
    network = Doubling()
    network.may_go_on.set()
    wrong: list[int] = []

    def call(caller: int) -> None:
        for turn in range(50):
            number = caller * 100 + turn
            if answers(work.submit(network, samples(number))) != [2.0 * number]:
                wrong.append(number)

    with batcher(threads=2) as work:
        callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for each in callers:
            each.start()
        for each in callers:
            each.join(30)
    assert wrong == []
    assert work.counts.samples == 400


def test_a_thread_that_is_killed_is_missed_at_once_and_replaced() -> None:
    network = Endless()
    with batcher() as work:
        lost = work.submit(network, samples(1, 2))
        assert network.begun.wait(10)
        waiting = work.submit(network, samples(3))
        killed_at = time.monotonic()
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(network.thread), ctypes.py_object(SystemExit)
        )
        for future in lost:
            with pytest.raises(UnavailableError):
                future.result(timeout=10)
        assert time.monotonic() - killed_at < 1
        network.may_go_on.set()
        assert answers(waiting) == [6], "whoever was not in its hands never notices"
        assert (work.counts.restarts, work.missing) == (1, 0)
        assert work.failure is not None
        assert (work.failure.reason, work.failure.is_over) == ("SystemExit", True)


def test_what_cannot_be_computed_fails_alone() -> None:
    network = Poisoned()
    with batcher() as work:
        ahead = work.submit(network, samples(0))
        assert network.begun.wait(10)
        first, poison, last = work.submit(network, samples(1, -1, 3))
        network.may_go_on.set()
        assert answers([*ahead, first, last]) == [0, 2, 6]
        with pytest.raises(UnavailableError):
            poison.result(timeout=10)
        assert answers(work.submit(network, samples(4))) == [8]


def test_a_network_that_computes_nothing_is_not_asked_for_every_sample() -> None:
    network = Failing(RuntimeError("no memory"))
    network.may_go_on.set()
    with batcher(max_batch=32) as work:
        for future in work.submit(network, samples(*range(32))):
            with pytest.raises(UnavailableError):
                future.result(timeout=10)
    assert len(network.batches) == 1 + 3


def test_who_leaves_makes_room_in_the_queue_at_once() -> None:
    network = Doubling()
    with batcher() as work:
        work.submit(network, samples(1))
        assert network.begun.wait(10)
        gone, staying = work.submit(network, samples(2, 3))
        gone.cancel()
        assert (work.waiting, work.counts.dropped) == (1, 1)
        staying.cancel()
        assert (work.waiting, work.counts.dropped) == (0, 2)
        network.may_go_on.set()
        assert answers(work.submit(network, samples(4))) == [8]


def test_an_idle_thread_holds_no_network_in_memory() -> None:
    network = Doubling()
    network.may_go_on.set()
    there = weakref.ref(network)
    with batcher(threads=2) as work:
        for number in range(10):
            assert answers(work.submit(network, samples(number))) == [2.0 * number]
        del network
        deadline = time.monotonic() + 5
        while there() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
            gc.collect()
        assert there() is None


def test_work_that_comes_to_no_end_is_seen_and_so_is_its_end() -> None:
    network = Doubling()
    with batcher() as work:
        assert work.stalled_s() == 0
        running = work.submit(network, samples(1))
        assert network.begun.wait(10)
        time.sleep(0.05)
        assert work.stalled_s() >= 0.05
        waiting = work.submit(network, samples(2))
        network.may_go_on.set()
        assert answers([*running, *waiting]) == [2, 4]
        assert work.stalled_s() < 0.05


def test_how_long_samples_will_take_is_learned_from_those_before() -> None:
    network = Doubling()
    with batcher(threads=2) as work:
        (one,) = {kind(network, sample.arrays) for sample in samples(1)}
        assert work.free_in_s({one: 100}) == 0
        running = work.submit(network, samples(1))
        assert network.begun.wait(10)
        time.sleep(0.1)
        network.may_go_on.set()
        answers(running)
        assert work.free_in_s({}) == 0
        assert work.free_in_s({one: 10}) >= 10 * 0.1 / 2
