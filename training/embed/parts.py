"""Parts of a dataset's embeddings as files: each is whole or not there, so that a run can go on after the last one.

One row a sample: `sample` (its place in the dataset), `split`, `label.TASK`, and `vector.MODALITIES` for each subset of
the modalities. n samples of a part, D width, K labels or numbers of a task.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models_store.durable import write_atomically
from models_store.embeddings import Format

Columns = Mapping[str, NDArray[Any]]
"""(n,), or (n, K) of several labels or numbers, or (n, D) of vectors."""


def vector_column(modalities: tuple[str, ...]) -> str:
    return "vector." + "+".join(modalities)


def write_part(path: Path, columns: Columns, form: Format) -> None:
    write_atomically(path, _as_npz(columns) if form == "npz" else _as_parquet(columns))


def read_part(path: Path, form: Format) -> dict[str, NDArray[Any]] | None:
    """As it was written; None when there is no such file, or no whole one."""
    try:
        return _from_npz(path) if form == "npz" else _from_parquet(path)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, pa.ArrowException):
        return None


def _as_npz(columns: Columns) -> bytes:
    content = io.BytesIO()
    np.savez(content, **dict[str, Any](columns))
    return content.getvalue()


def _from_npz(path: Path) -> dict[str, NDArray[Any]]:
    # Of a damaged file numpy would leave what it has opened itself open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _as_parquet(columns: Columns) -> bytes:
    table = pa.table({name: _column(array) for name, array in columns.items()})
    content = pa.BufferOutputStream()
    # Vectors do not repeat themselves: a dictionary of them would be as long as they are.
    pq.write_table(table, content, use_dictionary=["split"], compression="zstd")
    written: bytes = content.getvalue().to_pybytes()
    return written


def _column(array: NDArray[Any]) -> Any:
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])


def _from_parquet(path: Path) -> dict[str, NDArray[Any]]:
    table = pq.read_table(path, memory_map=False)
    return {name: _array(table.column(name).combine_chunks()) for name in table.column_names}


def _array(column: Any) -> NDArray[Any]:
    if pa.types.is_fixed_size_list(column.type):
        numbers: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
        return numbers.reshape(len(column), column.type.list_size)
    found: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found
