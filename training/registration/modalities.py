"""From a column of somebody's own data to a modality: what is in it, checked value by value.

N samples; S pixels, L steps, F numbers. A value that cannot be used drops its sample.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.registration import images
from training.registration.columns import Columns, Look, Value
from training.registration.found import Array, Ledger, Stream, Texts
from training.spec import Modality
from training.spec.encoders import Kind
from training.spec.registration import MOST_MODALITIES, NAME, ModalityDescription

MOST_STEPS, MOST_FEATURES, MOST_TEXT_CHARS = 10_000, 100_000, 100_000
MAX_TOKENS = range(16, 129)
CAPTIONS = ("text", "caption")
"""Columns that are a text however few different ones there are."""
RESERVED = frozenset(
    {"model", "encoding_format", "dimensions", "normalize", "heads", "explain", "present", "fused"}
)
"""What a request for an embedding, or a network's graph, calls something else."""
CHUNK = 1024
Content = Stream | Texts


def guessed(columns: Columns, looks: Mapping[str, Look]) -> dict[str, ModalityDescription]:
    """Pictures, texts called text or caption, and lists of numbers are modalities; all else may be labels."""
    kinds: dict[str, Kind] = dict.fromkeys(sorted(columns.pictures), "image")
    for column, look in looks.items():
        if column.lower() in CAPTIONS and look.is_mostly("text", "texts"):
            kinds[column] = "text"
        elif look.is_mostly("numbers"):
            kinds[column] = "table"
        elif look.is_mostly("steps"):
            kinds[column] = "sequence"
    return {
        name: ModalityDescription(kind=kinds[column], column=column) for name, column in named(kinds).items()
    }


def check(described: Mapping[str, ModalityDescription]) -> None:
    """Raises DataError."""
    if not 1 <= len(described) <= MOST_MODALITIES:
        raise DataError(
            f"there are {len(described)} modalities ({', '.join(described) or 'none was found'}); there must be 1 to "
            f"{MOST_MODALITIES}, which `modalities` in dataset.json can name"
        )
    for name in described:
        if name.lower() in RESERVED or not re.fullmatch(NAME, name):
            raise DataError(
                f"a modality cannot be called {name!r}; give it another name under `modalities` in dataset.json"
            )


