"""From a column of somebody's own data to the labels of a task. N samples, K classes, labels or numbers.

A sample without a label is dropped: every sample has a label for every task. Who would rather keep it leaves the task out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from training.errors import DataError
from training.registration.columns import Columns, Look, Value
from training.registration.found import Array, Ledger
from training.registration.modalities import missing_column, named
from training.spec import Task
from training.spec.registration import NAME, TaskDescription

FEW_CLASSES, FEW_LABELS = 100, 1000
"""Different values up to which a column that nobody has described is taken for classes or for several labels."""
MOST_CLASSES = 10_000
MOST_NUMBERS = 1_000
SEPARATORS = re.compile(r"\s*[;|]\s*")
"""Between several labels in one text."""


class Labels(NamedTuple):
    task: Task
    labels: Array
    classes: Sequence[str]
    """What they are called."""


def guessed(columns: Columns, looks: Mapping[str, Look], ledger: Ledger) -> dict[str, TaskDescription]:
    """Which of these columns are labels. The report says what became of each."""
    labels: list[str] = []
    for column, look in looks.items():
        problem = _not_a_task(look, columns.n)
        if problem is None:
            labels.append(column)
        else:
            ledger.note(
                f"the column {column!r} was left out: {problem}; `modalities` or `tasks` in dataset.json can say what it is"
            )
    return {name: TaskDescription(column=column) for name, column in named(labels).items()}


def coded(name: str, described: TaskDescription, columns: Columns, look: Look, ledger: Ledger) -> Labels:
    """Raises DataError when the column cannot be what it is said to be. Drops samples without a label."""
    column = described.column or name
    kind = described.type or _usual_type(look)
    if not re.fullmatch(NAME, name):
        raise DataError(
            f"a task cannot be called {name!r}; give it another name under `tasks` in dataset.json"
        )
    if look.present < columns.n / 2:
        raise DataError(
            f"only {look.present:,} of {columns.n:,} samples have a label in {column!r}; complete them, or leave the task "
            "out by naming the others under `tasks` in dataset.json"
        )
    values = list(columns.read[column]())
    for row, value in enumerate(values):
        if value is None:
            ledger.drop(row, columns.names[row], f"it has no label {column!r}")
    match kind:
        case "class":
            labels, classes = _classes(column, values, look, columns)
        case "multilabel":
            labels, classes = _multilabels(column, values)
        case "regression":
            labels, classes = _regression(column, values, columns.names, ledger)
    if kind == "class" and described.type is None:
        ledger.note(f"the column {column!r} was taken for {len(classes)} classes")
    task = Task(name=name, family=described.family, classes=len(classes), type=kind)
    return Labels(task, labels, classes)


def column_of(name: str, described: TaskDescription, columns: Columns) -> str:
    """Raises DataError when there is none."""
    column = described.column or name
    if column not in columns.read or column in columns.pictures:
        raise DataError(missing_column(f"task {name!r}", column, columns))
    return column


def _not_a_task(look: Look, n: int) -> str | None:
    if look.present < n / 2:
        return f"{n - look.present:,} of {n:,} samples have nothing there"
    if look.is_only("number", "whole") and "number" in look.kinds:
        return None
    if look.is_only("texts"):
        return (
            None if 1 <= len(look.distinct) <= FEW_LABELS else "it has no labels, or too many different ones"
        )
    if not look.is_only("text", "whole"):
        return "it holds neither texts nor numbers alone"
    if len(look.distinct) < 2:
        return "it is the same everywhere"
    few = min(FEW_CLASSES, look.present // 2)
    return f"it has {_said(len(look.distinct))} different values" if len(look.distinct) > few else None


def _usual_type(look: Look) -> str:
    if "number" in look.kinds or "numbers" in look.kinds:
        return "regression"
    return "multilabel" if "texts" in look.kinds else "class"


def _classes(
    column: str, values: Sequence[Value], look: Look, columns: Columns
) -> tuple[Array, Sequence[str]]:
    whole = [_as_whole(value) for value in values]
    if not look.is_only("text", "whole", "number") or any(
        isinstance(value, float) and number is None for value, number in zip(values, whole, strict=True)
    ):
        raise DataError(f"the column {column!r} cannot be classes: they are texts or whole numbers")
    if look.is_only("whole", "number"):
        places = sorted({each for each in whole if each is not None})
        names = columns.class_names.get(column, ())
        classes = [names[each] if 0 <= each < len(names) else str(each) for each in places]
        found: Mapping[Value, int] = {each: place for place, each in enumerate(places)}
        keys: Iterable[Value] = whole
    else:
        keys = [None if value is None else str(value).strip()[:200] for value in values]
        classes = sorted({each for each in keys if each is not None})
        found = {each: place for place, each in enumerate(classes)}
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise DataError(
            f"the column {column!r} has {_said(len(classes))} different values; classes are 2 to {MOST_CLASSES:,}"
        )
    return np.array([found.get(key, 0) for key in keys], dtype=np.int64), classes


def _as_whole(value: Value) -> int | None:
    """Numbers alone; 2.0 is 2."""
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return int(value) if is_whole else None


def _multilabels(column: str, values: Sequence[Value]) -> tuple[Array, Sequence[str]]:
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    if arrays:
        return _columns_of_labels(column, values, arrays)
    lists = [_several(column, value) for value in values]
    classes = sorted({each for labels in lists for each in labels})
    if not 1 <= len(classes) <= MOST_CLASSES:
        raise DataError(
            f"the column {column!r} has {_said(len(classes))} different labels; 1 to {MOST_CLASSES:,} are read"
        )
    place = {each: k for k, each in enumerate(classes)}
    labels = np.zeros((len(values), len(classes)), np.float32)
    for row, several in enumerate(lists):
        labels[row, [place[each] for each in several]] = 1
    return labels, classes


def _columns_of_labels(
    column: str, values: Sequence[Value], arrays: Sequence[Array]
) -> tuple[Array, Sequence[str]]:
    """(N, K) zeros and ones as they are."""
    shape = arrays[0].shape
    if len(shape) != 1 or any(each.shape != shape or not np.isin(each, (0, 1)).all() for each in arrays):
        raise DataError(
            f"the column {column!r} cannot be several labels: they are texts, or as many 0 and 1 for each sample"
        )
    blank = np.zeros(shape)
    labels = np.stack([value if isinstance(value, np.ndarray) else blank for value in values])
    return labels.astype(np.float32), [str(k) for k in range(shape[0])]


def _several(column: str, value: Value) -> list[str]:
    match value:
        case None:
            return []
        case str():
            return [each for each in SEPARATORS.split(value.strip()) if each]
        case list() if all(isinstance(each, str) for each in value):
            return [each.strip()[:200] for each in value if each.strip()]
        case _:
            raise DataError(f"the column {column!r} cannot be several labels: they are lists of texts")


def _regression(
    column: str, values: Sequence[Value], ids: Sequence[str], ledger: Ledger
) -> tuple[Array, Sequence[str]]:
    sizes = {np.shape(value) for value in values if value is not None}
    shape = next(iter(sizes), ())
    size = shape[0] if shape else 1
    bad = any(value is not None and not isinstance(value, int | float | np.ndarray) for value in values)
    if bad or len(sizes) != 1 or len(shape) > 1 or not 1 <= size <= MOST_NUMBERS:
        raise DataError(
            f"the column {column!r} cannot be a regression: that is a number, or as many for each sample"
        )
    labels = np.zeros((len(values), size), np.float32)
    with np.errstate(over="ignore"):
        for row, value in enumerate(values):
            if value is not None:
                labels[row] = _as_float(value)
    for row in np.flatnonzero(~np.isfinite(labels).all(1)).tolist():
        ledger.drop(row, ids[row], f"its label {column!r} is NaN or infinite")
        labels[row] = 0
    return labels, ["value"] if size == 1 else [str(k) for k in range(size)]


def _as_float(value: Value) -> Value:
    """A whole number of any length."""
    try:
        return np.asarray(value, np.float64) if isinstance(value, np.ndarray) else float(value)
    except OverflowError:
        return np.inf


def _said(count: int) -> str:
    return f"more than {MOST_CLASSES:,}" if count > MOST_CLASSES else f"{count:,}"
