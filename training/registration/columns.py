"""Somebody's own data as columns: what each format reads its files into, and what a column looks like.

A value is None where there is none; a text (str), a number (int or float), a list of texts, an array of numbers (F,) or of
steps (L, F), or, in columns of pictures, what `images` reads. Whatever else a file holds stays as it is and is no use.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from training.spec.datasets import SplitName

Value = Any
Looks = Literal["text", "whole", "number", "texts", "numbers", "steps", "other"]
MOST_DISTINCT = 10_000
"""Different values that are counted; of more there are too many to be classes."""
MOST_SAMPLES = 1_000_000


@dataclass(frozen=True)
class Columns:
    names: Sequence[str]
    """What each sample is called in the report: its place in the files."""
    read: Mapping[str, Callable[[], Iterable[Value]]]
    """Column → reads it from its start, a value for each sample."""
    files: Sequence[Path]
    pictures: frozenset[str] = frozenset()
    """The columns that hold pictures."""
    splits: Sequence[SplitName] | None = None
    """Where the names of files say it."""
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Column of numbers → what 0, 1, … mean."""

    @property
    def n(self) -> int:
        return len(self.names)


@dataclass
class Look:
    """What was seen in a column."""

    present: int = 0
    kinds: Counter[Looks] = field(default_factory=Counter)
    distinct: set[str] = field(default_factory=set)
    """Texts and whole numbers, the first of them, also those in lists."""
    features: Counter[int] = field(default_factory=Counter)
    """Numbers in an array or in a step of it → how often."""
    most_steps: int = 0
    """Of those that can be used: the longest sequence."""
    most_numbers: int = 0
    """Likewise: the longest array that would be a sequence of one number a step."""

    def is_only(self, *kinds: Looks) -> bool:
        return bool(self.kinds) and set(self.kinds) <= set(kinds)

    def is_mostly(self, *kinds: Looks) -> bool:
        """Values of other kinds are then mistakes, each of which is told."""
        return 2 * sum(self.kinds[kind] for kind in kinds) > self.kinds.total()

    def note(self, value: Value, most_steps: int) -> None:
        if value is None:
            return
        self.present += 1
        if isinstance(value, list) and not value:
            return  # no labels, or no numbers: the others tell
        kind = kind_of(value)
        self.kinds[kind] += 1
        match kind:
            case "text" | "whole":
                self._count(str(value))
            case "texts":
                for each in value:
                    self._count(each)
            case "numbers":
                self.features[len(value)] += 1
                self.most_numbers = max(self.most_numbers, len(value) if len(value) <= most_steps else 0)
            case "steps":
                self.features[value.shape[1]] += 1
                self.most_steps = max(self.most_steps, len(value) if len(value) <= most_steps else 0)

    def _count(self, text: str) -> None:
        if len(self.distinct) <= MOST_DISTINCT:
            self.distinct.add(text[:200])


def look_at(values: Iterable[Value], most_steps: int) -> Look:
    """`most_steps`: longer sequences do not count, as they cannot be used."""
    look = Look()
    for value in values:
        look.note(value, most_steps)
    return look


def kind_of(value: Value) -> Looks:
    match value:
        case str():
            return "text"
        case bool():
            return "whole"
        case int():
            return "whole"
        case float():
            return "number"
        case list():
            return "texts" if all(isinstance(each, str) for each in value) else "other"
        case np.ndarray() if value.dtype.kind in "biuf" and value.ndim in (1, 2):
            return "numbers" if value.ndim == 1 else "steps"
        case _:
            return "other"


def from_json(value: Value) -> Value:
    """What JSON says as a value: no text for blanks, no number for NaN, whole numbers for true and false."""
    match value:
        case str():
            return value if value.strip() else None
        case bool():
            return int(value)
        case float() if math.isnan(value):
            return None
        case list() if value and not any(isinstance(each, str) for each in value):
            return _as_array(value)
        case _:
            return value


def from_cells(cells: Sequence[str]) -> list[Value]:
    """A column of a table of texts: all of it whole numbers or numbers where it can be."""
    for kind in (int, float):
        try:
            return [None if not cell.strip() else from_json(kind(cell)) for cell in cells]
        except ValueError:
            continue
    return [from_json(cell) for cell in cells]


def _as_array(value: list[Any]) -> Value:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return value
    return array if array.dtype.kind in "biuf" else value
