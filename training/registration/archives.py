"""What is in a .zip, .tar or .tar.gz, without writing a file under a name that somebody else has chosen.

A member of a .tar is read from where it lies. All that is compressed goes into one nameless file first, which is gone when
this process ends, whatever ends it. An archive is refused as a whole when a member is anything but a file or
a folder, when its name leads elsewhere or comes twice, and when it swells beyond measure (`blobs.Spool`).
"""

from __future__ import annotations

import gzip
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, cast

from training.errors import DataError
from training.registration.blobs import Blob, Blobs, Spool
from training.registration.found import printable

MOST_MEMBERS = 1_000_000
MOST_NAME_CHARS = 1_000
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
    with _whole(name):
        if blob.part(0, 2).read() == GZIP:
            with blob.open() as file, gzip.GzipFile(fileobj=file) as content:
                blob = spool.keep(cast(IO[bytes], content), name)
        with blob.open() as file:
            is_zip = blob.part(0, 4).read() in (ZIP, EMPTY_ZIP)
            found = _of_zip(file, name, spool) if is_zip else _of_tar(file, blob, name)
    return dict(sorted(found.items()))


def _of_zip(file: IO[bytes], name: str, spool: Spool) -> Blobs:
    found: dict[str, Blob] = {}
    with zipfile.ZipFile(file) as archive:
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
                    found[member] = spool.keep(content, name)
    return found


def _of_tar(file: IO[bytes], blob: Blob, name: str) -> Blobs:
    found: dict[str, Blob] = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for each in _listed(archive):
            is_file = each.isreg() and not each.issparse()
            member = _checked(each.name, name, found, is_file, is_folder=each.isdir())
            if each.offset_data + each.size > blob.size:
                raise tarfile.ReadError
            if member is not None:
                found[member] = blob.part(each.offset_data, each.size)
        # The reader also takes what it does not understand for the end, but the end is a block of zeros.
        if blob.part(archive.offset, tarfile.BLOCKSIZE).read() != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError
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
