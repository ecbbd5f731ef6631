"""One model in memory, in one precision: loaded from verified bytes, tried once, and then asked for batches.

B samples of a batch, D embedding width.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors
from tokenizers import Tokenizer

from models_store.manifest import ImageInput, Input, Manifest, Precision, TextInput
from models_store.store import DamagedModelError, ModelStore, StoreError
from service.inference import devices
from service.inference.devices import CUDA, on_gpu
from service.inference.golden import assert_reproduces
from service.inference.graphs import Graphs, SplitGraphs, WholeGraph, widths_of
from service.inference.on_device import DeviceGraphs, gpu
from service.inference.prepare import Sample
from service.inference.texts import open_tokenizer
from service.inference.tokens import Tokens

log = logging.getLogger(__name__)

MODEL = "model.onnx"
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
        encoded: list[dict[str, Any]] = [{} for _ in samples]
        for wanted in self.manifest.inputs:
            having = [place for place, sample in enumerate(samples) if wanted.name in sample.arrays]
            own = self._encoded(graphs, wanted, [samples[place] for place in having])
            for place, tokens in zip(having, own, strict=True):
                encoded[place][wanted.name] = tokens
        return graphs.fuse(encoded)

    def _encoded(self, graphs: Graphs, wanted: Input, samples: Sequence[Sample]) -> Sequence[Any]:
        """As `Graphs.encode`; images that are known, or are equal, are encoded once."""
        arrays = [sample.arrays[wanted.name] for sample in samples]
        keys = [key for sample in samples if (key := sample.keys.get(wanted.name)) is not None]
        if not isinstance(wanted, ImageInput) or len(keys) < len(samples):
            return graphs.encode(wanted.name, arrays)
        known: dict[bytes, Any] = {key: self.images.get(key) if self.images else None for key in keys}
        new = {key: array for key, array in zip(keys, arrays, strict=True) if known[key] is None}
        for key, tokens in zip(new, graphs.encode(wanted.name, list(new.values())), strict=True):
            known[key] = tokens
            if self.images:
                self.images.keep(key, tokens)
        return [known[key] for key in keys]


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
        each.name: _tokenizer(store, digest, each) for each in manifest.inputs if isinstance(each, TextInput)
    }
    provider = devices.provider(precision)
    threads = [1, threads_alone] if threads_alone > 1 and provider != CUDA else [1]
    try:
        graphs, *wide = _graphs(store, digest, manifest, precision, threads)
    except LOADING_ERRORS as error:
        raise DamagedModelError(f"model {digest} cannot be run here: {error}") from error
    # Of a network in one piece there is nothing to keep but the images themselves, and to bring back from a GPU what it
    # computes anew in less time would only slow it down.
    kept = images if isinstance(graphs, SplitGraphs) else None
    log.info("loaded %s %s in %s on %s", manifest.name, digest[:12], precision, provider)
    return Served(
        digest, manifest, precision, tokenizers, graphs, kept, wide[0] if wide else None, threads[-1]
    )


def _tokenizer(store: ModelStore, digest: str, wanted: TextInput) -> Tokenizer:
    content = store.read(digest, wanted.tokenizer)
    try:
        return open_tokenizer(content, wanted)
    except Exception as error:  # `tokenizers` raises nothing narrower
        raise DamagedModelError(
            f"the tokenizer of model {digest} cannot be read here: {error}; it may be of a newer version of `tokenizers`"
        ) from error


def precisions_here(manifest: Manifest) -> tuple[Precision, ...]:
    """In which a model can be served on this machine: a CPU would turn every number of fp16 into fp32 and back."""
    return tuple(each for each in manifest.precisions if each != "fp16" or on_gpu())


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
    provider = devices.provider(precision)

    def sessions(file: str) -> list[onnxruntime.InferenceSession]:
        content = store.read(digest, file)
        return [devices.session(content, provider, each) for each in threads]

    variant = manifest.variant(precision)
    if variant is None:
        return [WholeGraph(manifest, session) for session in sessions(MODEL)]
    encoders = {name: sessions(file) for name, file in variant.encoders.items()}
    made: list[Graphs] = []
    for place, fusion in enumerate(sessions(variant.fusion)):
        own, widths = {name: each[place] for name, each in encoders.items()}, widths_of(manifest, fusion)
        if provider == CUDA:
            made.append(DeviceGraphs(manifest, own, fusion, widths, gpu()))
        else:
            made.append(SplitGraphs(manifest, own, fusion, widths, one_by_one=precision == "int8"))
    return made
