"""All errors a client can meet, and how they look: RFC 9457 `application/problem+json` with a stable `code`.

    FuseboxError
      MalformedError 400      InvalidError 422        NotFoundError 404       ConflictError 409
      UnauthorizedError 401   ForbiddenError 403      MisdirectedError 421
      TooLargeError 413       UnsupportedMediaError 415
      OverloadedError 429     UnavailableError 503    DeadlineError 504

Raise where you know; nothing needs catching on the way to the one handler in `service.web.problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a request: where (a JSON pointer), what kind, and what to do about it."""

    pointer: str
    code: str
    detail: str


class FuseboxError(Exception):
    status = 500
    title = "Internal error"

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        faults: tuple[Fault, ...] = (),
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """headers: what the answer says besides, for programs."""
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.faults = faults
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})


class MalformedError(FuseboxError):
    status = 400
    title = "Malformed request"


class InvalidError(FuseboxError):
    status = 422
    title = "Invalid request"

    @classmethod
    def at(cls, pointer: str, code: str, detail: str) -> InvalidError:
        """One fault at one place."""
        return cls(code, detail, faults=(Fault(pointer, code, detail),))


class NotFoundError(FuseboxError):
    status = 404
    title = "Not found"

    @classmethod
    def of(cls, what: str, name: str, remedy: str) -> NotFoundError:
        return cls(f"{what}_not_found", f"there is no {what} {name!r}; {remedy}")


class ConflictError(FuseboxError):
    status = 409
    title = "Conflict with the present state"


class UnauthorizedError(FuseboxError):
    status = 401
    title = "Not authenticated"


class ForbiddenError(FuseboxError):
    status = 403
    title = "Not permitted"


class MisdirectedError(FuseboxError):
    status = 421
    title = "Wrong host"


class TooLargeError(FuseboxError):
    status = 413
    title = "Too large"


class UnsupportedMediaError(FuseboxError):
    status = 415
    title = "Unsupported media type"


class OverloadedError(FuseboxError):
    status = 429
    title = "Too many requests"


class UnavailableError(FuseboxError):
    status = 503
    title = "Temporarily unavailable"


class DeadlineError(FuseboxError):
    status = 504
    title = "Not done in time"
