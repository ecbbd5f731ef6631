"""Processes that are kept alive and end together.

One that dies is started again after a pause that grows with each failure. Nothing outlives the process that holds them.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from service.one_machine import child
from service.one_machine.embedded_redis import EmbeddedRedisError

log = logging.getLogger(__name__)

EXIT_REFUSED = 78
"""A part that ends with this cannot run as configured; starting it again would not help (sysexits: EX_CONFIG)."""
LOOK_S = 0.2
START_PATIENCE_S = 60
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
TRIES_AT_START = 4
STEADY_S = 30
"""A part that has run this long is forgiven its earlier failures."""


class StartError(RuntimeError):
    """The service cannot run; the message says why and what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Part:
    """One process of the service: how to start it, how long it may take to end, and where it says what ails it."""

    name: str
    launch: Callable[[], subprocess.Popen[bytes]]
    patience_s: float
    log: Path | None = None
    """None: where its parent does."""
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    started_at: float = 0.0
    due_at: float = 0.0

    @property
    def remedy(self) -> str:
        return f"see {self.log}" if self.log else "its last lines say why"


class Parts:
    """Started in their order, stopped in the reverse one. One thread does both and watches them; nobody else touches them."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._asked_to_stop = threading.Event()
        self._ended = threading.Event()
        self._answered = threading.Event()
        self._failure: StartError | None = None
        self._thread = threading.Thread(target=self._run, name="parts")

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the parts that run, by name."""
        return {
            part.name: part.process.pid
            for part in self._parts
            if part.process and part.process.poll() is None
        }

    def start(self, answers: Callable[[], bool]) -> None:
        """Returns once they answer. Raises StartError; then nothing is left running."""
        self._thread.start()
        deadline = time.monotonic() + START_PATIENCE_S
        with ExitStack() as if_in_vain:
            if_in_vain.callback(self.stop)
            while not answers():
                if self._ended.wait(LOOK_S) or time.monotonic() > deadline:
                    last = self._parts[-1]
                    raise self._failure or StartError(f"{last.name} did not start in time; {last.remedy}")
            self._answered.set()
            if_in_vain.pop_all()

    def wait(self, timeout_s: float | None = None) -> None:
        """Until they are stopped. Raises StartError when they had to be given up."""
        self._ended.wait(timeout_s)
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        self._asked_to_stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._asked_to_stop.wait(LOOK_S):
                for part in self._parts:
                    self._tend(part)
        except (StartError, EmbeddedRedisError, OSError) as error:
            self._failure = error if isinstance(error, StartError) else StartError(str(error))
            log.error("%s", error)
        finally:
            for part in reversed(self._parts):
                if part.process is not None:
                    child.stop(part.process, part.patience_s)
            self._ended.set()

    def _tend(self, part: Part) -> None:
        """Starts the part when its time has come, and sets that time when it died."""
        now = time.monotonic()
        if part.process is None:
            if now >= part.due_at:
                self._launch(part, now)
            return
        status = part.process.poll()
        if status is None:
            return
        if status == EXIT_REFUSED:
            raise StartError(f"{part.name} cannot run as configured; {part.remedy}", EXIT_REFUSED)
        part.process = None
        if now - part.started_at > STEADY_S:
            part.failures = 0
        self._failed(part, now, f"ended with status {status}")

    def _launch(self, part: Part, now: float) -> None:
        try:
            part.process, part.started_at = part.launch(), now
        except (EmbeddedRedisError, OSError) as error:
            if not self._answered.is_set():
                raise
            self._failed(part, now, f"does not start: {error}")

    def _failed(self, part: Part, now: float, how: str) -> None:
        part.failures += 1
        if part.failures == TRIES_AT_START and not self._answered.is_set():
            raise StartError(f"{part.name} does not start; {part.remedy}")
        pause_s = min(FIRST_PAUSE_S * 2 ** (part.failures - 1), LONGEST_PAUSE_S)
        part.due_at = now + pause_s
        log.warning("%s %s; starting it again in %.1f s", part.name, how, pause_s)
