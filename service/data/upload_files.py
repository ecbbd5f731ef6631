"""Uploaded files on disk, while they arrive and until they have become a dataset. Knows no database.

<uploads_dir>/<upload_id>/upload

What has arrived is the file's length: whoever asks after a broken connection, or after the server was started again,
is told it and goes on from there.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from service.errors import ConflictError, TooLargeError, UnavailableError
from service.settings import Settings

FILE = "upload"
PIECE_BYTES = 1 << 20
OFFSET = "Upload-Offset"


def path_of(settings: Settings, upload_id: str) -> Path:
    """`upload_id`: of a row, so that it is a name of ours."""
    return settings.uploads_dir / upload_id / FILE


def make(settings: Settings, upload_id: str) -> None:
    path = path_of(settings, upload_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def received(settings: Settings, upload_id: str) -> int:
    """Bytes that have arrived; 0 too when the file has been taken away."""
    try:
        return path_of(settings, upload_id).stat().st_size
    except FileNotFoundError:
        return 0


async def append(
    settings: Settings, upload_id: str, offset: int, content: AsyncIterator[bytes], most_bytes: int
) -> int:
    """Writes what comes behind the `offset` bytes that are there, and returns how many there are then.

    Whatever has come stays when the client breaks off. Raises ConflictError when other bytes are there or somebody else
    is writing, TooLargeError beyond `most_bytes`, UnavailableError when the disk is full.
    """
    with _locked(settings, upload_id) as file:
        there = file.seek(0, os.SEEK_END)
        if there != offset:
            raise ConflictError(
                "upload_offset",
                f"{there} bytes have arrived, so the next must come with '{OFFSET}: {there}', not {offset}",
                headers={OFFSET: str(there)},
            )
        waiting = bytearray()
        try:
            async for piece in content:
                if there + len(waiting) + len(piece) > most_bytes:
                    raise TooLargeError("upload_too_large", f"the file may have {most_bytes} bytes")
                waiting += piece
                if len(waiting) >= PIECE_BYTES:
                    there += await asyncio.to_thread(_write, file, bytes(waiting))
                    waiting.clear()
        finally:
            there += _write(file, bytes(waiting))
        await asyncio.to_thread(os.fsync, file.fileno())
        return there


@contextmanager
def alone(settings: Settings, upload_id: str) -> Iterator[int]:
    """While nobody writes. Gives the bytes that have arrived. Raises ConflictError while somebody does."""
    with _locked(settings, upload_id) as file:
        yield file.seek(0, os.SEEK_END)


def remove(settings: Settings, upload_id: str) -> None:
    shutil.rmtree(settings.uploads_dir / upload_id, ignore_errors=True)


def idle_s(settings: Settings, upload_id: str) -> float:
    """Since anything last arrived; for ever when there is no file."""
    try:
        return time.time() - path_of(settings, upload_id).stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def every(settings: Settings) -> list[str]:
    """The ids that have a folder here."""
    folder = settings.uploads_dir
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@contextmanager
def _locked(settings: Settings, upload_id: str) -> Iterator[BinaryIO]:
    """Processes on other machines see the lock too, where the file system is one that they may share."""
    try:
        file = path_of(settings, upload_id).open("r+b", buffering=0)
    except FileNotFoundError:
        raise _gone() from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                "upload_busy",
                "another request is writing to this upload; wait for its end, then ask for the offset",
            ) from None
        yield file


def _write(file: BinaryIO, content: bytes) -> int:
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        raise UnavailableError(
            "disk_full",
            "the server cannot store more; free space there, then go on with the upload",
            retry_after_s=60,
        ) from None
    return len(content)


def _gone() -> ConflictError:
    return ConflictError("upload_gone", "what had arrived of this upload is no longer there; begin anew")
