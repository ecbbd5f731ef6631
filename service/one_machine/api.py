"""The API on one machine: a process, or several that answer at one address.

They share a listening socket, which belongs to the process that starts them. So the address outlives each of them, requests
wait in it while none is there, and who is idle takes the next connection.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path

import httpx

from service.one_machine import child
from service.one_machine.parts import LOOK_S, Part, Parts, StartError
from service.settings import Settings

log = logging.getLogger(__name__)

PATIENCE_S = 10
"""How long an API process may take to end."""


def serve_together(settings: Settings, stop: threading.Event) -> None:
    """Several API processes, until `stop` is set. They write where this process does.

    Raises StartError when they cannot run.
    """
    with listening(settings) as listener, tempfile.TemporaryDirectory(prefix="fusebox-api-") as folder:
        url = url_of(settings, listener)
        parts = Parts(api_parts(settings, listener, Path(folder), logs=None))
        parts.start(lambda: stop.is_set() or answers(url))
        log.info("%d API processes answer at %s", settings.api_processes, url)
        try:
            while not stop.wait(LOOK_S):
                parts.wait(timeout_s=0)
        finally:
            parts.stop()


def api_parts(
    settings: Settings, listener: socket.socket, folder: Path, logs: Path | None, beside_workers: bool = False
) -> list[Part]:
    """folder: where they tell one another of themselves. beside_workers: whose trainings want the same CPUs."""
    count, fd = settings.api_processes, listener.fileno()
    beside = ("--beside-workers",) if beside_workers else ()
    names = ["api"] if count == 1 else [f"api-{place}" for place in range(1, count + 1)]
    return [
        command(
            name,
            of_each(settings),
            ("serve", "--fd", str(fd), "--place", str(place), "--told-in", str(folder), *beside),
            PATIENCE_S,
            logs,
            pass_fds=(fd,),
        )
        for place, name in enumerate(names, 1)
    ]


def of_each(settings: Settings) -> Settings:
    """What each of several API processes may use: its share of the machine and of the memory for what is remembered."""
    count = settings.api_processes
    if count == 1:
        return settings
    cpus = settings.inference_threads or len(os.sched_getaffinity(0))
    shares = {
        "inference_threads": -(-cpus // count),
        "inference_cache_bytes": settings.inference_cache_bytes // count,
        "inference_token_cache_bytes": settings.inference_token_cache_bytes // count,
        "search_bytes": max(1, settings.search_bytes // count),
    }
    return settings.model_copy(update=shares)


def command(
    name: str,
    settings: Settings,
    words: tuple[str, ...],
    patience_s: float,
    logs: Path | None,
    pass_fds: tuple[int, ...] = (),
) -> Part:
    """`fusebox` with these words as a part. logs: the folder that it writes `name`.log in; None: where this process writes."""
    argv, env = [sys.executable, "-m", "service.cli", *words], environment(settings)
    log = logs / f"{name}.log" if logs else None
    return Part(name, lambda: child.start(argv, env=env, log=log, pass_fds=pass_fds), patience_s, log)


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment, with every setting written out for a child to read."""
    values = settings.model_dump(mode="json")
    named = {f"FUSEBOX_{k.upper()}": v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
    return {**os.environ, **named, "PYTHONUNBUFFERED": "1"}


def listening(settings: Settings) -> socket.socket:
    """Raises StartError when the address is taken."""
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


def url_of(settings: Settings, listener: socket.socket) -> str:
    """Under which this machine itself reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False
