"""Why a request did not succeed, as one sentence with a remedy."""

from __future__ import annotations

from typing import Any

import httpx


class ClientError(Exception):
    """A request that did not succeed."""


class UnreachableError(ClientError):
    def __init__(self, server: str, cause: httpx.RequestError | str) -> None:
        super().__init__(
            f"no answer from {server} ({cause or type(cause).__name__}); start it with `fusebox up`, or name another "
            "with --server or FUSEBOX_SERVER"
        )


def broken_off(server: str) -> UnreachableError:
    """Of a stream of events that is over although the job is not."""
    return UnreachableError(server, "the events broke off before the job had ended")


class ApiProblem(ClientError):
    """What the server said was wrong: RFC 9457, as `status`, `code`, `detail` and `faults` (pointer, detail)."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", f"http_{status}"))
        self.detail = str(problem.get("detail", "the server gave no reason"))
        self.faults = _faults(problem.get("errors"))
        super().__init__(self._as_text())

    def _as_text(self) -> str:
        if len(self.faults) < 2:
            return self.detail
        return "\n".join([self.detail, *(f"  {pointer}: {detail}" for pointer, detail in self.faults)])


def _faults(errors: Any) -> list[tuple[str, str]]:
    """Those that are written as ours; whoever stands between us and the server may have errors of its own."""
    told = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    return [
        (str(each["pointer"]), str(each["detail"])) for each in told if {"pointer", "detail"} <= each.keys()
    ]


def raise_for(answer: httpx.Response) -> None:
    """Something between us and the server may answer in its own words, which are then not JSON."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    raise ApiProblem(
        answer.status_code,
        problem
        if isinstance(problem, dict)
        else {"detail": f"HTTP {answer.status_code} {answer.reason_phrase}"},
    )
