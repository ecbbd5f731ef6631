"""A process seen from outside while others load it: its memory and its open files, once a second."""

from __future__ import annotations

import statistics
import threading
from itertools import pairwise
from types import TracebackType
from typing import NamedTuple, Self

import psutil

EVERY_S = 1.0
MIB = 2**20


class Seen(NamedTuple):
    rss_mib: float
    files: int


class Watch:
    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look_on)
        self.seen: list[Seen] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def look(self) -> Seen:
        """Now."""
        with self._process.oneshot():
            return Seen(self._process.memory_info().rss / MIB, self._process.num_fds())

    def parts(self, count: int) -> list[Seen]:
        """Medians of so many equal parts of the time."""
        ends = [len(self.seen) * part // count for part in range(count + 1)]
        return [_median(self.seen[begin:end] or self.seen) for begin, end in pairwise(ends)]

    def _look_on(self) -> None:
        while not self._done.wait(EVERY_S):
            self.seen.append(self.look())


def _median(seen: list[Seen]) -> Seen:
    return Seen(
        statistics.median(each.rss_mib for each in seen),
        round(statistics.median(each.files for each in seen)),
    )
