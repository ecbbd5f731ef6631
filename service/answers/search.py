"""Nearest neighbours among a dataset's embeddings: what is asked for becomes a vector, and those next to it are told.

The vectors are read once and kept in memory (`service.answers.indexes`); database, disk and comparing are for threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from models_store.embeddings import DamagedEmbeddingsError, EmbeddingsManifest, LabelNames, SubsetVectors
from service.answers import embedded
from service.answers.embedded import Embedded
from service.answers.indexes import Floats, Found, Index, nearest
from service.answers.inputs import found_as_pinned, samples_of, seen
from service.data import datasets
from service.db import reading
from service.errors import ConflictError, InvalidError
from service.inference.engine import Found as FoundModel
from service.inference.engine import InferenceEngine
from service.resources import Resources
from service.schemas.search import Links, Neighbour, QueryOut, SearchAnswer, SearchRequest
from service.tables import Dataset


@dataclass(frozen=True)
class Place:
    """What is searched in."""

    embedded: Embedded
    subset: SubsetVectors
    index: Index
    rows: slice
    dataset: Dataset | None
    """The registered dataset that was embedded, as long as some name means it."""

    @property
    def manifest(self) -> EmbeddingsManifest:
        return self.embedded.manifest


@dataclass(frozen=True)
class Query:
    vector: Floats  # (D)
    told: QueryOut
    row: int | None = None
    """Of a sample of the index."""


async def search(resources: Resources, asked: SearchRequest) -> SearchAnswer:
    """Raises NotFoundError for an unknown index or model, ConflictError for an index that is not ready, a model of another
    checkpoint or one of another digest than asked for, InvalidError for whatever else is wrong with the request, and
    UnavailableError for damaged files."""
    place = await run_in_threadpool(_opened, resources, asked)
    query = await _embedded(resources.inference, place, asked) or _known(place, asked)
    vector = _from_mean(place, query) if asked.center else query.vector
    if asked.metric == "cosine" and not vector.any():
        raise InvalidError.at(
            "/vector" if asked.vector is not None else "/metric",
            "no_direction",
            "the query is all zeros, which has no direction; take the metric 'l2' or 'dot'",
        )
    _assert_enough(place, asked.k, query)
    found = await run_in_threadpool(
        nearest,
        place.index,
        vector,
        asked.k,
        asked.metric,
        place.rows,
        without=query.row,
        centered=asked.center,
    )
    return _answer(place, asked, query, found)


def _opened(resources: Resources, asked: SearchRequest) -> Place:
    with reading(resources.sessions) as session:
        found = embedded.index(session, resources.settings, asked.index)
        dataset = registered(session, found.manifest)
    manifest = found.manifest
    subset = manifest.subset(asked.modalities) if asked.modalities else manifest.subsets[0]
    if subset is None:
        have = "; ".join(", ".join(each.modalities) for each in manifest.subsets)
        raise InvalidError.at(
            "/modalities",
            "no_such_vectors",
            f"{asked.index} has no vectors of {', '.join(asked.modalities or ())}; it has those of {have}",
        )
    rows = slice(0, manifest.count)
    if asked.split is not None:
        of_split = manifest.rows_of(asked.split)
        if of_split is None:
            have = ", ".join(each.split for each in manifest.splits)
            raise InvalidError.at(
                "/split", "no_such_split", f"{asked.index} has no split {asked.split!r}; it has {have}"
            )
        rows = slice(of_split.start, of_split.start + of_split.count)
    try:
        return Place(found, subset, resources.indexes.open(found.folder, manifest, subset), rows, dataset)
    except DamagedEmbeddingsError:
        raise embedded.damaged(found.job_id) from None


def registered(session: Session, manifest: EmbeddingsManifest) -> Dataset | None:
    """The dataset that was embedded, as long as some name means it."""
    sha256 = manifest.source.registered_sha256
    if sha256 is None:
        return None
    return session.scalar(select(Dataset).where(Dataset.sha256 == sha256).order_by(Dataset.name).limit(1))


async def _embedded(engine: InferenceEngine, place: Place, asked: SearchRequest) -> Query | None:
    """None where no inputs were sent."""
    if asked.inputs is None or asked.model is None:
        return None
    model = await found_as_pinned(engine, asked.model, asked.model_digest)
    _assert_same_checkpoint(place, model)
    samples, vectors = await engine.embed(model, samples_of(asked.inputs, model.manifest))
    of_sample = seen(samples[0], model.manifest)
    told = QueryOut(
        modalities=of_sample["modalities"],
        model=model.label,
        model_digest=model.digest,
        truncated=of_sample["truncated"],
    )
    return Query(vectors[0].astype(np.float64), told)


def _assert_same_checkpoint(place: Place, model: FoundModel) -> None:
    of_index, of_model = place.manifest.source, model.manifest.source
    if of_index.checkpoint_sha256 != of_model.checkpoint_sha256:
        raise ConflictError(
            "other_checkpoint",
            f"{place.embedded.job_id} was embedded by checkpoint {of_index.checkpoint_sha256} (job {of_index.job_id} after "
            f"step {of_index.step}), and {model.label} is of {of_model.checkpoint_sha256} (job {of_model.job_id} after "
            f"step {of_model.step}), whose vectors cannot be compared; take a model of that checkpoint, or embed anew",
        )


def _known(place: Place, asked: SearchRequest) -> Query:
    """The query that is a vector already, or has one in the index."""
    told = QueryOut(modalities=list(place.subset.modalities), model=None, model_digest=None, truncated=[])
    if asked.vector is not None:
        if len(asked.vector) != place.manifest.dim:
            raise InvalidError.at(
                "/vector",
                "wrong_width",
                f"a vector of {len(asked.vector)} numbers; those of {asked.index} have {place.manifest.dim}",
            )
        return Query(np.array(asked.vector, dtype=np.float64), told)
    rows = np.flatnonzero(place.index.sample == asked.sample)
    if not len(rows):
        raise InvalidError.at(
            "/sample",
            "no_such_sample",
            f"{asked.index} has no sample {asked.sample}; its samples are among {place.index.sample.min()} to "
            f"{place.index.sample.max()}",
        )
    row = int(rows[0])
    return Query(place.index.vectors[row].astype(np.float64), told, row)


def _from_mean(place: Place, query: Query) -> Floats:
    """From the mean of vectors of what the query is of."""
    same = place.manifest.subset(query.told.modalities)
    if same is None:
        named = ", ".join(query.told.modalities)
        raise InvalidError.at(
            "/center",
            "no_mean",
            f"the query is of {named}, of which {place.embedded.job_id} has no vectors and so no mean; embed with "
            f"`modalities` that have [{named}] too, or leave `center` out",
        )
    apart: Floats = query.vector - np.array(same.mean)
    return apart


def _assert_enough(place: Place, k: int, query: Query) -> None:
    searched = place.rows.stop - place.rows.start
    itself = query.row is not None and place.rows.start <= query.row < place.rows.stop
    if k > searched - itself:
        raise InvalidError.at(
            "/k",
            "too_many_neighbours",
            f"{k} neighbours of {searched - itself} samples that there are to be found; ask for at most as many",
        )


def _answer(place: Place, asked: SearchRequest, query: Query, found: Found) -> SearchAnswer:
    source = place.manifest.source
    return SearchAnswer(
        index=asked.index,
        metric=asked.metric,
        centered=asked.center,
        modalities=list(place.subset.modalities),
        searched=place.rows.stop - place.rows.start,
        query=query.told,
        checkpoint_sha256=source.checkpoint_sha256,
        dataset=source.dataset,
        dataset_sha256=source.dataset_sha256,
        data=[
            _neighbour(place, row, score)
            for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
        ],
    )


def _neighbour(place: Place, row: int, score: float) -> Neighbour:
    split = place.manifest.split_of(row)
    sample, labels = int(place.index.sample[row]), place.index.labels
    return Neighbour(
        score=score,
        row=row,
        sample=sample,
        split=split.split,
        labels={task.task: label_named(task, labels[task.task][row]) for task in place.manifest.tasks},
        links=None
        if place.dataset is None
        else _links(place.dataset, split.split, row - split.start, sample),
    )


def label_named(task: LabelNames, label: Any) -> str | list[str] | list[float]:
    match task.type:
        case "class":
            return task.names[int(label)]
        case "multilabel":
            return [name for name, there in zip(task.names, label.tolist(), strict=True) if there]
        case "regression":
            return [float(number) for number in label.tolist()]


def _links(dataset: Dataset, split: str, place: int, sample: int) -> Links:
    address = f"/v1/datasets/{dataset.name}/samples"
    images = [each.name for each in datasets.card_of(dataset).modalities if each.kind == "image"]
    return Links(
        sample=f"{address}?split={split}&offset={place}&limit=1",
        images={name: f"{address}/{sample}/{name}.png" for name in images},
    )
