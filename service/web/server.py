"""The HTTP server, which tells its application that it is about to end."""

from __future__ import annotations

import socket
import threading

import uvicorn


class Server(uvicorn.Server):
    """A uvicorn that sets `leaving` before it waits for its connections to end: an event stream has no other end."""

    def __init__(self, config: uvicorn.Config, leaving: threading.Event) -> None:
        super().__init__(config)
        self._leaving = leaving

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving.set()
        await super().shutdown(sockets)
