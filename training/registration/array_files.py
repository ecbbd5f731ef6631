"""An array for each modality and task: in an .npz, a folder of .npy, or a .zip or .tar of one. N samples in each.

    ecg.npy (N, L, F)  a sequence      labs.npy (N, F)  a table      photo.npy (N, H, W, 3) or (N, 3, H, W) uint8  images
    note.npy (N,) of texts             labels.sleep.npy (N,)  whole numbers or texts: classes, floats: a regression
    labels.drugs.npy (N, K)  zeros and ones: several labels, floats: a regression
    split.npy, group.npy, id.npy (N,)  as columns of the same names

Arrays of objects are pickles and are refused. They are read a piece at a time.
"""

from __future__ import annotations

import math
import tokenize
from collections.abc import Iterator, Sequence, Set
from functools import partial
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from training.errors import DataError
from training.registration.blobs import Blob
from training.registration.columns import Columns, Value, from_json
from training.registration.files import described, ending_with, files_of
from training.registration.found import Array, Found, Source
from training.registration.modalities import named
from training.registration.own import found_in
from training.spec.registration import IMAGE_SIZES, ModalityDescription, Options, TaskDescription

LABELS = "labels."
USUAL_SIZE = 224
PIECE_BYTES = 4 * 2**20
MOST_HEADER = 10_000
NO_ARRAY = (
    ValueError, KeyError, SyntaxError, TypeError, OverflowError, RecursionError, EOFError, OSError, tokenize.TokenError,
)  # fmt: skip
"""What numpy raises about bytes that are none."""
MOST_SIDE = 1 << 40


class Npy(NamedTuple):
    """A .npy file of which only the header was read."""

    name: str
    blob: Blob
    """Its numbers."""
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def pieces(self) -> Iterator[Array]:
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        at_once = max(1, PIECE_BYTES // max(row, 1))
        with self.blob.open() as file:
            for first in range(0, self.shape[0], at_once):
                count = min(at_once, self.shape[0] - first)
                content = file.read(count * row)
                yield np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


def read_arrays(source: Source) -> Found:
    files = files_of(source)
    arrays = [_header(name, blob) for name, blob in ending_with(files, [".npy"]).items()]
    if not arrays:
        raise DataError(f"there is no .npy file in {source.shown}; is this the right folder and format?")
    lengths = {each.name: each.shape[0] for each in arrays}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name} {n:,}" for name, n in lengths.items())
        raise DataError(f"{source.shown} has not as many samples of each kind: {listed}")
    said = described(files, source.options)
    pictures = {each.name for each in arrays if _is_picture(each, said)}
    columns = Columns(
        names=[f"row {row}" for row in range(arrays[0].shape[0])],
        read={each.name: partial(_pictures if each.name in pictures else _values, each) for each in arrays},
        files=sorted({each.blob.place for each in arrays}) if source.path.is_dir() else [source.path],
        pictures=frozenset(pictures),
    )
    sizes = [min(_height_and_width(each)) for each in arrays if each.name in pictures]
    usual = min([USUAL_SIZE, *(max(size, IMAGE_SIZES.start) for size in sizes)])
    return found_in(columns, _said(arrays, said, pictures), source.options.image_size or usual, source.ledger)


def _header(name: str, blob: Blob) -> Npy:
    """Raises DataError for what is no array of numbers or texts, or not all of it."""
    path = PurePosixPath(name)
    if len(path.parts) > 1:
        raise DataError(
            f"{name} is in a folder; all arrays must be in one place, as each name stands for one array"
        )
    with blob.open() as file:
        try:
            version = np.lib.format.read_magic(file)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, fortran, dtype = header[version](file, max_header_size=MOST_HEADER)
        except NO_ARRAY:
            raise DataError(f"{name} is not a whole .npy file; save it again with numpy.save") from None
        start = file.tell()
    if dtype.hasobject:
        raise DataError(
            f"{name} holds objects, which are a program when they are read; make it an array of numbers or texts"
        )
    if dtype.kind not in "biufUS" or dtype.itemsize == 0:
        raise DataError(f"{name} holds {dtype}; make it an array of numbers or texts")
    if not 1 <= len(shape) <= 4 or not all(0 < side < MOST_SIDE for side in shape):
        raise DataError(
            f"{name} has the shape {shape}; it must have one to four axes, of which none is empty"
        )
    size = math.prod(shape) * dtype.itemsize
    if blob.size - start != size:
        raise DataError(
            f"{name} has {blob.size - start:,} bytes where its shape {shape} needs {size:,}; save it again"
        )
    if fortran and len(shape) > 1:
        raise DataError(f"{name} lies column by column; save numpy.ascontiguousarray of it")
    return Npy(path.name.removesuffix(".npy"), blob.part(start, size), shape, dtype)


