"""Bodies that may be JSON or something else: what is said to be JSON is checked as ever, the rest is for the route to read."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidatorFunctionWrapHandler, WrapValidator


def _left_alone(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return value if isinstance(value, bytes) else check(value)


Unread = WrapValidator(_left_alone)
"""`Annotated[SomeSchema, Unread]` in a route: the schema's instance, or bytes that nobody has looked at."""


def is_unread(body: BaseModel) -> bool:
    return isinstance(body, bytes)
