"""One model in memory: loaded from verified bytes, tried once, and then asked for batches.

B samples of a batch, D embedding width.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors
from tokenizers import Tokenizer

from models_store.manifest import ImageInput, Input, Manifest, SequenceInput, TableInput, TextInput
from models_store.store import DamagedModelError, ModelStore
from service.inference.prepare import Sample
from service.inference.texts import open_tokenizer

log = logging.getLogger(__name__)

MODEL = "model.onnx"
GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
"""One of these is there wherever a process can reach an NVIDIA GPU, on Linux and under WSL."""
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
    runtime_errors.NoModel,
    runtime_errors.RuntimeException,
    runtime_errors.EPFail,
)


@dataclass(frozen=True)
class Served:
    """A model ready to answer."""

    digest: str
    manifest: Manifest
    tokenizers: Mapping[str, Tokenizer]
    """By modality."""
    session: onnxruntime.InferenceSession

    def run(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """(B, D). What a sample lacks is filled with padding, which the graph is told not to look at."""
        present = [[each.name in sample.arrays for each in self.manifest.inputs] for sample in samples]
        feed = {wanted.name: _batch(wanted, samples) for wanted in self.manifest.inputs}
        feed[self.manifest.presence_input] = np.array(present)
        fused: NDArray[np.float32] = self.session.run([self.manifest.output], feed)[0]
        return fused


def load(store: ModelStore, digest: str) -> Served:
    """Raises StoreError, also when the bundle is whole but does not work here; OSError when the store is out of reach."""
    manifest = store.manifest(digest)
    tokenizers = {
        each.name: open_tokenizer(store.read(digest, each.tokenizer), each)
        for each in manifest.inputs
        if isinstance(each, TextInput)
    }
    content = store.read(digest, MODEL)
    try:
        session = onnxruntime.InferenceSession(content, _options(), providers=_providers())
        served = Served(digest, manifest, tokenizers, session)
        # The first run allocates; better now than in somebody's request. And it shows whether the graph is as described.
        shape = served.run([Sample({})]).shape
    except RUNTIME_ERRORS as error:
        raise DamagedModelError(f"model {digest} cannot be run here: {error}") from error
    if shape != (1, manifest.embedding_dim):
        raise DamagedModelError(
            f"model {digest} gives {shape}, not the {manifest.embedding_dim} numbers it declares"
        )
    log.info("loaded %s %s on %s", manifest.name, digest[:12], session.get_providers()[0])
    return served


def on_gpu() -> bool:
    available = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return available and any(Path(device).exists() for device in GPU_DEVICES)


def _providers() -> list[str]:
    return ["CUDAExecutionProvider", "CPUExecutionProvider"] if on_gpu() else ["CPUExecutionProvider"]


def _options() -> onnxruntime.SessionOptions:
    """One thread per run: batches run side by side, and a trainer on the same machine is left its share."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _batch(wanted: Input, samples: Sequence[Sample]) -> NDArray[Any]:
    match wanted:
        case ImageInput():
            return _stacked(wanted.name, samples, (wanted.channels, wanted.height, wanted.width))
        case TableInput():
            return _stacked(wanted.name, samples, (wanted.features,))
        case TextInput():
            return _texts(wanted, samples)
        case SequenceInput():
            return _sequences(wanted, samples)


def _stacked(name: str, samples: Sequence[Sample], shape: tuple[int, ...]) -> NDArray[np.float32]:
    batch = np.zeros((len(samples), *shape), dtype=np.float32)
    for row, sample in zip(batch, samples, strict=True):
        if name in sample.arrays:
            row[:] = sample.arrays[name]
    return batch


def _texts(wanted: TextInput, samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Padded to the longest of the batch."""
    texts = [sample.arrays.get(wanted.name, np.empty(0, dtype=np.int64)) for sample in samples]
    batch = np.full((len(texts), max(1, *map(len, texts))), wanted.pad_id, dtype=np.int64)
    for row, ids in zip(batch, texts, strict=True):
        row[: len(ids)] = ids
    return batch


def _sequences(wanted: SequenceInput, samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Padded to the longest of the batch, or to the one length that the network takes."""
    none = np.empty((0, wanted.features), dtype=np.float32)
    sequences = [sample.arrays.get(wanted.name, none) for sample in samples]
    length = wanted.max_steps if wanted.fixed_steps else max(1, *map(len, sequences))
    batch = np.zeros((len(sequences), length, wanted.features), dtype=np.float32)
    for row, steps in zip(batch, sequences, strict=True):
        row[: len(steps)] = steps
    return batch
