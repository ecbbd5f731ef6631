"""Requests of the clients of hosted services: parts are mapped to the model's modalities, the rest is our own way."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models_store.manifest import Manifest
from service.answers.contents import only_one, refused
from service.answers.embeddings import assert_not_too_wide
from service.answers.inputs import assert_not_too_many, found_as_pinned, origin, samples_of, seen, usage
from service.db import new_id
from service.dialects.encodings import NUMBERS, typed
from service.errors import Fault, InvalidError
from service.inference.engine import Found, InferenceEngine
from service.inference.finish import finish
from service.inference.prepare import Given, Sample
from service.schemas.dialects import CohereRequest, VoyageRequest
from service.settings import Settings


async def voyage(engine: InferenceEngine, settings: Settings, request: VoyageRequest) -> bytes:
    """A VoyageAnswer as JSON. Raises what embedding does, and InvalidError for texts that may not be cut."""
    assert_not_too_many(request.inputs, "inputs", settings.max_inputs)
    found = await found_as_pinned(engine, request.model, request.model_digest, request.precision)
    inputs = samples_of(request.inputs, found.manifest)
    samples, vectors = await _embedded(engine, found, inputs, request.output_dimension, request.truncation)
    rows = [NUMBERS[request.output_dtype or "float"](vector) for vector in vectors]
    packed = request.encoding_format == "base64"
    return _json(
        {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "embedding": base64.b64encode(row.tobytes()).decode() if packed else row,
                    "index": index,
                    **seen(samples[index], found.manifest),
                }
                for index, row in enumerate(rows)
            ],
            "model": found.label,
            "usage": _voyage_usage(samples, found.manifest),
            **origin(found),
        }
    )


async def cohere(engine: InferenceEngine, settings: Settings, request: CohereRequest) -> bytes:
    """A CohereAnswer as JSON. Raises what embedding does, and InvalidError for texts that may not be cut."""
    field = next(each for each in ("texts", "images", "inputs") if getattr(request, each) is not None)
    assert_not_too_many(getattr(request, field), field, settings.max_inputs)
    found = await found_as_pinned(engine, request.model, request.model_digest, request.precision)
    inputs = (
        samples_of(request.inputs, found.manifest)
        if request.inputs is not None
        else _of_one_kind(request.texts or request.images or [], field, found.manifest)
    )
    may_cut = request.truncate == "END"
    samples, vectors = await _embedded(engine, found, inputs, request.output_dimension, may_cut)
    used = usage(samples, found.manifest)
    return _json(
        {
            "id": new_id("embed"),
            "response_type": "embeddings_by_type",
            "embeddings": {
                kind: [typed(vector, kind) for vector in vectors]
                for kind in dict.fromkeys(request.embedding_types)
            },
            "texts": request.texts or [],
            "meta": {
                "api_version": {"version": "2"},
                "billed_units": {"input_tokens": used["total_tokens"], "images": used["images"]},
            },
            "model": found.label,
            **origin(found),
        }
    )


async def _embedded(
    engine: InferenceEngine, found: Found, inputs: Sequence[Given], width: int | None, may_cut: bool
) -> tuple[list[Sample], NDArray[np.float32]]:
    """The samples, and their embeddings of length 1."""
    assert_not_too_wide(found, width, "/output_dimension")
    samples, vectors = await engine.embed(found, inputs)
    cut = [
        Fault(
            given.at(name),
            "text_too_long",
            "the text is longer than the model reads; shorten it, or let it be cut",
        )
        for given, sample in zip(inputs, samples, strict=True)
        for name in sample.truncated
    ]
    if cut and not may_cut:
        raise refused(cut)
    return samples, finish(vectors, width, normalize=True)


def _of_one_kind(sent: Sequence[str], field: str, manifest: Manifest) -> list[Given]:
    """Texts, or images."""
    name = only_one(manifest, field.removesuffix("s"), f"/{field}")
    if isinstance(name, Fault):
        raise InvalidError.at(name.pointer, name.code, name.detail)
    return [Given({name: each}, f"/{field}/{index}", is_bare=True) for index, each in enumerate(sent)]


def _voyage_usage(samples: Sequence[Sample], manifest: Manifest) -> dict[str, int]:
    images = [each for each in manifest.inputs if each.kind == "image"]
    pixels = sum(
        each.height * each.width for each in images for sample in samples if each.name in sample.arrays
    )
    tokens = usage(samples, manifest)["total_tokens"]
    return {"text_tokens": tokens, "image_pixels": pixels, "video_pixels": 0, "total_tokens": tokens}


def _json(answer: dict[str, Any]) -> bytes:
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
