"""How long a body may be, that it comes as it is, and who may send a long one: told before it is read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.datastructures import Headers
from starlette.types import Message

from service.access import auth
from service.access.keyring import Keyring
from service.db import Sessions, make_engine, make_sessions, transaction
from service.settings import Settings
from service.web.headers import HEADERS
from service.web.strict_input import STRANGERS_BYTES
from tests.applications import new_app

MOST = 200_000
PIECE = b" " * 10_000
JSON, PNG, FORM = "application/json", "image/png", "multipart/form-data; boundary=a"
PART = "application/offset+octet-stream"
IN_PIECES = {"Transfer-Encoding": "chunked"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    content: bytes
    n_read: int
    """Pieces of the body."""

    @property
    def problem(self) -> Any:
        assert self.headers["content-type"] == "application/problem+json"
        return json.loads(self.content)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: nothing here depends on it."""
    return sqlite_url


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_body_bytes": MOST})


@pytest.fixture
def upload(client: TestClient) -> str:
    """The address of a dataset's parts."""
    answer = client.post("/v1/datasets", json={"name": "squares", "format": "image_folder"})
    return str(answer.headers["Location"])


@pytest.fixture
def key(sessions: Sessions) -> str:
    with transaction(sessions) as session:
        return auth.create_key(session, "ada", ["submit"])[1]


@pytest.fixture
def stranger(settings: Settings, key: str) -> Iterator[TestClient]:
    """Somebody who has no key, in front of a server that a network can reach."""
    with TestClient(new_app(settings.model_copy(update={"host": "0.0.0.0"}))) as client:
        yield client


def sent(
    client: TestClient,
    content_type: str,
    headers: dict[str, str],
    n_pieces: int,
    path: str = "/v1/jobs",
    method: str = "POST",
) -> Answer:
    """What is answered, and how much of the body was read for it."""
    pieces = [PIECE] * n_pieces
    told: list[Message] = []

    async def receive() -> Message:
        if not pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        told.append(message)

    named = {"Host": "testserver", "Content-Type": content_type, **headers}
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": Headers(named).raw, "http_version": "1.1", "scheme": "http", "root_path": "",
        "client": ("testclient", 1), "server": ("testserver", 80),
    }  # fmt: skip
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    content = b"".join(each.get("body", b"") for each in told[1:])
    return Answer(told[0]["status"], Headers(raw=told[0]["headers"]), content, n_pieces - len(pieces))


def of_length(n_pieces: int) -> dict[str, str]:
    return {"Content-Length": str(n_pieces * len(PIECE))}


# ------------------------------------------------------------------------------------------------ how long


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/assets", "/v1/embeddings", "/nothing"])
@pytest.mark.parametrize("content_type", [JSON, PNG, FORM, "text/plain"])
@pytest.mark.parametrize("length", [str(MOST + 1), "9" * 5000])
def test_a_body_that_says_it_is_too_long_is_refused_unread(
    client: TestClient, path: str, content_type: str, length: str
) -> None:
    answer = sent(client, content_type, {"Content-Length": length}, 30, path)
    assert (answer.status, answer.problem["code"], answer.n_read) == (413, "body_too_large", 0)
    assert str(MOST) in answer.problem["detail"]
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/v1/jobs", JSON), ("/v1/jobs", "text/plain"), ("/v1/assets", PNG), ("/v1/embeddings", FORM),
        ("/v2/models/captions/infer", "application/octet-stream"), ("/login", "application/x-www-form-urlencoded"),
    ],
)  # fmt: skip
def test_a_body_that_does_not_say_how_long_it_is_is_read_as_far_as_it_may_be(
    client: TestClient, path: str, content_type: str
) -> None:
    answer = sent(client, content_type, IN_PIECES, 30, path)
    assert (answer.status, answer.problem["code"], answer.n_read) == (413, "body_too_large", 21)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


def test_what_came_of_a_part_that_is_too_long_stays(client: TestClient, upload: str) -> None:
    answer = sent(client, PART, {"Upload-Offset": "0", **IN_PIECES}, 30, upload, "PATCH")
    assert (answer.status, answer.problem["code"]) == (413, "body_too_large")
    assert client.head(upload).headers["upload-offset"] == str(MOST)


