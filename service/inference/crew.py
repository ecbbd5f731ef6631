"""Threads that work for ever, and one that looks after them: a thread that dies is missed, and replaced."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

LOOK_S = 0.2
"""Between looks for threads that died without saying so."""
STOP_S = 60.0
"""How long the end waits for what is being computed."""

Work = TypeVar("Work")


class Worker(threading.Thread, Generic[Work]):
    """Takes turns until there are no more. `holds` is what it is busy with, for whoever finds it dead."""

    def __init__(self, name: str, turn: Callable[[Worker[Work]], bool], bell: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._turn = turn
        self._bell = bell
        self.holds: list[Work] = []
        self.error: BaseException | None = None
        self.has_left = self.is_buried = False

    @property
    def is_dead(self) -> bool:
        return self.has_left or not self.is_alive()

    def run(self) -> None:
        try:
            while self._turn(self):
                pass
        except BaseException as error:  # noqa: BLE001  whatever it was, the thread ends, and others tell of it
            self.error = error
        finally:
            self.has_left = True
            self._bell.set()


class Crew(Generic[Work]):
    """`count` workers. `bury` is told of each that died, once, before another takes its place."""

    def __init__(
        self,
        count: int,
        turn: Callable[[Worker[Work]], bool],
        bury: Callable[[Worker[Work]], None],
    ) -> None:
        self._turn = turn
        self._bury = bury
        self._bell = threading.Event()
        self._stopped = False
        self._workers = [Worker(f"fusebox-inference-{each}", turn, self._bell) for each in range(count)]
        for worker in self._workers:
            worker.start()
        self._supervisor = threading.Thread(target=self._supervise, name="fusebox-supervisor", daemon=True)
        self._supervisor.start()

    @property
    def held(self) -> list[Work]:
        """What is being worked on."""
        return [work for worker in self._workers for work in list(worker.holds)]

    @property
    def busy(self) -> int:
        """Workers that hold something."""
        return sum(bool(worker.holds) for worker in self._workers)

    @property
    def missing(self) -> int:
        """Workers that died and have nobody in their place."""
        return sum(worker.is_dead for worker in self._workers)

    def stop(self) -> None:
        """The workers' turns must have been told to end."""
        self._stopped = True
        self._bell.set()
        self._supervisor.join(STOP_S)
        for worker in self._workers:
            worker.join(STOP_S)
            if worker.holds:
                self._bury(worker)

    def _supervise(self) -> None:
        while not self._stopped:
            self._bell.wait(LOOK_S)
            self._bell.clear()
            for place, worker in enumerate(self._workers):
                if worker.is_dead and not self._stopped:
                    self._replace(place, worker)

    def _replace(self, place: int, dead: Worker[Work]) -> None:
        if not dead.is_buried:
            self._bury(dead)
            dead.is_buried, dead.holds = True, []
        self._workers[place] = Worker(dead.name, self._turn, self._bell)
        try:
            self._workers[place].start()
        except RuntimeError as error:  # no more threads are to be had; at the next look there may be
            self._workers[place] = dead
            log.error("a thread of the engine cannot be replaced yet: %s", error)
