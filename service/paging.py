"""Pages of a list: the place where the last page ended, as text that clients pass back and need not understand."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from service.errors import InvalidError

MAX_CHARS = 200
MAX_NUMBER = 2**31 - 1

Row = TypeVar("Row")


def paged(
    rows: Sequence[Row], limit: int, place: Callable[[Row], tuple[str | int, ...]]
) -> tuple[list[Row], str | None]:
    """A page of at most `limit` rows and the next one's cursor. rows: one more than that where there are more; `place`:
    what they are ordered by."""
    page = list(rows[:limit])
    return page, cursor_of(*place(page[-1])) if len(rows) > limit else None


def cursor_of(*place: str | int) -> str:
    """`place`: what the list is ordered by, of the last row of a page."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def place_of(cursor: str, *kinds: type[str] | type[int]) -> list[Any]:
    """What `cursor_of` was given. Raises InvalidError for anything that it has not made."""
    try:
        place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        place = None
    if isinstance(place, list) and len(place) == len(kinds) and all(map(_fits, place, kinds)):
        return place
    raise InvalidError.at(
        "/query/cursor",
        "bad_cursor",
        "not a cursor of this list; pass `next_cursor` back as it was given",
    )


def _fits(part: Any, kind: type[str] | type[int]) -> bool:
    if type(part) is not kind:
        return False
    return 0 <= part <= MAX_NUMBER if isinstance(part, int) else part.isprintable() and len(part) <= MAX_CHARS
