"""What the embedding endpoints do: find the model, embed the inputs, and say where the vectors came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from models_store.manifest import Manifest, SequenceInput, TableInput
from service.errors import Fault, InvalidError
from service.inference.arrays import asked_for
from service.inference.engine import Found, InferenceEngine
from service.inference.finish import encoded, finish
from service.inference.prepare import AssetRef, Given, Value
from service.inputs import assert_not_too_many, origin, samples_of, seen, usage
from service.predictions import Asked, assert_told_at_once, beside, facts, heads_named, predictions
from service.schemas.embeddings import EmbeddingRequest, Finish
from service.settings import Settings


async def embed(engine: InferenceEngine, settings: Settings, request: EmbeddingRequest) -> bytes:
    """An EmbeddingList as JSON. Raises InvalidError naming every bad input, and what finding a model raises."""
    field = "input" if request.inputs is None else "inputs"
    sent = request.input if request.inputs is None else request.inputs
    if not isinstance(sent, str) and sent is not None:
        assert_not_too_many(sent, field, settings.max_inputs)
    found = await engine.find(request.model)
    inputs = _texts(request.input, found.manifest) if request.inputs is None else samples_of(request.inputs)
    if request.heads is None:
        return await _answer(engine, found, inputs, request, "")
    asked = Asked(await heads_named(engine, found, request.heads, "/heads"), request.top)
    assert_told_at_once(asked, len(inputs))
    return await _answer(engine, found, inputs, request, "", asked)


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
    engine: InferenceEngine,
    found: Found,
    inputs: Sequence[Given],
    form: Finish,
    pointer: str,
    asked: Asked | None = None,
) -> bytes:
    width = found.manifest.embedding_dim
    if form.dimensions is not None and form.dimensions > width:
        raise InvalidError.at(
            f"{pointer}/dimensions",
            "too_many_dimensions",
            f"the model gives {width} numbers, not {form.dimensions}; ask for at most {width}",
        )
    samples, vectors = await engine.embed(found, inputs)
    told = [{}] * len(samples) if asked is None else await predictions(engine, asked, vectors)
    vectors = finish(vectors, form.dimensions, form.normalize)
    answer: dict[str, Any] = {
        "object": "list",
        "model": found.label,
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": encoded(vector, form.encoding_format),
                **seen(sample, found.manifest),
                **({} if asked is None else beside(sample, found, each)),
            }
            for index, (sample, vector, each) in enumerate(zip(samples, vectors, told, strict=True))
        ],
        **({} if asked is None else {"heads": facts(asked)}),
        **origin(found),
        "dim": vectors.shape[1],
        "usage": usage(samples, found.manifest),
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
