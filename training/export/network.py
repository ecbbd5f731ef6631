"""A variant of the network as ONNX Runtime runs it, in the manner of serving. B samples, L tokens, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models_store.manifest import Input, Variant, there_of, tokens_of
from training.export.graphs import FUSED
from training.export.inputs import Subset, unpadded

Array = NDArray[np.generic]
Vectors = NDArray[np.float32]
BATCH = 32


def session(path: Path, *, optimised: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Network:
    """Each encoder runs on what has its modality, and the fusion on the tokens that are there.

    int8 takes each sample by itself: its scales are of all numbers that are computed at once, so that samples in one batch
    would change one another's vectors.
    """

    def __init__(self, folder: Path, variant: Variant, inputs: Sequence[Input]) -> None:
        self._inputs = {each.name: each for each in inputs}
        # ONNX Runtime's optimisations of fp16 are for GPUs; on a CPU some of them end the process.
        optimised = variant.precision != "fp16"
        self._encoders = {
            name: session(folder / file, optimised=optimised) for name, file in variant.encoders.items()
        }
        self._fusion = session(folder / variant.fusion, optimised=optimised)
        self._one_by_one = variant.precision == "int8"

    def vectors(self, inputs: Mapping[str, Array], subsets: Sequence[Subset]) -> Vectors:
        """(subsets, B, D) of the samples, each modality (B, …), with each subset of their modalities."""
        total = len(next(iter(inputs.values())))
        parts = []
        for at in range(0, total, BATCH):
            encoded = {name: self._encode(name, batch[at : at + BATCH]) for name, batch in inputs.items()}
            parts.append(np.stack([self._fuse(encoded, subset) for subset in subsets]))
        return np.concatenate(parts, axis=1)

    def _encode(self, name: str, batch: Array) -> list[Array]:
        """Of each sample the tokens (L, width) that are there."""
        if self._one_by_one:
            alone = [unpadded(row, self._inputs[name])[None] for row in batch]
            return [tokens for each in alone for tokens in self._tokens(name, each)]
        return self._tokens(name, batch)

    def _tokens(self, name: str, batch: Array) -> list[Array]:
        tokens, there = self._encoders[name].run([tokens_of(name), there_of(name)], {name: batch})
        return [each[own] for each, own in zip(tokens, there, strict=True)]

    def _fuse(self, encoded: Mapping[str, list[Array]], subset: Subset) -> Vectors:
        if not self._one_by_one:
            return self._fused(encoded, subset)
        total = len(next(iter(encoded.values())))
        alone = [{name: tokens[row : row + 1] for name, tokens in encoded.items()} for row in range(total)]
        return np.concatenate([self._fused(each, subset) for each in alone])

    def _fused(self, encoded: Mapping[str, list[Array]], subset: Subset) -> Vectors:
        feed: dict[str, Array] = {}
        for name, rows in encoded.items():
            kept = rows if name in subset else [row[:0] for row in rows]
            shape = (len(kept), max(1, *map(len, kept)))
            tokens, there = np.zeros((*shape, rows[0].shape[-1]), np.float32), np.zeros(shape, bool)
            for place, row in enumerate(kept):
                tokens[place, : len(row)], there[place, : len(row)] = row, True
            feed |= {tokens_of(name): tokens, there_of(name): there}
        fused: Vectors = self._fusion.run([FUSED], feed)[0]
        return fused
