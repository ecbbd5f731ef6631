"""JSON that parsers disagree about, and text that no database stores, end at the door with 400."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from service.errors import MalformedError
from service.web.strict_input import LONG_BYTES, MAX_DEPTH, MAX_NAMES, StrictInput, check_json

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: nothing here depends on it."""
    return sqlite_url


def refusal(client: TestClient, body: bytes | str, content_type: str = "application/json") -> tuple[int, Any]:
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": content_type})
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"kind": "train", "kind": "probe"}', "duplicate_field"),
        (b'{"spec": {"a": {"b": 1, "b": 1}}}', "duplicate_field"),
        (b'{"spec": NaN}', "invalid_json"),
        (b'{"spec": -Infinity}', "invalid_json"),
        (b'{"spec": 1e400}', "number_out_of_range"),
        (b'{"spec": 9223372036854775808}', "number_out_of_range"),
        (b'{"spec": ' + b"9" * 5000 + b"}", "number_out_of_range"),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), "too_deep"),
        (b"[" * 200_000, "too_deep"),
        (b'{"a":' * 200_000, "too_deep"),
        (b'{"name": "a\\u0000b"}', "nul_in_text"),
        (b'{"a\\u0000b": 1}', "nul_in_text"),
        (b'{"name": "\\ud800"}', "surrogate_in_text"),
        (b'{"\\udfff": 1}', "surrogate_in_text"),
        (b'{"name": "\xff"}', "invalid_json"),
        ('{"name": "x"}'.encode("utf-16"), "invalid_json"),
        (b'\xef\xbb\xbf{"name": "x"}', "invalid_json"),
        (b"{'name': 1}", "invalid_json"),
        (b'{"name": 1} {"name": 2}', "invalid_json"),
        (b'{"name": 1', "invalid_json"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:24].decode("latin-1"),
)
def test_ambiguous_json_is_refused_with_its_reason(client: TestClient, body: bytes, code: str) -> None:
    assert refusal(client, body) == (400, code)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/merge-patch+json"])  # fmt: skip
def test_every_kind_of_json_is_looked_at(client: TestClient, content_type: str) -> None:
    assert refusal(client, b'{"kind": 1, "kind": 2}', content_type) == (400, "duplicate_field")


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", ""])
def test_what_does_not_say_that_it_is_json_is_not_taken_for_json(
    client: TestClient, content_type: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    body = b'{"kind": "train", "kind": "train", "spec": {"dataset": "digits"}}'
    answer = client.post("/v1/jobs", content=body, headers=headers)
    assert answer.status_code in (415, 422)
    assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    "address", ["/v1/jobs/%00", "/v1/jobs?tag=%00", "/v1/jobs?%00=1", "/jobs/%00", "/static/%00"]
)
def test_an_address_with_nul_is_refused(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer.json()["code"]) == (400, "nul_in_text")


@pytest.mark.parametrize(
    "address",
    [
        "/v1/jobs/%ed%a0%80", "/v1/jobs?tag=%ed%a0%80", "/v1/jobs?tag=caf%E9", "/v1/jobs?caf%E9=1", "/v1/jobs?cursor=%ff",
        "/jobs/%ff", "/jobs/caf%e9", "/v1/embeddings?model=captions&text=caf%E9",
    ],
)  # fmt: skip
def test_an_address_that_is_not_utf8_is_refused(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer.json()["code"]) == (400, "not_utf8")


@pytest.mark.parametrize("tag", ["caf%C3%A9", "%F0%9F%98%80", "100%", "%zz", "a+b"])
def test_an_address_in_utf8_passes(client: TestClient, tag: str) -> None:
    assert client.get(f"/v1/jobs?tag={tag}").status_code == 200
    assert client.get(f"/v1/jobs/{tag}").status_code == 404


def test_a_refusal_names_the_field_but_does_not_repeat_a_long_one(client: TestClient) -> None:
    name = "n" * 100_000
    answer = client.post("/v1/jobs", content=f'{{"{name}": 1, "{name}": 2}}', headers=JSON)
    assert answer.status_code == 400
    assert len(answer.content) < 1000


def test_a_body_in_many_pieces_is_read_whole(client: TestClient) -> None:
    body = b'{"kind": "train", "kind": "train"}'
    pieces = (body[at : at + 1] for at in range(len(body)))
    answer = client.post("/v1/jobs", content=pieces, headers=JSON)
    assert answer.json()["code"] == "duplicate_field"


def test_a_body_beyond_the_limit_is_refused_as_too_large(client: TestClient) -> None:
    limit = client.app.state.resources.settings.max_body_bytes  # type: ignore[attr-defined]
    piece = b" " * 2**20
    answer = client.post("/v1/jobs", content=(piece for _ in range(limit // len(piece) + 1)), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def fields(n: int) -> bytes:
    return json.dumps({f"n{number}": 0 for number in range(n)}).encode()


@pytest.mark.parametrize(
    "body",
    [
        fields(MAX_NAMES + 1),
        b"[" + b",".join([fields(1000)] * 101) + b"]",
        b'{"kind": "train", "spec": ' + fields(MAX_NAMES) + b"}",
    ],
    ids=["of one object", "of many objects", "of one in another"],
)
def test_too_many_fields_are_refused_before_anybody_looks_at_each(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/jobs", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_fields")
    assert "100,000" in answer.json()["detail"]


def test_as_many_fields_as_may_be_pass() -> None:
    check_json(fields(MAX_NAMES))


async def turns_of_others(app: FastAPI, body: bytes) -> int:
    """How often another task had its turn between the body's arrival and the route."""
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(_: Message) -> None:
        raise AssertionError("nothing is wrong with this body")

    async def route(*_: Any) -> None:
        task.cancel()

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "app": app,
             "headers": [(b"content-type", b"application/json")]}  # fmt: skip
    task = asyncio.create_task(another())
    await StrictInput(route, 2**24)(scope, receive, send)
    return turns


def test_while_a_long_body_is_checked_others_have_their_turn(app: FastAPI) -> None:
    for n_bytes, is_long in ((100, False), (LONG_BYTES + 100, True)):
        assert (asyncio.run(turns_of_others(app, b'"' + b"x" * n_bytes + b'"')) > 0) == is_long


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b"[]", b"null", b'"text"', b"9223372036854775807", b"-9223372036854775807", b"1e308", b"5e-324",
        "\"é 日本 😀 \\ud83d\\ude00\"".encode(), b'{"a": 1, "A": 1}', b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
    ],
)  # fmt: skip
def test_json_that_all_agree_about_passes(body: bytes) -> None:
    check_json(body)


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_pass_or_are_refused_and_never_break_the_check(body: bytes) -> None:
    with suppress(MalformedError):
        check_json(body)
