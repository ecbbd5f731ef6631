"""By what a vector is remembered: a sha256 of everything that it depends on, and of nothing else.

Two keys lead to a vector. The *sample's* is of the arrays that go into the network, or of an image's bytes before they are
normalised, so that one picture is the same as PNG and as WebP. The *input's* is of what was sent, and saves preparing again
what is sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from service.inference.arrays import Packed
from service.inference.prepare import Given, Sample, Value

PREPROCESSING_VERSION = b"1"
"""Raise it with every change of what `prepare` makes of the same input."""
MOST_HASHED_AT_ONCE = 256 * 2**10
"""Characters and numbers of inputs that are hashed in the event loop; of more it would be held up."""


class _Model(Protocol):
    @property
    def digest(self) -> str: ...

    @property
    def precision(self) -> str: ...


@dataclass(frozen=True)
class Ready:
    """A prepared sample and its key, 32 bytes."""

    sample: Sample
    key: bytes


def keyed(model: _Model, sample: Sample) -> Ready:
    """The sample with its key and those of its parts, which it may have from the same model already. Modalities that it
    lacks are told by their absence."""
    keys = {
        name: sample.keys.get(name) or _part_key(model, name, array)
        for name, array in sorted(sample.arrays.items())
    }
    return Ready(replace(sample, keys=keys), _hashed(b"sample", model, keys.values()))


def input_key(model: _Model, given: Given) -> bytes | None:
    """32 bytes; None of what is not worth remembering: an asset, which may be damaged or gone when it is asked for again,
    and numbers that no JSON has."""
    parts: list[bytes | memoryview] = []
    for name, value in sorted(given.values.items()):
        told = _told(value)
        if told is None:
            return None
        parts += [_text(name), *told]
    return _hashed(b"input", model, parts)


def size(given: Given) -> int:
    """About how many characters and numbers an input has."""
    return sum(_size(value) for value in given.values.values())


def outline(sample: Sample) -> Sample:
    """The same shapes with no numbers in them, for what is said of a sample: it takes next to no memory."""
    shapes = {
        name: np.broadcast_to(np.zeros((), dtype=array.dtype), array.shape)
        for name, array in sample.arrays.items()
    }
    return Sample(shapes, sample.truncated)


def _part_key(model: _Model, name: str, array: NDArray[Any]) -> bytes:
    return _hashed(b"part", model, (_text(name), f"{array.dtype.str}{array.shape}".encode(), _bytes(array)))


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _told(value: Value) -> tuple[bytes, bytes] | None:
    """What kind of value it is, and all of it."""
    match value:
        case str():
            return b"text", _text(value)
        case bytes():
            return b"file", value
        case Packed():
            return b"packed", f"{value.shape}{value.base64}".encode("utf-8", "surrogatepass")
        case list():
            try:
                return b"list", orjson.dumps(value)
            except (
                TypeError,
                ValueError,
            ):  # too deep, or too long a number: `prepare` says what is wrong with it
                return None
        case _:
            return None


def _size(value: Value) -> int:
    match value:
        case str() | bytes():
            return len(value)
        case Packed():
            return len(value.base64)
        case list():
            return sum(len(row) if isinstance(row, list) else 1 for row in value) * 8
        case _:
            return 0


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _hashed(domain: bytes, model: _Model, parts: Iterable[bytes | memoryview]) -> bytes:
    """Each part is preceded by its length, so that no two lists of parts are the same bytes."""
    sha = hashlib.sha256()
    about = (domain, model.digest.encode(), model.precision.encode(), PREPROCESSING_VERSION)
    for part in (*about, *parts):
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part)
    return sha.digest()
