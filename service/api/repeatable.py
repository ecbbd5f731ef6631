"""POSTs that may be sent again: the header that says so, and what the answer says of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Response

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,255}$",
        description="Makes it safe to send the request again: for 24 hours it makes the job only once.",
    ),
]


def point_to(response: Response, address: str, replayed: bool) -> None:
    """To what was made, now or when the request came before."""
    response.headers["Location"] = address
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
