"""How long the work that is in the engine will take, judging by how long such work took lately.

In seconds of one thread, with whatever else the machine did meanwhile in them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from models_store.manifest import Manifest

Kind = tuple[str, str, frozenset[str]]
"""What samples cost alike: a model's digest, its precision, and the modalities that they have."""

NEWEST_WEIGHT = 0.2
"""Of the last measurement in a running mean."""
MOST_AT_ONCE = 4.0
"""How many times the mean a measurement counts at most: a machine that stood still says nothing of its speed."""
LEAST_S = 1e-6
MOST_KINDS = 1_000


class Model(Protocol):
    @property
    def digest(self) -> str: ...

    @property
    def precision(self) -> str: ...


class Described(Model, Protocol):
    @property
    def manifest(self) -> Manifest: ...


def kind(model: Model, names: Iterable[str]) -> Kind:
    return model.digest, model.precision, frozenset(names)


def kind_given(model: Described, names: Iterable[str]) -> Kind:
    """The same for names that somebody sent, of which the model may not know all."""
    return kind(model, {each.name for each in model.manifest.inputs}.intersection(names))


class Costs:
    """Running means by kind. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._means: OrderedDict[Kind, float] = OrderedDict()

    def expected_s(self, counts: Mapping[Kind, int]) -> float:
        """Of so many of each kind. What was never measured costs nothing."""
        with self._lock:
            return sum(count * self._means.get(each, 0.0) for each, count in counts.items())

    def took(self, kinds: Sequence[Kind], seconds: float) -> None:
        """One measurement of samples that were worked on together. Who of them took how much is not known: their means
        change in proportion, until batches of other mixtures tell them apart."""
        each_s = max(LEAST_S, seconds / len(kinds))
        counts = Counter(kinds)
        with self._lock:
            before = sum(count * self._means.get(one, each_s) for one, count in counts.items())
            ratio = min(MOST_AT_ONCE, max(LEAST_S, seconds) / before)
            for one in counts:
                mean = self._means.get(one)
                self._means[one] = (
                    each_s if mean is None else max(LEAST_S, mean * (1 + NEWEST_WEIGHT * (ratio - 1)))
                )
                self._means.move_to_end(one)
            while len(self._means) > MOST_KINDS:
                self._means.popitem(last=False)


class Ahead:
    """What is still before so many threads: samples that wait, and those that each of them is busy with. May be used from
    any thread."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._costs = Costs()
        self._lock = threading.Lock()
        self._waiting: Counter[Kind] = Counter()
        self._ends: dict[str, float] = {}
        """By thread, when it will be done with its batch if that takes as long as batches did lately."""

    def came(self, kinds: Iterable[Kind]) -> None:
        with self._lock:
            self._waiting.update(kinds)

    def left(self, one: Kind) -> None:
        """Its turn has come, or nobody waits for it any more."""
        with self._lock:
            self._waiting[one] -= 1
            if not self._waiting[one]:
                del self._waiting[one]

    def expected_s(self, kinds: Iterable[Kind]) -> float:
        """As `Costs.expected_s`, of what is computed."""
        return self._costs.expected_s(Counter(kinds))

    @contextmanager
    def busy(self, kinds: Sequence[Kind], width: int = 1) -> Iterator[None]:
        """While this thread computes a batch, with the help of others where `width` is above 1; how long it took is remembered
        unless it fails."""
        thread, began, cpu_began = threading.current_thread().name, time.monotonic(), time.process_time()
        expected_s = self.expected_s(kinds)
        with self._lock:
            self._ends[thread] = began + expected_s
        try:
            yield
            took, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
            # What several threads computed takes one of them longer: about the time of all of them together.
            self._costs.took(kinds, min(width * took, max(took, cpu_s)))
        finally:
            with self._lock:
                self._ends.pop(thread, None)

    def free_in_s(self, coming: Mapping[Kind, int]) -> float:
        """When the turn of a sample would come that is brought after those that wait and those that are `coming`, as long
        as such samples took lately. What was never measured takes no time."""
        now = time.monotonic()
        with self._lock:
            waiting = self._waiting + Counter(coming)
            left = [max(0.0, end - now) for end in self._ends.values()]
        idle = [0.0] * (self._threads - len(left))
        return free_in_s(left + idle, self._costs.expected_s(waiting))


def free_in_s(left: Iterable[float], work_s: float) -> float:
    """When the first of some threads has nothing more to do, if `work_s` is shared out among them so that they are free
    as soon as can be. left: for how long each of them is busy already."""
    busy = sorted(left)
    total = work_s
    for place, each in enumerate(busy, 1):
        total += each
        if place == len(busy) or total / place <= busy[place]:
            return total / place
    return 0.0
