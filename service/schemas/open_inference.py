"""The Open Inference Protocol, version 2: tensors as the network's graph takes and gives them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_TENSORS, MOST_AXES = 64, 8
Parameters = Annotated[dict[str, str | bool | int | float], Field(max_length=64)]
DataType = Literal["BOOL", "INT64", "FP32"]
Axis = Annotated[int, Field(ge=0, lt=2**31)]


class ServerOut(BaseModel):
    name: Literal["fusebox"] = "fusebox"
    version: str
    extensions: list[str] = ["binary_tensor_data"]


class LiveOut(BaseModel):
    live: Literal[True] = True


class ReadyOut(BaseModel):
    ready: bool


class ModelReadyOut(BaseModel):
    name: str
    ready: Literal[True] = True


class TensorOut(BaseModel):
    """-1 is a length that a request decides."""

    name: str
    datatype: DataType
    shape: list[int]


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: Literal["onnx_onnxv1"] = "onnx_onnxv1"
    inputs: list[TensorOut]
    outputs: list[TensorOut]


class InputTensor(BaseModel):
    """`data` is flat or nested; without it the tensor's bytes follow the JSON, as many as `binary_data_size` says."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    shape: Annotated[list[Axis], Field(min_length=1, max_length=MOST_AXES)]
    datatype: str
    parameters: Parameters = {}
    data: Annotated[list[Any] | None, Field(json_schema_extra={"items": {}})] = None


class OutputWanted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    parameters: Parameters = {}


class InferRequest(BaseModel):
    """One tensor per modality, by its name, all with as many rows; and `present`, where rows lack some of them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"inputs": [{"name": "text", "shape": [1, 3], "datatype": "INT64", "data": [5, 8, 2]}]}
            ]
        },
    )

    id: Annotated[str, Field(max_length=200)] | None = None
    parameters: Parameters = {}
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=MOST_TENSORS)]
    outputs: Annotated[list[OutputWanted], Field(max_length=MOST_TENSORS)] | None = None


class OutputTensor(BaseModel):
    name: str
    datatype: DataType
    shape: list[int]
    parameters: dict[str, int] = {}
    data: list[float] | None = None


class InferAnswer(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, str]
    outputs: list[OutputTensor]
