"""`fusebox demo`: the whole way from an empty folder to an embedding, on this machine and through real HTTP.

Four small trainings, linear probes, an exported model, embeddings of digits it has never seen; every number printed
was measured on the way. Jobs that another demo left unfinished are not touched; this one's are cancelled when it ends
early.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rich.markup import escape

from service.cli.machine import refuse
from service.cli.terminal import out
from service.client import Client, ClientError
from service.demo.tour import Tour
from service.errors import FuseboxError
from service.one_machine.up import LocalService
from service.settings import Settings

MOST_WORKERS = 3
INTERRUPTED = 130
"""What shells give a command that Ctrl-C ended."""


def run(*, exit_at_end: bool) -> None:
    """Serves until Ctrl-C after the last step, or ends there. Raises ClientError when a job fails."""
    began = time.monotonic()
    cpus = len(os.sched_getaffinity(0))
    settings = _settings()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    seen_all = False
    try:
        out.print(
            f"[bold]Fusebox[/]: train, probe, export and serve. A few minutes on {cpus} CPU cores.\n"
            f"Starting API, workers and a private Redis; data in {escape(str(settings.data_dir))}/",
            highlight=False,
        )
        with (
            LocalService(settings, workers=min(cpus, MOST_WORKERS)) as service,
            Client(service.url, os.environ.get("FUSEBOX_API_KEY")) as client,
        ):
            tour = Tour(client, settings.data_dir / "demo", check=lambda: service.wait(timeout_s=0))
            with _ending_in_order(tour):
                tour.walk()
                seen_all = True
                _say_goodbye(service.url, time.monotonic() - began, exit_at_end)
                while not exit_at_end:
                    service.wait(timeout_s=1)
    except FuseboxError as error:
        raise refuse(error) from None
    except KeyboardInterrupt:
        if not seen_all:
            sys.exit(INTERRUPTED)


def _settings() -> Settings:
    """From the environment; a port that is taken is replaced by a free one."""
    settings = Settings()
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((settings.host, settings.port))
        except OSError:
            return settings.model_copy(update={"port": 0})
    return settings


@contextmanager
def _ending_in_order(tour: Tour) -> Iterator[None]:
    """What is left of a demo that ends early would only be in the way of the next one."""
    try:
        yield
    except KeyboardInterrupt:
        out.print("\nStopping.")
        raise
    finally:
        for job_id in tour.unfinished:
            with suppress(ClientError):
                tour.client.cancel(job_id)


def _say_goodbye(url: str, seconds: float, exit_at_end: bool) -> None:
    minutes, rest = divmod(round(seconds), 60)
    out.print(f"\nThat took {minutes} min {rest} s.", highlight=False)
    if not exit_at_end:
        out.print(
            f"The dashboard is at [bold]{url}/[/], the API at {url}/docs. Ctrl-C stops it.", highlight=False
        )


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """The first one ends the demo; further ones wait until everything has stopped in order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
