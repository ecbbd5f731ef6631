"""How many inputs may be inside the engine at once, in all and of one model, so that no queue grows without end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import OverloadedError
from service.inference.meters import Meters

LONGEST_RETRY_S = 60


class Room:
    """`takes_s` says how long so many inputs take. For use in one event loop."""

    def __init__(self, most: int, most_of_one: int, takes_s: Callable[[int], float], meters: Meters) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._takes_s = takes_s
        self._meters = meters
        self._inside: Counter[str] = Counter()
        """Inputs admitted and not yet answered, by model."""

    @property
    def inside(self) -> int:
        return self._inside.total()

    @contextmanager
    def taken(self, digest: str, count: int) -> Iterator[None]:
        """Raises OverloadedError. A request that is alone may exceed the bounds: it would be refused for ever otherwise."""
        of_one, inside = self._inside[digest], self.inside
        if of_one and of_one + count > self._most_of_one:
            raise self._refused("model_overloaded", count, of_one, "inputs of this model")
        if inside and inside + count > self._most:
            raise self._refused("overloaded", count, inside, "inputs")
        self._inside[digest] += count
        try:
            yield
        finally:
            self._inside[digest] -= count
            if not self._inside[digest]:
                del self._inside[digest]

    def _refused(self, code: str, count: int, inside: int, what: str) -> OverloadedError:
        self._meters.refused("overloaded" if code == "overloaded" else "model_overloaded", count)
        soon = max(1, min(LONGEST_RETRY_S, math.ceil(self._takes_s(inside))))
        return OverloadedError(
            code, f"{inside} {what} are waiting already; try again in {soon} s", retry_after_s=soon
        )
