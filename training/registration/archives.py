"""What is in a .zip, .tar or .tar.gz, without writing a file under a name that somebody else has chosen.

A member of an uncompressed .tar is read from where it lies. All that is compressed goes into one nameless file, which is
gone when this process ends, whatever ends it. An archive is refused as a whole when a member is anything but a file or
a folder, when its name leads elsewhere or comes twice, and when it swells beyond measure.
"""

from __future__ import annotations

import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO

from training.errors import DataError
from training.registration.blobs import Blob, Blobs, Spool
from training.registration.found import printable

MOST_MEMBERS = 1_000_000
MOST_NAME_CHARS = 1_000
MOST_RATIO, FREE_BYTES = 200, 100 * 2**20
"""An archive may unpack to so many times its size; what is below so many bytes does not count."""
MOST_BYTES = 256 * 2**30
GZIP, ZIP, EMPTY_ZIP = b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06"
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257
DRIVE = re.compile(r"[A-Za-z]:[\\/]")
BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, NotImplementedError, OverflowError,
    RuntimeError, IndexError,
)  # fmt: skip
"""What the readers raise about files that are not what their first bytes say."""


def is_archive(blob: Blob) -> bool:
    head = blob.part(0, min(blob.size, 512)).read()
    return head.startswith((GZIP, ZIP, EMPTY_ZIP)) or head[TAR_MAGIC_AT:].startswith(TAR_MAGIC)


def members(blob: Blob, name: str, spool: Spool) -> Blobs:
    """The files in it, in the order of their names. Raises DataError. `name`: of the archive, for messages."""
    head = blob.part(0, min(blob.size, 4)).read()
    with blob.open() as file, _whole(name):
        if head.startswith((ZIP, EMPTY_ZIP)):
            found = _of_zip(file, blob, name, spool)
        else:
            found = _of_tar(file, blob, name, spool, zipped=head.startswith(GZIP))
    return dict(sorted(found.items()))


class _Budget:
    """How much more may come out of an archive."""

    def __init__(self, archive: Blob, name: str) -> None:
        self._name = name
        self._left = min(MOST_BYTES, FREE_BYTES + MOST_RATIO * archive.size)

    def take(self, n_bytes: int) -> None:
        self._left -= n_bytes
        if self._left < 0:
            raise DataError(
                f"{self._name} unpacks to more than {MOST_RATIO} times its size, or more than {MOST_BYTES >> 30} GiB; "
                "pack it without compression, as a .tar"
            )


def _of_zip(file: IO[bytes], blob: Blob, name: str, spool: Spool) -> Blobs:
    found: dict[str, Blob] = {}
    budget = _Budget(blob, name)
    with zipfile.ZipFile(file) as archive:
        if sum(each.file_size for each in archive.infolist()) > MOST_BYTES:
            budget.take(MOST_BYTES + 1)
        for each in archive.infolist():
            kind = stat.S_IFMT(each.external_attr >> 16)
            if each.flag_bits & 1:
                raise DataError(f"{name} is encrypted; pack it without a password")
            if each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise NotImplementedError
            is_file = not each.is_dir() and kind in (0, stat.S_IFREG)
            member = _checked(each.orig_filename, name, found, is_file, is_folder=each.is_dir())
            if member is not None:
                with archive.open(each) as content:
                    found[member] = spool.keep(content, budget.take)
    return found


def _of_tar(file: IO[bytes], blob: Blob, name: str, spool: Spool, *, zipped: bool) -> Blobs:
    found: dict[str, Blob] = {}
    budget = _Budget(blob, name)
    with tarfile.open(fileobj=file, mode="r|gz" if zipped else "r:") as archive:
        for each in _listed(archive):
            is_file = each.isreg() and not each.issparse()
            member = _checked(each.name, name, found, is_file, is_folder=each.isdir())
            if member is None:
                continue
            if zipped:
                content = archive.extractfile(each)
                assert content is not None
                found[member] = spool.keep(content, budget.take)
            elif each.offset_data + each.size > blob.size:
                raise tarfile.ReadError
            else:
                found[member] = blob.part(each.offset_data, each.size)
    return found


def _listed(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """One after the other. The archive's own list of all that it has seen would only take memory."""
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it is documented, and the annotations lack it
        yield member


def _checked(member: str, archive: str, found: Blobs, is_file: bool, *, is_folder: bool) -> str | None:
    """The member's name as ours, None when it is nothing to read. Raises DataError."""
    shown = printable(member)[:100]
    if not is_file and not is_folder:
        raise DataError(f"{archive} has {shown!r}, a link or device; pack plain files only")
    path = PurePosixPath(member.replace("\\", "/"))
    leads_out = path.is_absolute() or ".." in path.parts or DRIVE.match(member)
    if leads_out or "\0" in member or printable(member) != member or len(member) > MOST_NAME_CHARS:
        raise DataError(f"{archive} has a file {shown!r}; names must be UTF-8 and stay inside of the archive")
    if is_folder or is_hidden(path):
        return None
    ours = path.as_posix()
    if ours in found:
        raise DataError(f"{archive} has {shown!r} twice")
    if len(found) >= MOST_MEMBERS:
        raise DataError(f"{archive} has more than {MOST_MEMBERS:,} files; pack them as webdataset or parquet")
    return ours


def is_hidden(path: PurePosixPath) -> bool:
    """What operating systems leave in folders."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


@contextmanager
def _whole(name: str) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the archive's
        raise DataError(
            f"{name} is cut off or damaged, or is no .zip, .tar or .tar.gz that is read here; pack it anew"
        ) from None
