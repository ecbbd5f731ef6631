"""The event stream of a real server: each event once, in order, and an end, whoever leaves first."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from service import leases, stream
from service.client import Client, Json
from service.db import Sessions, make_engine, make_sessions, transaction
from service.leases import Lease
from service.web.server import Server
from tests.processes import eventually
from tests.service.rows import SPEC, settled, started

STREAM = {"Accept": "text/event-stream"}


class Serving:
    """The application behind a real socket, in a thread."""

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=30)
        self.server = Server(config, app.state.resources.leaving)
        self.thread = threading.Thread(target=self.server.run)
        self.pool = app.state.resources.engine.pool
        self.thread.start()
        eventually(lambda: self.server.started)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    @property
    def n_waiting(self) -> int:
        """Requests that have not been answered to the end."""
        return len(self.server.server_state.tasks)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture
def serving(app: FastAPI) -> Iterator[Serving]:
    serving = Serving(app)
    yield serving
    serving.stop()


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with Client(serving.url) as client:
        yield client


@contextmanager
def listening(url: str, **headers: str) -> Iterator[Iterator[str]]:
    with (
        httpx.Client(trust_env=False, timeout=20) as http,
        http.stream("GET", url, headers={**STREAM, **headers}) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in answer.headers  # the client would take it packed
        yield answer.iter_lines()


def say(sessions: Sessions, lease: Lease, text: str) -> None:
    with transaction(sessions) as session:
        leases.tell(session, leases.held(session, lease), "message", text)


def advance(sessions: Sessions, lease: Lease, step: int) -> None:
    with transaction(sessions) as session:
        leases.held(session, lease).progress = {"phase": "training", "step": step, "total": 16}


def collect(events: Iterator[Json], seen: list[Json]) -> None:
    for event in events:
        seen.append(event)


def test_a_client_sees_what_happens_as_it_happens_and_the_stream_ends_with_the_job(
    client: Client, sessions: Sessions
) -> None:
    job_id = client.submit("train", SPEC)["id"]
    seen: list[Json] = []

    def said(text: str) -> bool:
        return any(each["text"] == text for each in seen)

    with ThreadPoolExecutor(1) as pool:
        listener = pool.submit(collect, client.events(job_id), seen)
        eventually(lambda: seen)
        lease = started(sessions)
        say(sessions, lease, "line\u2028separated \x85 déjà vu\nand more")
        eventually(lambda: said("line\u2028separated \x85 déjà vu\nand more"))
        advance(sessions, lease, 4)
        eventually(lambda: seen[-1]["type"] == "progress")
        settled(sessions, lease, "succeeded")
        listener.result(timeout=10)
    assert [each["seq"] for each in seen if "seq" in each] == [1, 2, 3, 4, 5]
    assert [each["data"]["to"] for each in seen if each["type"] == "state"] == [
        "queued",
        "starting",
        "running",
        "succeeded",
    ]
    assert [each["data"]["step"] for each in seen if each["type"] == "progress"] == [4]
    assert set(seen[0]) == {"seq", "at", "type", "level", "text", "data", "actor"}
    assert set(seen[-2]) == {"at", "type", "level", "text", "data", "actor"}


def test_a_broken_stream_goes_on_where_it_was(serving: Serving, client: Client, sessions: Sessions) -> None:
    job_id = client.submit("train", SPEC)["id"]
    lease = started(sessions)
    for number in range(10):
        say(sessions, lease, str(number))
    with listening(f"{serving.url}/v1/jobs/{job_id}/events") as lines:
        ids = [next(line for line in lines if line.startswith("id:")) for _ in range(4)]
    assert ids == ["id: 1", "id: 2", "id: 3", "id: 4"]
    settled(sessions, lease, "succeeded")
    assert [each["seq"] for each in client.events(job_id, after=4)] == list(range(5, 15))
    with listening(f"{serving.url}/v1/jobs/{job_id}/events?after=2", **{"Last-Event-ID": "13"}) as lines:
        assert [line for line in lines if line.startswith(("id:", "event:"))] == [
            "id: 14",
            "event: state",
            "event: end",
        ]


def test_the_stream_of_an_ended_job_is_sent_whole_and_ends_at_once(
    serving: Serving, client: Client, sessions: Sessions
) -> None:
    job_id = client.submit("train", SPEC)["id"]
    lease = started(sessions)
    with transaction(sessions) as session:
        job = leases.held(session, lease)
        for number in range(2 * stream.AT_ONCE):
            leases.tell(session, job, "message", str(number))
    advance(sessions, lease, 16)
    settled(sessions, lease, "succeeded")
    with listening(f"{serving.url}/v1/jobs/{job_id}/events") as lines:
        blocks = "\n".join(lines).strip().split("\n\n")
    parsed = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    assert [int(each["id"]) for each in parsed if "id" in each] == list(range(1, 2 * stream.AT_ONCE + 5))
    assert [each["event"] for each in parsed[-3:]] == ["state", "progress", "end"]
    assert "id" not in parsed[-1]
    assert json.loads(parsed[-1]["data"])["data"] == {"state": "succeeded"}


def test_progress_is_sent_when_it_changes_and_not_otherwise(
    serving: Serving, client: Client, sessions: Sessions
) -> None:
    job_id = client.submit("train", SPEC)["id"]
    lease = started(sessions)
    seen: list[Json] = []
    with ThreadPoolExecutor(1) as pool:
        listener = pool.submit(collect, client.events(job_id, after=3), seen)
        for step in (1, 2):
            advance(sessions, lease, step)
            eventually(lambda: seen and seen[-1]["data"]["step"] == step)  # noqa: B023  looked at in this turn only
            time.sleep(3 * stream.LOOK_S)
        settled(sessions, lease, "failed", "data_error", "no data")
        listener.result(timeout=10)
    assert [each["data"].get("step") for each in seen] == [1, 2, None]


def test_a_silent_stream_says_now_and_then_that_it_lives(client: Client, sessions: Sessions) -> None:
    job_id = client.submit("train", SPEC)["id"]
    assert stream.COMMENT_S <= 15

    async def first(n: int) -> list[bytes]:
        leaving = threading.Event()
        events = stream.job_events(sessions, leaving, job_id, 1, look_s=0.01, comment_s=0.05)
        found = [await anext(events) for _ in range(n)]
        leaving.set()
        assert [each async for each in events] == []
        return found

    assert asyncio.run(first(3)) == [b": nothing new\n\n"] * 3


def test_a_waiting_stream_holds_no_connection_to_the_database(serving: Serving, client: Client) -> None:
    job_id = client.submit("train", SPEC)["id"]
    with listening(f"{serving.url}/v1/jobs/{job_id}/events") as lines:
        next(lines)
        held = []
        for _ in range(100):
            held.append(serving.pool.checkedout())
            time.sleep(0.01)
    assert sum(held) < 20


def test_a_server_that_is_stopped_ends_its_streams_promptly(app: FastAPI) -> None:
    serving = Serving(app)
    with Client(serving.url) as client:
        job_id = client.submit("train", SPEC)["id"]
    with listening(f"{serving.url}/v1/jobs/{job_id}/events") as lines:
        next(lines)
        began = time.monotonic()
        serving.server.should_exit = True
        assert not [line for line in lines if line.startswith("event: end")]  # the client shall come again
    serving.thread.join()
    assert time.monotonic() - began < 3


def test_a_client_that_leaves_is_forgotten(serving: Serving, client: Client) -> None:
    job_id = client.submit("train", SPEC)["id"]
    with listening(f"{serving.url}/v1/jobs/{job_id}/events") as lines:
        next(lines)
        assert serving.n_waiting == 1
    eventually(lambda: serving.n_waiting == 0, patience_s=3)


def test_many_streams_leave_room_for_other_requests(serving: Serving, client: Client) -> None:
    job_id = client.submit("train", SPEC)["id"]
    with httpx.Client(trust_env=False, timeout=20, limits=httpx.Limits(max_connections=60)) as http:
        open_streams = [
            http.send(
                http.build_request("GET", f"{serving.url}/v1/jobs/{job_id}/events", headers=STREAM),
                stream=True,
            )
            for _ in range(50)
        ]
        began = time.monotonic()
        for _ in range(5):
            assert client.job(job_id)["state"] == "queued"
        assert time.monotonic() - began < 5
        for each in open_streams:
            each.close()
    eventually(lambda: serving.n_waiting == 0)


def test_a_stream_ends_when_the_database_does_not_answer() -> None:
    """Nothing can be told to a client that is in the middle of an answer; it comes again."""
    engine = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")

    async def everything() -> list[bytes]:
        events = stream.job_events(make_sessions(engine), threading.Event(), "job_1", 0)
        return [each async for each in events]

    assert asyncio.run(everything()) == []
    engine.dispose()
