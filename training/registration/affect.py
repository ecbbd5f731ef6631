"""MOSI, UR-FUNNY and MUSTARD as MultiBench publishes them: a speaker's face, words and voice, 50 steps of each.

One pickle: {"train", "valid", "test"} → {"vision" (N, 50, F), "audio" (N, 50, F), "text" (N, 50, 300), "labels" (N, 1, 1)
or (N, 1), "id": N names}. Its sequences are padded with zeros at their front. Here they begin with the first step that
has a word, all three cut alike, and are padded at their end. Samples without words are dropped, −inf in a voice becomes
0, and a label is 1 when its number is positive, all as published.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.registration.arrays import column, member, names, numbers, same_length
from training.registration.found import Array, Found, Ledger, Rows, Source, same_for_all
from training.registration.pickles import read_pickle
from training.spec import Modality, Task, encoders
from training.spec.datasets import SplitName

SPLITS: dict[SplitName, str] = {"train": "train", "val": "valid", "test": "test"}
MODALITIES = ("vision", "text", "audio")


@dataclass(frozen=True)
class Published:
    file: str
    task: str
    features: dict[str, int]


MOSI = Published("mosi_data.pkl", "sentiment", {"vision": 20, "text": 300, "audio": 5})
UR_FUNNY = Published("humor.pkl", "humor", {"vision": 371, "text": 300, "audio": 81})
MUSTARD = Published("sarcasm.pkl", "sarcasm", {"vision": 371, "text": 300, "audio": 81})


@dataclass(frozen=True)
class _Part:
    sequences: dict[str, NDArray[np.float32]]
    labels: NDArray[np.int64]


def read_affect(source: Source, published: Published) -> Found:
    path, ledger = source.file(published.file), source.ledger
    content = read_pickle(path)
    parts: list[_Part] = []
    splits: dict[SplitName, Rows] = {}
    for split, key in SPLITS.items():
        first = sum(len(part.labels) for part in parts)
        parts.append(_read_split(member(content, key, path.name), f"{path.name}[{key!r}]", first, ledger))
        splits[split] = np.arange(first, first + len(parts[-1].labels), dtype=np.int64)
        content[key] = None  # type: ignore[index]  # it may be large, and is no longer needed
    sequences = {name: _joined(parts, name, path.name) for name in MODALITIES}
    _note_other_features(sequences, published, ledger)
    return Found(
        modalities=tuple(
            Modality(
                name=name,
                kind="sequence",
                length=sequence.shape[1],
                features=sequence.shape[2],
                encoder=encoders.Affect(),
                changes=("drop", "noise"),
            )
            for name, sequence in sequences.items()
        ),
        tasks=(Task(name=published.task, family="other", classes=2),),
        contents=sequences,
        labels={published.task: np.concatenate([part.labels for part in parts])},
        splits=same_for_all(splits),
        ledger=ledger,
        files=[path],
        default_modalities=("vision", "text"),
        shared_coins=True,
    )


def _read_split(holder: object, where: str, first: int, ledger: Ledger) -> _Part:
    """`first`: the row of its first sample."""
    raw = {name: numbers(holder, name, where, 3) for name in MODALITIES}
    n = same_length(raw, where)
    if len({array.shape[1] for array in raw.values()}) != 1:
        listed = ", ".join(f"{name} {array.shape[1]}" for name, array in raw.items())
        raise DataError(f"{where} has not as many steps of each kind: {listed}")
    values = column(holder, "labels", where, n)
    ids = names(holder, "id", n, where)
    spoken = (raw["text"] != 0).any(2)  # (N, L)
    sequences = {name: _from_start(array, spoken.argmax(1)) for name, array in raw.items()}
    _silence(sequences["audio"], where, ledger)
    for reason, unusable in (
        ("it has no words", ~spoken.any(1)),
        ("it has no label", np.isnan(values)),
        *(
            (f"its {name} holds NaN or infinity", ~np.isfinite(each).all((1, 2)))
            for name, each in sequences.items()
        ),
    ):
        for row in np.flatnonzero(unusable):
            ledger.drop(first + int(row), ids[row], reason)
    return _Part(sequences, (values > 0).astype(np.int64))


def _from_start(array: Array, start: NDArray[np.intp]) -> NDArray[np.float32]:
    """(N, L, F) with each sample moved forward by its `start` (N,), zeros behind."""
    moved = np.zeros(array.shape, np.float32)
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is dropped as such
        for row, skipped in enumerate(start):
            moved[row, : array.shape[1] - skipped] = array[row, skipped:]
    return moved


def _silence(audio: NDArray[np.float32], where: str, ledger: Ledger) -> None:
    """−inf, the logarithm of silence, becomes 0."""
    infinite = np.isneginf(audio)
    if infinite.any():
        audio[infinite] = 0
        ledger.note(f"{where}: {infinite.sum():,} numbers of −inf in the audio became 0, as published")


def _joined(parts: list[_Part], name: str, where: str) -> NDArray[np.float32]:
    arrays = [part.sequences.pop(name) for part in parts]
    if len({array.shape[1:] for array in arrays}) != 1:
        raise DataError(
            f"{name!r} has other shapes in other splits of {where}: {', '.join(str(each.shape) for each in arrays)}"
        )
    return np.concatenate(arrays)


def _note_other_features(
    sequences: dict[str, NDArray[np.float32]], published: Published, ledger: Ledger
) -> None:
    for name, sequence in sequences.items():
        if sequence.shape[2] != published.features[name]:
            ledger.note(
                f"{name} has {sequence.shape[2]} numbers a step where the published file has {published.features[name]}"
            )
