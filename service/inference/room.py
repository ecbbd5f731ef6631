"""What may be inside the engine at once, in seconds of work and in inputs, in all and of one model.

A request that would have to wait too long for what came before it is refused at once, before it has cost anything. Its own
length does not count: what comes alone is always admitted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import OverloadedError
from service.inference.meters import Meters

LONGEST_RETRY_S = 60
SHARE_OF_ONE = 0.75
"""Of the longest wait, what one model's inputs may make up, so that those of others find room."""


@dataclass(frozen=True)
class Bounds:
    inputs: int
    inputs_of_one: int
    wait_s: float


class Room:
    """`wait_s` says how long what comes now would wait. For use in one event loop."""

    def __init__(self, bounds: Bounds, wait_s: Callable[[], float], meters: Meters) -> None:
        self._bounds = bounds
        self._wait_s = wait_s
        self._meters = meters
        self._inside: Counter[str] = Counter()
        """Inputs admitted and not yet answered, by model."""

    @property
    def inside(self) -> int:
        return self._inside.total()

    @contextmanager
    def taken(self, digest: str, count: int, patience_s: float = math.inf) -> Iterator[None]:
        """Raises OverloadedError as `assert_free` does."""
        self.assert_free(digest, count, patience_s)
        self._inside[digest] += count
        try:
            yield
        finally:
            self._inside[digest] -= count
            if not self._inside[digest]:
                del self._inside[digest]

    def assert_free(self, digest: str, count: int, patience_s: float = math.inf) -> None:
        """Raises OverloadedError, also where the wait would use up the caller's patience."""
        of_one, inside, wait_s = self._inside[digest], self.inside, 0.0
        if inside:
            wait_s = self._wait_s()
            waiting = f"what came before takes {wait_s:.1f} s"
            if of_one and wait_s * of_one / inside > SHARE_OF_ONE * self._bounds.wait_s:
                raise self._refused(
                    "model_overloaded", count, wait_s, f"{waiting}, most of it for this model"
                )
            if wait_s > min(self._bounds.wait_s, patience_s):
                raise self._refused("overloaded", count, wait_s, waiting)
        if of_one and of_one + count > self._bounds.inputs_of_one:
            raise self._refused(
                "model_overloaded", count, wait_s, f"{of_one} inputs of this model are waiting already"
            )
        if inside and inside + count > self._bounds.inputs:
            raise self._refused("overloaded", count, wait_s, f"{inside} inputs are waiting already")

    def _refused(self, code: str, count: int, wait_s: float, why: str) -> OverloadedError:
        self._meters.refused("overloaded" if code == "overloaded" else "model_overloaded", count)
        soon = max(1, min(LONGEST_RETRY_S, math.ceil(wait_s)))
        return OverloadedError(code, f"{why}; try again in {soon} s", retry_after_s=soon)
