"""The same network in other precisions."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import ModelProto
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

from models_store.manifest import Precision, Variant

QUANTIZED = ["MatMul", "Gemm"]
"""Convolutions in whole numbers are no faster on a CPU, and for small ones slower."""


def write_variant(
    folder: Path, precision: Precision, encoders: Mapping[str, ModelProto], fusion: ModelProto
) -> Variant:
    """The graphs in a precision, as files. One file each with the weights inside: what is verified by its sha256 is then
    all that is loaded."""
    suffix = "" if precision == "fp32" else f".{precision}"
    files = {name: f"encoder-{name}{suffix}.onnx" for name in encoders}
    last = f"fusion{suffix}.onnx"
    for file, graph in [*((files[name], graph) for name, graph in encoders.items()), (last, fusion)]:
        write_graph(in_precision(graph, precision), folder / file)
    return Variant(precision=precision, encoders=files, fusion=last)


def remove_variant(folder: Path, variant: Variant) -> None:
    for file in (*variant.encoders.values(), variant.fusion):
        (folder / file).unlink()


def write_graph(graph: ModelProto, path: Path) -> None:
    onnx.save_model(graph, path, save_as_external_data=False)


def in_precision(graph: ModelProto, precision: Precision) -> ModelProto:
    """Whose inputs and outputs are in float32 all the same."""
    match precision:
        case "fp32":
            return graph
        case "int8":
            return _quantized(graph)
        case "fp16":
            copy = ModelProto()
            copy.CopyFrom(graph)
            half: ModelProto = convert_float_to_float16(copy, keep_io_types=True)
            return half


def _quantized(graph: ModelProto) -> ModelProto:
    """Weights by output channel when the graph is made, activations whenever it runs."""
    advises = logging.getLogger()
    level = advises.level
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        advises.setLevel(logging.ERROR)  # it recommends preparations that are for other networks
        try:
            quantize_dynamic(
                graph, path, op_types_to_quantize=QUANTIZED, per_channel=True, weight_type=QuantType.QInt8
            )
        finally:
            advises.setLevel(level)
        return onnx.load_model(path)
