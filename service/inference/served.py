"""One model in memory, in one precision: loaded from verified bytes, tried once, and then asked for batches.

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

from models_store.manifest import ImageInput, Input, Manifest, Precision, TextInput
from models_store.store import DamagedModelError, ModelStore, StoreError
from service.inference.golden import assert_reproduces
from service.inference.graphs import Graphs, SplitGraphs, WholeGraph, widths_of
from service.inference.prepare import Sample
from service.inference.texts import open_tokenizer
from service.inference.tokens import Tokens

log = logging.getLogger(__name__)

MODEL = "model.onnx"
CPU = "CPUExecutionProvider"
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
LOADING_ERRORS: tuple[type[Exception], ...] = (*RUNTIME_ERRORS, KeyError, ValueError)
"""The last two where names or shapes are not those of the manifest."""


class PrecisionError(StoreError):
    """The model is not to be had here in the precision that was asked for; the message says in which it is."""


@dataclass(frozen=True)
class Served:
    """A model ready to answer."""

    digest: str
    manifest: Manifest
    precision: Precision
    tokenizers: Mapping[str, Tokenizer]
    """By modality."""
    graphs: Graphs
    images: Tokens | None = None
    """What images were encoded to lately."""
    wide: Graphs | None = None
    """The same network with more threads for a batch. Its vectors are the same."""
    width: int = 1
    """How many threads that is; without `wide`, 1."""

    def run(self, samples: Sequence[Sample], alone: bool = False) -> NDArray[np.float32]:
        """(B, D). Each modality is encoded of those samples that have it. What runs `alone` has all threads that there are."""
        graphs = self.wide if alone and self.wide is not None else self.graphs
        encoded: list[dict[str, NDArray[Any]]] = [{} for _ in samples]
        for wanted in self.manifest.inputs:
            having = [place for place, sample in enumerate(samples) if wanted.name in sample.arrays]
            own = self._encoded(graphs, wanted, [samples[place] for place in having])
            for place, tokens in zip(having, own, strict=True):
                encoded[place][wanted.name] = tokens
        return graphs.fuse(encoded)

    def encode(self, name: str, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """What the model makes of one modality of some samples, as in `Sample.arrays`: it depends on nothing else, and may
        be kept and fused again."""
        return self.graphs.encode(name, arrays)

    def _encoded(self, graphs: Graphs, wanted: Input, samples: Sequence[Sample]) -> list[NDArray[Any]]:
        """As `encode`; images that are known, or are equal, are encoded once."""
        arrays = {place: sample.arrays[wanted.name] for place, sample in enumerate(samples)}
        keys = [sample.keys.get(wanted.name) for sample in samples]
        if self.images is None or not isinstance(wanted, ImageInput) or None in keys:
            return graphs.encode(wanted.name, list(arrays.values()))
        known = {key: self.images.get(key) for key in keys if key is not None}
        new = {key: arrays[place] for place, key in enumerate(keys) if key is not None and known[key] is None}
        for key, tokens in zip(new, graphs.encode(wanted.name, list(new.values())), strict=True):
            known[key] = tokens
            self.images.keep(key, tokens)
        return [own for key in keys if key is not None and (own := known[key]) is not None]

    def fuse(self, encoded: Sequence[Mapping[str, NDArray[Any]]]) -> NDArray[np.float32]:
        """(B, D), from what `encode` gave of each modality that a sample has."""
        return self.graphs.fuse(encoded)


def load(
    store: ModelStore,
    digest: str,
    precision: Precision = "fp32",
    images: Tokens | None = None,
    threads_alone: int = 1,
) -> Served:
    """images: where it may keep what they are encoded to. threads_alone: for a batch that runs alone; more than one hold the
    weights twice, and are of no use on a GPU.

    Raises PrecisionError when it is not to be had in the precision, another StoreError also when the bundle is whole
    but does not work here; OSError when the store is out of reach.
    """
    manifest = store.manifest(digest)
    there = precisions_here(manifest)
    if precision not in there:
        raise PrecisionError(_not_here(manifest, precision, there))
    tokenizers = {
        each.name: open_tokenizer(store.read(digest, each.tokenizer), each)
        for each in manifest.inputs
        if isinstance(each, TextInput)
    }
    threads = [1, threads_alone] if threads_alone > 1 and _providers(precision) == [CPU] else [1]
    try:
        graphs, *wide = _graphs(store, digest, manifest, precision, threads)
    except LOADING_ERRORS as error:
        raise DamagedModelError(f"model {digest} cannot be run here: {error}") from error
    # Of a network in one piece there is nothing to keep but the images themselves.
    kept = images if isinstance(graphs, SplitGraphs) else None
    log.info("loaded %s %s in %s on %s", manifest.name, digest[:12], precision, _providers(precision)[0])
    return Served(
        digest, manifest, precision, tokenizers, graphs, kept, wide[0] if wide else None, threads[-1]
    )


def precisions_here(manifest: Manifest) -> tuple[Precision, ...]:
    """In which a model can be served on this machine: a CPU would turn every number of fp16 into fp32 and back."""
    return tuple(each for each in manifest.precisions if each != "fp16" or on_gpu())


def on_gpu() -> bool:
    available = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return available and any(Path(device).exists() for device in GPU_DEVICES)


def _not_here(manifest: Manifest, precision: Precision, there: Sequence[Precision]) -> str:
    reason = next((f": {each.reason}" for each in manifest.withheld if each.precision == precision), "")
    if precision in manifest.precisions:
        reason = ", which needs a GPU, and there is none here"
    return f"the model {manifest.name} is not to be had in {precision}{reason}; ask for {' or '.join(there)}"


def _graphs(
    store: ModelStore, digest: str, manifest: Manifest, precision: Precision, threads: Sequence[int]
) -> list[Graphs]:
    """The network once for each of these numbers of threads, loaded and tried.

    Raises DamagedModelError when one does not do what the manifest says.
    """
    made = _opened(store, digest, manifest, precision, threads)
    for graphs in made:
        # The first run allocates; better now than in somebody's request. And it shows whether the graph is as described.
        shape = graphs.fuse([{}]).shape
        if shape != (1, manifest.embedding_dim):
            raise DamagedModelError(
                f"model {digest} gives {shape}, not the {manifest.embedding_dim} numbers it declares"
            )
    variant, golden = manifest.variant(precision), manifest.golden
    if variant is not None and golden is not None:
        content = store.read(digest, golden.file)
        for graphs in made:
            assert_reproduces(graphs, manifest, golden, variant, content)
    return made


def _opened(
    store: ModelStore, digest: str, manifest: Manifest, precision: Precision, threads: Sequence[int]
) -> list[Graphs]:
    """Each file is read once."""

    def sessions(file: str) -> list[onnxruntime.InferenceSession]:
        content, providers = store.read(digest, file), _providers(precision)
        return [
            onnxruntime.InferenceSession(content, _options(each), providers=providers) for each in threads
        ]

    variant = manifest.variant(precision)
    if variant is None:
        return [WholeGraph(manifest, session) for session in sessions(MODEL)]
    encoders = {name: sessions(file) for name, file in variant.encoders.items()}
    return [
        SplitGraphs(
            manifest,
            {name: of_each[place] for name, of_each in encoders.items()},
            fusion,
            widths_of(manifest, fusion),
            one_by_one=precision == "int8",
        )
        for place, fusion in enumerate(sessions(variant.fusion))
    ]


def _providers(precision: Precision) -> list[str]:
    """A GPU has no kernels for int8."""
    gpu = on_gpu() and precision != "int8"
    return ["CUDAExecutionProvider", CPU] if gpu else [CPU]


def _options(threads: int) -> onnxruntime.SessionOptions:
    """Threads that wait do not spin: a trainer on the same machine is left its share, and so are other batches."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
