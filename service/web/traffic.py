"""Counts of the requests this process has answered, by method, route template and status, with the time they took."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
Key = tuple[str, str, int]


@dataclass
class Traffic:
    started_at: float = field(default_factory=time.monotonic)
    requests: Counter[Key] = field(default_factory=Counter)
    """By method, route template and status. A template, never a path: clients may not make up new entries."""
    seconds: defaultdict[Key, float] = field(default_factory=lambda: defaultdict(float))


class CountRequests:
    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self.app = app
        self.traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noting_status)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in METHODS else "OTHER"
            self.traffic.requests[method, route, status] += 1
            self.traffic.seconds[method, route, status] += time.monotonic() - began
