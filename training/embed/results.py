"""What an embed run leaves besides its parts: all vectors to be searched in, points to be drawn, and the manifest.

N samples, D width.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from models_store.durable import sha256_of, sync_folder, write_atomically
from models_store.embeddings import (
    LABEL,
    LABELS,
    PROJECTION,
    SAMPLE,
    EmbeddedSource,
    EmbeddingsManifest,
    KeptFile,
    LabelNames,
    SplitRows,
    SubsetVectors,
)
from training import checkpoint
from training.data.class_names import class_names
from training.embed.parts import read_part, vector_column, write_part
from training.embed.place import Part, Place
from training.embed.projection import MOST_POINTS, drawn, projected
from training.errors import DataError
from training.spec import Registered
from training.spec.registration import numbered

Vectors = Mapping[tuple[str, ...], NDArray[np.float32]]
"""Per subset of the modalities, (N, D), mapped from disk."""


def gathered(place: Place, parts: Sequence[Part]) -> Vectors:
    """Writes what is searched in: all parts' vectors of each subset, and their labels. Raises DataError for a lost part."""
    labels: dict[str, list[NDArray[Any]]] = {}
    paths = {subset: place.folder / vectors_file(place, subset) for subset in place.subsets}
    halves = {subset: path.with_name(f".{path.name}.part") for subset, path in paths.items()}
    shape = (place.count, place.method.embedding_dim)
    arrays = {each: np.lib.format.open_memmap(half, "w+", np.float32, shape) for each, half in halves.items()}
    at = 0
    for part in parts:
        columns = read_part(place.folder / part.file(place.spec.format), place.spec.format)
        if columns is None:
            name = part.file(place.spec.format)
            raise DataError(f"{name} is gone, or is not what was written; run this again")
        for subset, array in arrays.items():
            array[at : at + part.count] = columns[vector_column(subset)]
        for name in columns:
            if name == SAMPLE or name.startswith(LABEL):
                labels.setdefault(name, []).append(columns[name])
        at += part.count
    for subset, array in arrays.items():
        array.flush()
        halves[subset].replace(paths[subset])
    sync_folder(place.folder)
    write_part(place.folder / LABELS, {name: np.concatenate(each) for name, each in labels.items()}, "npz")
    return {subset: np.load(path, mmap_mode="r") for subset, path in paths.items()}


def vectors_file(place: Place, subset: tuple[str, ...]) -> str:
    return f"vectors-{place.subsets.index(subset)}.npy"


def draw(place: Place, vectors: Vectors) -> None:
    if place.spec.projection == "none":
        return
    place.run.say("projecting to a plane")
    named = {"+".join(subset): each for subset, each in vectors.items()}
    rows = drawn(place.count, place.spec.seed, MOST_POINTS[place.spec.projection] // len(named))
    points = projected(named, rows, place.spec.projection, place.spec.seed)
    write_atomically(place.folder / PROJECTION, json.dumps(points).encode())


def described(
    place: Place, parts: Sequence[Part], vectors: Vectors, seen: Sequence[str]
) -> EmbeddingsManifest:
    meta, dataset = place.found.meta, place.dataset
    files = [*(part.file(place.spec.format) for part in parts), LABELS]
    files += [vectors_file(place, subset) for subset in place.subsets]
    files += [*seen, *([] if place.spec.projection == "none" else [PROJECTION])]
    return EmbeddingsManifest(
        file_format=place.spec.format,
        count=place.count,
        dim=place.method.embedding_dim,
        splits=tuple(rows_of_splits(place)),
        subsets=tuple(
            SubsetVectors(
                modalities=subset,
                file=vectors_file(place, subset),
                mean=tuple(each.mean(axis=0, dtype=np.float64).tolist()),
            )
            for subset, each in vectors.items()
        ),
        tasks=named_labels(place),
        source=EmbeddedSource(
            job_id=place.spec.run,
            method=place.trained.method.name,
            step=meta.step,
            checkpoint_sha256=meta.sha256[checkpoint.WEIGHTS],
            dataset=dataset.name,
            dataset_sha256=place.data.sha256,
            registered_sha256=dataset.sha256 if isinstance(dataset, Registered) else None,
            code_version=version("fusebox"),
        ),
        files={name: kept_file(place.folder / name) for name in files},
    )


def named_labels(place: Place) -> tuple[LabelNames, ...]:
    """By number where the report that has the names cannot be read."""
    tasks = place.dataset.tasks
    try:
        names = class_names(place.dataset, place.run.datasets_dir)
    except (OSError, ValidationError):
        names = {task.name: numbered(task) for task in tasks}
    return tuple(LabelNames(task=task.name, type=task.type, names=tuple(names[task.name])) for task in tasks)


def rows_of_splits(place: Place) -> Iterator[SplitRows]:
    start = 0
    for name, split in place.splits.items():
        yield SplitRows(split=name, start=start, count=len(split))
        start += len(split)


def kept_file(path: Path) -> KeptFile:
    return KeptFile(size_bytes=path.stat().st_size, sha256=sha256_of(path))
