"""A published network for numbers that one can check by hand: it adds up a series' steps beside a table's columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from models_store.manifest import SequenceInput, TableInput
from models_store.store import ModelStore
from tests.models_store.bundles import bundle

SERIES = SequenceInput(name="series", features=3, max_steps=6, fixed_steps=False)
STATIC = TableInput(name="static", features=2)


def published(
    store: ModelStore, folder: Path, series: SequenceInput = SERIES, static: TableInput = STATIC
) -> str:
    """The digest."""
    return store.publish(exported(folder, series, static))


def exported(folder: Path, series: SequenceInput = SERIES, static: TableInput = STATIC) -> Path:
    """The folder. The embedding is the series' sum (3), the static numbers (2), and how many steps the batch has (1)."""
    inputs = [series.model_dump(), static.model_dump()]
    return bundle(folder, {"model.onnx": _graph(series)}, name="measured", embedding_dim=6, inputs=inputs)


def _graph(series: SequenceInput) -> bytes:
    length: Any = series.max_steps if series.fixed_steps else "length"
    nodes = [
        helper.make_node("ReduceSum", ["series", "over_steps"], ["total"], keepdims=0),
        helper.make_node("Shape", ["series"], ["steps_of_all"], start=1, end=2),
        helper.make_node("Cast", ["steps_of_all"], ["one_count"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["series"], ["batch_size"], start=0, end=1),
        helper.make_node("Concat", ["batch_size", "one"], ["per_sample"], axis=0),
        helper.make_node("Expand", ["one_count", "per_sample"], ["counts"]),
        helper.make_node("Concat", ["total", "static", "counts"], ["beside"], axis=1),
        helper.make_node("Cast", ["present"], ["there"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["there", "over_steps"], ["any"], keepdims=1),
        helper.make_node("Mul", ["beside", "any"], ["fused"]),
    ]
    graph = helper.make_graph(
        nodes,
        "measured",
        [
            helper.make_tensor_value_info("series", TensorProto.FLOAT, ["batch", length, series.features]),
            helper.make_tensor_value_info("static", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("present", TensorProto.BOOL, ["batch", 2]),
        ],
        [helper.make_tensor_value_info("fused", TensorProto.FLOAT, ["batch", 6])],
        [
            numpy_helper.from_array(np.array([1]), "over_steps"),
            numpy_helper.from_array(np.array([1]), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content