def test_a_body_of_just_the_limit_passes(client: TestClient, upload: str) -> None:
    headers = {"Upload-Offset": "0", **of_length(20)}
    assert sent(client, PART, headers, 20, upload, "PATCH").status == 204
    assert client.head(upload).headers["upload-offset"] == str(MOST)


# ------------------------------------------------------------------------------------------------- packed


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "identity, gzip", "unheard-of"])
@pytest.mark.parametrize("length", [IN_PIECES, of_length(1)])
@pytest.mark.parametrize("content_type", [JSON, PNG, FORM])
def test_a_packed_body_is_refused_unread(
    client: TestClient, encoding: str, length: dict[str, str], content_type: str
) -> None:
    answer = sent(client, content_type, {"Content-Encoding": encoding, **length}, 1)
    assert (answer.status, answer.problem["code"], answer.n_read) == (415, "content_encoding", 0)
    assert "send it uncompressed" in answer.problem["detail"]
    assert answer.headers["accept-encoding"] == "identity"


def test_a_packed_part_of_a_dataset_is_refused_and_not_kept(client: TestClient, upload: str) -> None:
    headers = {"Upload-Offset": "0", "Content-Encoding": "gzip", "Content-Type": PART}
    assert client.patch(upload, content=b"packed", headers=headers).json()["code"] == "content_encoding"
    assert client.head(upload).headers["upload-offset"] == "0"
    plain = client.patch(upload, content=b"plain", headers=headers | {"Content-Encoding": "identity"})
    assert plain.status_code == 204


def test_where_there_is_no_body_nothing_is_packed(client: TestClient) -> None:
    assert client.get("/v1/jobs", headers={"Content-Encoding": "gzip"}).status_code == 200


# ----------------------------------------------------------------------------------------------- who sends


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer fbx_0_1"}, 401),
        ({"Authorization": "Basic eA=="}, 401),
        ({"Cookie": "fusebox_key=fbx_0_1", "Origin": "http://testserver"}, 401),
        ({"Cookie": "fusebox_key=fbx_0_1", "Origin": "http://elsewhere"}, 403),
    ],
)
@pytest.mark.parametrize(
    ("length", "n_read"), [(of_length(15), 0), (IN_PIECES, STRANGERS_BYTES // len(PIECE) + 1)]
)
def test_a_strangers_long_body_is_not_read(
    stranger: TestClient, headers: dict[str, str], status: int, length: dict[str, str], n_read: int
) -> None:
    long = sent(stranger, JSON, headers | length, 15)
    assert (long.status, long.n_read) == (status, n_read)
    short = stranger.post("/v1/jobs", json={"kind": "train", "spec": {}}, headers=headers)
    assert long.problem == short.json(), "the route answers the same"
    assert long.headers.get("www-authenticate") == short.headers.get("www-authenticate")


def test_whose_key_is_known_may_send_a_long_body(stranger: TestClient, key: str) -> None:
    for length in (of_length(15), IN_PIECES):
        answer = sent(stranger, JSON, {"Authorization": f"Bearer {key}", **length}, 15)
        assert (answer.status, answer.problem["code"]) == (400, "invalid_json"), "it is nothing but spaces"
        assert answer.n_read == 15


def test_where_no_key_is_needed_nobody_is_asked_for_one(client: TestClient) -> None:
    assert sent(client, JSON, of_length(15), 15).problem["code"] == "invalid_json"


def test_without_a_database_nobody_is_taken_for_a_stranger(stranger: TestClient, key: str) -> None:
    app: FastAPI = stranger.app  # type: ignore[assignment]
    engine = make_engine("postgresql+psycopg://fusebox:secret@127.0.0.1:1/fusebox")
    keys = Keyring(make_sessions(engine), 0)
    app.state.resources = dataclasses.replace(app.state.resources, keys=keys)
    answer = sent(stranger, JSON, {"Authorization": f"Bearer {key}", **of_length(15)}, 15)
    assert (answer.status, answer.problem["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
