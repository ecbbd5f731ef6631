"""Where a store's files are: a folder, or anything else that fsspec can reach. Paths are relative to it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from models_store.durable import remove, write_atomically


class Files:
    """Any number of processes may use one at once. Raises OSError when the place cannot be reached."""

    def __init__(self, url: str) -> None:
        # A listing that is remembered would hide what another process has published since.
        self._fs, self._root = fsspec.url_to_fs(url, use_listings_cache=False)

    def write(self, path: str, content: bytes) -> None:
        """Readers see the old file or the new one."""
        if isinstance(self._fs, LocalFileSystem):
            write_atomically(Path(self._root, path), content)
        else:
            self._fs.pipe_file(f"{self._root}/{path}", content)  # object stores show a file when it is whole

    def keep(self, path: str, content: bytes) -> None:
        """Writes what is addressed by its content, unless it is there; what is there but damaged is mended."""
        if self.read(path, len(content)) != content:
            self.write(path, content)

    def read(self, path: str, most_bytes: int | None = None) -> bytes | None:
        """None when there is no such file. Of a longer one, a byte more than `most_bytes`, so that it shows."""
        end = None if most_bytes is None else most_bytes + 1
        try:
            content: bytes = self._fs.cat_file(f"{self._root}/{path}", end=end)
        except (FileNotFoundError, IsADirectoryError):
            return None
        return content

    def remove(self, path: str) -> None:
        """Whether or not it is there."""
        if isinstance(self._fs, LocalFileSystem):
            remove(Path(self._root, path))
            return
        with suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{path}")

    def has(self, path: str) -> bool:
        there: bool = self._fs.isfile(f"{self._root}/{path}")
        return there

    def names(self, folder: str) -> list[str]:
        """Of what is in it; none when there is no such folder."""
        try:
            paths = self._fs.ls(f"{self._root}/{folder}", detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [path.rstrip("/").rpartition("/")[2] for path in paths]


def blob(sha256: str) -> str:
    """The path of what is addressed by its content."""
    return f"blobs/sha256/{sha256[:2]}/{sha256}"


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
