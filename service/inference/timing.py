"""How long the stages of one request took: prepare → queue → run → finish.

The API opens a Timing, the engine fills in the one that is open around it, and the answer's `Server-Timing` tells it.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from service.inference.meters import Meters


@dataclass
class Timing:
    """Stages that inputs go through side by side count as long as the slowest of them. Seconds."""

    began_at: float = field(default_factory=time.monotonic)
    patience_s: float = math.inf
    """After which the caller will not wait any more, as it said."""
    prepare_s: float = 0
    queue_s: float = 0
    run_s: float = 0
    ready_at: float | None = None
    """When the last vectors were there."""
    inputs: int = 0
    remembered: int = 0
    """Inputs whose vectors were in a cache."""

    def header(self, now: float) -> str:
        """The value of `Server-Timing`, in milliseconds; empty before there were vectors."""
        if self.ready_at is None:
            return ""
        stages = {
            "prepare": self.prepare_s,
            "queue": self.queue_s,
            "run": self.run_s,
            "finish": now - self.ready_at,
        }
        cache = "hit" if self.remembered == self.inputs else "partial" if self.remembered else "miss"
        told = [f"{stage};dur={1000 * seconds:.3f}" for stage, seconds in stages.items()]
        return ", ".join([*told, f"cache;desc={cache}"])


WAIT = re.compile(r"""(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=[,;]|$)""", re.IGNORECASE)


def patience_s(prefer: Sequence[str]) -> float:
    """What `Prefer: wait=SECONDS` says (RFC 7240), of all such headers of a request; without end where none does."""
    told = [int(seconds) for header in prefer for seconds in WAIT.findall(header)]
    return told[0] if told else math.inf


_open: ContextVar[Timing | None] = ContextVar("timing", default=None)


@contextmanager
def timed(patience_s: float = math.inf) -> Iterator[Timing]:
    """Tasks that are started inside of it fill in this Timing."""
    timing = Timing(patience_s=patience_s)
    token = _open.set(timing)
    try:
        yield timing
    finally:
        _open.reset(token)


def current() -> Timing:
    """The one that is open here; where none is, one that nobody reads."""
    return _open.get() or Timing()


def finished(timing: Timing, meters: Meters) -> dict[str, str]:
    """Headers of the answer that is being sent now."""
    now = time.monotonic()
    if timing.ready_at is not None:
        meters.took("finish", now - timing.ready_at)
    header = timing.header(now)
    return {"Server-Timing": header} if header else {}
