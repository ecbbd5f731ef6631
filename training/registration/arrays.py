"""What a file holds, as arrays of the expected shape: or a DataError that says where it is not so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.registration.found import Array


def member(holder: object, key: str, where: str) -> Any:
    """holder[key], of a dict."""
    if not isinstance(holder, Mapping):
        raise DataError(
            f"{where} is not a dict but a {type(holder).__name__}; is this the right file and format?"
        )
    if key not in holder:
        have = ", ".join(sorted(map(str, holder))[:20]) or "nothing"
        raise DataError(f"{where} has no {key!r}; it has {have}. Is this the right file and format?")
    return holder[key]


def numbers(holder: object, key: str, where: str, ndim: int) -> Array:
    """holder[key] as an array of so many axes."""
    place = f"{where}[{key!r}]"
    array = _as_array(member(holder, key, where), place)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{place} holds {_said(array)} where numbers are needed; make it an array of floats or integers"
        )
    if array.ndim != ndim:
        raise DataError(f"{place} has the shape {array.shape} where {ndim} axes are needed")
    return array


def column(holder: object, key: str, where: str, n: int) -> NDArray[np.float64]:
    """holder[key], of n numbers in whatever shape, as (n,)."""
    array = _as_array(member(holder, key, where), f"{where}[{key!r}]")
    if array.dtype.kind not in "biuf" or array.size != n:
        raise DataError(
            f"{where}[{key!r}] has the shape {array.shape} of {_said(array)} where {n} numbers are needed, one a sample"
        )
    return array.reshape(n).astype(np.float64)


def names(holder: object, key: str, n: int, default: str) -> list[str]:
    """holder[key] as what samples are called, or their places where it says nothing usable."""
    given = holder.get(key) if isinstance(holder, Mapping) else None
    if isinstance(given, np.ndarray | Sequence) and not isinstance(given, str) and len(given) == n:
        return [_name(each) for each in given]
    return [f"{default}[{row}]" for row in range(n)]


def same_length(arrays: Mapping[str, Array], where: str) -> int:
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise DataError(f"{where} has not as many samples of each kind: {listed}")
    return next(iter(lengths.values()))


def _as_array(value: object, place: str) -> Array:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise DataError(f"{place} is a list of unequal parts where an array of numbers is needed") from None


def _name(given: object) -> str:
    parts = given.ravel().tolist() if isinstance(given, np.ndarray | np.generic) else given
    return " ".join(map(_word, parts if isinstance(parts, list | tuple) else [parts]))


def _word(part: object) -> str:
    if isinstance(part, bytes):
        return part.decode("utf-8", "replace")
    return str(part) if isinstance(part, str | int | float) else type(part).__name__


def _said(array: Array) -> str:
    match array.dtype.kind:
        case "O":
            return "objects"
        case "b" | "i" | "u" | "f" | "c":
            return f"numbers of type {array.dtype}"
        case _:
            return "texts"
