"""The client that waits and the one that is awaited, with the real application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.client import ApiProblem, AsyncClient, Client, ClientError, UnreachableError
from service.settings import Settings
from tests.applications import new_app
from tests.service.conftest import Published
from tests.service.pictures import png

PAIR = [{"text": "a handwritten three"}, {"text": "the digit seven"}]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def with_the_awaited(app: FastAPI, work: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        async with (
            app.router.lifespan_context(app),
            AsyncClient("http://testserver", transport=httpx.ASGITransport(app)) as client,
        ):
            await work(client)

    asyncio.run(run())


def test_the_awaited_client_does_what_the_other_does(
    published: Published, app: FastAPI, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "digit.png").write_bytes(png())
    found = []

    async def work(client: AsyncClient) -> None:
        several = await asyncio.gather(*(client.vectors("captions", [each]) for each in PAIR))
        together = await client.vectors("captions", PAIR, dimensions=4)
        asset = await client.upload(tmp_path / "digit.png")
        pair = await client.get_embedding("captions", image=asset["id"], text=PAIR[0]["text"])
        found.extend([np.concatenate(several), together, np.array(pair["data"][0]["embedding"])])
        with pytest.raises(ApiProblem, match="there is no model 'nothing'"):
            await client.vectors("nothing", PAIR)
        job = await client.submit("train", {"dataset": "digits"})
        await client.cancel(job["id"])
        events = [each async for each in client.events(job["id"])]
        assert events[-1]["type"] == "state"
        with pytest.raises(ApiProblem, match="nothing"):
            _ = [each async for each in client.events("nothing")]
        assert (await client.jobs(kind="train"))["data"][0]["id"] == job["id"]

    with_the_awaited(app, work)
    with TestClient(new_app(settings)) as service:
        waiting = Client("http://testserver")
        waiting.close()
        waiting._http = service
        assert np.abs(waiting.vectors("captions", PAIR) - found[0]).max() <= 1e-5
        assert waiting.vectors("captions", PAIR).dtype == np.float32
        short = [each["embedding"] for each in waiting.embed("captions", PAIR, dimensions=4)["data"]]
        assert np.abs(np.array(short) - found[1]).max() <= 1e-5
        assert found[2].shape == (16,)


def test_who_cannot_be_reached_is_named_by_both() -> None:
    async def asked() -> None:
        async with AsyncClient("http://127.0.0.1:1") as client:
            with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1"):
                await client.ready()
            with pytest.raises(UnreachableError):
                _ = [each async for each in client.events("x")]

    asyncio.run(asked())
    with Client("http://127.0.0.1:1") as client, pytest.raises(UnreachableError):
        client.ready()
    with pytest.raises(ClientError, match="not an API key"):
        AsyncClient(api_key="ключ")


EVENT = b'id: 1\nevent: message\ndata: {"seq": 1}\n\n'


@pytest.mark.parametrize("content", [EVENT, EVENT + b"event: message\ndata: {", b""])
def test_a_stream_that_ends_before_the_job_says_so(content: bytes) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=content)

    async def asked() -> None:
        async with AsyncClient("http://there", transport=httpx.MockTransport(answer)) as client:
            with pytest.raises(UnreachableError, match="broke off before the job had ended"):
                _ = [each async for each in client.events("x")]

    asyncio.run(asked())
    with Client("http://there") as client:
        client._http = httpx.Client(base_url="http://there", transport=httpx.MockTransport(answer))
        events = client.events("x")
        assert not content or next(events)["seq"] == 1
        with pytest.raises(UnreachableError, match="broke off before the job had ended"):
            next(events)


@pytest.mark.parametrize(
    "errors", [[{"code": 1000, "message": "x"}], None, ["x"], "x", [{"pointer": "/a", "detail": "b"}]]
)
def test_an_error_in_another_servers_words_is_one_of_ours(errors: object) -> None:
    problem = ApiProblem(502, {"errors": errors, "detail": "bad gateway"})
    assert (problem.status, problem.detail) == (502, "bad gateway")
    assert problem.faults in ([], [("/a", "b")])
