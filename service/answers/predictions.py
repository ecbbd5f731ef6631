"""What the heads of a model say of samples: by themselves, or beside the embeddings that they are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models_store.heads import Head
from service.answers.inputs import (
    assert_not_too_many,
    found_as_pinned,
    missing,
    origin,
    samples_of,
    seen,
    usage,
)
from service.errors import Fault, InvalidError, NotFoundError
from service.heads import no_head
from service.inference.engine import MAX_FAULTS, Found, InferenceEngine
from service.inference.predict import Prediction, told_of
from service.inference.prepare import Sample
from service.schemas.heads import HeadFacts
from service.schemas.predictions import PredictionRequest
from service.settings import Settings

MOST_NUMBERS = 1_000_000
"""In one answer."""


@dataclass(frozen=True)
class Asked:
    """Heads that were asked for, and how much they are to tell."""

    heads: Sequence[Head]
    top: int | None = None


async def predict(engine: InferenceEngine, settings: Settings, request: PredictionRequest) -> bytes:
    """A PredictionList as JSON.

    Raises InvalidError naming every bad input or head that is not there, NotFoundError when the model has none at all,
    ConflictError for another model than the pinned one, and what finding a model raises.
    """
    assert_not_too_many(request.inputs, "inputs", settings.max_inputs)
    found = await found_as_pinned(engine, request.model, request.model_digest, request.precision)
    asked = Asked(await heads_named(engine, found, request.probe, "/probe"), request.top)
    assert_told_at_once(asked, len(request.inputs))
    samples, vectors = await engine.embed(found, samples_of(request.inputs, found.manifest))
    told = await predictions(engine, asked, vectors)
    answer = {
        "object": "list",
        "model": found.label,
        "data": [
            {
                "object": "prediction",
                "index": index,
                **beside(sample, found, each),
                **seen(sample, found.manifest),
            }
            for index, (sample, each) in enumerate(zip(samples, told, strict=True))
        ],
        "heads": facts(asked),
        **origin(found),
        "usage": usage(samples, found.manifest),
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


async def heads_named(
    engine: InferenceEngine, found: Found, named: str | Sequence[str] | None, pointer: str
) -> list[Head]:
    """Of the model as it is at present; all of them when none is named. Raises InvalidError or NotFoundError."""
    there = await engine.attached(found)
    if named is None:
        if not there:
            raise NotFoundError(
                "no_heads",
                f"{found.label} has no heads; attach those of a probe with POST /v1/models/{found.label}/heads",
            )
        return await engine.open_heads(found, there)
    names = [(named, pointer)] if isinstance(named, str) else [(name, f"{pointer}/{index}") for index, name in enumerate(named)]  # fmt: skip
    faults = tuple(
        Fault(place, "head_not_found", no_head(found.label, name, there))
        for name, place in names
        if name not in there
    )
    if faults:
        raise InvalidError("head_not_found", faults[0].detail, faults=faults[:MAX_FAULTS])
    return await engine.open_heads(found, {name: there[name] for name, _ in names})


def assert_told_at_once(asked: Asked, inputs: int) -> None:
    """Raises InvalidError for an answer that nobody would read."""
    each = sum(told_of(head.manifest, asked.top) for head in asked.heads)
    if each * inputs > MOST_NUMBERS:
        raise InvalidError(
            "too_many_numbers",
            f"{inputs} inputs and {each:,} numbers for each are more than the {MOST_NUMBERS:,} of one answer; send fewer "
            "inputs, name fewer heads, or a smaller `top`",
        )


async def predictions(
    engine: InferenceEngine, asked: Asked, vectors: NDArray[np.float32]
) -> list[dict[str, Prediction]]:
    """Of each embedding (B, D), by task."""
    by_task = [await engine.predict(head, vectors, asked.top) for head in asked.heads]
    tasks = [head.manifest.task for head in asked.heads]
    return [dict(zip(tasks, of_one, strict=True)) for of_one in zip(*by_task, strict=True)]


def beside(sample: Sample, found: Found, told: dict[str, Prediction]) -> dict[str, Any]:
    """What is said of one sample."""
    absent = missing(sample, found.manifest)
    note = (
        f"without {', '.join(absent)}: the heads were fitted and scored on samples that have every modality"
        if absent
        else None
    )
    return {"predictions": told, "note": note}


def facts(asked: Asked) -> dict[str, dict[str, Any]]:
    """What heads are worth, by task."""
    return {head.manifest.task: HeadFacts.told_by(head.manifest, head.sha256) for head in asked.heads}
