"""The graphs of a model as ONNX Runtime runs them. B samples of a batch, L tokens, D embedding width.

A sample goes through two steps: each of its modalities is *encoded* by itself, and what came of them is *fused*. What a
modality was encoded to depends on nothing else, so that it can be kept and fused again with something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models_store.manifest import (
    ImageInput,
    Input,
    Manifest,
    SequenceInput,
    TableInput,
    TextInput,
    there_of,
    tokens_of,
)
from service.inference.images import normalised

Array = NDArray[Any]
Vectors = NDArray[np.float32]


class Graphs(Protocol):
    def encode(self, name: str, arrays: Sequence[Array]) -> Sequence[Any]:
        """What the model makes of one modality of some samples, by itself. arrays: as in `Sample.arrays`; no copies of
        what is given are promised. What is given back is an array where a CPU computes."""
        ...

    def fuse(self, encoded: Sequence[Mapping[str, Any]]) -> Vectors:
        """(B, D), from what `encode` gave of each modality that a sample has."""
        ...


@dataclass(frozen=True)
class WholeGraph:
    """The network in one piece: nothing can be encoded ahead, and the encoders of absent modalities run on padding, which
    the graph is told not to look at."""

    manifest: Manifest
    session: onnxruntime.InferenceSession

    def encode(self, name: str, arrays: Sequence[Array]) -> list[Array]:
        return list(arrays)

    def fuse(self, encoded: Sequence[Mapping[str, Array]]) -> Vectors:
        inputs = self.manifest.inputs
        feed = {each.name: batch_of(each, [arrays.get(each.name) for arrays in encoded]) for each in inputs}
        feed[self.manifest.presence_input] = np.array(
            [[each.name in arrays for each in inputs] for arrays in encoded]
        )
        fused: Vectors = self.session.run([self.manifest.output], feed)[0]
        return fused


@dataclass(frozen=True)
class SplitGraphs:
    """An encoder per modality, which runs on those samples only that have it, and the fusion of their tokens."""

    manifest: Manifest
    encoders: Mapping[str, onnxruntime.InferenceSession]
    fusion: onnxruntime.InferenceSession
    widths: Mapping[str, int]
    """Of each modality's tokens."""
    one_by_one: bool
    """Whether samples are computed one after the other. In int8 they must be: its scales are of all numbers that are
    computed at once, so that those in one batch would change one another's vectors."""

    def encode(self, name: str, arrays: Sequence[Array]) -> list[Array]:
        """Of each sample the tokens (L, width) that are there, in memory of its own."""
        wanted = self.manifest.input_named(name)
        assert wanted is not None
        batches = [[each] for each in arrays] if self.one_by_one else [arrays]
        return [tokens for batch in batches if batch for tokens in self._encoded(wanted, batch)]

    def fuse(self, encoded: Sequence[Mapping[str, Array]]) -> Vectors:
        batches = [[each] for each in encoded] if self.one_by_one else [encoded]
        return np.concatenate([self._fused(batch) for batch in batches])

    def _encoded(self, wanted: Input, arrays: Sequence[Array]) -> list[Array]:
        outputs = [tokens_of(wanted.name), there_of(wanted.name)]
        tokens, there = self.encoders[wanted.name].run(outputs, {wanted.name: batch_of(wanted, arrays)})
        return [each[own] for each, own in zip(tokens, there, strict=True)]

    def _fused(self, encoded: Sequence[Mapping[str, Array]]) -> Vectors:
        feed: dict[str, Array] = {}
        for name, width in self.widths.items():
            rows = [arrays.get(name) for arrays in encoded]
            feed[tokens_of(name)], feed[there_of(name)] = _side_by_side(rows, width)
        fused: Vectors = self.fusion.run([self.manifest.output], feed)[0]
        return fused


def widths_of(manifest: Manifest, fusion: onnxruntime.InferenceSession) -> dict[str, int]:
    """Raises KeyError when the fusion does not take the tokens of every modality."""
    shapes = {each.name: each.shape for each in fusion.get_inputs()}
    return {each.name: int(shapes[tokens_of(each.name)][-1]) for each in manifest.inputs}


def _side_by_side(rows: Sequence[Array | None], width: int) -> tuple[Array, Array]:
    """Tokens (B, L, width) and which of them are there (B, L): of a sample without the modality none."""
    longest = max((len(row) for row in rows if row is not None), default=0)
    tokens = np.zeros((len(rows), max(1, longest), width), dtype=np.float32)
    there = np.zeros(tokens.shape[:2], dtype=np.bool_)
    for place, row in enumerate(rows):
        if row is not None:
            tokens[place, : len(row)], there[place, : len(row)] = row, True
    return tokens, there


def batch_of(wanted: Input, arrays: Sequence[Array | None]) -> Array:
    """A modality's arrays as the network takes them; padding where a sample has none."""
    match wanted:
        case ImageInput():
            shape = wanted.channels, wanted.height, wanted.width
            return _stacked(arrays, shape, partial(_put_image, wanted))
        case TableInput():
            return _stacked(arrays, (wanted.features,))
        case TextInput():
            return _texts(wanted, arrays)
        case SequenceInput():
            return _sequences(wanted, arrays)


def _stacked(
    arrays: Sequence[Array | None],
    shape: tuple[int, ...],
    put: Callable[[NDArray[np.float32], Array], object] = np.copyto,
) -> NDArray[np.float32]:
    batch = np.zeros((len(arrays), *shape), dtype=np.float32)
    for row, array in zip(batch, arrays, strict=True):
        if array is not None:
            put(row, array)
    return batch


def _put_image(wanted: ImageInput, row: NDArray[np.float32], array: Array) -> None:
    if array.dtype == np.uint8:
        normalised(array, wanted, into=row)
    else:
        row[:] = array


def _texts(wanted: TextInput, arrays: Sequence[Array | None]) -> NDArray[np.int64]:
    """Padded to the longest of the batch."""
    texts = [np.empty(0, dtype=np.int64) if each is None else each for each in arrays]
    batch = np.full((len(texts), max(1, *map(len, texts))), wanted.pad_id, dtype=np.int64)
    for row, ids in zip(batch, texts, strict=True):
        row[: len(ids)] = ids
    return batch


def _sequences(wanted: SequenceInput, arrays: Sequence[Array | None]) -> NDArray[np.float32]:
    """Padded to the longest of the batch, or to the one length that the network takes."""
    none = np.empty((0, wanted.features), dtype=np.float32)
    sequences = [none if each is None else each for each in arrays]
    length = wanted.max_steps if wanted.fixed_steps else max(1, *map(len, sequences))
    batch = np.zeros((len(sequences), length, wanted.features), dtype=np.float32)
    for row, steps in zip(batch, sequences, strict=True):
        row[: len(steps)] = steps
    return batch