def _is_picture(npy: Npy, said: Options) -> bool:
    """Bytes of four axes; of three too, in grey, unless they are said to be something else."""
    kinds = {each.column or name: each.kind for name, each in (said.modalities or {}).items()}
    axes = len(npy.shape)
    return npy.dtype == np.uint8 and (axes == 4 or (axes == 3 and kinds.get(npy.name, "image") == "image"))


def _height_and_width(npy: Npy) -> tuple[int, int]:
    """Raises DataError."""
    _, *sides = npy.shape
    if len(sides) == 2:
        return sides[0], sides[1]
    if sides[2] in (1, 3, 4):
        return sides[0], sides[1]
    if sides[0] in (1, 3):
        return sides[1], sides[2]
    raise DataError(f"{npy.name} has the shape {npy.shape}; images are (N, H, W, 3) or (N, 3, H, W)")


def _pictures(npy: Npy) -> Iterator[Value]:
    colour_first = len(npy.shape) == 4 and npy.shape[3] not in (1, 3, 4)
    for piece in npy.pieces():
        for pixels in piece.transpose(0, 2, 3, 1) if colour_first else piece:
            yield np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)


def _values(npy: Npy) -> Iterator[Value]:
    for piece in npy.pieces():
        if npy.dtype.kind in "US":
            yield from (from_json(_text(value)) for value in piece.ravel().tolist())
        elif piece.ndim == 1:
            yield from (from_json(value) for value in piece.tolist())
        else:
            yield from piece


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _said(arrays: Sequence[Npy], said: Options, pictures: Set[str]) -> Options:
    """Names say which arrays are labels; all others are modalities."""
    others = [each for each in arrays if each.name not in {said.splits, said.groups, said.ids}]
    by_name = {each.name: each for each in others}
    inputs = named(name for name in by_name if not name.startswith(LABELS))
    modalities = said.modalities or {
        name: _modality(by_name[column], pictures) for name, column in inputs.items()
    }
    labels = {name.removeprefix(LABELS): name for name in by_name if name.startswith(LABELS)}
    tasks = {
        name: TaskDescription(column=labels[label], type=_type(by_name[labels[label]]))
        for name, label in named(labels).items()
    }
    if said.tasks is not None:
        tasks = {
            name: each if each.column else each.model_copy(update={"column": f"{LABELS}{name}"})
            for name, each in said.tasks.items()
        }
    return said.model_copy(update={"modalities": modalities, "tasks": tasks})


def _modality(npy: Npy, pictures: Set[str]) -> ModalityDescription:
    """Raises DataError."""
    if npy.name in pictures:
        return ModalityDescription(kind="image", column=npy.name)
    match npy.dtype.kind, len(npy.shape):
        case "U" | "S", 1:
            return ModalityDescription(kind="text", column=npy.name)
        case "b" | "i" | "u" | "f", 1:
            return ModalityDescription(kind="table", columns=(npy.name,))
        case "b" | "i" | "u" | "f", 2:
            return ModalityDescription(kind="table", column=npy.name)
        case "b" | "i" | "u" | "f", 3:
            return ModalityDescription(kind="sequence", column=npy.name)
    raise DataError(
        f"{npy.name} has the shape {npy.shape} of {npy.dtype}; tables are (N, F), sequences (N, L, F), images (N, H, W, 3) of "
        f"uint8, and labels are in {LABELS}TASK.npy"
    )


def _type(npy: Npy) -> Literal["class", "multilabel", "regression"]:
    if npy.dtype.kind == "f":
        return "regression"
    return "class" if len(npy.shape) == 1 else "multilabel"
