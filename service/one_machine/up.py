"""The whole service on one machine: database, private Redis, API and workers, kept alive by one process.

    with LocalService(Settings()) as fusebox:
        print(fusebox.url)

A part that dies is started again after a pause that grows with each failure; it keeps its port, because the listening
socket belongs to this process and requests wait in it meanwhile. Nothing outlives this process.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

import httpx

from service.access import auth
from service.db import make_engine, make_sessions, migrate
from service.one_machine import child
from service.one_machine.embedded_redis import EmbeddedRedis, EmbeddedRedisError
from service.settings import Settings

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
    """One process of the service: how to start it, and how long it may take to end."""

    name: str
    launch: Callable[[], subprocess.Popen[bytes]]
    patience_s: float
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    started_at: float = 0.0
    due_at: float = 0.0


class LocalService:
    """Everything `fusebox up` runs. One thread starts, watches and stops the parts; nobody else touches them."""

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        self._settings = settings.model_copy(update={"data_dir": settings.data_dir.resolve()})
        self._n_workers = workers
        self._logs = self._settings.data_dir / "logs"
        self._asked_to_stop = threading.Event()
        self._ended = threading.Event()
        self._failure: StartError | None = None
        self._thread = threading.Thread(target=self._run, name="parts")
        self._answered = threading.Event()
        self._parts: list[Part] = []
        self._port = settings.port
        self._held = ExitStack()

    @property
    def url(self) -> str:
        host = self._settings.host
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{self._port}"

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the parts that run, by name: api, worker-1 …, redis."""
        return {
            part.name: part.process.pid
            for part in self._parts
            if part.process and part.process.poll() is None
        }

    def start(self) -> Self:
        """Returns once the API answers. Raises StartError; then nothing is left running."""
        with ExitStack() as held:
            held.enter_context(self._locked())
            migrate(self._settings.effective_database_url)
            self._refuse_strangers()
            self._socket = held.enter_context(_listening(self._settings))
            self._port = self._socket.getsockname()[1]
            self._parts = self._planned()
            self._thread.start()
            held.callback(self._stop_parts)
            self._await_first_answer()
            self._held = held.pop_all()
        return self

    def wait(self, timeout_s: float | None = None) -> None:
        """Until it is stopped. Raises StartError when it had to give up."""
        self._ended.wait(timeout_s)
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """API first, so that nothing new arrives; then the workers, which save their state; then Redis."""
        self._held.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _planned(self) -> list[Part]:
        parts = []
        settings = self._settings.model_copy(update={"port": self._port})
        if not settings.redis_url:
            redis = EmbeddedRedis(settings.data_dir / "redis", self._logs / "redis.log")
            settings = settings.model_copy(update={"redis_url": redis.url})
            parts.append(Part("redis", lambda: _started(redis), patience_s=5))
        fd = self._socket.fileno()
        for number in range(1, self._n_workers + 1):
            parts.append(self._command(f"worker-{number}", settings, "worker", settings.cancel_grace_s + 15))
        parts.append(self._command("api", settings, "serve", 10, "--fd", str(fd), pass_fds=(fd,)))
        return parts

    def _command(
        self,
        name: str,
        settings: Settings,
        command: str,
        patience_s: float,
        *rest: str,
        pass_fds: tuple[int, ...] = (),
    ) -> Part:
        argv = [sys.executable, "-m", "service.cli", command, *rest]
        env = environment(settings)
        path = self._logs / f"{name}.log"
        return Part(name, lambda: child.start(argv, env=env, log=path, pass_fds=pass_fds), patience_s)

    def _await_first_answer(self) -> None:
        deadline = time.monotonic() + START_PATIENCE_S
        while not self._answers():
            if self._ended.wait(LOOK_S) or time.monotonic() > deadline:
                raise self._failure or StartError(
                    f"the API did not start in time; see {self._logs / 'api.log'}"
                )
        self._answered.set()

    def _stop_parts(self) -> None:
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
                part.process, part.started_at = part.launch(), now
            return
        status = part.process.poll()
        if status is None:
            return
        if status == EXIT_REFUSED:
            raise StartError(
                f"{part.name} cannot run as configured; see {self._logs / part.name}.log", EXIT_REFUSED
            )
        part.process = None
        part.failures = 1 if now - part.started_at > STEADY_S else part.failures + 1
        if part.failures == TRIES_AT_START and not self._answered.is_set():
            raise StartError(f"{part.name} does not start; see {self._logs / part.name}.log")
        pause_s = min(FIRST_PAUSE_S * 2 ** (part.failures - 1), LONGEST_PAUSE_S)
        part.due_at = now + pause_s
        log.warning("%s ended with status %d; starting it again in %.1f s", part.name, status, pause_s)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/livez", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _locked(self) -> IO[str]:
        self._logs.mkdir(parents=True, exist_ok=True)
        lock = (self._settings.data_dir / "up.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "?"
            lock.close()
            raise StartError(
                f"{self._settings.data_dir} is in use by another `fusebox up` (process {holder}); stop that one, or "
                "take another folder with FUSEBOX_DATA_DIR"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def _refuse_strangers(self) -> None:
        engine = make_engine(self._settings.effective_database_url)
        try:
            auth.assert_may_listen(self._settings, make_sessions(engine))
        finally:
            engine.dispose()


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment, with every setting written out for a child to read."""
    values = settings.model_dump(mode="json")
    named = {f"FUSEBOX_{k.upper()}": v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
    return {**os.environ, **named, "PYTHONUNBUFFERED": "1"}


def _started(redis: EmbeddedRedis) -> subprocess.Popen[bytes]:
    process = redis.start().process
    assert process is not None
    return process


def _listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); take another port with --port"
        ) from None
    listener.listen(2048)
    return listener
