"""Graphs whose tokens stay on the device, run here on the CPU as the device, beside those whose tokens come back; and, where
there is a GPU, the models as they are served on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models_store.store import ModelStore
from service.inference import devices
from service.inference.graphs import SplitGraphs
from service.inference.on_device import Device, DeviceGraphs, EncodedBatch
from service.inference.prepare import Sample
from service.inference.served import Served, load
from tests.service.conftest import Exported, Published, publish
from tests.service.inference.test_served import mixed


@pytest.fixture(scope="module")
def here() -> Device:
    return Device(devices.CPU, "cpu")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, exported: Exported) -> Published:
    return publish(ModelStore(str(tmp_path_factory.mktemp("store"))), exported)


@pytest.fixture(scope="module")
def by_host(published: Published) -> Served:
    """The oracle: on the CPU, whatever is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "on_gpu", lambda: False)
        return load(published.store, published.captions)


@pytest.fixture(scope="module")
def by_device(by_host: Served, here: Device) -> Served:
    graphs = by_host.graphs
    assert isinstance(graphs, SplitGraphs)
    parts = graphs.manifest, graphs.encoders, graphs.fusion, graphs.widths
    return replace(by_host, graphs=DeviceGraphs(*parts, here))


def test_vectors_are_those_of_tokens_that_come_back(by_host: Served, by_device: Served) -> None:
    for samples in (mixed(), mixed()[:1], mixed()[1:2], mixed()[2:3], [Sample({})], [*mixed(), Sample({})]):
        assert np.array_equal(by_device.run(samples), by_host.run(samples))


def test_equal_images_of_a_batch_are_encoded_once(by_device: Served) -> None:
    ran: list[int] = []

    class Counting:
        def __init__(self, session: Any) -> None:
            self.session = session

        def io_binding(self) -> Any:
            return self.session.io_binding()

        def run_with_iobinding(self, binding: Any) -> None:
            self.session.run_with_iobinding(binding)
            ran.append(binding.get_outputs()[0].shape()[0])

    graphs: Any = by_device.graphs
    encoders = {**graphs.encoders, "image": Counting(graphs.encoders["image"])}
    counted = replace(by_device, graphs=replace(graphs, encoders=encoders))
    one, other = (mixed()[0] for _ in range(2))
    keyed = [
        Sample({**one.arrays, "text": mixed()[1].arrays["text"]}, keys={"image": b"one", "text": b"a"}),
        Sample(other.arrays, keys={"image": b"other", "text": b"b"}),
        Sample(one.arrays, keys={"image": b"one", "text": b"c"}),
    ]
    assert np.array_equal(counted.run(keyed), by_device.run([Sample(each.arrays) for each in keyed]))
    assert ran == [2]


@pytest.mark.parametrize("places", [[0, 1, 2], [2, None, 0, 2, 1], [None, None, 1], [1]])
def test_rows_are_put_where_they_belong(here: Device, places: Sequence[int | None]) -> None:
    tokens = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    there = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]], bool)
    value = devices.onnxruntime.OrtValue.ortvalue_from_numpy
    got = here.rows(EncodedBatch(value(tokens), value(there)), places)
    assert got.there.shape()[0] == len(places)
    for row, place in enumerate(places):
        if place is None:
            assert not got.there.numpy()[row].any()
        else:
            assert np.array_equal(got.tokens.numpy()[row], tokens[place])
            assert np.array_equal(got.there.numpy()[row], there[place])


def test_images_of_bytes_are_normalised_as_on_the_host(by_host: Served, by_device: Served) -> None:
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (1, 8, 8), dtype=np.uint8) for _ in range(3)]
    samples = [*(Sample({"image": each}) for each in pictures), *mixed()[1:2]]
    assert np.abs(by_device.run(samples) - by_host.run(samples)).max() <= 1e-6
    with_numbers = [*samples, mixed()[0]]
    assert np.array_equal(by_device.run(with_numbers), by_host.run(with_numbers))


def graphs() -> dict[Path, onnx.ModelProto]:
    """Written by `python -m tests.service.inference.test_on_device`."""
    return {devices.ROWS: rows_graph(), devices.PIXELS: pixels_graph()}


def pixels_graph() -> onnx.ModelProto:
    tensor, images = helper.make_tensor_value_info, ["B", "C", "H", "W"]
    float32 = TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["values"], ["numbers"], to=float32),
            helper.make_node("Div", ["numbers", "most"], ["shares"]),
            helper.make_node("Sub", ["shares", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["normalised"]),
        ],
        "pixels",
        [
            tensor("values", TensorProto.UINT8, images),
            tensor("mean", float32, ["C", 1, 1]),
            tensor("std", float32, ["C", 1, 1]),
        ],
        [tensor("normalised", float32, images)],
        [helper.make_tensor("most", float32, [], [255])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def rows_graph() -> onnx.ModelProto:
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["tokens", "rows"], ["tokens_out"]),
            helper.make_node("Gather", ["there", "rows"], ["chosen"]),
            helper.make_node("And", ["chosen", "has"], ["there_out"]),
        ],
        "rows",
        [
            tensor("tokens", TensorProto.FLOAT, ["n", "L", "width"]),
            tensor("there", TensorProto.BOOL, ["n", "L"]),
            tensor("rows", TensorProto.INT64, ["B"]),
            tensor("has", TensorProto.BOOL, ["B", 1]),
        ],
        [
            tensor("tokens_out", TensorProto.FLOAT, ["B", "L", "width"]),
            tensor("there_out", TensorProto.BOOL, ["B", "L"]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_files_hold_the_graphs() -> None:
    for path, graph in graphs().items():
        assert path.read_bytes() == graph.SerializeToString()


def test_without_a_gpu_the_cpu_computes() -> None:
    if not devices.on_gpu():
        assert {devices.provider(each) for each in ("fp32", "int8", "fp16")} == {devices.CPU}


@pytest.mark.gpu
class TestOnAGpu:
    def test_it_is_used(self, published: Published) -> None:
        assert devices.on_gpu()
        graphs = load(published.store, published.captions).graphs
        assert isinstance(graphs, DeviceGraphs)
        for session in (*graphs.encoders.values(), graphs.fusion):
            assert session.get_providers()[0] == devices.CUDA

    def test_vectors_are_those_of_the_cpu(self, published: Published, by_host: Served) -> None:
        samples = mixed()
        computed, expected = load(published.store, published.captions).run(samples), by_host.run(samples)
        assert np.abs(computed - expected).max() <= 1e-5

    def test_a_vector_is_the_same_alone_and_beside_any_others(self, published: Published) -> None:
        served, samples = load(published.store, published.captions), mixed()
        together = served.run(samples)
        assert np.abs(together - np.concatenate([served.run([each]) for each in samples])).max() <= 1e-5
        assert np.abs(together - served.run(samples[::-1])[::-1]).max() <= 1e-5

    def test_int8_stays_with_the_cpu(self, published: Published) -> None:
        assert isinstance(load(published.store, published.captions, "int8").graphs, SplitGraphs)


if __name__ == "__main__":
    for path, graph in graphs().items():
        path.write_bytes(graph.SerializeToString())
