"""A thread beside a worker's jobs that looks, every so often, whether there is something to do."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from service.db import UNREACHABLE

log = logging.getLogger(__name__)


class Ticker(ABC):
    """Ticks every `every_s` seconds from `start` to `stop`. While the database does not answer, it goes on trying."""

    def __init__(self, name: str, every_s: float) -> None:
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def tick(self) -> None: ...

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when nothing of its work is left running."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self.tick()
            except UNREACHABLE as error:
                log.warning("the database does not answer (%s); looking again later", error)
