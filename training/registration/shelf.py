"""Where registered datasets lie: written beside their place, checked, and put there whole.

Whoever looks sees a finished dataset or none. Registering the same content again leaves what is there, unless a file of
it is damaged: then it is replaced.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from models_store.durable import make_folder, sha256_of, sync_folder, write_atomically
from training.errors import DataError
from training.registration.checks import label_counts, usable_splits, warnings
from training.registration.found import Array, Digests, Found, Splits, Stream, Texts, printable
from training.registration.scales import scale_of
from training.spec import Card, Protocol
from training.spec.datasets import SplitName
from training.spec.registration import (
    MANIFEST,
    MOST_IDS,
    PROTOCOLS,
    REGISTERED,
    REPORT,
    DatasetManifest,
    Format,
    Report,
    StoredFile,
    labels_file,
    scale_file,
    split_file,
)


def keep(found: Found, made_from: Format, datasets_dir: Path) -> str:
    """Returns the dataset's sha256. Raises DataError when too little of it is usable."""
    shelf = datasets_dir / REGISTERED
    with _part(shelf) as folder:
        files: dict[str, StoredFile] = {}
        digests = {
            name: _write_modality(folder, name, content, files) for name, content in found.contents.items()
        }
        told = found.splits(_sources(found, digests)) if callable(found.splits) else found.splits
        splits = {protocol: usable_splits(found, told[protocol]) for protocol in PROTOCOLS}
        found, constant = _with_scales(folder, found, splits)
        for file, array in _small_arrays(found, splits):
            files[file] = _write_array(folder / file, array)
        manifest = DatasetManifest(
            format=made_from, card=_card(found, splits), files=dict(sorted(files.items()))
        )
        report = _report(found, made_from, splits, warnings(found, splits["strict"], digests, constant))
        write_atomically(folder / REPORT, report.model_dump_json(indent=2).encode())
        content = manifest.model_dump_json(indent=2).encode()
        write_atomically(folder / MANIFEST, content)
        digest = hashlib.sha256(content).hexdigest()
        _put(folder, shelf / digest, manifest)
    return digest


def _sources(found: Found, digests: Digests) -> Digests:
    """Of what each item was made where that is known: pictures are other pixels at another size and still the same."""
    return {
        name: content.sources if isinstance(content, Stream) and content.sources else digests[name]
        for name, content in found.contents.items()
    }


def _with_scales(
    folder: Path, found: Found, splits: Mapping[Protocol, Splits]
) -> tuple[Found, Mapping[str, Sequence[int]]]:
    """The same with the scales that what is kept has, and which features of it never change in training samples."""
    if not found.standardised:
        return found, {}
    scales = {
        name: scale_of(folder / f"{name}.npy", splits["strict"]["train"]) for name in found.standardised
    }
    numbers = {name: scale.mean_and_deviation for name, scale in scales.items()}
    constant = {name: scale.constant for name, scale in scales.items()}
    return replace(found, scales=dict.fromkeys(PROTOCOLS, numbers)), constant


def damaged(folder: Path, manifest: DatasetManifest) -> list[str]:
    """The files that are not as the manifest says."""
    return [
        name for name, file in manifest.files.items()
        if not (folder / name).is_file() or sha256_of(folder / name) != file.sha256
    ]  # fmt: skip


@contextmanager
def _part(shelf: Path) -> Iterator[Path]:
    """A folder to write in that is gone in the end, unless it was put elsewhere. Clears away what a process that was
    killed has left: its folder, of which nobody holds the lock any more."""
    make_folder(shelf)
    for lock in shelf.glob(".*.lock"):
        with suppress(OSError), _held(lock):
            shutil.rmtree(lock.with_suffix(".part"), ignore_errors=True)
    folder = shelf / f".{secrets.token_hex(8)}.part"
    with _held(folder.with_suffix(".lock")):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Raises BlockingIOError while another process holds it. Afterwards it is gone."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _put(folder: Path, place: Path, manifest: DatasetManifest) -> None:
    if place.exists():
        if (place / MANIFEST).is_file() and not damaged(place, manifest):
            return
        shutil.rmtree(place)
    sync_folder(folder)
    folder.rename(place)
    sync_folder(place.parent)


def _write_modality(
    folder: Path, name: str, content: Array | Stream | Texts, files: dict[str, StoredFile]
) -> list[bytes]:
    """Returns a digest of each item."""
    if isinstance(content, Stream | np.ndarray):
        digests: list[bytes] = []
        files[f"{name}.npy"] = _write_array(folder / f"{name}.npy", content, digests)
        return digests
    lines = [json.dumps(list(texts), ensure_ascii=False).encode("utf-8", "replace") for texts in content]
    path = folder / f"{name}.jsonl"
    write_atomically(path, b"".join(line + b"\n" for line in lines))
    files[path.name] = StoredFile(sha256=sha256_of(path), dtype="json", shape=(len(lines),))
    return [_digest(line) for line in lines]


def _write_array(path: Path, content: Array | Stream, digests: list[bytes] | None = None) -> StoredFile:
    """As .npy, without ever having all of it in memory. Raises DataError when a stream is shorter than it said."""
    written = 0
    with path.open("xb") as file:
        header = {"descr": content.dtype.str, "fortran_order": False, "shape": content.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in content.chunks if isinstance(content, Stream) else _pieces(content):
            file.write(np.ascontiguousarray(chunk, content.dtype).data)
            written += len(chunk)
            if digests is not None:
                digests.extend(_digest(row.tobytes()) for row in chunk)
        file.flush()
        os.fsync(file.fileno())
    if written != content.shape[0]:
        raise DataError(f"{path.stem} has {written:,} items where {content.shape[0]:,} were announced")
    return StoredFile(sha256=sha256_of(path), dtype=str(content.dtype), shape=content.shape)


def _pieces(array: Array, rows: int = 4096) -> Iterator[Array]:
    return (array[first : first + rows] for first in range(0, len(array), rows))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _small_arrays(found: Found, splits: Mapping[Protocol, Splits]) -> Iterator[tuple[str, Array]]:
    for task, labels in found.labels.items():
        yield labels_file(task), labels
    for protocol, of_protocol in splits.items():
        for split, rows in of_protocol.items():
            yield split_file(protocol, split), rows
    for protocol, scales in found.scales.items():
        for modality, scale in scales.items():
            yield scale_file(protocol, modality), scale


def _card(found: Found, splits: Mapping[Protocol, Splits]) -> Card:
    samples = {protocol: _sizes(each) for protocol, each in splits.items()}
    return Card(
        modalities=found.modalities,
        tasks=found.tasks,
        samples=samples["strict"],
        reference_samples=None if samples["reference"] == samples["strict"] else samples["reference"],
        default_tasks=found.default_tasks,
        default_modalities=found.default_modalities,
        shared_coins=found.shared_coins,
    )


def _sizes(splits: Splits) -> dict[SplitName, int]:
    return {split: len(rows) for split, rows in splits.items()}


def _report(
    found: Found, made_from: Format, splits: Mapping[Protocol, Splits], warnings: Sequence[str]
) -> Report:
    sizes = {printable(path.name): path.stat().st_size for path in found.files if path.is_file()}
    return Report(
        format=made_from,
        source=dict(list(sizes.items())[:MOST_IDS]),
        n_files=len(sizes),
        n_bytes=sum(sizes.values()),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        samples={protocol: _sizes(each) for protocol, each in splits.items()},
        labels=label_counts(found, splits["strict"]),
        dropped=found.ledger.dropped,
        notes=tuple(found.ledger.notes),
        warnings=tuple(warnings),
    )
