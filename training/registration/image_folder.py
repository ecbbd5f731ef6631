"""Images in a folder with a table of what belongs to them, as the `datasets` library of Hugging Face reads them.

    pets/metadata.csv         file_name,text,breed           or metadata.jsonl: an object a line, which may hold lists too
    pets/1.png                1.png,a cat asleep,persian
    pets/dataset.json         optional: see `training.spec.registration.Description`

Folders called train, validation and test, each with a table of its own or below one for all, are splits. Several images
of a sample stand in columns whose names end in _file_name. Without any table, the folder that an image is in is its
`label`. A .zip or .tar of such a folder is read as it is.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

from training.errors import DataError
from training.registration.blobs import Blob, Blobs
from training.registration.columns import Columns, Value, from_cells, from_json
from training.registration.files import described, ending_with, files_of, splits_of
from training.registration.found import Found, Ledger, Source
from training.registration.own import found_in

TABLES = ("metadata.csv", "metadata.jsonl")
FILE_NAME, FILE_NAME_OF = "file_name", "_file_name"
IMAGE = "image"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MOST_LINE_BYTES = 2**20
MOST_COLUMNS = 1_000


class Row(NamedTuple):
    place: str
    """Where it stands, for the report."""
    table: str
    cells: dict[str, Value]


def read_image_folder(source: Source) -> Found:
    files = files_of(source)
    tables = [name for name in files if PurePosixPath(name).name in TABLES]
    columns = _tabled(files, tables, source) if tables else _sorted_into_folders(files, source)
    return found_in(columns, described(files, source.options), source.image_size, source.ledger)


def _tabled(files: Blobs, tables: Sequence[str], source: Source) -> Columns:
    rows = [row for name in tables for row in _rows(name, files[name], source.ledger)]
    if not rows:
        raise DataError(f"{tables[0]} has no lines that could be read")
    names = list(dict.fromkeys(column for row in rows for column in row.cells))
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{tables[0]} has {len(names):,} columns; {MOST_COLUMNS:,} are read")
    pictures = [name for name in names if _is_file_name(name)]
    if not pictures:
        raise DataError(f"{tables[0]} has no column {FILE_NAME!r} to say which image a line is about")
    shown = {name: IMAGE if name == FILE_NAME else name.removesuffix(FILE_NAME_OF) for name in pictures}
    images = {name: [_picture(row, name, files) for row in rows] for name in pictures}
    _note_the_others(files, images, source.ledger)
    rest = {
        name: [row.cells.get(name) for row in rows]
        for name in names
        if name not in pictures and name not in shown.values()
    }
    firsts = [_below(row, pictures[0]) or row.table for row in rows]
    return Columns(
        names=[row.place for row in rows],
        read={
            **{shown[name]: partial(iter, found) for name, found in images.items()},
            **{name: partial(iter, cells) for name, cells in rest.items()},
        },
        files=sorted({blob.place for blob in files.values()}) if source.path.is_dir() else [source.path],
        pictures=frozenset(shown.values()),
        splits=splits_of(firsts, source.ledger, by_file=False),
    )


def _sorted_into_folders(files: Blobs, source: Source) -> Columns:
    pictures = ending_with(files, PICTURES)
    folders = [PurePosixPath(name).parent.name for name in pictures]
    if not pictures:
        raise DataError(
            f"there is neither {' nor '.join(TABLES)} nor any image in {source.shown}; is this the right folder and format?"
        )
    source.ledger.note(f"there is no {' or '.join(TABLES)}: an image's label is the folder that it is in")
    read = {IMAGE: partial(iter, list(pictures.values()))}
    if len(set(folders)) > 1:
        read["label"] = partial(iter, folders)
    return Columns(
        names=list(pictures),
        read=read,
        files=sorted({blob.place for blob in pictures.values()}) if source.path.is_dir() else [source.path],
        pictures=frozenset({IMAGE}),
        splits=splits_of(pictures, source.ledger, by_file=False),
    )


def _rows(name: str, blob: Blob, ledger: Ledger) -> Iterator[Row]:
    lines = _of_csv if name.endswith(".csv") else _of_jsonl
    for place, cells in lines(name, blob, ledger):
        pictured = next((str(cells[key]) for key in cells if _is_file_name(key) and cells[key]), "")
        yield Row(f"{place}: {pictured}" if pictured else place, name, cells)


def _of_jsonl(name: str, blob: Blob, ledger: Ledger) -> Iterator[tuple[str, dict[str, Value]]]:
    number = 0
    with blob.open() as file:
        while line := file.readline(MOST_LINE_BYTES + 1):
            number += 1
            place = f"{name} line {number}"
            if len(line) > MOST_LINE_BYTES:
                raise DataError(f"{place} has more than {MOST_LINE_BYTES:,} bytes; is this the right file?")
            if not line.strip():
                continue
            try:
                told = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError):
                told = None
            if isinstance(told, dict):
                yield place, {key: from_json(value) for key, value in told.items()}
            else:
                ledger.drop(None, place, "its line is not a JSON object in UTF-8")


def _of_csv(name: str, blob: Blob, ledger: Ledger) -> Iterator[tuple[str, dict[str, Value]]]:
    places: list[str] = []
    rows: list[list[str]] = []
    try:
        with io.TextIOWrapper(blob.open(), encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text)
            header = [each.strip() for each in next(lines, [])]
            for row in lines:
                place = f"{name} line {lines.line_num}"
                if len(row) == len(header):
                    places.append(place)
                    rows.append(row)
                elif any(row):
                    ledger.drop(None, place, f"its line has not {len(header)} cells like the first")
    except UnicodeDecodeError:
        raise DataError(f"{name} is not UTF-8 text; save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{name} is not a table of comma-separated values: {error}") from None
    if len(set(header)) < len(header) or "" in header:
        raise DataError(f"the first line of {name} must name each column, and none twice")
    typed: dict[str, list[Value]] = {}
    for k, column in enumerate(header):
        cells = [row[k] for row in rows]
        typed[column] = list(cells) if _is_file_name(column) else from_cells(cells)
    for number, place in enumerate(places):
        yield place, {column: values[number] for column, values in typed.items()}


def _is_file_name(column: str) -> bool:
    return column == FILE_NAME or column.endswith(FILE_NAME_OF)


def _below(row: Row, column: str) -> str | None:
    """The name that a row says, as seen from the top folder."""
    said = row.cells.get(column)
    if not isinstance(said, str) or not said.strip():
        return None
    folder = PurePosixPath(row.table).parent
    return (folder / said.strip().replace("\\", "/")).as_posix()


def _picture(row: Row, column: str, files: Blobs) -> Blob | None:
    """None where there is none: only files that belong to the data can be named."""
    return files.get(_below(row, column) or "")


def _note_the_others(files: Blobs, images: dict[str, list[Blob | None]], ledger: Ledger) -> None:
    named = {blob for found in images.values() for blob in found}
    others = [name for name, blob in ending_with(files, PICTURES).items() if blob not in named]
    if others:
        ledger.note(f"{len(others):,} images that no line names were left out, the first {others[0]}")
