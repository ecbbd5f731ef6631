"""Pickles without their danger: numbers, texts and containers are read, everything else is refused by its name.

A pickle is a program. Of the things such a program may call, this reader knows those below and no others; and even
they are its own: arrays are built here from bytes that were checked, never by what the pickle says numpy should do
with them. What a pickle can still do is ask for much memory and time, which `limits` bounds.
"""

from __future__ import annotations

import math
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import DataError

PLAIN = re.compile(r"([<>|=]?)([biufcSUO])(\d{0,9})")
"""Types of numbers and texts. `O`, anything, is let in so that lists of names can be read."""
BROKEN = (
    pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError,
    RecursionError, NotImplementedError,
)  # fmt: skip
"""What the unpickler raises about bytes that are no pickle."""


class _RefusedError(pickle.UnpicklingError):
    pass


def read_pickle(path: Path) -> object:
    """Raises DataError when it is not a pickle, is cut off, or holds anything but numbers, texts and containers."""
    try:
        # A damaged text may make the unpickler warn, which is of no interest beside the refusal.
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
            # Of Python 2, whose strings were bytes, only latin1 gives back every one of them.
            return _Unpickler(file, encoding="latin1").load()
    except _RefusedError as refusal:
        raise DataError(
            f"{path.name} {refusal}, which could run a program of somebody else's; nothing of it was run. Only numbers, texts, "
            "lists, dicts and numpy arrays of them are read"
        ) from None
    except BROKEN:
        raise DataError(
            f"{path.name} is not a whole pickle; it may be cut off, so download it again"
        ) from None


class _Dtype:
    """What a pickle says about a type, until it has said all."""

    def __init__(self, name: object, *_: object) -> None:
        match = PLAIN.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise _RefusedError(f"holds an array of the type {str(name)[:40]!r}")
        self.dtype = np.dtype(match.group())

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), "<" | ">" | "|" | "=" as order, None, None, None, *_):
                self.dtype = self.dtype.newbyteorder(order)
            case _:
                raise _RefusedError("holds an array of records")


class _Array(np.ndarray):
    """An array that takes over from a pickle only what fits together."""

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), tuple(shape), _Dtype() as given, fortran, bytes() | str() | list() as content):
                content = content.encode("latin1") if isinstance(content, str) else content
                size = _size_of(shape)
                whole = size * given.dtype.itemsize if isinstance(content, bytes) else size
                if len(content) != whole or isinstance(content, list) != given.dtype.hasobject:
                    raise ValueError("not as many bytes as the shape says")
                super().__setstate__((1, shape, given.dtype, bool(fortran), content))  # type: ignore[arg-type]
            case _:
                raise ValueError("not the state of an array")


class _Call:
    """What a pickle may call. Unlike a function or a class it has nothing that a pickle could change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _RefusedError("changes what it calls for")


def _kind(*_: object) -> object:
    """Stands for numpy.ndarray, as which arrays are marked; nobody calls it."""
    raise ValueError("not how arrays are pickled")


def _array(_marked: object, _shape: object, _type: object) -> np.ndarray[Any, Any]:
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _array_of(content: object, given: object, shape: object, order: object) -> np.ndarray[Any, Any]:
    """An array as protocol 5 writes it."""
    if not (
        isinstance(content, bytes | bytearray) and isinstance(given, _Dtype) and isinstance(shape, tuple)
    ):
        raise ValueError("not the parts of an array")
    if given.dtype.hasobject or len(content) != _size_of(shape) * given.dtype.itemsize:
        raise ValueError("not as many bytes as the shape says")
    return np.frombuffer(content, given.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(given: object, content: object = b"") -> object:
    if not (isinstance(given, _Dtype) and isinstance(content, bytes | str)) or given.dtype.hasobject:
        raise ValueError("not a number")
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, given.dtype, count=1)[0].item()


def _latin1(text: object, encoding: object) -> bytes:
    """How bytes stand in pickles of protocol 2."""
    if not (isinstance(text, str) and encoding == "latin1"):
        raise ValueError("not bytes")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How none at all stand there."""
    return b""


def _size_of(shape: tuple[Any, ...]) -> int:
    if not all(isinstance(side, int) and side >= 0 for side in shape) or len(shape) > 32:
        raise ValueError("not the shape of an array")
    return math.prod(shape)


_OURS: dict[tuple[str, str], Callable[..., object]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array_of for core in ("core", "_core")},
    ("numpy", "ndarray"): _kind,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,
    **{(module, "bytes"): _no_bytes for module in ("builtins", "__builtin__")},
}
ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    **{name: _Call(make) for name, make in _OURS.items()},
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset)},
    ("collections", "OrderedDict"): OrderedDict,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in ALLOWED:
            raise _RefusedError(f"calls for {f'{module}.{name}'[:80]}")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any, /) -> Any:
        raise _RefusedError("calls for something outside of itself")
