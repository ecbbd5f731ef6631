"""A model's graphs on a GPU: what a modality was encoded to stays there until it is fused, and vectors alone come back.

B samples of a batch, n of them with a modality, L tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models_store.manifest import ImageInput, Input, Manifest, there_of, tokens_of
from service.inference import devices
from service.inference.graphs import Array, Vectors, batch_of
from service.inference.images import mean_and_std


@dataclass(frozen=True)
class EncodedBatch:
    """Tokens (n, L, width) and which of them are there (n, L), in the device's memory."""

    tokens: onnxruntime.OrtValue
    there: onnxruntime.OrtValue

    def __len__(self) -> int:
        return int(self.tokens.shape()[0])


@dataclass(frozen=True)
class Row:
    """One sample's tokens."""

    batch: EncodedBatch
    place: int


class Device:
    """What is done on a device beside the models' own graphs.

    The two graphs for it are files, as nothing that makes graphs is installed where models are served;
    `tests/service/inference/test_on_device.py` says what is in them, and writes them.
    """

    def __init__(self, provider: str, name: str) -> None:
        """name: as ONNX Runtime calls the provider's memory."""
        self.name = name
        self._rows, self._pixels = (
            devices.session(each, provider, 1) for each in (devices.ROWS, devices.PIXELS)
        )

    def run(
        self,
        session: onnxruntime.InferenceSession,
        inputs: Mapping[str, Array | onnxruntime.OrtValue],
        outputs: Sequence[str],
    ) -> list[onnxruntime.OrtValue]:
        """The outputs stay on the device; arrays are copied to it."""
        binding = session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, np.ndarray):
                binding.bind_cpu_input(name, value)
            else:
                binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, self.name)
        session.run_with_iobinding(binding)
        values: list[onnxruntime.OrtValue] = binding.get_outputs()
        return values

    def rows(self, batch: EncodedBatch, places: Sequence[int | None]) -> EncodedBatch:
        """Tokens (B, L, width) and there (B, L): of each sample the row at its place, or nothing that is there."""
        if list(places) == list(range(len(batch))):
            return batch
        inputs = {
            "tokens": batch.tokens,
            "there": batch.there,
            "rows": np.array([each or 0 for each in places]),
            "has": np.array([[each is not None] for each in places]),
        }
        return EncodedBatch(*self.run(self._rows, inputs, ["tokens_out", "there_out"]))

    def batch_of(self, wanted: Input, arrays: Sequence[Array]) -> Array | onnxruntime.OrtValue:
        """As `graphs.batch_of`. Images of bytes are normalised on the device: to send them takes a quarter of the time."""
        if not isinstance(wanted, ImageInput) or any(each.dtype != np.uint8 for each in arrays):
            return batch_of(wanted, arrays)
        mean, std = mean_and_std(wanted)
        inputs = {"values": np.stack(arrays), "mean": mean, "std": std}
        (batch,) = self.run(self._pixels, inputs, ["normalised"])
        return batch


@functools.cache
def gpu() -> Device:
    """The same for all models."""
    return Device(devices.CUDA, "cuda")


@dataclass(frozen=True)
class DeviceGraphs:
    """As `SplitGraphs`, but that what `encode` gives is of use to `fuse` alone, and a modality's must come from one call."""

    manifest: Manifest
    encoders: Mapping[str, onnxruntime.InferenceSession]
    fusion: onnxruntime.InferenceSession
    widths: Mapping[str, int]
    """Of each modality's tokens."""
    device: Device

    def encode(self, name: str, arrays: Sequence[Array]) -> list[Row]:
        wanted = self.manifest.input_named(name)
        assert wanted is not None
        if not arrays:
            return []
        inputs = {name: self.device.batch_of(wanted, arrays)}
        batch = EncodedBatch(*self.device.run(self.encoders[name], inputs, [tokens_of(name), there_of(name)]))
        return [Row(batch, place) for place in range(len(arrays))]

    def fuse(self, encoded: Sequence[Mapping[str, Row]]) -> Vectors:
        inputs: dict[str, Any] = {}
        for name, width in self.widths.items():
            rows = [each.get(name) for each in encoded]
            batches = {id(row.batch): row.batch for row in rows if row is not None}
            if not batches:
                inputs[tokens_of(name)] = np.zeros((len(rows), 1, width), np.float32)
                inputs[there_of(name)] = np.zeros((len(rows), 1), np.bool_)
                continue
            (batch,) = batches.values()
            chosen = self.device.rows(batch, [row.place if row else None for row in rows])
            inputs[tokens_of(name)], inputs[there_of(name)] = chosen.tokens, chosen.there
        (fused,) = self.device.run(self.fusion, inputs, [self.manifest.output])
        vectors: NDArray[np.float32] = fused.numpy()
        return vectors
