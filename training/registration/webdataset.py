"""Samples in .tar shards, as the `webdataset` library reads them: files of one name up to its first dot are one sample.

    pets-000.tar    0001.jpg  0001.txt  0001.json  0002.jpg …

.jpg, .png and .webp are images, called `image` and, where there are several kinds of them, after all that follows the
first dot (0001.left.jpg is `left`). .txt is `text`; .cls a class; .json has one column for each of its names, .npy an array.
Shards that are called train…, val… and test…, or are in folders called so, are splits. A .zip or .tar of shards is read
as it is.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from training.errors import DataError
from training.registration.archives import is_archive, members
from training.registration.array_files import NO_ARRAY
from training.registration.blobs import Blob, Blobs
from training.registration.columns import MOST_SAMPLES, Columns, Value, from_json
from training.registration.files import described, ending_with, files_of, splits_of
from training.registration.found import Found, Ledger, Source
from training.registration.own import found_in

SHARDS = (".tar", ".tar.gz", ".tgz")
IMAGES = ("png", "jpg", "jpeg", "webp")
TEXTS = ("txt", "text", "caption")
MOST_SMALL_BYTES = 2**20
"""Of a text, a number or an object."""
MOST_ARRAY_BYTES = 2**28


class Sample(NamedTuple):
    shard: str
    key: str
    parts: dict[str, Blob]
    """By what follows the first dot of their names."""


def read_webdataset(source: Source) -> Found:
    files, places, shards = _shards(source)
    samples = [sample for shard, found in shards.items() for sample in _samples(shard, found, source.ledger)]
    if not samples:
        raise DataError(f"{source.shown} has no samples; is this the right file and format?")
    if len(samples) > MOST_SAMPLES:
        raise DataError(f"there are more than {MOST_SAMPLES:,} samples; register a part of the shards")
    columns = _columns(samples, places, source)
    return found_in(columns, described(files, source.options), source.image_size, source.ledger)


def _shards(source: Source) -> tuple[Blobs, list[Path], Mapping[str, Blobs]]:
    """The files beside the shards, where the shards lie, and what is in each."""
    if source.path.is_file():
        blob = Blob.of(source.path)
        if not is_archive(blob):
            raise DataError(f"{source.shown} is no .tar of samples")
        files = files_of(source)
        if not ending_with(files, SHARDS):
            return files, [source.path], {source.path.name: files}
    else:
        files = files_of(source)
    shards = ending_with(files, SHARDS)
    if not shards:
        raise DataError(f"there is no shard *.tar in {source.shown}; is this the right folder and format?")
    places = [source.path] if source.path.is_file() else [blob.place for blob in shards.values()]
    return files, places, {name: members(blob, name, source.spool) for name, blob in shards.items()}


def _samples(shard: str, files: Blobs, ledger: Ledger) -> Iterator[Sample]:
    found: dict[str, Sample] = {}
    for name, blob in files.items():
        path = PurePosixPath(name)
        stem, _, ending = path.name.partition(".")
        if not ending or name == "dataset.json":
            continue
        key = (path.parent / stem).as_posix()
        sample = found.setdefault(key, Sample(shard, key, {}))
        if ending.lower() in sample.parts:
            ledger.note(f"{shard}: {name} is there in capitals too; one of them was left out")
        sample.parts[ending.lower()] = blob
    yield from found.values()


def _columns(samples: list[Sample], places: list[Path], source: Source) -> Columns:
    endings = list(dict.fromkeys(ending for sample in samples for ending in sample.parts))
    pictured = {ending: _picture_name(ending) for ending in endings if ending.rpartition(".")[2] in IMAGES}
    pictures: dict[str, list[Blob | None]] = {
        name: [
            _first(sample, [end for end, named in pictured.items() if named == name]) for sample in samples
        ]
        for name in dict.fromkeys(pictured.values())
    }
    small = _small(samples, source.ledger)
    arrays = {
        ending.removesuffix(".npy").replace(".", "_"): partial(_arrays, samples, ending)
        for ending in endings
        if ending == "npy" or ending.endswith(".npy")
    }
    return Columns(
        names=[f"{sample.shard}/{sample.key}" for sample in samples],
        read={
            **{name: partial(iter, cells) for name, cells in small.items()},
            **arrays,
            **{name: partial(iter, found) for name, found in pictures.items()},
        },
        files=places,
        pictures=frozenset(pictures),
        splits=splits_of((sample.shard for sample in samples), source.ledger, by_file=True),
    )


def _picture_name(ending: str) -> str:
    """0001.jpg is `image`, 0001.left.jpg is `left`."""
    return ending.rpartition(".")[0].replace(".", "_") or "image"


def _first(sample: Sample, endings: list[str]) -> Blob | None:
    return next((sample.parts[each] for each in endings if each in sample.parts), None)


def _small(samples: list[Sample], ledger: Ledger) -> dict[str, list[Value]]:
    """Texts, classes and what objects hold: columns that all fit into memory."""
    columns: dict[str, list[Value]] = {}
    for row, sample in enumerate(samples):
        for name, value in _cells(row, sample, ledger).items():
            columns.setdefault(name, [None] * len(samples))[row] = value
        if row % 1000 == 999:
            ledger.progress("reading samples", row + 1, len(samples))
    return columns


def _cells(row: int, sample: Sample, ledger: Ledger) -> dict[str, Value]:
    cells: dict[str, Value] = {}
    for ending, blob in sample.parts.items():
        kind = ending.rpartition(".")[2]
        if kind not in (*TEXTS, "cls", "json"):
            continue
        name = ending.rpartition(".")[0].replace(".", "_") or ("text" if kind in TEXTS else kind)
        try:
            text = blob.read().decode("utf-8") if blob.size <= MOST_SMALL_BYTES else ""
            told = json.loads(text) if kind == "json" else _whole(text) if kind == "cls" else text
        except (ValueError, RecursionError):
            ledger.drop(
                row, f"{sample.shard}/{sample.key}", f"its .{ending[:40]} is not what it should be, in UTF-8"
            )
            continue
        if kind == "json" and isinstance(told, dict):
            cells |= {str(key): from_json(value) for key, value in told.items()}
        else:
            cells[name] = from_json(told)
    return cells


def _whole(text: str) -> int | str:
    return int(text) if text.strip().lstrip("-").isdecimal() else text.strip()


def _arrays(samples: list[Sample], ending: str) -> Iterator[Value]:
    for sample in samples:
        blob = sample.parts.get(ending)
        yield None if blob is None else _array(blob)


def _array(blob: Blob) -> Value:
    """The array; what is none stays as bytes, and is dropped as such."""
    content = blob.read() if blob.size <= MOST_ARRAY_BYTES else b""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except NO_ARRAY:
        return content
    return array if isinstance(array, np.ndarray) else content