def as_name(column: str) -> str:
    """As a modality or task may be called."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", column)
    return (name if re.match("[A-Za-z]", name) else f"x{name}")[:40]


def named(columns: Iterable[str]) -> dict[str, str]:
    """Name → column. Raises DataError when two would be called alike."""
    found: dict[str, str] = {}
    for column in columns:
        name = as_name(column)
        if name in found:
            raise DataError(
                f"{found[name]!r} and {column!r} are two columns that would both be called {name!r}; name them under "
                "`modalities` or `tasks` in dataset.json"
            )
        found[name] = column
    return found


def column_of(name: str, described: ModalityDescription, columns: Columns) -> str:
    """Raises DataError when there is none."""
    wanted = [described.column or name]
    if described.kind == "image" and described.column is None:
        wanted += [f"{name}_file_name", *(sorted(columns.pictures) if len(columns.pictures) == 1 else ())]
    found = next((each for each in wanted if each in columns.read), None)
    if found is None:
        raise DataError(missing_column(f"modality {name!r}", wanted[0], columns))
    if (found in columns.pictures) != (described.kind == "image"):
        raise DataError(
            f"the column {found!r} {'holds' if found in columns.pictures else 'does not hold'} images, so {name!r} "
            f"cannot be of the kind {described.kind}"
        )
    return found


def missing_column(what: str, column: str, columns: Columns) -> str:
    have = ", ".join(sorted(columns.read)[:30]) or "none"
    return f"there is no column {column!r} for the {what}; there are {have}"


def modality(
    name: str,
    described: ModalityDescription,
    values: Callable[[], Iterable[Value]],
    look: Look,
    ids: Sequence[str],
    ledger: Ledger,
    image_size: int,
) -> tuple[Modality, Content]:
    """`look`: what was seen in these values. `ids`: what samples are called in the report."""
    match described.kind:
        case "image":
            pictures = _present(name, values(), ids, ledger)
            content = images.stream(pictures, ids, image_size, ledger, upright=True)
            return Modality(name=name, kind="image", channels=3, size=image_size), content
        case "text":
            return _text(name, described, values(), ids, ledger)
        case "sequence":
            return _sequence(name, described, values, look, ids, ledger)
        case "table":
            return _table(name, described, values, look, ids, ledger)


def _text(
    name: str, described: ModalityDescription, values: Iterable[Value], ids: Sequence[str], ledger: Ledger
) -> tuple[Modality, Texts]:
    kept: list[list[str]] = []
    most_words = 0
    for row, value in enumerate(values):
        given = value if isinstance(value, list) else [] if value is None else [value]
        texts = [
            str(each).strip() for each in given if isinstance(each, str | int | float) and str(each).strip()
        ]
        if not texts:
            ledger.drop(row, ids[row], f"it has no {name}")
        elif max(map(len, texts)) > MOST_TEXT_CHARS:
            ledger.drop(row, ids[row], f"its {name} has more than {MOST_TEXT_CHARS:,} characters")
            texts = []
        most_words = max([most_words, *(len(text.split()) for text in texts)])
        kept.append(texts or [""])
    usual = min(max(2 * most_words, MAX_TOKENS.start), MAX_TOKENS.stop - 1)
    return Modality(name=name, kind="text", max_tokens=described.max_tokens or usual), kept


def _sequence(
    name: str,
    described: ModalityDescription,
    values: Callable[[], Iterable[Value]],
    look: Look,
    ids: Sequence[str],
    ledger: Ledger,
) -> tuple[Modality, Stream]:
    is_plain = look.is_mostly("numbers")  # then it is a sequence of one number a step
    features, length = (1, look.most_numbers) if is_plain else (_usual(name, look), look.most_steps)
    if not length:
        raise DataError(f"no sample has 1 to {MOST_STEPS:,} steps in {name!r}")

    def problem(value: Array) -> str | None:
        if value.ndim != 2 or len(value) == 0:
            return f"its {name} is no list of steps"
        if len(value) > length:
            return f"its {name} has more than {MOST_STEPS:,} steps"
        return f"its {name} has not {features} numbers a step" if value.shape[1] != features else None

    def steps() -> Iterator[Value]:
        for value in values():
            yield value[:, None] if is_plain and isinstance(value, np.ndarray) else value

    changes = ("drop", "noise") if described.changes is None else described.changes
    found = Modality(name=name, kind="sequence", length=length, features=features, changes=changes)
    return found, _numbers(name, steps, (length, features), problem, ids, ledger)


def _table(
    name: str,
    described: ModalityDescription,
    values: Callable[[], Iterable[Value]],
    look: Look,
    ids: Sequence[str],
    ledger: Ledger,
) -> tuple[Modality, Stream]:
    features = len(described.columns) or _usual(name, look)

    def problem(value: Array) -> str | None:
        return None if value.shape == (features,) else f"its {name} is no list of {features} numbers"

    changes = ("noise",) if described.changes is None else described.changes
    found = Modality(name=name, kind="table", features=features, changes=changes)
    return found, _numbers(name, values, (features,), problem, ids, ledger)


def _usual(name: str, look: Look) -> int:
    """How many numbers most samples have. Raises DataError."""
    sizes = {size: count for size, count in look.features.items() if 0 < size <= MOST_FEATURES}
    if not sizes:
        raise DataError(f"no sample has numbers for {name!r}: they must be lists of numbers of one length")
    return max(sizes, key=lambda size: (sizes[size], -size))


def _numbers(
    name: str,
    values: Callable[[], Iterable[Value]],
    shape: tuple[int, ...],
    problem: Callable[[Array], str | None],
    ids: Sequence[str],
    ledger: Ledger,
) -> Stream:
    """float32 (N, *shape), what is shorter padded with zeros."""

    def chunks() -> Iterator[NDArray[np.float32]]:
        waiting = enumerate(_present(name, values(), ids, ledger))
        while some := list(islice(waiting, CHUNK)):
            chunk = np.zeros((len(some), *shape), np.float32)
            for place, (row, value) in enumerate(some):
                reason = None if value is None else _put(chunk[place], value, name, problem)
                if reason:
                    ledger.drop(row, ids[row], reason)
            ledger.progress(f"reading {name}", some[-1][0] + 1, len(ids))
            yield chunk

    return Stream((len(ids), *shape), np.dtype(np.float32), chunks())


def _put(
    into: NDArray[np.float32], value: Value, name: str, problem: Callable[[Array], str | None]
) -> str | None:
    """Or says why not; then it stays zero."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        return f"its {name} is no list of numbers"
    reason = problem(value)
    if reason is not None:
        return reason
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
        numbers = value.astype(np.float32)
    if not np.isfinite(numbers).all():
        return f"its {name} holds NaN or infinity"
    into[: len(numbers)] = numbers
    return None


def _present(name: str, values: Iterable[Value], ids: Sequence[str], ledger: Ledger) -> Iterator[Value]:
    for row, value in enumerate(values):
        if value is None:
            ledger.drop(row, ids[row], f"its {name} is missing")
        yield value
