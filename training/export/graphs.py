"""From a method to ONNX graphs: an encoder per modality, the fusion, and all of it in one piece."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models_store.manifest import Input, there_of, tokens_of
from training.export.inputs import open_length
from training.methods import Encoded, Method

OPSET = 20
PRESENT, FUSED = "present", "fused"
MOST_TOKENS = 1 << 20
Shape = dict[int, Any]


class Encoding(nn.Module):
    """A method's encoding of one modality, as the exporter wants to call it."""

    def __init__(self, method: Method, name: str) -> None:
        super().__init__()
        self.method = method
        self.name = name

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        (raw,) = tensors
        tokens, there = self.method.encode(self.name, raw)
        return tokens, there


class Combining(nn.Module):
    """A method's combining of all modalities' tokens, with its inputs in order: tokens and there of each."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, *tensors: Tensor) -> Tensor:
        pairs = zip(tensors[::2], tensors[1::2], strict=True)
        return self.method.combine([Encoded(tokens, there) for tokens, there in pairs])


def encoder_graph(method: Method, described: Input, inputs: Tensor) -> ModelProto:
    """The batch's size is left open, and so is the length of an input that may have several. inputs: two samples."""
    name, longest = described.name, open_length(described)
    shape = {0: _batch()} if longest is None else {0: _batch(), 1: _length(name, longest)}
    return _graph(Encoding(method, name), [inputs], [shape], [name], [tokens_of(name), there_of(name)])


def fusion_graph(method: Method, widths: Mapping[str, int]) -> ModelProto:
    """The batch's size and every modality's number of tokens are left open. widths: of each modality's tokens."""
    tensors: list[Tensor] = []
    shapes: list[Shape] = []
    names: list[str] = []
    for name, width in widths.items():
        tensors += [torch.randn(2, 3, width), torch.ones(2, 3, dtype=torch.bool)]
        shapes += [{0: _batch(), 1: _length(name, MOST_TOKENS)}] * 2
        names += [tokens_of(name), there_of(name)]
    return _graph(Combining(method), tensors, shapes, names, [FUSED])


def whole_graph(encoders: Mapping[str, ModelProto], fusion: ModelProto) -> ModelProto:
    """The encoders and the fusion as one graph, which takes the modalities' inputs and which of them each row has."""
    parts = {name: _prefixed(model, f"{name}/") for name, model in encoders.items()}
    last = _prefixed(fusion, "fusion/")
    for node in last.graph.node:
        node.input[:] = [seen if (seen := _seen(each, encoders)) else each for each in node.input]
    graphs = [*(each.graph for each in parts.values()), last.graph]
    present = helper.make_tensor_value_info(PRESENT, TensorProto.BOOL, ["batch", len(encoders)])
    initial = [tensor for graph in graphs for tensor in graph.initializer]
    nodes = [node for each in parts.values() for node in each.graph.node]
    for place, name in enumerate(encoders):
        bounds = [f"{name}/first", f"{name}/end", "columns"]
        initial += [numpy_helper.from_array(np.array([place + at]), bounds[at]) for at in (0, 1)]
        nodes += [
            helper.make_node("Slice", [PRESENT, *bounds], [f"{name}/has"]),
            helper.make_node("And", [there_of(name), f"{name}/has"], [f"{name}/seen"]),
        ]
    initial.append(numpy_helper.from_array(np.array([1]), "columns"))
    inputs = [*(each for model in parts.values() for each in model.graph.input), present]
    graph = helper.make_graph([*nodes, *last.graph.node], "whole", inputs, last.graph.output, initial)
    return helper.make_model(
        graph, opset_imports=_opsets([*parts.values(), last]), ir_version=last.ir_version
    )


def _seen(value: str, names: Mapping[str, ModelProto]) -> str | None:
    """What the fusion of the whole graph reads in the place of what a modality alone says is there."""
    return next((f"{name}/seen" for name in names if value == there_of(name)), None)


def _prefixed(model: ModelProto, prefix: str) -> ModelProto:
    """With names of its own for all that is inside, so that graphs can be put together."""
    prefixed: ModelProto = onnx.compose.add_prefix(model, prefix, rename_inputs=False, rename_outputs=False)
    return prefixed


def _opsets(models: Sequence[ModelProto]) -> list[Any]:
    versions = {each.domain: each.version for model in models for each in model.opset_import}
    return [helper.make_opsetid(domain, version) for domain, version in versions.items()]


def _batch() -> Any:
    return torch.export.Dim("batch", min=1, max=65_536)


def _length(name: str, longest: int) -> Any:
    return torch.export.Dim(f"{name}_length", min=1, max=longest)


def _graph(
    module: nn.Module,
    tensors: Sequence[Tensor],
    shapes: Sequence[Shape],
    inputs: list[str],
    outputs: list[str],
) -> ModelProto:
    for chatty in ("onnxscript", "onnx_ir"):  # they tell of every node that they leave as it is
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Several inputs share the names of their axes, which is meant; the exporter remarks on it.
        warnings.filterwarnings("ignore", message="# The axis name: .* will not be used")
        # torch's own code asks torch in a way that torch calls old.
        warnings.filterwarnings(
            "ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning
        )
        program = torch.onnx.export(
            module.eval(),
            tuple(tensors),
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=(tuple(shapes),),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: ModelProto = program.model_proto
    # Shapes of what lies between, some of which the quantizer takes for contradictions; runtimes infer them.
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]  # where in whose folders each line of code stands
    return model
