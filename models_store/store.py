"""Where published models are kept: a folder, or anything else that fsspec can reach.

    blobs/sha256/ab/<sha256>      every file of every model, once
    manifests/<digest>.json       what a model consists of; its digest is the sha256 of these bytes
    names/<name>/<version>        the digest of a version
    aliases/<alias>               the digest an alias means at present
    heads/<digest>/<task>         the probe heads of a model, see `models_store.heads`

A manifest is written after all files it names, so whatever has a manifest is complete: no manifest, no model. All but
the three kinds of pointer never changes, and everything is checked against its sha256 whenever it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from models_store.files import Files, blob, digest_of
from models_store.manifest import Manifest

MANIFEST = "manifest.json"
DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
"""Of models and aliases. None can be taken for a digest, and none leads out of its folder."""
VERSION = re.compile(r"[1-9][0-9]{0,8}")
FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
SHOWN = 20
"""Models named to somebody who asked for one that is not there."""


class StoreError(Exception):
    """What was asked for cannot be done; the store is as it was."""


class UnknownModelError(StoreError):
    """There is no such model."""


class DamagedModelError(StoreError):
    """A stored file is not what its digest says, or is gone."""


class ModelStore:
    """Any number of processes may use one at once. Raises OSError when the place cannot be reached."""

    def __init__(self, url: str) -> None:
        self.files = Files(url)

    def publish(self, folder: Path) -> str:
        """Keeps manifest.json and every file it names, and returns the digest. Publishing again changes nothing.

        Raises StoreError when the manifest is not one, or a file is absent or differs from its sha256.
        """
        content = _read_file(folder / MANIFEST)
        manifest = _parsed(content)
        contents = {sha256: _verified(folder / file, sha256) for file, sha256 in manifest.files.items()}
        for sha256, each in contents.items():
            self.files.keep(blob(sha256), each)
        digest = digest_of(content)
        self.files.keep(_manifest(digest), content)
        return digest

    def manifest(self, digest: str) -> Manifest:
        """Raises UnknownModelError or DamagedModelError."""
        content = self.files.read(_manifest(digest)) if DIGEST.fullmatch(digest) else None
        if content is None:
            raise self._unknown(digest)
        if digest_of(content) != digest:
            raise DamagedModelError(f"the manifest of model {digest} has been changed")
        return _parsed(content)

    def read(self, digest: str, file: str) -> bytes:
        """A file of the bundle as it was published. Raises UnknownModelError, DamagedModelError or StoreError."""
        sha256 = self.manifest(digest).files.get(file)
        if sha256 is None:
            raise StoreError(f"model {digest} has no file {file!r}")
        content = self.files.read(blob(sha256))
        if content is None:
            raise DamagedModelError(f"{file} of model {digest} is gone")
        if digest_of(content) != sha256:
            raise DamagedModelError(f"{file} of model {digest} has been changed")
        return content

    def digests(self) -> list[str]:
        names = (name.removesuffix(".json") for name in self.files.names("manifests"))
        return sorted(name for name in names if DIGEST.fullmatch(name))

    def name_version(self, name: str, version: int, digest: str) -> None:
        """Lets `name@version` mean a model that is here."""
        if version < 1:
            raise StoreError(f"versions count from 1, not {version}")
        self._assert_here(digest)
        self.files.write(f"names/{_checked_name(name)}/{version}", digest.encode())

    def versions(self, name: str) -> dict[int, str]:
        """Version → digest, lowest first; empty for an unknown name."""
        if not NAME.fullmatch(name):
            return {}
        found = {number: self._pointer(f"names/{name}/{number}") for number in self._numbers(name)}
        return {number: digest for number, digest in found.items() if digest is not None}

    def set_alias(self, alias: str, digest: str) -> None:
        """From one moment to the next, whoever resolves the alias gets this model."""
        self._assert_here(digest)
        self.files.write(f"aliases/{_checked_name(alias)}", digest.encode())

    def aliases(self) -> dict[str, str]:
        """Alias → digest."""
        found = {name: self._pointer(f"aliases/{name}") for name in self._alias_names()}
        return {name: digest for name, digest in found.items() if digest is not None}

    def resolve(self, reference: str) -> str:
        """The digest meant by a digest, an alias, `name@version` or a name, which means its highest version.

        Looked up in this order. Raises UnknownModelError, which says what there is.
        """
        name, at, version = reference.partition("@")
        digest: str | None = None
        if DIGEST.fullmatch(reference):
            digest = reference if self.files.has(_manifest(reference)) else None
        elif NAME.fullmatch(name) and at:
            digest = self._pointer(f"names/{name}/{int(version)}") if VERSION.fullmatch(version) else None
        elif NAME.fullmatch(name):
            digest = self._pointer(f"aliases/{name}") or self._newest(name)
        if digest is None:
            raise self._unknown(reference)
        return digest

    def _newest(self, name: str) -> str | None:
        numbers = self._numbers(name)
        return self._pointer(f"names/{name}/{numbers[-1]}") if numbers else None

    def _alias_names(self) -> list[str]:
        return sorted(name for name in self.files.names("aliases") if NAME.fullmatch(name))

    def _numbers(self, name: str) -> list[int]:
        return sorted(int(each) for each in self.files.names(f"names/{name}") if VERSION.fullmatch(each))

    def _assert_here(self, digest: str) -> None:
        if not (DIGEST.fullmatch(digest) and self.files.has(_manifest(digest))):
            raise self._unknown(digest)

    def _unknown(self, reference: str) -> UnknownModelError:
        named = [
            f"{name}@{number}" for name in sorted(self.files.names("names")) for number in self._numbers(name)
        ]
        there = _shortened([*self._alias_names(), *named]) or "no model has been published yet"
        return UnknownModelError(f"there is no model {reference[:100]!r}; there is: {there}")

    def _pointer(self, path: str) -> str | None:
        content = self.files.read(path)
        if content is None:
            return None
        digest = content.decode("ascii", "replace").strip()
        if not DIGEST.fullmatch(digest):
            raise DamagedModelError(f"{path} does not hold a model's digest")
        return digest


def _manifest(digest: str) -> str:
    return f"manifests/{digest}.json"


def _parsed(content: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise StoreError(f"not a manifest: {error}") from None
    _checked_name(manifest.name)
    for file, sha256 in manifest.files.items():
        if not FILE.fullmatch(file) or file == MANIFEST:
            raise StoreError(f"a manifest may not name the file {file!r}; plain file names only")
        if not DIGEST.fullmatch(sha256):
            raise StoreError(f"{sha256!r} is not the sha256 of {file}")
    return manifest


def _verified(path: Path, sha256: str) -> bytes:
    content = _read_file(path)
    if digest_of(content) != sha256:
        raise StoreError(f"{path.name} differs from the sha256 in the manifest; nothing is published")
    return content


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path.name} is missing; nothing is published") from None


def _checked_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise StoreError(
            f"{name[:100]!r} cannot be a name; take up to 63 lower-case letters, digits, dots, dashes and underscores"
        )
    return name


def _shortened(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
