"""Samples of an embedded dataset, for people: points of a map with their labels, and what single samples look like.

Registered samples are read from their dataset. Others are made anew by each training, and their embed job has kept what
they look like.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy.orm import Session

from models_store.embeddings import (
    LABEL,
    LABELS,
    PROJECTION,
    SAMPLE,
    SEEN,
    SEEN_OF,
    DamagedEmbeddingsError,
    LabelNames,
    read_file,
    read_written,
)
from service.answers import embedded
from service.answers.embedded import Embedded
from service.answers.search import label_named, registered
from service.data import samples
from service.errors import InvalidError, NotFoundError
from service.schemas.embedded_samples import EmbeddedSample, EmbeddedSamples, PointLabels, Points
from service.schemas.samples import ImageShown, Shown, TextShown
from service.settings import Settings
from service.tables import Dataset

Arrays = MappingProxyType[str, NDArray[Any]]


def points(found: Embedded) -> Points:
    """Raises NotFoundError when nothing was projected, and UnavailableError for damaged files."""
    if PROJECTION not in found.manifest.files:
        raise NotFoundError(
            "no_projection",
            f"{found.job_id} has no points to draw; embed with the `projection` pca, umap or tsne",
        )
    try:
        rows = np.array(orjson.loads(read_file(found.folder, found.manifest, PROJECTION))["rows"])
    except DamagedEmbeddingsError:
        raise embedded.damaged(found.job_id) from None
    labels = _arrays(found, LABELS)
    return Points(
        job_id=found.job_id,
        row=rows.tolist(),
        sample=labels[SAMPLE][rows].tolist(),
        tasks=[
            PointLabels(
                task=task.task,
                type=task.type,
                names=list(task.names),
                values=_values(task, labels[LABEL + task.task][rows]),
            )
            for task in found.manifest.tasks
        ],
    )


def shown(session: Session, settings: Settings, found: Embedded, rows: Sequence[int]) -> EmbeddedSamples:
    """Raises InvalidError for rows that there are not, and UnavailableError for damaged files."""
    beyond = next((row for row in rows if row >= found.manifest.count), None)
    if beyond is not None:
        raise InvalidError.at(
            "/query/row",
            "no_such_row",
            f"there is no row {beyond}; {found.job_id} has the rows 0 to {found.manifest.count - 1}",
        )
    dataset, labels = registered(session, found.manifest), _arrays(found, LABELS)
    return EmbeddedSamples(
        job_id=found.job_id,
        dataset=found.manifest.source.dataset,
        data=[
            EmbeddedSample(
                row=row,
                sample=int(labels[SAMPLE][row]),
                split=found.manifest.split_of(row).split,
                labels={
                    task.task: label_named(task, labels[LABEL + task.task][row])
                    for task in found.manifest.tasks
                },
                modalities=_modalities(settings, found, dataset, row, int(labels[SAMPLE][row])),
            )
            for row in rows
        ],
    )


def image(found: Embedded, row: int, modality: str) -> tuple[bytes, str]:
    """A PNG of what the embed job has kept, and what it can be remembered by. Raises NotFoundError or UnavailableError."""
    seen = _arrays(found, SEEN) if SEEN in found.manifest.files else Arrays({})
    if modality not in seen or seen[modality].dtype != np.uint8:
        raise NotFoundError.of(
            "image",
            modality[:60],
            f"GET /v1/jobs/{found.job_id}/embeddings/samples says which images there are",
        )
    if row >= found.manifest.count:
        raise NotFoundError.of(
            "row", str(row), f"{found.job_id} has the rows 0 to {found.manifest.count - 1}"
        )
    content = io.BytesIO()
    Image.fromarray(seen[modality][seen[modality + SEEN_OF][row]]).save(content, "PNG")
    return content.getvalue(), f"{found.sha256}-{row}-{modality}"


def _values(task: LabelNames, labels: NDArray[Any]) -> Any:
    """Of each point (N,) or (N, K)."""
    if task.type == "multilabel":
        return [np.flatnonzero(row).tolist() for row in labels]
    return labels.tolist()


def _modalities(
    settings: Settings, found: Embedded, dataset: Dataset | None, row: int, sample: int
) -> dict[str, Shown]:
    if dataset is not None:
        return samples.of_one(settings, dataset, sample)
    if SEEN not in found.manifest.files:
        return {}
    seen = _arrays(found, SEEN)
    return {
        name: _kept(found, name, row, items[seen[name + SEEN_OF][row]])
        for name, items in seen.items()
        if not name.endswith(SEEN_OF)
    }


def _kept(found: Embedded, name: str, row: int, item: Any) -> Shown:
    if isinstance(item, str):
        return TextShown(texts=[str(item)])
    return ImageShown(url=f"/v1/jobs/{found.job_id}/embeddings/samples/{row}/{name}.png")


def _arrays(found: Embedded, name: str) -> Arrays:
    """Raises UnavailableError unless the file is what was written."""
    try:
        return _read(found.folder / name, found.manifest.files[name].sha256)
    except (DamagedEmbeddingsError, ValueError, KeyError):
        raise embedded.damaged(found.job_id) from None


@lru_cache(maxsize=8)
def _read(path: Path, sha256: str) -> Arrays:
    with np.load(io.BytesIO(read_written(path, sha256)), allow_pickle=False) as arrays:
        return Arrays({name: arrays[name] for name in arrays.files})
