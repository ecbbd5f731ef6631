"""Forms (multipart/form-data) whose text is UTF-8: what is not is refused, and never read as something else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.types import Message, Receive

from service.errors import InvalidError, MalformedError, UnsupportedMediaError

Field = tuple[str, str | UploadFile]
CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii"})
"""Of forms that say theirs."""
MOST_PART_BYTES = 2**20
"""Of a field's text, where nobody says otherwise. Files are as long as requests may be."""


@asynccontextmanager
async def fields_of(
    request: Request, at: str, *, max_files: int, max_fields: int, max_part_size: int = MOST_PART_BYTES
) -> AsyncIterator[list[Field]]:
    """Names with their texts or files, in the order in which they came. Files are open until the end.

    at: the pointer of the form. Raises UnsupportedMediaError for another charset, MalformedError for a name that is not
    UTF-8 and InvalidError for such a text.
    """
    async with aclosing(request.stream()) as pieces:
        latin1 = Request(
            {**request.scope, "headers": [(b"content-type", _as_latin1(request))]}, _from(pieces)
        )
        form = latin1.form(max_files=max_files, max_fields=max_fields, max_part_size=max_part_size)
        async with form as fields:
            yield [_in_utf8(name, value, at) for name, value in fields.multi_items()]


def _as_latin1(request: Request) -> bytes:
    """The form's media type, with the one charset in which any bytes are text that can be turned into them again."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    charset = options.get(b"charset", b"utf-8")
    if charset.lower() not in CHARSETS:
        raise UnsupportedMediaError(
            "unsupported_charset",
            f"a form in {charset.decode('latin-1')[:60]!r} is not read here; send it in UTF-8",
        )
    if b"boundary" not in options:  # whoever parses it says so
        return kind + b"; charset=latin-1"
    boundary = options[b"boundary"].replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return kind + b'; charset=latin-1; boundary="' + boundary + b'"'


def _from(pieces: AsyncIterator[bytes]) -> Receive:
    """Not the request's own `receive`: its body may have been read before."""

    async def receive() -> Message:
        piece = await anext(pieces, b"")
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    return receive


def _in_utf8(name: str, value: str | UploadFile, at: str) -> Field:
    try:
        name = name.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError(
            "not_utf8", "the name of a form's field is not UTF-8; send the form in UTF-8"
        ) from None
    if isinstance(value, UploadFile):
        return name, value
    try:
        return name, value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidError.at(f"{at}/{name[:60]}", "not_utf8", "not a text in UTF-8") from None
