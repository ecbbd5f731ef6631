"""What the embedding endpoints do: find the model, embed the inputs, and say where the vectors came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from models_store.manifest import Manifest, SequenceInput, TableInput
from service.errors import Fault, InvalidError
from service.inference.arrays import Packed, asked_for
from service.inference.engine import Found, InferenceEngine
from service.inference.finish import as_base64, finish
from service.inference.prepare import AssetRef, Given, Sample, Value
from service.schemas.embeddings import AssetIn, EmbeddingRequest, Finish, PackedIn, ValueIn
from service.settings import Settings


async def embed(engine: InferenceEngine, settings: Settings, request: EmbeddingRequest) -> bytes:
    """An EmbeddingList as JSON. Raises InvalidError naming every bad input, and what finding a model raises."""
    field = "input" if request.inputs is None else "inputs"
    sent = request.input if request.inputs is None else request.inputs
    if not isinstance(sent, str) and sent is not None and len(sent) > settings.max_inputs:
        raise InvalidError.at(
            f"/{field}",
            "too_many_inputs",
            f"{len(sent)} inputs; {settings.max_inputs} are allowed, send the rest in further requests",
        )
    found = await engine.find(request.model)
    inputs = _texts(request.input, found.manifest) if request.inputs is None else _samples(request.inputs)
    return await _answer(engine, found, inputs, request, "")


async def embed_one(
    engine: InferenceEngine, reference: str, values: Sequence[tuple[str, str]], form: Finish
) -> bytes:
    """The same for the modalities of a query: images are assets, texts are texts, and numbers are none of them."""
    found = await engine.find(reference)
    names = [name for name, _ in values]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidError.at(f"/query/{twice[:60]}", "given_twice", "give each modality once")
    _assert_no_numbers(found.manifest, names)
    images = {each.name for each in found.manifest.inputs if each.kind == "image"}
    given: dict[str, Value] = {name: AssetRef(value) if name in images else value for name, value in values}
    return await _answer(engine, found, [Given(given, "/query")], form, "/query")


async def _answer(
    engine: InferenceEngine, found: Found, inputs: Sequence[Given], form: Finish, pointer: str
) -> bytes:
    width = found.manifest.embedding_dim
    if form.dimensions is not None and form.dimensions > width:
        raise InvalidError.at(
            f"{pointer}/dimensions",
            "too_many_dimensions",
            f"the model gives {width} numbers, not {form.dimensions}; ask for at most {width}",
        )
    samples, vectors = await engine.embed(found, inputs)
    vectors = finish(vectors, form.dimensions, form.normalize)
    source = found.manifest.source
    answer: dict[str, Any] = {
        "object": "list",
        "model": found.label,
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": as_base64(vector) if form.encoding_format == "base64" else vector,
                **_seen(sample, found.manifest),
            }
            for index, (sample, vector) in enumerate(zip(samples, vectors, strict=True))
        ],
        "model_digest": found.digest,
        "checkpoint_sha256": source.checkpoint_sha256,
        "job_id": source.job_id,
        "method": source.method,
        "dataset": source.dataset,
        "precision": found.manifest.precision,
        "dim": vectors.shape[1],
        "usage": _usage(samples, found.manifest),
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _assert_no_numbers(manifest: Manifest, names: Sequence[str]) -> None:
    faults = tuple(
        Fault(
            f"/query/{each.name}",
            "numbers_not_in_query",
            f"'{each.name}' is a {each.kind}, and numbers are not read from an address; POST /v1/embeddings takes "
            f"{asked_for(each)}",
        )
        for each in manifest.inputs
        if each.name in names and isinstance(each, SequenceInput | TableInput)
    )
    if faults:
        raise InvalidError(faults[0].code, faults[0].detail, faults=faults)


def _samples(inputs: Sequence[Mapping[str, ValueIn]]) -> list[Given]:
    return [
        Given({name: _value(value) for name, value in each.items()}, f"/inputs/{index}")
        for index, each in enumerate(inputs)
    ]


def _value(value: ValueIn) -> Value:
    match value:
        case AssetIn(asset=asset_id):
            return AssetRef(asset_id)
        case PackedIn(base64=content, shape=shape):
            return Packed(content, tuple(shape))
        case _:
            return value


def _texts(sent: str | Sequence[str] | None, manifest: Manifest) -> list[Given]:
    """OpenAI's `input`, which has texts only."""
    texts = [each.name for each in manifest.inputs if each.kind == "text"]
    if len(texts) != 1 or not (manifest.may_miss or len(manifest.inputs) == 1):
        names = ", ".join(each.name for each in manifest.inputs)
        raise InvalidError.at(
            "/input",
            "not_a_text_model",
            f"this model does not embed texts alone; give `inputs` with its modalities: {names}",
        )
    if isinstance(sent, str):
        return [Given({texts[0]: sent}, "/input", is_bare=True)]
    return [Given({texts[0]: each}, f"/input/{index}", is_bare=True) for index, each in enumerate(sent or ())]


def _seen(sample: Sample, manifest: Manifest) -> dict[str, list[str]]:
    names = [each.name for each in manifest.inputs]
    return {
        "modalities": [name for name in names if name in sample.arrays],
        "missing": [name for name in names if name not in sample.arrays],
        "truncated": list(sample.truncated),
    }


def _usage(samples: Sequence[Sample], manifest: Manifest) -> dict[str, int]:
    kinds = {each.name: each.kind for each in manifest.inputs}
    arrays = [(kinds[name], array) for sample in samples for name, array in sample.arrays.items()]
    tokens = sum(len(array) for kind, array in arrays if kind == "text")
    return {
        "inputs": len(samples),
        "images": sum(kind == "image" for kind, _ in arrays),
        "prompt_tokens": tokens,
        "total_tokens": tokens,
    }
