"""Bytes that lie somewhere in a file: a file as a whole, or a member of an archive that need not be unpacked for it."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from training.errors import DataError

PIECE_BYTES = 1 << 20
MOST_RATIO, FREE_BYTES = 200, 100 * 2**20
"""Files may unpack to so many times their size; so many bytes do not count."""
MOST_UNPACKED_BYTES = 256 * 2**30


@dataclass(frozen=True)
class Blob:
    place: Path
    """The file that holds it."""
    offset: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Blob:
        """The whole file. Raises OSError."""
        return cls(path, 0, path.stat().st_size)

    def part(self, offset: int, size: int) -> Blob:
        return Blob(self.place, self.offset + offset, size)

    def read(self) -> bytes:
        with self.place.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def open(self) -> io.BufferedReader:
        """For reading and seeking in it, whatever is around it."""
        return io.BufferedReader(_Window(self), 1 << 16)


Blobs = Mapping[str, Blob]
"""By name, with / between the parts of a path."""


class Spool:
    """One file for whatever must be unpacked. It has no name, so that nothing of it can outlive this process.

    n_bytes: of all that is read; what is unpacked of it, archives in archives too, is bounded by that.
    """

    def __init__(self, folder: Path, n_bytes: int) -> None:
        self._folder = folder
        self._left = min(MOST_UNPACKED_BYTES, FREE_BYTES + MOST_RATIO * n_bytes)
        self._file: IO[bytes] | None = None

    def keep(self, content: IO[bytes], name: str) -> Blob:
        """Raises DataError when it swells beyond measure. `name`: of the archive that it is from."""
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  until the block ends
        start = self._file.tell()
        while piece := content.read(PIECE_BYTES):
            self._left -= len(piece)
            if self._left < 0:
                raise DataError(
                    f"{name} unpacks to more than {MOST_RATIO} times its size, or more than "
                    f"{MOST_UNPACKED_BYTES >> 30} GiB; pack it without compression, as a .tar"
                )
            self._file.write(piece)
        self._file.flush()
        return Blob(Path(f"/proc/self/fd/{self._file.fileno()}"), start, self._file.tell() - start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


class _Window(io.RawIOBase):
    def __init__(self, blob: Blob) -> None:
        self._file = blob.place.open("rb", buffering=0)
        self._offset, self._size, self._at = blob.offset, blob.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("before the start")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        wanted = memoryview(buffer)[: max(0, min(len(buffer), self._size - self._at))]
        self._file.seek(self._offset + self._at)
        count = self._file.readinto(wanted) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
