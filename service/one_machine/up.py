"""The whole service on one machine: database, private Redis, API and workers, kept alive by one process.

with LocalService(Settings()) as fusebox:
    print(fusebox.url)
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from service.access import auth
from service.db import make_engine, make_sessions, migrate
from service.one_machine.api import answers, api_parts, command, listening, url_of
from service.one_machine.embedded_redis import EmbeddedRedis
from service.one_machine.parts import Part, Parts, StartError
from service.settings import Settings


class LocalService:
    """Everything `fusebox up` runs."""

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        self._settings = settings.model_copy(update={"data_dir": settings.data_dir.resolve()})
        self._n_workers = workers
        self._logs = self._settings.data_dir / "logs"
        self._parts = Parts([])
        self._held = ExitStack()
        self.url = ""
        """Once it is started."""

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the parts that run, by name: api, worker-1 …, redis; api-1 … where there are several."""
        return self._parts.pids

    def start(self) -> Self:
        """Returns once the API answers. Raises StartError; then nothing is left running."""
        with ExitStack() as held:
            held.enter_context(self._locked())
            migrate(self._settings.effective_database_url)
            self._refuse_strangers()
            listener = held.enter_context(listening(self._settings))
            told_in = held.enter_context(tempfile.TemporaryDirectory(prefix="fusebox-api-"))
            settings = self._settings.model_copy(update={"port": listener.getsockname()[1]})
            self.url = url_of(settings, listener)
            redis, settings = self._redis(settings)
            api = api_parts(settings, listener, Path(told_in), self._logs, beside_workers=self._n_workers > 0)
            self._parts = Parts([*redis, *self._workers(settings), *api])
            self._parts.start(lambda: answers(self.url))
            held.callback(self._parts.stop)
            self._held = held.pop_all()
        return self

    def wait(self, timeout_s: float | None = None) -> None:
        """Until it is stopped. Raises StartError when it had to give up."""
        self._parts.wait(timeout_s)

    def stop(self) -> None:
        """API first, so that nothing new arrives; then the workers, which save their state; then Redis."""
        self._held.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _redis(self, settings: Settings) -> tuple[list[Part], Settings]:
        """A private one, unless the settings name one, and the settings that name it."""
        if settings.redis_url:
            return [], settings
        log = self._logs / "redis.log"
        redis = EmbeddedRedis(settings.data_dir / "redis", log)
        part = Part("redis", lambda: _started(redis), patience_s=5, log=log)
        return [part], settings.model_copy(update={"redis_url": redis.url})

    def _workers(self, settings: Settings) -> list[Part]:
        names = [f"worker-{number}" for number in range(1, self._n_workers + 1)]
        patience_s = settings.cancel_grace_s + 15
        return [command(name, settings, ("worker",), patience_s, self._logs) for name in names]

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


def _started(redis: EmbeddedRedis) -> subprocess.Popen[bytes]:
    process = redis.start().process
    assert process is not None
    return process
