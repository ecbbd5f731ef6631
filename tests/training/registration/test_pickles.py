"""A pickle's numbers are read, its programs are not: whatever it calls for is refused by its name, and nothing runs."""

from __future__ import annotations

import os
import pickle
import pickletools
import random
import subprocess
import warnings
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.errors import DataError
from training.registration import pickles
from training.registration.pickles import read_pickle

NUMBERS = np.arange(24, dtype=np.float64).reshape(2, 3, 4)


def read(tmp_path: Path, content: bytes) -> Any:
    file = tmp_path / "some.pkl"
    file.write_bytes(content)
    return read_pickle(file)


class Calls:
    """Pickled, it asks whoever reads it to call something."""

    def __init__(self, what: object, *arguments: object) -> None:
        self.asked = (what, arguments)

    def __reduce__(self) -> Any:
        return self.asked


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        NUMBERS,
        np.asfortranarray(NUMBERS),
        NUMBERS[:, ::-1, 1],
        NUMBERS.astype(">f4"),
        NUMBERS.astype(np.float16),
        np.array([], dtype=np.int64),
        np.array(7.0),
        np.array([True, False]),
        np.array(["a", "bcd"]),
        np.array([b"a", b"bcd"]),
        np.array(["a", 1, None], dtype=object),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_arrays_are_read_as_they_were(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    found = np.asarray(read(tmp_path, pickle.dumps({"x": array}, protocol))["x"])
    assert type(found) is np.ndarray
    assert found.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert found.shape == array.shape
    assert np.array_equal(found, array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "content",
    [None, True, 3, -(10**30), 1.5, "é", b"\x00\xff", b"", [1, [2]], (1, ()), {1: {"a": 2}}, {1, 2}, frozenset({3}),
     OrderedDict(b=1, a=2)],
    ids=repr,
)  # fmt: skip
def test_plain_things_are_read_as_they_were(tmp_path: Path, content: object, protocol: int) -> None:
    found = read(tmp_path, pickle.dumps(content, protocol))
    assert found == content
    assert type(found) is type(content)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_of_numpy_are_read_as_numbers(tmp_path: Path, protocol: int) -> None:
    content = [np.float32(1.5), np.int64(-3), np.bool(True), np.str_("a")]
    assert read(tmp_path, pickle.dumps(content, protocol)) == [1.5, -3, True, "a"]


def test_arrays_that_python_2_wrote_are_read(tmp_path: Path) -> None:
    # As its numpy wrote them: the raw bytes are a string.
    content = (
        b"cnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntS'b'\ntRp3\n"
        b"(I1\n(I2\ntcnumpy\ndtype\np4\n(S'i2'\nI0\nI1\ntRp5\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\x00\\xff\\x00'\ntb."
    )
    assert np.asarray(read(tmp_path, content)).tolist() == [1, 255]


@pytest.mark.parametrize(
    ("what", "arguments", "name"),
    [
        (os.system, ("touch %s",), "posix.system"),
        (subprocess.Popen, (["touch", "%s"],), "subprocess.Popen"),
        (eval, ("open('%s', 'w')",), "builtins.eval"),
        (exec, ("open('%s', 'w')",), "builtins.exec"),
        (getattr, ("a", "upper"), "builtins.getattr"),
        (__import__, ("os",), "builtins.__import__"),
        (open, ("%s", "w"), "io.open"),
        (bytearray, (10**15,), "builtins.bytearray"),
        (np.load, ("x",), "numpy.load"),
        (np.frombuffer, (b"",), "numpy.frombuffer"),
        (pickle.loads, (b"N.",), "_pickle.loads"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_calls_for_anything_else_is_refused_by_name_and_not_run(
    tmp_path: Path, what: object, arguments: tuple[Any, ...], name: str
) -> None:
    mark = tmp_path / "it-ran"
    shown = tuple(each.replace("%s", str(mark)) if isinstance(each, str) else each for each in arguments)
    with pytest.raises(DataError, match=r"some\.pkl calls for .*nothing of it was run") as refused:
        read(tmp_path, pickle.dumps({"train": Calls(what, *shown)}))
    assert name in str(refused.value)
    assert not mark.exists()


def state_of(array: np.ndarray) -> tuple[Any, ...]:
    return array.__reduce__()[2]  # type: ignore[return-value]


class Pickled:
    """An array whose state says something else than it is."""

    def __init__(self, *state: object) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        return (*NUMBERS.__reduce__()[:2], self.state)


@pytest.mark.parametrize(
    "forged",
    [
        Pickled(1, (1000,), np.dtype("f8"), False, b"short"),
        Pickled(1, (-1,), np.dtype("f8"), False, b"12345678"),
        Pickled(1, (2**40, 2**40), np.dtype("f8"), False, b""),
        Pickled(1, (1,), np.dtype("O"), False, b"12345678"),
        Pickled(1, (3,), np.dtype("O"), False, [1]),
        Pickled(1, (1,), np.dtype("f8"), False, [1.0]),
        Pickled(1, ("a",), np.dtype("f8"), False, b""),
        Pickled(1, (1,), "f8", False, b"12345678"),
        Calls(np.ndarray, (2**40,)),
        Calls(np.ndarray(0).__reduce__()[0], np.ndarray, (0,), b"b", "more"),
    ],
    ids=range(10),
)
def test_an_array_that_is_not_what_it_says_is_refused(tmp_path: Path, forged: object) -> None:
    with pytest.raises(DataError, match="not a whole pickle"):
        read(tmp_path, pickle.dumps(forged))


@pytest.mark.parametrize(
    "dtype", [np.dtype([("a", "O"), ("b", "f8")]), np.dtype("M8[s]"), np.dtype("V16"), np.dtype(("f8", (2, 2)))], ids=str
)  # fmt: skip
def test_an_array_of_records_or_times_is_refused(tmp_path: Path, dtype: np.dtype) -> None:
    with pytest.raises(DataError, match="holds an array of"):
        read(tmp_path, pickle.dumps(dtype))


def test_a_pickle_cannot_change_what_it_may_call(tmp_path: Path) -> None:
    # BUILD with ({}, {attribute: value}) sets attributes of whatever lies on the stack.
    before = dict(pickles.ALLOWED)
    for module, name in before:
        build = f"c{module}\n{name}\n".encode() + b"(}(dS'__call__'\nNstb."
        with pytest.raises(DataError):
            read(tmp_path, build)
    assert before == pickles.ALLOWED
    assert np.array_equal(np.asarray(read(tmp_path, pickle.dumps(NUMBERS))), NUMBERS)


def test_what_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({"train": {"vision": NUMBERS, "id": ["a", "b"]}})
    for length in range(len(whole)):
        with pytest.raises(DataError, match="not a whole pickle"):
            read(tmp_path, whole[:length])


def test_changed_bytes_never_end_in_anything_but_a_refusal(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": NUMBERS, "b": [1, "x", b"y", {2.0}]}, protocol=2)
    draw = random.Random(0)
    for _ in range(3_000):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        if asks_for_much_memory(bytes(content)):
            continue
        with suppress(DataError, MemoryError):  # of the latter the command makes a refusal
            read(tmp_path, bytes(content))


def asks_for_much_memory(content: bytes) -> bool:
    """Which the limits of the reading process are for, and which we do not want to try out here."""
    try:
        with warnings.catch_warnings(action="ignore"):
            operations = list(pickletools.genops(content))
    except ValueError:
        return True
    return any("PUT" in each.name and isinstance(n, int) and n > 10**6 for each, n, _ in operations)


def test_a_pickle_that_refers_to_something_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="something outside of itself"):
        read(tmp_path, b"Psome id\n.")
