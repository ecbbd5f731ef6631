"""What is asked about, wherever it is asked: the samples of a request, what there is of each, and where answers come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models_store.manifest import Manifest, Precision
from service.answers.contents import given_as_parts, refused
from service.errors import ConflictError, Fault, InvalidError
from service.inference.arrays import Packed
from service.inference.engine import Found, InferenceEngine
from service.inference.prepare import AssetRef, Given, Sample, Value
from service.schemas.contents import ContentIn
from service.schemas.embeddings import AssetIn, PackedIn, ValueIn


async def found_as_pinned(
    engine: InferenceEngine,
    reference: str,
    digest: str | None,
    precision: Precision | None = None,
    pointer: str = "",
) -> Found:
    """Raises ConflictError when the reference means another model than the one of a digest that the client names."""
    try:
        found = await engine.find(reference, precision)
    except InvalidError as error:  # of the precision
        raise InvalidError.at(f"{pointer}/precision", error.code, error.detail) from None
    if digest is not None and digest != found.digest:
        detail = (
            f"{reference[:100]!r} is {found.label} with the digest {found.digest}, not {digest}; their vectors cannot be "
            "compared: embed again what you have, or ask for the digest itself as `model`"
        )
        fault = Fault(f"{pointer}/model_digest", "model_digest_differs", detail)
        raise ConflictError("model_digest_differs", detail, faults=(fault,))
    return found


def samples_of(inputs: Sequence[ContentIn | Mapping[str, ValueIn]], manifest: Manifest) -> list[Given]:
    """Raises InvalidError for parts that the model has not one modality for."""
    found = [
        given_as_parts(each, manifest, f"/inputs/{index}")
        if isinstance(each, ContentIn)
        else Given({name: value_of(value) for name, value in each.items()}, f"/inputs/{index}")
        for index, each in enumerate(inputs)
    ]
    faults = [fault for each in found if not isinstance(each, Given) for fault in each]
    if faults:
        raise refused(faults)
    return [each for each in found if isinstance(each, Given)]


def assert_not_too_many(sent: Sequence[Any], field: str, most: int) -> None:
    """Raises InvalidError."""
    if len(sent) > most:
        raise InvalidError.at(
            f"/{field}",
            "too_many_inputs",
            f"{len(sent)} inputs; {most} are allowed, send the rest in further requests",
        )


def missing(sample: Sample, manifest: Manifest) -> list[str]:
    return [each.name for each in manifest.inputs if each.name not in sample.arrays]


def seen(sample: Sample, manifest: Manifest) -> dict[str, list[str]]:
    return {
        "modalities": [each.name for each in manifest.inputs if each.name in sample.arrays],
        "missing": missing(sample, manifest),
        "truncated": list(sample.truncated),
    }


def origin(found: Found) -> dict[str, Any]:
    """Of all that the model says."""
    source = found.manifest.source
    return {
        "model_digest": found.digest,
        "checkpoint_sha256": source.checkpoint_sha256,
        "job_id": source.job_id,
        "method": source.method,
        "dataset": source.dataset,
        "dataset_sha256": source.dataset_sha256,
        "precision": found.precision,
    }


def usage(samples: Sequence[Sample], manifest: Manifest) -> dict[str, int]:
    kinds = {each.name: each.kind for each in manifest.inputs}
    arrays = [(kinds[name], array) for sample in samples for name, array in sample.arrays.items()]
    tokens = sum(len(array) for kind, array in arrays if kind == "text")
    return {
        "inputs": len(samples),
        "images": sum(kind == "image" for kind, _ in arrays),
        "prompt_tokens": tokens,
        "total_tokens": tokens,
    }


def value_of(value: ValueIn) -> Value:
    match value:
        case AssetIn(asset=asset_id):
            return AssetRef(asset_id)
        case PackedIn(base64=content, shape=shape):
            return Packed(content, tuple(shape))
        case _:
            return value
