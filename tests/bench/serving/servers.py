"""The servers that are compared, each a process of its own with the same model, and the environment of other people's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError

import psutil

from service.one_machine import child

ROOT = Path(__file__).parents[3]
ANCHORS = ("mosec==0.9.8", "litserve==0.2.19", "bentoml==1.4.40")
SHARED = (
    "fsspec",
    "numpy",
    "onnxruntime-gpu",
    "pillow",
    "pydantic-settings",
    "redis",
    "sqlalchemy",
    "tokenizers",
)
"""What loading and preparing need, at this project's versions."""
START_S, STOP_S = 300, 10


@dataclass(frozen=True)
class Server:
    name: str
    command: tuple[str, ...]
    path: str = "/embed"
    wrapped_in: str = ""


@dataclass(frozen=True)
class Running:
    server: Server
    url: str
    process: psutil.Process

    @property
    def cpu_s(self) -> float:
        """Of all its processes so far."""
        return sum(sum(each.cpu_times()[:2]) for each in self._all())

    @property
    def memory_bytes(self) -> int:
        return sum(each.memory_info().rss for each in self._all())

    @contextmanager
    def awake(self) -> Iterator[None]:
        """While it is asked. Otherwise all its processes are stopped: some servers work also when nobody asks them, and the one
        whose turn it is would have to make do with what they leave."""
        self.signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.signal(signal.SIGSTOP)

    def signal(self, number: signal.Signals) -> None:
        """To all its processes."""
        for each in self._all():
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)] if self.process.is_running() else []


def servers(python: str) -> list[Server]:
    """Ours, by one process and by two, and the others, of which mosec, LitServe and BentoML are started by `python`."""
    module = "tests.bench.serving.anchors"
    serve = (sys.executable, "-m", "service.cli", "serve")
    return [
        Server("fusebox", serve, path="/v1/embeddings"),
        Server("fusebox2", (*serve, "--api-processes", "2"), path="/v1/embeddings"),
        Server("naive", (sys.executable, "-m", f"{module}.naive")),
        Server("plain", (sys.executable, "-m", f"{module}.plain")),
        Server("mosec", (python, "-m", f"{module}.with_mosec", "--port", "{port}", "--address", "127.0.0.1")),
        Server("litserve", (python, "-m", f"{module}.with_litserve")),
        Server(
            "bentoml",
            (python, "-m", "bentoml", "serve", f"{module}.with_bentoml:Embed", "--port", "{port}", "--host", "127.0.0.1"),
            wrapped_in="bodies",
        ),
    ]  # fmt: skip


def environment_of_anchors(folder: Path) -> str:
    """The Python of a virtual environment with the anchors, made in `folder` unless it is there."""
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *ANCHORS], check=True)
        subprocess.run([*install, "--constraint", str(ROOT / "constraints.txt"), *SHARED], check=True)
        (folder / "done").touch()
    return str(python)


@contextmanager
def running(server: Server, environment: dict[str, str], log: Path) -> Iterator[Running]:
    """It sleeps until it is asked (`Running.awake`), and ends with the bench, also where that is killed."""
    port = free_port()
    process = child.start(
        [part.format(port=port) for part in server.command],
        env={**os.environ, **environment, "PORT": str(port), "FUSEBOX_PORT": str(port)},
        log=log,
    )
    one = Running(server, f"http://127.0.0.1:{port}{server.path}", psutil.Process(process.pid))
    try:
        with one.awake():
            wait_for(process, port, log)
        yield one
    finally:
        one.signal(signal.SIGCONT)
        child.stop(process, STOP_S)


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until it answers anything at all but that it is not ready."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}; see {log}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5):
                return
        except HTTPError as error:
            if error.code != 503:
                return
        except (URLError, OSError):
            pass
        time.sleep(0.2)
    raise RuntimeError(f"no answer within {START_S} s; see {log}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
