"""Sequences and tables: from the numbers that somebody sent to those that a network takes.

Numbers come as JSON lists, or packed: little-endian 32-bit floats in base64, and their shape. Whatever is wrong with
them is said with a pointer to it. L steps of a sequence, F numbers per step or columns of a table.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_store.manifest import SequenceInput, TableInput
from service.errors import Fault, InvalidError

MAX_FAULTS = 10
"""Named of one value."""


@dataclass(frozen=True)
class Packed:
    base64: str
    shape: tuple[int, ...]


def steps(sent: list[Any] | Packed, wanted: SequenceInput) -> NDArray[np.float32]:
    """(L, F), standardised as in training and without the padding at its end.

    Raises InvalidError, its pointers below what was sent: more steps than the network reads are refused, not cut.
    """
    values = _unpacked(sent, wanted) if isinstance(sent, Packed) else _numbers(sent, wanted)
    return _standardised(_unpadded(values), wanted)


def columns(sent: list[Any] | Packed, wanted: TableInput) -> NDArray[np.float32]:
    """(F,), standardised as in training. Raises InvalidError, its pointers below what was sent."""
    values = _unpacked(sent, wanted) if isinstance(sent, Packed) else _numbers(sent, wanted)
    return _standardised(values, wanted)


def asked_for(wanted: SequenceInput | TableInput) -> str:
    """What to send, as a part of a sentence."""
    if isinstance(wanted, TableInput):
        listed, shape = f"a list of {wanted.features} numbers", f"[{wanted.features}]"
    else:
        listed = f"a list of 1 to {wanted.max_steps} steps of {wanted.features} numbers each"
        shape = f"[steps, {wanted.features}]"
    return f'{listed}, or {{"base64": …, "shape": {shape}}}'


def _numbers(sent: list[Any], wanted: SequenceInput | TableInput) -> NDArray[np.float32]:
    """Of lists. Lengths are looked at before what is in them."""
    if isinstance(wanted, TableInput):
        faults = _faults_of(sent, wanted.features, "")
    else:
        _assert_length(len(sent), wanted, "")
        faults = []
        for place, step in enumerate(sent):
            faults += _faults_of(step, wanted.features, f"/{place}")
            if len(faults) >= MAX_FAULTS:
                break
    if faults:
        raise _refused(faults)
    with np.errstate(over="ignore"):
        values = np.array(sent, dtype=np.float64).astype(np.float32)
    return _finite(values, "")


def _faults_of(row: Any, features: int, pointer: str) -> list[Fault]:
    if not isinstance(row, list):
        said = f"{_called(row)}, where a step of {features} numbers belongs"
        return [
            Fault(pointer, "not_a_step", f"{said}; a sequence is a list of steps, a step a list of numbers")
        ]
    if not row:
        return [Fault(pointer, "empty_array", _empty("numbers"))]
    wrong = ((place, each) for place, each in enumerate(row) if type(each) not in (int, float))
    strangers = [
        Fault(
            f"{pointer}/{place}",
            "nested_too_deep" if isinstance(each, list) else "not_a_number",
            f"{_called(each)}, where a number belongs; fill gaps as the training data's were filled",
        )
        for place, each in islice(wrong, MAX_FAULTS)
    ]
    if strangers or len(row) == features:
        return strangers
    return [Fault(pointer, "wrong_width", f"{_counted(len(row), 'number')}; give {features}")]


def _unpacked(sent: Packed, wanted: SequenceInput | TableInput) -> NDArray[np.float32]:
    """Its length is known from the shape before anything is decoded."""
    is_table = isinstance(wanted, TableInput)
    if len(sent.shape) != (1 if is_table else 2) or sent.shape[-1] != wanted.features:
        right = f"[{wanted.features}]" if is_table else f"[steps, {wanted.features}]"
        given = f"[{', '.join(map(str, sent.shape[:8]))}]"
        raise _refused([Fault("/shape", "wrong_shape", f"the shape {given}; this modality has {right}")])
    if isinstance(wanted, SequenceInput):
        _assert_length(sent.shape[0], wanted, "/shape/0")
    expected = 4 * int(np.prod(sent.shape))
    if len(sent.base64) != 4 * -(-expected // 3):
        raise _refused(
            [
                Fault(
                    "/base64",
                    "wrong_length",
                    f"{len(sent.base64)} characters; the shape's {expected} bytes of 32-bit floats are "
                    f"{4 * -(-expected // 3)} in base64 with padding",
                )
            ]
        )
    try:
        content = base64.b64decode(sent.base64, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != expected:
        said = (
            "not base64 of this many bytes; send the standard alphabet with padding and without line breaks"
        )
        raise _refused([Fault("/base64", "bad_base64", said)])
    return _finite(np.frombuffer(content, "<f4").reshape(sent.shape).astype(np.float32), "/base64")


def _assert_length(length: int, wanted: SequenceInput, pointer: str) -> None:
    if length < 1:
        raise _refused([Fault(pointer, "empty_array", _empty("steps"))])
    if length > wanted.max_steps:
        said = f"{length} steps; the model reads at most {wanted.max_steps}, so send the part that matters"
        raise _refused([Fault(pointer, "too_many_steps", said)])


def _finite(values: NDArray[np.float32], pointer: str) -> NDArray[np.float32]:
    """The values, of which lists hold none but finite ones: those that are not did not fit into 32 bits."""
    places = np.argwhere(~np.isfinite(values))[:MAX_FAULTS].tolist()
    if places and pointer:
        where = ", ".join(map(str, places[0]))
        said = f"the number at [{where}] is {values[tuple(places[0])]}; all must be finite"
        raise _refused([Fault(pointer, "not_finite", said)])
    if places:
        raise _refused([_out_of_range("".join(f"/{each}" for each in place)) for place in places])
    return values


def _standardised(values: NDArray[np.float32], wanted: SequenceInput | TableInput) -> NDArray[np.float32]:
    if wanted.mean is None or wanted.std is None:
        return values
    mean, std = (np.array(each, dtype=np.float32) for each in (wanted.mean, wanted.std))
    with np.errstate(over="ignore"):
        standard: NDArray[np.float32] = (values - mean) / std
    if not np.isfinite(standard).all():
        raise _refused([_out_of_range("")])
    return standard


def _unpadded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Up to the last step that is not all zeros; of a sequence of zeros only, the first."""
    filled = np.flatnonzero(values.any(axis=1))
    return values[: filled[-1] + 1 if filled.size else 1]


def _refused(faults: Sequence[Fault]) -> InvalidError:
    return InvalidError(faults[0].code, faults[0].detail, faults=tuple(faults[:MAX_FAULTS]))


def _out_of_range(pointer: str) -> Fault:
    said = "too far from zero for 32-bit floats, as they are or standardised; send the units of the training data"
    return Fault(pointer, "number_out_of_range", said)


def _empty(what: str) -> str:
    return f"no {what}; leave the modality out if the sample has none of it"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _called(value: Any) -> str:
    """What JSON calls it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a number"
