"""Somebody's own data, whatever its format: from columns and what was said of them to modalities, tasks and splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np

from training.errors import DataError
from training.registration import modalities, splitting, tasks
from training.registration.columns import MOST_SAMPLES, Columns, Look, Value, look_at
from training.registration.files import split_named
from training.registration.found import Digests, Found, Ledger, Splits
from training.spec import Modality, Protocol
from training.spec.datasets import SplitName
from training.spec.registration import ModalityDescription, Options

KEPT_BASE_BYTES, KEPT_PER_BYTE = 4 * 2**30, 32
"""Arrays may take so much of the disk, and so much for each byte of the files: pictures are kept decoded, sequences
padded."""


def found_in(columns: Columns, said: Options, image_size: int, ledger: Ledger) -> Found:
    """Raises DataError."""
    if not 1 <= columns.n <= MOST_SAMPLES:
        raise DataError(f"there are {columns.n:,} samples; 1 to {MOST_SAMPLES:,} are read")
    _drop_repeated(columns, said.ids, ledger)
    own = {said.splits, said.groups, said.ids}
    looks = {
        column: look_at(read(), modalities.MOST_STEPS)
        for column, read in columns.read.items()
        if column not in columns.pictures and column not in own
    }
    described = modalities.guessed(columns, looks) if said.modalities is None else said.modalities
    modalities.check(described)
    made = {
        name: modalities.modality(
            name, each, *_values(name, each, columns, looks), columns.names, ledger, image_size
        )
        for name, each in described.items()
    }
    labels = _labels(columns, said, looks, described, ledger)
    kinds = tuple(modality for modality, _ in made.values())
    _check_size(kinds, columns)
    contents = {name: content for name, (_, content) in made.items()}
    return Found(
        modalities=kinds,
        tasks=tuple(each.task for each in labels),
        contents=contents,
        labels={each.task.name: each.labels for each in labels},
        splits=_splits(columns, said, kinds, ledger),
        ledger=ledger,
        files=columns.files,
        classes={each.task.name: each.classes for each in labels},
        standardised=tuple(each.name for each in kinds if each.kind in ("sequence", "table")),
    )


def _values(
    name: str, described: ModalityDescription, columns: Columns, looks: Mapping[str, Look]
) -> tuple[Callable[[], Iterable[Value]], Look]:
    """What reads what the modality is made of, and what was seen there. Raises DataError when it is not there."""
    if not described.columns:
        column = modalities.column_of(name, described, columns)
        return columns.read[column], looks.get(column, Look())
    missing = [each for each in described.columns if each not in columns.read or each in columns.pictures]
    if missing:
        raise DataError(modalities.missing_column(f"modality {name!r}", missing[0], columns))
    return partial(_side_by_side, [columns.read[each] for each in described.columns]), Look()


def _side_by_side(columns: list[Callable[[], Iterable[Value]]]) -> Iterator[Value]:
    """Columns of numbers as one column of lists of them."""
    for row in zip(*(read() for read in columns), strict=True):
        whole = all(isinstance(each, int | float) for each in row)
        yield np.array(row, np.float64) if whole else None if None in row else row


def _labels(
    columns: Columns,
    said: Options,
    looks: Mapping[str, Look],
    described: Mapping[str, ModalityDescription],
    ledger: Ledger,
) -> list[tasks.Labels]:
    if said.tasks is None:
        taken = {
            modalities.column_of(name, each, columns) for name, each in described.items() if not each.columns
        }
        taken |= {column for each in described.values() for column in each.columns}
        rest = {column: look for column, look in looks.items() if column not in taken}
        wanted = tasks.guessed(columns, rest, ledger)
    else:
        wanted = dict(said.tasks)
    found = []
    for name, each in wanted.items():
        column = tasks.column_of(name, each, columns)
        look = looks.get(column) or look_at(columns.read[column](), modalities.MOST_STEPS)
        found.append(tasks.coded(name, each, columns, look, ledger))
    return found


def _drop_repeated(columns: Columns, ids: str, ledger: Ledger) -> None:
    if ids not in columns.read:
        return
    seen: set[str] = set()
    for row, value in enumerate(columns.read[ids]()):
        if value is not None and str(value) in seen:
            ledger.drop(row, columns.names[row], f"its {ids} came before")
        seen.add(str(value))


def _splits(
    columns: Columns, said: Options, kinds: tuple[Modality, ...], ledger: Ledger
) -> Mapping[Protocol, Splits] | Callable[[Digests], Mapping[Protocol, Splits]]:
    if said.splits in columns.read:
        return splitting.given(_split_column(columns, said.splits, ledger), ledger)
    if columns.splits is not None:
        return splitting.given(columns.splits, ledger)
    groups = None
    if said.groups in columns.read:
        groups = [None if each is None else str(each) for each in columns.read[said.groups]()]
    first_image = [each.name for each in kinds if each.kind == "image"][:1]
    return splitting.drawn(columns.n, groups, first_image or [each.name for each in kinds], ledger)


def _split_column(columns: Columns, column: str, ledger: Ledger) -> list[SplitName | None]:
    found = [None if value is None else split_named(str(value)) for value in columns.read[column]()]
    for row, split in enumerate(found):
        if split is None:
            ledger.drop(row, columns.names[row], f"its {column} is none of train, validation and test")
    return found


def _check_size(kinds: tuple[Modality, ...], columns: Columns) -> None:
    """Before anything is written. Raises DataError."""
    size = sum(math.prod(_shape(each)) * (1 if each.kind == "image" else 4) for each in kinds) * columns.n
    most = KEPT_BASE_BYTES + KEPT_PER_BYTE * sum(path.stat().st_size for path in columns.files)
    if size > most:
        raise DataError(
            f"the samples would take {size / 2**30:,.1f} GiB, and files of this size may give {most / 2**30:,.1f}; take a "
            "smaller image_size, or shorter sequences"
        )


def _shape(modality: Modality) -> tuple[int, ...]:
    match modality.kind:
        case "image":
            return (3, modality.size, modality.size)
        case "sequence":
            return (modality.length, modality.features)
        case "table":
            return (modality.features,)
        case "text":
            return (0,)
