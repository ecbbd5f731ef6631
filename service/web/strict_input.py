"""What no request may contain, whatever its route: JSON that parsers disagree about, and text no database stores.

Bodies are not packed, and no longer than the server's limit. JSON bodies must be UTF-8, hold at most a million values and
a hundred thousand names, nest at most 64 levels, repeat no name in an object, and hold only finite numbers that fit into
64 bits. Where keys are needed, a long one is read only of somebody who has one. Paths, queries and JSON strings hold no NUL
and no lone surrogate, and paths and queries are UTF-8. Anything else is answered 400, 401, 413 or 415 here, so that routes
need not think of it.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import auth
from service.db import UNREACHABLE
from service.errors import FuseboxError, MalformedError, TooLargeError, UnsupportedMediaError
from service.web import problems

MAX_DEPTH = 64
MAX_VALUES = 1_000_000
"""In memory a value takes many times the bytes that it has in a body."""
MAX_NAMES = 100_000
"""Of fields, over all objects of a body. What is wrong with a field costs as much again as reading it."""
LONG_BYTES = 256_000
"""Checking a longer body takes so long that other requests go on meanwhile."""
STRANGERS_BYTES = 64_000
"""Of JSON that is read before anybody asks who sends it."""
MAX_NUMBER = {bool: 1, int: 2**63 - 1, float: sys.float_info.max}


class StrictInput:
    """Reads JSON bodies, and counts what routes read of others: none has more than `max_body_bytes`."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            checked = await self._checked(request, self._counted(receive))
        except FuseboxError as error:
            await problems.answer(request, error)(scope, receive, send)
        except UNREACHABLE as error:
            await problems.answer(request, problems.unreachable(error))(scope, receive, send)
        else:
            await self.app(scope, checked, send)

    async def _checked(self, request: Request, receive: Receive) -> Receive:
        """What gives the body to the route."""
        _check_target(request.scope)
        if _length(request.headers) > self.max_body_bytes:
            raise self._too_long()
        _check_encoding(request.headers)
        if not _is_json(request.headers.get("content-type", "")):
            return receive
        messages, body = await _read(request, receive)
        if len(body) > LONG_BYTES:
            await run_in_threadpool(check_json, body)
        elif body:
            check_json(body)
        return _replay(messages, receive)

    def _counted(self, receive: Receive) -> Receive:
        """Raises TooLargeError, also while a route reads, where more comes than may."""
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.max_body_bytes:
                raise self._too_long()
            return message

        return receive_counted

    def _too_long(self) -> TooLargeError:
        return TooLargeError(
            "body_too_large",
            f"the body of a request may have {self.max_body_bytes} bytes; send less at once, a dataset in parts",
        )


def check_json(body: bytes) -> None:
    """Raises MalformedError naming what is wrong, or TooLargeError before a very long body is parsed."""
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:  # what begins a value that is not the first
        raise TooLargeError(
            "too_many_values",
            f"the body holds more than {MAX_VALUES:,} values; send less at once, and numbers of sequences and tables "
            'packed: {"base64": …, "shape": …}',
        )
    names = _Names()
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=names.unique, parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise MalformedError("invalid_json", "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedError("invalid_json", f"not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # an integer of more digits than Python converts
        raise _too_large() from None
    _check_values(value)


class _Names:
    """Of the fields of one body, over all its objects."""

    def __init__(self) -> None:
        self.count = 0

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """One object. Raises MalformedError for a name that it has twice, TooLargeError where there are too many so far."""
        self.count += len(pairs)
        if self.count > MAX_NAMES:
            raise TooLargeError(
                "too_many_fields",
                f"the objects of the body hold more than {MAX_NAMES:,} fields together; send fewer at once",
            )
        return _unique(pairs)


async def _read(request: Request, receive: Receive) -> tuple[list[Message], bytes]:
    """The messages, and the body if it came whole. Raises UnauthorizedError before more comes of a stranger than may."""
    messages: list[Message] = []
    size, is_known = 0, await _is_known(request, _length(request.headers))
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            return messages, b""
        size += len(message.get("body", b""))
        is_known = is_known or await _is_known(request, size)
        if not message.get("more_body", False):
            return messages, b"".join(each.get("body", b"") for each in messages)


async def _is_known(request: Request, n_bytes: int) -> bool:
    """Whether it was asked who sends this, which few bytes are not worth. Raises UnauthorizedError for a stranger."""
    if n_bytes <= STRANGERS_BYTES:
        return False
    await auth.sender_of(request)
    return True


def _check_values(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                deeper += each.keys()
                deeper += each.values()
            elif isinstance(each, list):
                deeper += each
            elif isinstance(each, str):
                _check_text(each)
            elif isinstance(each, int | float) and not abs(each) <= MAX_NUMBER[type(each)]:
                raise _too_large()
        if not deeper:
            return
        level = deeper
    raise _too_deep()


def _check_text(text: str) -> None:
    if "\0" in text:
        raise MalformedError("nul_in_text", "text may not contain the character NUL")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise MalformedError(
                "surrogate_in_text", "text holds half of a surrogate pair; send whole characters"
            ) from None


def _check_target(scope: Scope) -> None:
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise MalformedError("nul_in_text", "the address may not contain the character NUL")
    try:
        for part in (scope.get("raw_path") or b"", scope["query_string"]):
            unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError(
            "not_utf8",
            "the address is not UTF-8; percent-encode the bytes that its text has in UTF-8, é as %C3%A9",
        ) from None


def _check_encoding(headers: Headers) -> None:
    """What a packed body unpacks to may be of any length, and would have to be counted while it does."""
    named = [name.strip() for each in headers.getlist("content-encoding") for name in each.split(",")]
    packed = [name for name in named if name.lower() not in ("", "identity")]
    has_body = _length(headers) > 0 or "transfer-encoding" in headers
    if packed and has_body:
        raise UnsupportedMediaError(
            "content_encoding",
            f"the body is packed as {packed[0][:60]!r}, which is not read here; send it uncompressed",
            headers={"Accept-Encoding": "identity"},
        )


def _length(headers: Headers) -> int:
    """Of the body in bytes, as announced; 0 where nothing is."""
    announced = headers.get("content-length", "")
    return int(announced[:20]) if announced.isdecimal() else 0  # 20 digits are too large already


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise MalformedError(
            "duplicate_field", f"the field {twice[:60]!r} occurs twice in one object; send it once"
        )
    return made


def _no_constant(name: str) -> None:
    raise MalformedError("invalid_json", f"{name} is not JSON; numbers must be finite")


def _too_deep() -> MalformedError:
    return MalformedError("too_deep", f"the body nests more than {MAX_DEPTH} levels")


def _too_large() -> MalformedError:
    return MalformedError("number_out_of_range", "a number is too large for 64 bits")


def _replay(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def receive_again() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return receive_again
