"""Somebody's own data in each of the forms that people have it in: coloured squares, what is said of them, and numbers.

Each function writes into a folder and returns the path that somebody would name to register it.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

N = 60
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
NAMES = list(COLOURS)


def square(number: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """No two are alike."""
    pixels = np.random.default_rng(number).integers(0, 40, (*size[::-1], 3))
    return Image.fromarray((pixels + COLOURS[NAMES[number % 3]]).astype(np.uint8))


def as_png(number: int, size: tuple[int, int] = (24, 24)) -> bytes:
    content = io.BytesIO()
    square(number, size).save(content, "PNG")
    return content.getvalue()


def caption(number: int) -> str:
    return f"a {NAMES[number % 3]} square, number {number}"


def row(number: int) -> dict[str, Any]:
    return {
        "file_name": f"{number}.png",
        "text": caption(number),
        "colour": NAMES[number % 3],
        "weight": number / 7,
    }


def write_pictures(folder: Path, numbers: Iterable[int] = range(N)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number}.png").write_bytes(as_png(number))
    return folder


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), "utf-8")
    return path


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def image_folder(folder: Path, numbers: Iterable[int] = range(N)) -> Path:
    rows = [row(number) for number in numbers]
    write_csv(write_pictures(folder, numbers) / "metadata.csv", rows)
    return folder


def packed(folder: Path, archive: Path) -> Path:
    """The folder's files as a .zip, .tar or .tar.gz."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in files:
                zipped.write(path, path.relative_to(folder).as_posix())
        return archive
    with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as tar:
        for path in files:
            tar.add(path, path.relative_to(folder).as_posix())
    return archive


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def webdataset(folder: Path, shards: int = 2) -> Path:
    for shard in range(shards):
        members = {}
        for number in range(shard, N, shards):
            told = {"colour": NAMES[number % 3], "tags": [NAMES[number % 3], "square"][: 1 + number % 2]}
            members[f"{number:04}.png"] = as_png(number)
            members[f"{number:04}.txt"] = caption(number).encode()
            members[f"{number:04}.json"] = json.dumps(told).encode()
        write_tar(folder / f"squares-{shard:03}.tar", members)
    return folder


def parquet_table(numbers: Iterable[int] = range(N)) -> pa.Table:
    rng = np.random.default_rng(0)
    numbers = list(numbers)
    lengths = rng.integers(3, 9, len(numbers))
    return pa.table(
        {
            "image": [{"bytes": as_png(number), "path": f"{number}.png"} for number in numbers],
            "caption": [caption(number) for number in numbers],
            "track": [rng.normal(5, 2, (length, 2)).tolist() for length in lengths],
            "colour": pa.array([NAMES[number % 3] for number in numbers]).dictionary_encode(),
            "weight": [number / 7 for number in numbers],
        }
    )


def parquet(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(parquet_table(), folder / "squares.parquet", row_group_size=16)
    return folder / "squares.parquet"


def arrays_content(n: int = N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "heart": rng.normal(80, 10, (n, 12, 3)).astype(np.float32),
        "labs": rng.normal(5, 2, (n, 6)),
        "labels.sleeps": rng.integers(0, 2, n),
        "labels.age": rng.uniform(20, 80, n),
        "labels.drugs": rng.integers(0, 2, (n, 4)).astype(np.uint8),
    }


def arrays(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "patients.npz", **arrays_content())
    return folder / "patients.npz"
