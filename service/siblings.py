"""What the API processes at one address tell of themselves, so that whichever of them is asked can answer for all.

Each has a place, and writes a file of that number once a second into a folder that they share. Who follows a process at
its place goes on with its counters, so that sums never fall.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry
from pydantic import BaseModel, ValidationError

from service.schemas.health import PartOut

log = logging.getLogger(__name__)

EVERY_S = 1.0
LARGEST_OF_ALL = frozenset({"fusebox_info", "fusebox_uptime_seconds", "fusebox_inference_wait_seconds"})
"""Gauges that do not add up over processes."""


class Told(BaseModel):
    """By one process of itself."""

    pid: int
    at: float
    """By the clock that all processes of this machine share, `time.monotonic`."""
    inference: PartOut
    exposition: str
    """What it counts, in Prometheus' text format."""

    @property
    def is_there(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()

    @property
    def silent_s(self) -> float:
        return max(0.0, time.monotonic() - self.at)


@dataclass(frozen=True)
class Place:
    """That of a process among `count`, which tell of themselves in `folder`."""

    folder: Path
    number: int
    count: int

    @property
    def file(self) -> Path:
        return self.folder / f"{self.number}.json"


class Siblings:
    """place: None for a process that is alone."""

    def __init__(self, place: Place | None) -> None:
        self._place = place
        self._before = _read(place.file) if place else None
        self._one_at_a_time = threading.Lock()

    @property
    def count(self) -> int:
        """Processes that there should be."""
        return self._place.count if self._place else 1

    @contextmanager
    def told(self, tell: Callable[[], Told]) -> Iterator[None]:
        """Meanwhile the others are told what this process says of itself."""
        if self._place is None:
            yield
            return
        leaving = threading.Event()

        def go_on() -> None:
            self._try_to_say(tell)
            while not leaving.wait(EVERY_S):
                self._try_to_say(tell)

        thread = threading.Thread(target=go_on, name="fusebox-telling")
        thread.start()
        try:
            yield
        finally:
            leaving.set()
            thread.join()
            self._try_to_say(tell)

    def others(self) -> list[Told]:
        """What the others said last, also those that are no longer there."""
        if self._place is None:
            return []
        files = [file for file in self._place.folder.glob("*.json") if file != self._place.file]
        return [told for file in sorted(files) if (told := _read(file)) is not None]

    def counted(self, tell: Callable[[], Told]) -> str:
        """What all processes at this address have counted since they are there. tell: what this one says of itself.

        It is told to the others before it is returned. So a process that dies takes along nothing that was ever seen,
        and no counter falls.
        """
        living, gone = [self._say(tell).exposition], self._earlier
        for told in self.others():
            (living if told.is_there else gone).append(told.exposition)
        return summed(living, gone)

    @property
    def _earlier(self) -> list[str]:
        return [self._before.exposition] if self._before else []

    def _try_to_say(self, tell: Callable[[], Told]) -> None:
        try:
            self._say(tell)
        except Exception:
            log.exception("this process could not tell the others how it is; it tries again in a second")

    def _say(self, tell: Callable[[], Told]) -> Told:
        with self._one_at_a_time:  # whoever speaks last knows most
            told = tell()
            if self._place is not None:
                self._write(self._place.file, told)
        return told

    def _write(self, file: Path, told: Told) -> None:
        all_of_place = told.model_copy(update={"exposition": summed([told.exposition], self._earlier)})
        new = file.with_suffix(f".{os.getpid()}")
        try:
            new.write_text(all_of_place.model_dump_json())
            new.replace(file)
        except OSError as error:
            log.warning("the other API processes cannot be told how this one is: %s", error)


def _read(file: Path) -> Told | None:
    with suppress(OSError, ValidationError):
        return Told.model_validate_json(file.read_bytes())
    return None


def summed(living: Sequence[str], gone: Sequence[str]) -> str:
    """Expositions in one. Of processes that are gone nothing counts but what they counted: what they held they hold no more."""
    if len(living) == 1 and not gone:
        return living[0]
    registry = CollectorRegistry()
    registry.register(_Sums(living, gone))
    return generate_latest(registry).decode()


class _Sums(Collector):
    def __init__(self, living: Sequence[str], gone: Sequence[str]) -> None:
        self._living = living
        self._gone = gone

    def collect(self) -> Iterable[Metric]:
        families = [family for text in self._living for family in text_string_to_metric_families(text)]
        families += [
            family
            for text in self._gone
            for family in text_string_to_metric_families(text)
            if family.type != "gauge"
        ]
        by_name: dict[str, list[Metric]] = defaultdict(list)
        for family in families:
            by_name[family.name].append(family)
        return [_in_one(each) for each in by_name.values()]


def _in_one(families: Sequence[Metric]) -> Metric:
    """Families of one name."""
    first = families[0]
    values: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = defaultdict(list)
    for family in families:
        for sample in family.samples:
            values[sample.name, tuple(sample.labels.items())].append(sample.value)
    combined = max if first.name in LARGEST_OF_ALL else sum
    made = Metric(first.name, first.documentation, first.type)
    for (name, labels), each in values.items():
        made.add_sample(name, dict(labels), combined(each))
    return made
