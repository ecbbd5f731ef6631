"""What both clients do alike: how they reach a server, and how they read a stream of events."""

from __future__ import annotations

import json
from typing import Any

import httpx

from service.client.calls import Json
from service.client.errors import ClientError

DEFAULT_SERVER = "http://127.0.0.1:8000"


def reached(server: str, api_key: str | None) -> dict[str, Any]:
    """What httpx's clients are made with. Raises ClientError when either cannot be what it is said to be."""
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise ClientError("FUSEBOX_API_KEY is not an API key; keys look like 'fbx_…'")
    # A proxy of the environment has no business between two processes of one machine.
    loopback = _host(server) in ("127.0.0.1", "localhost", "::1")
    return {
        "base_url": server,
        "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
        "timeout": httpx.Timeout(30, connect=5),
        "trust_env": not loopback,
    }


class ServerSent:
    """The lines of an event stream, of which some complete an event."""

    def __init__(self) -> None:
        self._kind, self._data = "message", ""
        self.has_ended = False

    def event(self, line: str) -> Json | None:
        """The JSON object that this line completes."""
        if line.startswith("event:"):
            self._kind = line[6:].strip()
        elif line.startswith("data:"):
            self._data += line[5:].strip()
        elif not line:
            kind, data = self._kind, self._data
            self._kind, self._data = "message", ""
            self.has_ended = kind == "end"
            if data and not self.has_ended:
                event: Json = json.loads(data)
                return event
        return None


def _host(server: str) -> str:
    try:
        return httpx.URL(server).host
    except httpx.InvalidURL as error:
        raise ClientError(
            f"{server!r} is not the address of a server ({error}); write {DEFAULT_SERVER}"
        ) from None
