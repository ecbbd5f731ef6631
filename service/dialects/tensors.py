"""Tensors of a request in the Open Inference Protocol, as samples that fit the model; nothing else gets through.

A tensor comes as JSON numbers or as little-endian bytes behind the JSON. B rows of a request, M modalities, L tokens of a
text or steps of a sequence, F numbers of a step or columns of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_store.manifest import ImageInput, Input, Manifest, SequenceInput, TableInput, TextInput
from service.errors import Fault, InvalidError
from service.inference.engine import Found
from service.inference.prepare import Sample
from service.schemas.open_inference import DataType, InputTensor, TensorOut

DTYPES: dict[DataType, str] = {"BOOL": "?", "INT64": "<i8", "FP32": "<f4"}
KINDS = {"BOOL": "b", "INT64": "iu", "FP32": "iuf"}
"""What JSON numbers may have become."""
SIZE = "binary_data_size"


def described(manifest: Manifest) -> list[TensorOut]:
    """Inputs, modalities first."""
    present = TensorOut(name=manifest.presence_input, datatype="BOOL", shape=[-1, len(manifest.inputs)])
    return [_described(each) for each in manifest.inputs] + [present]


def samples_of_tensors(
    found: Found, sent: Sequence[InputTensor], tail: bytes, most_rows: int
) -> list[Sample]:
    """B samples. `tail`: what followed the JSON. Raises InvalidError with a pointer to the tensor."""
    manifest = found.manifest
    tensors = _read(sent, tail, {each.name: each for each in described(manifest)})
    rows = {len(array) for array in tensors.values()}
    if len(rows) != 1 or not 0 < max(rows) <= most_rows:
        said = f"tensors of {', '.join(map(str, sorted(rows)))} rows; give all of them the same, 1 to {most_rows}"
        raise InvalidError.at("/inputs", "bad_batch", said)
    places = {tensor.name: f"/inputs/{index}" for index, tensor in enumerate(sent)}
    present = _present(tensors, manifest, rows.pop(), places)
    arrays: list[dict[str, NDArray[Any]]] = [{} for _ in present]
    for column, wanted in enumerate(manifest.inputs):
        for row in np.flatnonzero(present[:, column]).tolist():
            arrays[row][wanted.name] = _row(
                tensors[wanted.name][row], wanted, found, places[wanted.name], row
            )
    return [Sample(each) for each in arrays]


def _described(wanted: Input) -> TensorOut:
    match wanted:
        case ImageInput():
            shape = [-1, wanted.channels, wanted.height, wanted.width]
        case TextInput():
            return TensorOut(name=wanted.name, datatype="INT64", shape=[-1, -1])
        case SequenceInput():
            shape = [-1, wanted.max_steps if wanted.fixed_steps else -1, wanted.features]
        case TableInput():
            shape = [-1, wanted.features]
    return TensorOut(name=wanted.name, datatype="FP32", shape=shape)


def _read(
    sent: Sequence[InputTensor], tail: bytes, known: dict[str, TensorOut]
) -> dict[str, NDArray[np.generic]]:
    tensors: dict[str, NDArray[np.generic]] = {}
    start = 0
    for index, tensor in enumerate(sent):
        place = f"/inputs/{index}"
        wanted = known.get(tensor.name)
        if wanted is None:
            said = f"the model has no input {tensor.name[:60]!r}; it has {', '.join(known)}"
            raise InvalidError.at(f"{place}/name", "unknown_tensor", said)
        if tensor.name in tensors:
            raise InvalidError.at(f"{place}/name", "given_twice", "give each tensor once")
        _assert_fits(tensor, wanted, place)
        if tensor.data is None:
            content, start = _slice(tensor, tail, start, place)
            array = np.frombuffer(content, DTYPES[wanted.datatype])
        else:
            array = _from_json(tensor, wanted.datatype, place)
        tensors[tensor.name] = array.reshape(tensor.shape)
    if start != len(tail):
        said = f"{len(tail)} bytes follow the JSON, of which tensors take {start}"
        raise InvalidError.at("/inputs", "wrong_length", f"{said}; say of each its {SIZE}")
    return tensors


def _assert_fits(tensor: InputTensor, wanted: TensorOut, place: str) -> None:
    if tensor.datatype != wanted.datatype:
        said = f"{tensor.datatype[:20]}; this tensor is of {wanted.datatype}"
        raise InvalidError.at(f"{place}/datatype", "wrong_datatype", said)
    fits = len(tensor.shape) == len(wanted.shape) and all(
        asked in (-1, given) for asked, given in zip(wanted.shape, tensor.shape, strict=True)
    )
    if not fits:
        said = f"the shape {tensor.shape}; this tensor has {wanted.shape}, where -1 is any length"
        raise InvalidError.at(f"{place}/shape", "wrong_shape", said)


def _slice(tensor: InputTensor, tail: bytes, start: int, place: str) -> tuple[bytes, int]:
    """The tensor's own bytes, and where the next one's begin."""
    size = tensor.parameters.get(SIZE)
    if type(size) is not int:
        said = f"give `data`, or the tensor's bytes behind the JSON and their number as the parameter {SIZE}"
        raise InvalidError.at(place, "no_data", said)
    expected = prod(tensor.shape) * np.dtype(DTYPES[tensor.datatype]).itemsize  # type: ignore[index]
    if size != expected or start + size > len(tail):
        said = f"{len(tail) - start} bytes are left and {size} announced; the shape takes {expected}"
        raise InvalidError.at(f"{place}/parameters/{SIZE}", "wrong_length", said)
    return tail[start : start + size], start + size


def _from_json(tensor: InputTensor, datatype: DataType, place: str) -> NDArray[np.generic]:
    if SIZE in tensor.parameters:
        raise InvalidError.at(f"{place}/data", "given_twice", f"give `data` or {SIZE}, not both")
    expected = prod(tensor.shape)
    try:
        array = np.array(tensor.data)
    except ValueError:  # lists of different lengths
        array = np.array([None])
    if array.size and array.dtype.kind not in KINDS[datatype]:
        said = f"not all of this is {datatype}, or its lists are of different lengths"
        raise InvalidError.at(f"{place}/data", "not_numbers", said)
    if array.size != expected:
        said = f"{array.size} values; the shape takes {expected}"
        raise InvalidError.at(f"{place}/data", "wrong_length", said)
    with np.errstate(over="ignore"):
        return array.astype(DTYPES[datatype])


def _present(
    tensors: dict[str, NDArray[np.generic]], manifest: Manifest, rows: int, places: dict[str, str]
) -> NDArray[np.bool_]:
    """(B, M). Whatever is given is present, unless `present` says otherwise."""
    names = [each.name for each in manifest.inputs]
    given = np.array([name in tensors for name in names])
    place = places.get(manifest.presence_input, "/inputs")
    present = tensors.get(manifest.presence_input, np.tile(given, (rows, 1))).astype(bool)
    lacking = [name for name, here in zip(names, given, strict=True) if not here]
    if present[:, ~given].any():
        said = f"said to be present, and not given: {', '.join(lacking)} are the tensors that are not there"
        raise InvalidError.at(place, "missing_modality", said)
    if not present.any(axis=1).all():
        raise InvalidError.at(place, "empty_input", f"a row has nothing; give it one of {', '.join(names)}")
    if not (manifest.may_miss or present.all()):
        raise InvalidError.at(place, "missing_modality", "this model needs every modality in every row")
    return present


def _row(
    values: NDArray[np.generic], wanted: Input, found: Found, place: str, row: int
) -> NDArray[np.generic]:
    """One sample's own, without the padding behind it."""
    fault = _out_of_bounds(values, wanted, found)
    if fault is None and isinstance(wanted, TextInput):
        values = values[: _length(np.asarray(values != wanted.pad_id))]
        fault = None if len(values) else "no tokens but padding; say in `present` that it has no text"
    elif fault is None and isinstance(wanted, SequenceInput):
        values = values[: max(1, _length(np.asarray(values.any(axis=1))))]
    if fault is not None:
        raise InvalidError(
            "bad_tensor", f"row {row}: {fault}", faults=(Fault(place, "bad_tensor", f"row {row}: {fault}"),)
        )
    return values


def _out_of_bounds(values: NDArray[Any], wanted: Input, found: Found) -> str | None:
    match wanted:
        case TextInput(max_tokens=most) if len(values) > most:
            return f"{len(values)} tokens; the model reads at most {most}"
        case TextInput(name=name):
            size = found.served.tokenizers[name].get_vocab_size()
            inside = bool(((values >= 0) & (values < size)).all())
            return None if inside else f"tokens are numbers from 0 to {size - 1}"
        case SequenceInput(max_steps=most) if not 0 < len(values) <= most:
            return f"{len(values)} steps; the model reads 1 to {most}"
        case _:
            return None if np.isfinite(values).all() else "all numbers must be finite 32-bit floats"


def _length(used: NDArray[np.bool_]) -> int:
    """Up to the last that is used."""
    filled = np.flatnonzero(used)
    return int(filled[-1]) + 1 if filled.size else 0
