"""The HTTP server, which tells its application that it is about to end."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress

import uvicorn


def interrupt_nobody() -> None:
    """From now on a thread of this process that wakes waits for its turn instead of taking the CPU from one that computes
    (SCHED_BATCH, sched(7)). For the calling thread and those that it starts.

    Threads that pass things along wake several times a request, and each time a batch would stand still and find its
    numbers gone from the CPU's cache. Beside a training that has all CPUs it would double the longest answers.
    """
    with suppress(OSError):  # where it is forbidden, things are a little slower
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Server(uvicorn.Server):
    """A uvicorn that sets `leaving` before it waits for its connections to end: an event stream has no other end."""

    def __init__(self, config: uvicorn.Config, leaving: threading.Event) -> None:
        super().__init__(config)
        self._leaving = leaving

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving.set()
        await super().shutdown(sockets)
