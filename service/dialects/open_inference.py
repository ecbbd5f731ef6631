"""The Open Inference Protocol, version 2: what a model takes and gives as tensors, and the graph's own answer to them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import orjson
from pydantic import BaseModel, ValidationError

from models_store.manifest import Manifest, Precision
from models_store.store import ModelStore
from service.answers.inputs import found_as_pinned, origin
from service.dialects.tensors import SIZE, described, samples_of_tensors
from service.errors import InvalidError, MalformedError
from service.inference.engine import InferenceEngine
from service.inference.models import told_to_client
from service.schemas.embeddings import Digest
from service.schemas.open_inference import (
    InferAnswer,
    InferRequest,
    ModelMetadata,
    OutputTensor,
    TensorOut,
)
from service.settings import Settings
from service.web import problems
from service.web.strict_input import check_json

HEADER = "Inference-Header-Content-Length"
"""How many bytes of the body are JSON; tensors' own bytes follow."""
PARAMETERS = "/parameters"


class Pinned(BaseModel):
    """Parameters of a request that say which model is meant, and how it is to compute."""

    model_digest: Digest | None = None
    precision: Precision | None = None


@dataclass(frozen=True)
class Answer:
    body: bytes
    json_bytes: int | None
    """Where tensors follow the JSON: how long that is."""


def reference(model: str, version: str | None) -> str:
    return model if version is None else f"{model}@{version}"


def parsed(body: bytes, json_bytes: str | None) -> tuple[InferRequest, bytes]:
    """The request, and the bytes behind it. Raises MalformedError, TooLargeError or InvalidError."""
    end = len(body)
    if json_bytes is not None:
        if not (json_bytes.isascii() and json_bytes.isdecimal()) or not 0 < int(json_bytes[:20]) <= len(body):
            said = f"{HEADER} is how many bytes of the body are JSON, 1 to {len(body)}"
            raise MalformedError("bad_header_length", said)
        end = int(json_bytes[:20])
    check_json(body[:end])
    sent = json.loads(body[:end])
    try:
        return InferRequest.model_validate(sent), body[end:]
    except ValidationError as error:
        raise problems.invalid(error.errors(include_url=False), sent) from None


async def infer(
    engine: InferenceEngine, settings: Settings, which: str, request: InferRequest, tail: bytes
) -> Answer:
    """The fused embeddings as the graph gives them. Raises what embedding does."""
    pinned = _pinned(request)
    found = await found_as_pinned(engine, which, pinned.model_digest, pinned.precision, PARAMETERS)
    is_binary = _is_binary(request, found.manifest)
    samples = samples_of_tensors(found, request.inputs, tail, settings.max_inputs)
    vectors = await engine.embed_prepared(found, samples, "/inputs")
    content = np.ascontiguousarray(vectors, dtype="<f4").tobytes()
    name, _, version = found.label.partition("@")
    answer = InferAnswer(
        model_name=name,
        model_version=version,
        id=request.id,
        parameters={key: value for key, value in origin(found).items() if value is not None},
        outputs=[
            OutputTensor(
                name=found.manifest.output,
                datatype="FP32",
                shape=list(vectors.shape),
                parameters={SIZE: len(content)} if is_binary else {},
            )
        ],
    ).model_dump(exclude_none=True)
    if not is_binary:
        answer["outputs"][0]["data"] = vectors.ravel()
        return Answer(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), None)
    head = orjson.dumps(answer)
    return Answer(head + content, len(head))


def metadata(store: ModelStore, which: str) -> ModelMetadata:
    """Of a model that need not be in memory. Raises NotFoundError or UnavailableError."""
    with told_to_client(which):
        manifest = store.manifest(store.resolve(which))
        versions = list(store.versions(manifest.name))
    fused = TensorOut(name=manifest.output, datatype="FP32", shape=[-1, manifest.embedding_dim])
    return ModelMetadata(
        name=manifest.name,
        versions=[str(number) for number in versions],
        inputs=described(manifest),
        outputs=[fused],
    )


def _pinned(request: InferRequest) -> Pinned:
    """Raises InvalidError. What other parameters mean is for others."""
    try:
        return Pinned.model_validate(request.parameters)
    except ValidationError as error:
        raise problems.invalid(error.errors(include_url=False), request.parameters, PARAMETERS) from None


def _is_binary(request: InferRequest, manifest: Manifest) -> bool:
    """Whether the one output is to follow as bytes. Raises InvalidError for outputs that there are not."""
    wanted = request.parameters.get("binary_data_output")
    for index, each in enumerate(request.outputs or ()):
        if each.name != manifest.output:
            said = f"the model has no output {each.name[:60]!r}; it has {manifest.output}"
            raise InvalidError.at(f"/outputs/{index}/name", "unknown_tensor", said)
        if "classification" in each.parameters:
            said = "a vector has no classes; POST /v1/predictions asks heads"
            raise InvalidError.at(f"/outputs/{index}/parameters", "no_classification", said)
        wanted = each.parameters.get("binary_data", wanted)
    return wanted is True
