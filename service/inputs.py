"""What is asked about, wherever it is asked: the samples of a request, what there is of each, and where answers come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models_store.manifest import Manifest
from service.errors import InvalidError
from service.inference.arrays import Packed
from service.inference.engine import Found
from service.inference.prepare import AssetRef, Given, Sample, Value
from service.schemas.embeddings import AssetIn, PackedIn, ValueIn


def samples_of(inputs: Sequence[Mapping[str, ValueIn]]) -> list[Given]:
    return [
        Given({name: _value(value) for name, value in each.items()}, f"/inputs/{index}")
        for index, each in enumerate(inputs)
    ]


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
        "precision": found.manifest.precision,
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


def _value(value: ValueIn) -> Value:
    match value:
        case AssetIn(asset=asset_id):
            return AssetRef(asset_id)
        case PackedIn(base64=content, shape=shape):
            return Packed(content, tuple(shape))
        case _:
            return value
