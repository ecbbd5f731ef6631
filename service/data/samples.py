"""Samples of registered datasets, read from the arrays that registering left. N items; S pixels, L steps, F numbers.

The arrays are mapped from disk, so that of a large dataset only what is shown is read. They are named by their content
and never change, so what is found out about them once stays true.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy.orm import Session

from service.data import datasets
from service.errors import InvalidError, NotFoundError, UnavailableError
from service.schemas.samples import (
    ImageShown,
    SampleOut,
    SamplePage,
    SamplesAsked,
    SequenceShown,
    Shown,
    TableShown,
    TextShown,
)
from service.settings import Settings
from service.tables import Dataset
from training.spec import DATASETS, Modality, Task
from training.spec.registration import REGISTERED, labels_file, numbered, split_file

Kept = TypeVar("Kept")
MOST_NUMBERS = 1_000
"""Of one modality of one sample."""
MOST_CHARS, MOST_TEXTS = 2_000, 10
MOST_LINES_KEPT = 8
"""Files of texts whose lines' places are remembered."""


def page(session: Session, settings: Settings, name: str, asked: SamplesAsked) -> SamplePage:
    """Raises NotFoundError, InvalidError for a dataset that is made anew by each training or has no such split, and
    UnavailableError when its files are not here."""
    row = _registered(session, name)
    card, report = datasets.card_of(row), datasets.report_of(row)
    if asked.split not in card.samples:
        raise InvalidError.at(
            "/query/split",
            "no_such_split",
            f"{name!r} has no split {asked.split!r}; it has {', '.join(card.samples)}",
        )
    folder = _folder(settings, row)
    chosen = _read(lambda: _array(folder / split_file("strict", asked.split)))
    rows = chosen[asked.offset : asked.offset + asked.limit].tolist()
    names = {task.name: report.counted(task) or numbered(task) for task in card.tasks}

    def shown(item: int) -> SampleOut:
        return SampleOut(
            row=item,
            modalities={each.name: _shown(folder, name, each, item) for each in card.modalities},
            labels={task.name: _label(folder, task, names[task.name], item) for task in card.tasks},
        )

    data = _read(lambda: [shown(item) for item in rows])
    return SamplePage(dataset=name, sha256=row.sha256 or "", split=asked.split, total=len(chosen), data=data)


def of_one(settings: Settings, row: Dataset, item: int) -> dict[str, Shown]:
    """What one sample looks like, by modality, whatever its split. Raises UnavailableError."""
    folder = _folder(settings, row)
    return _read(
        lambda: {each.name: _shown(folder, row.name, each, item) for each in datasets.card_of(row).modalities}
    )


def image(session: Session, settings: Settings, name: str, item: int, modality: str) -> tuple[bytes, str]:
    """A PNG of the pixels as they are kept, and what it can be remembered by. Raises NotFoundError or UnavailableError."""
    row = _registered(session, name)
    found = next((each for each in datasets.card_of(row).modalities if each.name == modality), None)
    if found is None or found.kind != "image":
        raise NotFoundError.of("image", modality[:60], f"GET /v1/datasets/{name} lists the modalities")
    folder = _folder(settings, row)
    pixels = _read(lambda: _array(folder / f"{modality}.npy"))
    if not 0 <= item < len(pixels):
        raise NotFoundError.of("sample", str(item), f"{name!r} has the samples 0 to {len(pixels) - 1}")
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[item].transpose(1, 2, 0))).save(content, "PNG")
    return content.getvalue(), f"{row.sha256}-{item}-{modality}"


def _registered(session: Session, name: str) -> Dataset:
    if name in DATASETS:
        raise InvalidError(
            "made_by_each_training",
            f"the samples of {name!r} are made by each training anew; only registered ones can be shown",
        )
    return datasets.named(session, name)


def _folder(settings: Settings, row: Dataset) -> Path:
    return settings.datasets_dir / REGISTERED / (row.sha256 or "")


def _read(what: Callable[[], Kept]) -> Kept:
    try:
        return what()
    except (OSError, ValueError, IndexError):
        raise UnavailableError(
            "dataset_damaged", "the dataset's files are not on this server, or are damaged; register it again"
        ) from None


def _shown(folder: Path, name: str, modality: Modality, item: int) -> Shown:
    match modality.kind:
        case "image":
            return ImageShown(url=f"/v1/datasets/{name}/samples/{item}/{modality.name}.png")
        case "text":
            return _texts(folder / f"{modality.name}.jsonl", item)
        case "sequence":
            return _sequence(_array(folder / f"{modality.name}.npy")[item])
        case "table":
            numbers = _array(folder / f"{modality.name}.npy")[item]
            return TableShown(values=numbers[:MOST_NUMBERS].tolist(), cut=len(numbers) > MOST_NUMBERS)


def _sequence(steps: NDArray[np.float32]) -> SequenceShown:
    """(L, F)."""
    there = np.flatnonzero((steps != 0).any(1))
    length = int(there[-1]) + 1 if len(there) else 1
    most = max(1, MOST_NUMBERS // steps.shape[1])
    kept = steps[: min(length, most), :MOST_NUMBERS]
    return SequenceShown(steps=length, values=kept.tolist(), cut=kept.size < length * steps.shape[1])


def _texts(path: Path, item: int) -> TextShown:
    places = _lines(path)
    with path.open("rb") as file:
        file.seek(int(places[item]))
        texts: list[str] = json.loads(file.read(int(places[item + 1] - places[item])))
    kept = [text[:MOST_CHARS] for text in texts[:MOST_TEXTS]]
    return TextShown(texts=kept, cut=kept != texts)


@lru_cache(maxsize=MOST_LINES_KEPT)
def _lines(path: Path) -> NDArray[np.int64]:
    """Where each line begins, and where the last ends."""
    with path.open("rb") as file:
        return np.cumsum([0, *map(len, file)], dtype=np.int64)


def _label(folder: Path, task: Task, names: Sequence[str], item: int) -> Any:
    label = _array(folder / labels_file(task.name))[item]
    match task.type:
        case "class":
            return names[int(label)]
        case "multilabel":
            return [name for name, there in zip(names, label.tolist(), strict=True) if there]
        case "regression":
            return [float(number) for number in label.tolist()]


def _array(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
