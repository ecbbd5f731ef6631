"""Forms are UTF-8: what they hold arrives as it was meant, or is refused."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from starlette.types import Message

from service.errors import InvalidError, MalformedError, UnsupportedMediaError
from service.web.forms import fields_of

FORM = "multipart/form-data; boundary=a"
TEXT = "café 日本 😀"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: nothing here depends on it."""
    return sqlite_url


def form(*fields: tuple[bytes, bytes], boundary: bytes = b"a") -> bytes:
    parts = (
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, name, value)
        for name, value in fields
    )
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


def found(body: bytes, content_type: str = FORM) -> list[tuple[str, str]]:
    """The texts of a form that comes in pieces of 7 bytes."""

    async def read() -> list[tuple[str, str]]:
        pieces = [body[at : at + 7] for at in range(0, len(body), 7)][::-1]

        async def receive() -> Message:
            return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}

        scope = {"type": "http", "headers": [(b"content-type", content_type.encode())]}
        async with fields_of(Request(scope, receive), "/body", max_files=1, max_fields=9) as fields:
            return [(name, value) for name, value in fields if isinstance(value, str)]

    return asyncio.run(read())


@pytest.mark.parametrize(
    "charset", ["", "; charset=utf-8", "; charset=UTF-8", '; charset="utf8"', "; charset=us-ascii"]
)
def test_text_in_utf8_arrives_as_it_was_sent(charset: str) -> None:
    sent = form((TEXT.encode(), b"x"), (b"text", TEXT.encode()), (b"text", b""))
    assert found(sent, FORM + charset) == [(TEXT, "x"), ("text", TEXT), ("text", "")]


@pytest.mark.parametrize("boundary", ['"a"', '"a b;c=d"', '"a\\"b\\\\c"', "a'()+_,-./:=?b"])
def test_a_boundary_may_be_quoted(boundary: str) -> None:
    plain = boundary.strip('"').replace("\\\\", "\\").replace('\\"', '"').encode()
    sent = form((b"text", TEXT.encode()), boundary=plain)
    assert found(sent, f"multipart/form-data; boundary={boundary}") == [("text", TEXT)]


@pytest.mark.parametrize("text", ["café".encode("latin-1"), b"\xed\xa0\x80", TEXT.encode("utf-16"), b"\xff"])
def test_text_that_is_not_utf8_is_refused_where_it_stands(text: bytes) -> None:
    with pytest.raises(InvalidError) as refused:
        found(form((b"model", b"captions"), (b"text", text)))
    assert [(each.pointer, each.code) for each in refused.value.faults] == [("/body/text", "not_utf8")]


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(MalformedError, match="not UTF-8"):
        found(form((b"caf\xe9", b"x")))


@pytest.mark.parametrize("charset", ["idna", "latin-1", "utf-16", "utf-7", "nothing", "utf-8; charset=idna"])
def test_a_form_in_another_charset_is_refused(charset: str) -> None:
    with pytest.raises(UnsupportedMediaError, match="UTF-8"):
        found(form((b"text", b"x")), f"{FORM}; charset={charset}")


def test_a_charset_that_does_not_count_changes_nothing() -> None:
    sent = form((b"text", TEXT.encode()))
    assert found(sent, f"{FORM}; charset*=utf-8''idna") == [("text", TEXT)]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/assets"])
def test_every_route_that_takes_forms_reads_them_so(client: TestClient, path: str) -> None:
    for charset, value, status, code in (
        ("idna", b"x", 415, "unsupported_charset"), ("utf-8", b"caf\xe9", 422, "not_utf8"),
    ):  # fmt: skip
        headers = {"Content-Type": f"{FORM}; charset={charset}"}
        answer = client.post(path, content=form((b"text", value)), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_limits_of_a_form_are_kept(client: TestClient) -> None:
    for n, status in ((10, 422), (11, 400)):
        sent = form(*[(b"text", b"x")] * n)
        answer = client.post("/v1/assets", content=sent, headers={"Content-Type": FORM})
        assert (answer.status_code, "Too many fields" in answer.text) == (status, status == 400)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; charset=utf-8"])
def test_a_form_without_a_boundary_says_so(client: TestClient, content_type: str) -> None:
    answer = client.post("/v1/assets", content=b"x", headers={"Content-Type": content_type})
    assert answer.status_code == 400
    assert "boundary" in answer.json()["detail"]
