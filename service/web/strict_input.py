"""What no request may contain, whatever its route: JSON that parsers disagree about, and text no database stores.

JSON bodies must be UTF-8, hold at most a million values, nest at most 64 levels, repeat no name in an object, and hold
only finite numbers that fit into 64 bits. Paths, queries and JSON strings hold no NUL and no lone surrogate. Anything
else is answered 400 or 413 here, so that routes need not think of it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import MalformedError, TooLargeError
from service.web import problems

MAX_DEPTH = 64
MAX_VALUES = 1_000_000
"""In memory a value takes many times the bytes that it has in a body."""
MAX_NUMBER = {bool: 1, int: 2**63 - 1, float: sys.float_info.max}


class StrictInput:
    """Reads JSON bodies of up to `max_body_bytes`; a longer one passes on to be refused by the routes' own limit."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            _check_target(scope)
            if _is_json(request.headers.get("content-type", "")):
                messages, body = await self._read(receive)
                if body:
                    check_json(body)
                receive = _replay(messages, receive)
        except (MalformedError, TooLargeError) as error:
            await problems.answer(request, error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _read(self, receive: Receive) -> tuple[list[Message], bytes]:
        """The messages so far, and the body if it came whole within the limit."""
        messages: list[Message] = []
        size = 0
        while size <= self.max_body_bytes:
            message = await receive()
            messages.append(message)
            if message["type"] != "http.request":
                return messages, b""
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                whole = size <= self.max_body_bytes
                return messages, b"".join(each.get("body", b"") for each in messages) if whole else b""
        return messages, b""


def check_json(body: bytes) -> None:
    """Raises MalformedError naming what is wrong, or TooLargeError before a very long body is parsed."""
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:  # what begins a value that is not the first
        raise TooLargeError(
            "too_many_values",
            f"the body holds more than {MAX_VALUES:,} values; send less at once, and numbers of sequences and tables "
            'packed: {"base64": …, "shape": …}',
        )
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise MalformedError("invalid_json", "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedError("invalid_json", f"not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # an integer of more digits than Python converts
        raise _too_large() from None
    _check_values(value)


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
