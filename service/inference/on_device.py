"""A model's graphs on a GPU: what a modality was encoded to stays there until it is fused, and vectors alone come back.

B samples of a batch, n of them with a modality, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models_store.manifest import Manifest, there_of, tokens_of
from service.inference.graphs import Array, Vectors, batch_of


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


@dataclass(frozen=True)
class Rows:
    """Puts rows of a batch into another order, some of them several times, and leaves others empty, without leaving the
    device: tokens (n, L, width) to (B, L, width), there (n, L) to (B, L).

    Its graph is that of `tests/service/inference/test_on_device.py`, which writes the file: `Gather` of both along the rows,
    and `And` with whether a sample has the modality.
    """

    session: onnxruntime.InferenceSession
    device: str

    def __call__(self, batch: EncodedBatch, places: Sequence[int | None]) -> EncodedBatch:
        """places: of the row that each sample gets, or None for a sample that has none."""
        if list(places) == list(range(len(batch))):
            return batch
        binding = self.session.io_binding()
        binding.bind_ortvalue_input("tokens", batch.tokens)
        binding.bind_ortvalue_input("there", batch.there)
        binding.bind_cpu_input("rows", np.array([each or 0 for each in places]))
        binding.bind_cpu_input("has", np.array([[each is not None] for each in places]))
        return EncodedBatch(*_bound(self.session, binding, ["tokens_out", "there_out"], self.device))


@dataclass(frozen=True)
class DeviceGraphs:
    """As `SplitGraphs`, but that what `encode` gives is of use to `fuse` alone, and a modality's must come from one call."""

    manifest: Manifest
    encoders: Mapping[str, onnxruntime.InferenceSession]
    fusion: onnxruntime.InferenceSession
    rows: Rows
    widths: Mapping[str, int]
    """Of each modality's tokens."""
    device: str = "cuda"

    def encode(self, name: str, arrays: Sequence[Array]) -> list[Row]:
        wanted = self.manifest.input_named(name)
        assert wanted is not None
        if not arrays:
            return []
        session = self.encoders[name]
        binding = session.io_binding()
        binding.bind_cpu_input(name, batch_of(wanted, arrays))
        batch = EncodedBatch(*_bound(session, binding, [tokens_of(name), there_of(name)], self.device))
        return [Row(batch, place) for place in range(len(arrays))]

    def fuse(self, encoded: Sequence[Mapping[str, Row]]) -> Vectors:
        binding = self.fusion.io_binding()
        for name, width in self.widths.items():
            rows = [each.get(name) for each in encoded]
            batches = {id(row.batch): row.batch for row in rows if row is not None}
            if not batches:
                binding.bind_cpu_input(tokens_of(name), np.zeros((len(rows), 1, width), np.float32))
                binding.bind_cpu_input(there_of(name), np.zeros((len(rows), 1), np.bool_))
                continue
            (batch,) = batches.values()
            chosen = self.rows(batch, [row.place if row else None for row in rows])
            binding.bind_ortvalue_input(tokens_of(name), chosen.tokens)
            binding.bind_ortvalue_input(there_of(name), chosen.there)
        (fused,) = _bound(self.fusion, binding, [self.manifest.output], self.device)
        vectors: NDArray[np.float32] = fused.numpy()
        return vectors


def _bound(
    session: onnxruntime.InferenceSession, binding: Any, outputs: Sequence[str], device: str
) -> list[onnxruntime.OrtValue]:
    for name in outputs:
        binding.bind_output(name, device)
    session.run_with_iobinding(binding)
    values: list[onnxruntime.OrtValue] = binding.get_outputs()
    return values
