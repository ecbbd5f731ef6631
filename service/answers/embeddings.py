"""What the embedding endpoints do: find the model, embed the inputs, and say where the vectors came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models_store.manifest import Manifest, Precision, SequenceInput, TableInput
from service.answers.explain import Explanation, explained, subsets
from service.answers.inputs import assert_not_too_many, found_as_pinned, origin, samples_of, seen, usage
from service.answers.predictions import Asked, assert_told_at_once, beside, facts, heads_named, predictions
from service.errors import Fault, InvalidError
from service.inference.arrays import asked_for
from service.inference.engine import Found, InferenceEngine
from service.inference.finish import encoded, finish
from service.inference.prepare import AssetRef, Given, Sample, Value
from service.schemas.embeddings import Asking, EmbeddingRequest, Finish
from service.settings import Settings

Vectors = NDArray[np.float32]


async def embed(engine: InferenceEngine, settings: Settings, request: EmbeddingRequest) -> bytes:
    """An EmbeddingList as JSON. Raises InvalidError naming every bad input, and what finding a model raises."""
    name = "input" if request.inputs is None else "inputs"
    sent = request.input if request.inputs is None else request.inputs
    if not isinstance(sent, str) and sent is not None:
        assert_not_too_many(sent, name, settings.max_inputs)
    found = await found_as_pinned(engine, request.model, request.model_digest, request.precision)
    inputs = (
        _texts(request.input, found.manifest)
        if request.inputs is None
        else samples_of(request.inputs, found.manifest)
    )
    return await embed_given(engine, settings, found, inputs, request)


async def embed_given(
    engine: InferenceEngine,
    settings: Settings,
    found: Found,
    inputs: Sequence[Given],
    asking: Asking,
    pointer: str = "",
) -> bytes:
    """The same for samples that are known to be the model's, with all that was asked for besides, at `pointer`."""
    asked = None
    if asking.heads is not None:
        asked = Asked(await heads_named(engine, found, asking.heads, f"{pointer}/heads"), asking.top)
        assert_told_at_once(asked, len(inputs))
    most_rows = settings.max_inputs if asking.explain else None
    return await _answer(engine, found, inputs, asking, pointer, asked, most_rows)


async def embed_one(
    engine: InferenceEngine,
    reference: str,
    values: Sequence[tuple[str, str]],
    form: Finish,
    digest: str | None = None,
    precision: Precision | None = None,
) -> bytes:
    """The same for the modalities of a query: images are assets, texts are texts, and numbers are none of them."""
    found = await found_as_pinned(engine, reference, digest, precision, "/query")
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
    most_rows: int | None = None,
) -> bytes:
    """`most_rows`: where samples are explained, how many embeddings that may take in all."""
    assert_not_too_wide(found, form.dimensions, f"{pointer}/dimensions")
    explanations: Sequence[Mapping[str, Any]]
    if most_rows is None:
        samples, vectors = await engine.embed(found, inputs)
        explanations = [{}] * len(samples)
    else:
        samples, vectors, of_each = await _explained(engine, found, inputs, most_rows)
        explanations = [{"explanation": each} for each in of_each]
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
                **explanations[index],
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


def assert_not_too_wide(found: Found, dimensions: int | None, pointer: str) -> None:
    """Raises InvalidError."""
    width = found.manifest.embedding_dim
    if dimensions is not None and dimensions > width:
        said = f"the model gives {width} numbers, not {dimensions}; ask for at most {width}"
        raise InvalidError.at(pointer, "too_many_dimensions", said)


async def _explained(
    engine: InferenceEngine, found: Found, inputs: Sequence[Given], most_rows: int
) -> tuple[list[Sample], Vectors, list[Explanation]]:
    """The samples, their embeddings (B, D), and what their modalities have to do with these: parts of a sample are
    embedded beside it, in the same batches. Raises InvalidError when there are more of all than `most_rows`."""
    names = [
        tuple(each.name for each in found.manifest.inputs if each.name in given.values) for given in inputs
    ]
    parts = [(row, subset) for row, present in enumerate(names) for subset in subsets(present)]
    count = len(inputs) + len(parts)
    if count > max(most_rows, len(inputs)):
        said = f"explaining {len(inputs)} inputs takes {count} embeddings; {most_rows} are allowed"
        raise InvalidError.at("/explain", "too_many_inputs", f"{said}, send the rest in further requests")
    samples, vectors = await engine.embed_with_parts(found, inputs, parts)
    by_subset: list[dict[tuple[str, ...], Vectors]] = [{} for _ in samples]
    for (row, subset), vector in zip(parts, vectors[len(samples) :], strict=True):
        by_subset[row][subset] = vector
    told = [explained(*each) for each in zip(names, vectors, by_subset, strict=False)]
    return samples, vectors[: len(samples)], told


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
