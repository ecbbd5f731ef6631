"""A small client of the HTTP API, for the command line and for scripts.

    with Client("http://127.0.0.1:8000") as fusebox:
        job = fusebox.submit("train", {"dataset": "digits", "epochs": 5})
        for event in fusebox.events(job["id"]): ...

    async with AsyncClient() as fusebox:
        vectors = await fusebox.vectors("digits", [{"text": "a handwritten three"}])

Answers are the API's own JSON (see /docs). A problem the server reports is raised as ApiProblem, a server that cannot
be reached as UnreachableError; both read as one sentence with a remedy.
"""

from __future__ import annotations

from service.client.awaited import AsyncClient
from service.client.calls import SILENCE_S, Json
from service.client.errors import ApiProblem, ClientError, UnreachableError
from service.client.waiting import Client
from service.client.wire import DEFAULT_SERVER

__all__ = [
    "DEFAULT_SERVER",
    "SILENCE_S",
    "ApiProblem",
    "AsyncClient",
    "Client",
    "ClientError",
    "Json",
    "UnreachableError",
]
