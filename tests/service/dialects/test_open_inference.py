"""The Open Inference Protocol with JSON and with bytes: the graph's own answer, and nothing bad gets into a batch."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models_store.manifest import ImageInput
from service.dialects.open_inference import HEADER
from service.inference.images import decode
from service.resources import Resources
from service.schemas.open_inference import InferAnswer
from tests.service.conftest import Exported
from tests.service.dialects.asking import TEXT, faults, ours
from tests.service.pictures import base64_png, pixels, png

INFER = "/v2/models/captions/versions/1/infer"
ROWS = 2
Tensors = dict[str, NDArray[Any]]
NAMES = {"float32": "FP32", "int64": "INT64", "bool": "BOOL"}


@pytest.fixture(scope="module")
def tensors(service: TestClient, exported: Exported) -> Tensors:
    """Two images, and a text that stands beside both, as the graph takes them."""
    resources: Resources = service.app.state.resources  # type: ignore[attr-defined]
    manifest = resources.store.manifest(resources.store.resolve("captions"))
    wanted = manifest.input_named("image")
    assert isinstance(wanted, ImageInput)
    images = [pixels(decode(png(seed), resources.settings), wanted) for seed in range(ROWS)]
    ids = Tokenizer.from_file(str(exported.captions / "tokenizer.json")).encode(TEXT).ids
    return {"image": np.stack(images), "text": np.array([[*ids, 0, 0]] * ROWS, dtype=np.int64)}


def as_json(tensors: Tensors, **rest: Any) -> dict[str, Any]:
    inputs = [
        {"name": name, "shape": list(each.shape), "datatype": NAMES[str(each.dtype)], "data": each.ravel().tolist()}
        for name, each in tensors.items()
    ]  # fmt: skip
    return {"inputs": inputs, **rest}


def in_bytes(client: TestClient, tensors: Tensors, **rest: Any) -> Response:
    asked = as_json(tensors, **rest)
    for each in asked["inputs"]:
        del each["data"]
        each["parameters"] = {"binary_data_size": tensors[each["name"]].nbytes}
    head = json.dumps(asked).encode()
    body = head + b"".join(each.tobytes() for each in tensors.values())
    answer: Response = client.post(INFER, content=body, headers={HEADER: str(len(head))})
    return answer


def fused(answer: Response) -> NDArray[np.float32]:
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"][0]
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


@pytest.fixture(scope="module")
def expected(service: TestClient) -> NDArray[np.float32]:
    return ours(service, *({"image": base64_png(row), "text": TEXT} for row in range(ROWS)), normalize=False)


def test_the_server_and_its_models_describe_themselves(service: TestClient) -> None:
    assert service.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert service.get("/v2/health/live").json() == {"live": True}
    assert service.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/captions", "/v2/models/captions/versions/1"):
        assert service.get(path).json() == {
            "name": "captions",
            "versions": ["1"],
            "platform": "onnx_onnxv1",
            "inputs": [
                {"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]},
                {"name": "text", "datatype": "INT64", "shape": [-1, -1]},
                {"name": "present", "datatype": "BOOL", "shape": [-1, 2]},
            ],
            "outputs": [{"name": "fused", "datatype": "FP32", "shape": [-1, 16]}],
        }
        assert service.get(path + "/ready").json() == {"name": "captions", "ready": True}
    for path in (
        "/v2/models/nothing",
        "/v2/models/captions/versions/7",
        "/v2/models/captions/versions/x/ready",
    ):
        answer = service.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
        assert answer.json()["error"] == answer.json()["detail"], "where the protocol's clients look for it"


def test_tensors_as_json_give_the_graphs_own_answer(
    service: TestClient, tensors: Tensors, expected: NDArray[np.float32]
) -> None:
    answer = service.post(INFER, json=as_json(tensors, id="a"))
    assert np.abs(fused(answer) - expected).max() <= 1e-5
    told = InferAnswer.model_validate(answer.json())
    assert (told.id, told.model_name, told.model_version) == ("a", "captions", "1")
    assert told.parameters["dataset"] == "digits"
    nested = as_json(tensors)
    nested["inputs"][0]["data"] = tensors["image"].tolist()
    assert np.array_equal(fused(service.post(INFER, json=nested)), fused(answer))
    unlabelled = service.post("/v2/models/captions/infer", content=json.dumps(nested).encode())
    assert np.array_equal(fused(unlabelled), fused(answer))


def test_a_precision_that_is_not_to_be_had_is_pointed_at(service: TestClient, tensors: Tensors) -> None:
    answer = service.post(INFER, json=as_json(tensors, parameters={"precision": "fp16"}))
    assert faults(answer) == [("/parameters/precision", "precision_not_available")]


def test_rows_whose_numbers_are_beyond_all_bounds_are_named(service: TestClient, tensors: Tensors) -> None:
    image = tensors["image"].copy()
    image[1] = 3e38
    answer = service.post(INFER, json=as_json({**tensors, "image": image}))
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/inputs", "number_out_of_range")
    assert fault["detail"].startswith("row 1: ")


def test_parameters_pin_the_model_and_choose_the_precision(service: TestClient, tensors: Tensors) -> None:
    digest = service.post(INFER, json=as_json(tensors)).json()["parameters"]["model_digest"]
    for path in (INFER, "/v2/models/captions/infer"):
        pinned = service.post(
            path, json=as_json(tensors, parameters={"model_digest": digest, "precision": "int8"})
        )
        assert pinned.json()["parameters"]["precision"] == "int8"
        assert not np.array_equal(fused(pinned), fused(service.post(path, json=as_json(tensors))))
        other = service.post(path, json=as_json(tensors, parameters={"model_digest": "0" * 64}))
        assert (other.status_code, other.json()["code"]) == (409, "model_digest_differs")
        assert faults(other) == [("/parameters/model_digest", "model_digest_differs")]
        assert digest in other.json()["error"]
    for wrong in ({"precision": "int4"}, {"precision": 8}, {"model_digest": "x"}, {"model_digest": True}):
        refused = service.post(INFER, json=as_json(tensors, parameters=wrong))
        assert refused.status_code == 422
        assert [pointer for pointer, _ in faults(refused)] == [f"/parameters/{next(iter(wrong))}"]
    fp16 = service.post(INFER, json=as_json(tensors, parameters={"precision": "fp16"}))
    assert "not to be had in fp16" in fp16.json()["error"]


def test_tensors_as_bytes_give_the_same_as_bytes(
    service: TestClient, tensors: Tensors, expected: NDArray[np.float32]
) -> None:
    answer = in_bytes(service, tensors, parameters={"binary_data_output": True})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/octet-stream"
    end = int(answer.headers[HEADER])
    output = json.loads(answer.content[:end])["outputs"][0]
    assert output["parameters"] == {"binary_data_size": ROWS * 16 * 4}
    found = np.frombuffer(answer.content[end:], "<f4").reshape(output["shape"])
    assert np.abs(found - expected).max() <= 1e-5
    plain = in_bytes(service, tensors, outputs=[{"name": "fused", "parameters": {"binary_data": False}}])
    assert np.array_equal(fused(plain), found)


def test_rows_may_lack_what_others_have(service: TestClient, tensors: Tensors) -> None:
    alone = ours(service, {"image": base64_png(0)}, {"text": TEXT}, normalize=False)
    some = fused(
        service.post(INFER, json=as_json(tensors | {"present": np.array([[True, False], [False, True]])}))
    )
    assert np.abs(some - alone).max() <= 1e-5
    images = fused(service.post(INFER, json=as_json({"image": tensors["image"]})))
    assert np.abs(images[0] - alone[0]).max() <= 1e-5


def changed(tensors: Tensors, index: int, **changes: Any) -> dict[str, Any]:
    asked = as_json(tensors)
    asked["inputs"][index] |= changes
    return asked


@pytest.mark.parametrize(
    ("index", "changes", "found"),
    [
        (0, {"name": "sound"}, ("/inputs/0/name", "unknown_tensor")),
        (1, {"name": "image"}, ("/inputs/1/name", "given_twice")),
        (0, {"datatype": "FP16"}, ("/inputs/0/datatype", "wrong_datatype")),
        (0, {"shape": [2, 1, 8, 9]}, ("/inputs/0/shape", "wrong_shape")),
        (0, {"shape": [2, 64]}, ("/inputs/0/shape", "wrong_shape")),
        (0, {"data": [0.5]}, ("/inputs/0/data", "wrong_length")),
        (0, {"data": [[1, 2], [3]]}, ("/inputs/0/data", "not_numbers")),
        (0, {"data": ["x"] * 128}, ("/inputs/0/data", "not_numbers")),
        (0, {"data": [None] * 128}, ("/inputs/0/data", "not_numbers")),
        (0, {"data": [1e300] * 128}, ("/inputs/0", "bad_tensor")),
        (0, {"data": None}, ("/inputs/0", "no_data")),
        (0, {"parameters": {"binary_data_size": 512}}, ("/inputs/0/data", "given_twice")),
        (1, {"data": [0.5] * 12}, ("/inputs/1/data", "not_numbers")),
        (1, {"shape": [2, 2], "data": [1, 2, 3, 10**6]}, ("/inputs/1", "bad_tensor")),
        (1, {"shape": [2, 2], "data": [1, 2, 3, -1]}, ("/inputs/1", "bad_tensor")),
        (1, {"shape": [2, 2], "data": [1, 2, 0, 0]}, ("/inputs/1", "bad_tensor")),
        (1, {"shape": [2, 500], "data": [1] * 1000}, ("/inputs/1", "bad_tensor")),
        (1, {"shape": [1, 2], "data": [1, 2]}, ("/inputs", "bad_batch")),
        (1, {"shape": [2, 0], "data": []}, ("/inputs/1", "bad_tensor")),
        (1, {"name": "present", "shape": [2, 2], "datatype": "BOOL", "data": [True, True, True, False]}, ("/inputs/1", "missing_modality")),
        (1, {"name": "present", "shape": [2, 2], "datatype": "BOOL", "data": [True, False, False, False]}, ("/inputs/1", "empty_input")),
        (1, {"name": "present", "shape": [2, 2], "datatype": "BOOL", "data": [1, 0, 1, 0]}, ("/inputs/1/data", "not_numbers")),
    ],
)  # fmt: skip
def test_a_bad_tensor_is_pointed_at_and_the_next_request_works(
    service: TestClient, tensors: Tensors, index: int, changes: dict[str, Any], found: tuple[str, str]
) -> None:
    answer = service.post(INFER, json=changed(tensors, index, **changes))
    assert answer.status_code == 422
    assert faults(answer) == [found]
    assert answer.json()["error"] == answer.json()["detail"]
    assert service.post(INFER, json=as_json(tensors)).status_code == 200


def test_bytes_that_are_not_what_is_said_are_refused(service: TestClient, tensors: Tensors) -> None:
    body = json.dumps(as_json(tensors)).encode()
    for length in ("x", "0", str(len(body) + 1), "9" * 5000, "-1", "²"):
        answer = service.post(INFER, content=body, headers={HEADER: length.encode()})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_header_length"), length
    torn = service.post(INFER, content=body, headers={HEADER: "10"})
    assert (torn.status_code, torn.json()["code"]) == (400, "invalid_json")
    more = service.post(INFER, content=body + b"12345", headers={HEADER: str(len(body))})
    assert faults(more) == [("/inputs", "wrong_length")]
    short = changed(tensors, 0, data=None, parameters={"binary_data_size": 512})
    assert faults(service.post(INFER, json=short)) == [
        ("/inputs/0/parameters/binary_data_size", "wrong_length")
    ]
    nan = tensors | {"image": np.full_like(tensors["image"], np.nan)}
    assert faults(in_bytes(service, nan)) == [("/inputs/0", "bad_tensor")]


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ({"outputs": [{"name": "logits"}]}, ("/outputs/0/name", "unknown_tensor")),
        ({"outputs": [{"name": "fused", "parameters": {"classification": 3}}]}, ("/outputs/0/parameters", "no_classification")),
        ({"inputs": []}, ("/inputs", "too_short")),
        ({"inputs": [{"name": "text", "shape": [-1], "datatype": "INT64", "data": []}]}, ("/inputs/0/shape/0", "greater_than_equal")),
        ({"model": "x"}, ("/model", "extra_forbidden")),
    ],
)  # fmt: skip
def test_a_bad_request_is_pointed_at_however_it_is_sent(
    service: TestClient, tensors: Tensors, rest: dict[str, Any], found: tuple[str, str]
) -> None:
    asked = as_json(tensors) | rest
    assert faults(service.post(INFER, json=asked)) == [found]
    assert faults(service.post(INFER, content=json.dumps(asked).encode())) == [found]


def test_steps_and_columns_are_tensors_too(service: TestClient) -> None:
    """The network gives the sum of the steps, the columns, and how many steps the batch has."""
    series = np.zeros((2, 5, 3), dtype=np.float32)
    series[0, :3], series[1, :1] = 2, 7
    tensors = {"series": series, "static": np.array([[1, 2], [3, 4]], dtype=np.float32)}
    path = "/v2/models/measured/infer"
    found = fused(service.post(path, json=as_json(tensors)))
    assert np.array_equal(found[:, :5], [[6, 6, 6, 1, 2], [7, 7, 7, 3, 4]])
    assert found[:, 5].max() == 3, "padding is cut off"
    for shape in ([2, 7, 3], [2, 0, 3]):
        asked = as_json(tensors | {"series": np.ones(shape, dtype=np.float32)})
        assert faults(service.post(path, json=asked)) == [("/inputs/0", "bad_tensor")]
