"""What a format's reader finds in its files: all that registering needs, whatever the format.

N items, each with a row in every modality and task; S pixels, L steps, F features, K labels or numbers. Readers do
not remove what is unusable: they say so to the ledger, and it will be in no split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.events import Event, Message, Progress
from training.registration.blobs import Spool
from training.spec import Modality, Protocol, Task
from training.spec.datasets import SplitName
from training.spec.registration import MOST_IDS, Dropped, Options

Array = NDArray[Any]
Rows = NDArray[np.int64]
Splits = Mapping[SplitName, Rows]
Digests = Mapping[str, Sequence[bytes]]
"""Modality → a digest of each item as it is kept."""
Texts = Sequence[Sequence[str]]
"""Per item one or more strings."""
MOST_CHARS = 100
"""Of a sample's name."""


@dataclass(frozen=True)
class Stream:
    """An array that is made chunk by chunk, because the whole of it need not fit into memory."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: Iterable[Array]
    sources: Sequence[bytes] = ()
    """Once all chunks were made, where it is known: a digest of what each item was made from."""


class Ledger:
    """Which items are unusable, and why; what was changed; and how far the reading is, which is told at once."""

    def __init__(self, tell: Callable[[Event], None] = lambda event: None) -> None:
        self.rows: set[int] = set()
        self.notes: list[str] = []
        self._ids: dict[str, list[str]] = {}
        self._tell = tell

    def drop(self, row: int | None, sample_id: str, reason: str) -> None:
        """The first reason counts. `row` None: it has not become an item at all."""
        if row is None or row not in self.rows:
            self._ids.setdefault(reason, []).append(printable(sample_id)[:MOST_CHARS])
        if row is not None:
            self.rows.add(row)

    def note(self, text: str) -> None:
        self.notes.append(printable(text))
        self._tell(Message(text=self.notes[-1]))

    def progress(self, phase: str, step: int, total: int) -> None:
        self._tell(Progress(phase=phase, step=step, total=total))

    def kept(self, rows: Rows) -> Rows:
        return np.array([row for row in rows.tolist() if row not in self.rows], dtype=np.int64)

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        return tuple(
            Dropped(reason=reason, count=len(ids), ids=tuple(ids[:MOST_IDS]))
            for reason, ids in self._ids.items()
        )


@dataclass(frozen=True)
class Source:
    """Where to read, and whom to tell."""

    path: Path
    ledger: Ledger
    spool: Spool
    """For what must be unpacked meanwhile."""
    image_size: int = 0
    options: Options = field(default_factory=Options)
    """What else was said of the data."""

    @property
    def shown(self) -> str:
        """For messages: a folder as it was named, of a file only its own name, for it may have come from elsewhere."""
        return self.path.name if self.path.is_file() else str(self.path)

    def file(self, name: str) -> Path:
        """The path itself when it is a file, else the file of this name in it. Raises DataError."""
        return self.path if self.path.is_file() else self.below(name)

    def below(self, *names: str) -> Path:
        """The first of these files that is there. Raises DataError."""
        found = next((self.path / name for name in names if (self.path / name).is_file()), None)
        if found is None:
            raise DataError(f"there is no {' or '.join(names)} in {self.path}; name the folder that holds it")
        return found


@dataclass(frozen=True)
class Found:
    modalities: tuple[Modality, ...]
    tasks: tuple[Task, ...]
    contents: Mapping[str, Array | Stream | Texts]
    """Modality → images uint8 (N, 3, S, S), sequences float32 (N, L, F), tables float32 (N, F), or texts."""
    labels: Mapping[str, Array]
    """Task → classes int64 (N,), or float32 (N, K)."""
    splits: Mapping[Protocol, Splits] | Callable[[Digests], Mapping[Protocol, Splits]]
    """Or how they follow from the content. Both may name rows that the ledger has dropped."""
    ledger: Ledger
    files: Sequence[Path]
    """All that were read."""
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Task → what its classes or numbers are called."""
    scales: Mapping[Protocol, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)
    """Modality → mean and deviation per feature (2, F), of what is to be standardised."""
    standardised: tuple[str, ...] = ()
    """Sequences and tables whose scales, under either protocol, are those of the training samples under `strict`; they
    are found when the data is kept."""
    default_tasks: tuple[str, ...] = ()
    default_modalities: tuple[str, ...] = ()
    shared_coins: bool = False


def printable(text: str) -> str:
    """Without the halves of characters that file names and JSON may hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def same_for_all(splits: Splits) -> dict[Protocol, Splits]:
    """For data whose published splits are strict."""
    return {"reference": splits, "strict": splits}
