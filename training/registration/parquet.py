"""Columns of a .parquet file or a folder of them, as the `datasets` library of Hugging Face writes them.

Images are structs {bytes, path} or plain bytes, of which the bytes count. Texts, numbers and lists of texts are what they
are; lists of numbers are tables, lists of lists of numbers sequences. Files that are called train…, validation… and
test…, or are in folders called so, are splits. A .zip or .tar of such a folder is read as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training.errors import DataError
from training.registration.blobs import Blob
from training.registration.columns import MOST_SAMPLES, Columns, Value, from_json
from training.registration.files import described, ending_with, files_of, splits_of
from training.registration.found import Found, Source
from training.registration.own import found_in

if TYPE_CHECKING:
    import pyarrow

MAGIC = b"PAR1"
BATCH = 64
MOST_COLUMNS, MOST_DEPTH = 1_000, 3
MOST_THRIFT = 100_000_000


class Part(NamedTuple):
    name: str
    blob: Blob
    rows: int


def read_parquet(source: Source) -> Found:
    files = files_of(source)
    blobs = ending_with(files, [".parquet"]) or {
        name: blob for name, blob in files.items() if blob.part(0, 4).read() == MAGIC
    }
    if not blobs:
        raise DataError(f"there is no .parquet file in {source.shown}; is this the right folder and format?")
    parts, schema = _parts(blobs)
    if sum(part.rows for part in parts) > MOST_SAMPLES:
        raise DataError(f"there are more than {MOST_SAMPLES:,} rows; register a part of the files")
    columns = _columns(parts, schema, source)
    return found_in(columns, described(files, source.options), source.image_size, source.ledger)


def _parts(blobs: Mapping[str, Blob]) -> tuple[list[Part], pyarrow.Schema]:
    parts: list[Part] = []
    first = None
    for name, blob in blobs.items():
        with _opened(name, blob) as file:
            schema = file.schema_arrow
            if first is None:
                first = schema
            if not schema.equals(first):
                raise DataError(f"{name} has not the same columns as {parts[0].name}, of the same types")
            parts.append(Part(name, blob, file.metadata.num_rows))
    assert first is not None
    if len(set(first.names)) < len(first.names) or len(first.names) > MOST_COLUMNS:
        raise DataError(f"{parts[0].name} has a column twice, or more than {MOST_COLUMNS:,} columns")
    return parts, first


def _columns(parts: Sequence[Part], schema: pyarrow.Schema, source: Source) -> Columns:
    import pyarrow.types as types

    kinds = {field.name: field.type for field in schema}
    pictures = {
        name for name, kind in kinds.items()
        if types.is_binary(kind) or types.is_large_binary(kind) or (types.is_struct(kind) and _has_bytes(kind))
    }  # fmt: skip
    unread = [name for name, kind in kinds.items() if name not in pictures and not _is_readable(kind)]
    if unread:
        source.ledger.note(f"columns of types that are not read were left out: {', '.join(unread[:20])}")
    places = [f"{part.name} row {row}" for part in parts for row in range(part.rows)]
    of_files = splits_of((part.name for part in parts), source.ledger, by_file=True)
    return Columns(
        names=places,
        read={name: partial(_values, parts, name) for name in kinds if name not in unread},
        files=[source.path] if source.path.is_file() else sorted({part.blob.place for part in parts}),
        pictures=frozenset(pictures),
        splits=None
        if of_files is None
        else [split for part, split in zip(parts, of_files, strict=True) for _ in range(part.rows)],
        class_names=_class_names(schema),
    )


def _has_bytes(kind: pyarrow.StructType) -> bool:
    return "bytes" in [kind.field(place).name for place in range(kind.num_fields)]


def _is_readable(kind: pyarrow.DataType, depth: int = 0) -> bool:
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return depth < MOST_DEPTH - 1 and _is_readable(kind.value_type, depth + 1)
    if types.is_dictionary(kind):
        return depth == 0 and _is_readable(kind.value_type, depth + 1)
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind)
        or types.is_integer(kind) or types.is_floating(kind)
    )  # fmt: skip


def _values(parts: Sequence[Part], column: str) -> Iterator[Value]:
    for part in parts:
        count = 0
        with _opened(part.name, part.blob) as file:
            for batch in file.iter_batches(BATCH, columns=[column], use_threads=False):
                count += batch.num_rows
                yield from _of_batch(batch.column(0))
        if count != part.rows:
            raise DataError(
                f"{part.name} has {count:,} rows in {column!r} where {part.rows:,} were announced"
            )


def _of_batch(array: pyarrow.Array) -> Iterator[Value]:
    import pyarrow.types as types

    kind = array.type
    if types.is_struct(kind):
        for each in array:
            yield each["bytes"].as_py() if each.is_valid else None
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        for each in array:
            yield _of_list(each.values) if each.is_valid else None
    else:
        for value in array.to_pylist():
            yield from_json(value)


def _of_list(items: pyarrow.Array) -> Value:
    """An array of numbers, or of steps where all are of one length; else a list."""
    import pyarrow.types as types

    kind = items.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        flat = items.flatten()
        lengths = {len(each.values) if each.is_valid else -1 for each in items}
        if len(lengths) == 1 and flat.null_count == 0 and len(flat):
            return _as_numbers(flat).reshape(len(items), -1)
        return items.to_pylist()
    if types.is_string(kind) or types.is_large_string(kind):
        return [each for each in items.to_pylist() if each is not None]
    return _as_numbers(items) if items.null_count == 0 else items.to_pylist()


def _as_numbers(items: pyarrow.Array) -> np.ndarray[Any, Any]:
    return items.to_numpy(zero_copy_only=False)


def _class_names(schema: pyarrow.Schema) -> dict[str, list[str]]:
    """What the `datasets` library has noted about columns of classes."""
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = told["info"]["features"]
        found = {name: each["names"] for name, each in features.items() if each.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        name: names
        for name, names in found.items()
        if isinstance(names, list) and all(isinstance(each, str) for each in names)
    }


@contextmanager
def _opened(name: str, blob: Blob) -> Iterator[Any]:
    """Raises DataError when it cannot be read, now or later."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            "this format needs the package pyarrow; install Fusebox with the extra 'train'"
        ) from None
    try:
        with (
            blob.open() as content,
            pyarrow.parquet.ParquetFile(
                content,
                pre_buffer=False,
                thrift_string_size_limit=MOST_THRIFT,
                thrift_container_size_limit=MOST_THRIFT,
            ) as file,
        ):
            yield file
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{name} is not a whole Parquet file of texts in UTF-8, numbers and bytes") from None
