"""Arrays that take long to make, kept in a folder: made once, checked whenever they are read, made anew when damaged."""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_store.durable import sha256_of, sync_folder, write_atomically

log = logging.getLogger(__name__)
MANIFEST = "sha256.json"


def cached_arrays(folder: Path, build: Callable[[Path], None]) -> dict[str, NDArray[np.uint8]]:
    """File name without .npy → array, mapped from disk; changes to it stay in memory.

    `build` writes .npy files into the empty folder it is given. Processes that want the same folder at the same time
    wait for the one that builds it, and a build that was broken off leaves nothing that counts.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if not _intact(folder):
            _build(folder, build)
        return {path.stem: np.load(path, mmap_mode="c") for path in sorted(folder.glob("*.npy"))}


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    part = folder.with_name(f"{folder.name}.part")
    for old in (folder, part):
        shutil.rmtree(old, ignore_errors=True)
    part.mkdir()
    build(part)
    digests = {path.name: sha256_of(path) for path in sorted(part.glob("*.npy"))}
    write_atomically(part / MANIFEST, json.dumps(digests, indent=2).encode())
    part.rename(folder)
    sync_folder(folder.parent)


def _intact(folder: Path) -> bool:
    if not folder.exists():
        return False
    try:
        digests = json.loads((folder / MANIFEST).read_bytes())
        names = set(digests) | {path.name for path in folder.glob("*.npy")}
        damaged = [name for name in sorted(names) if sha256_of(folder / name) != digests.get(name)]
    except (OSError, ValueError, AttributeError) as error:
        damaged = [str(error)]
    if damaged:
        log.warning("the cache in %s is damaged (%s); it is made anew", folder, ", ".join(damaged))
    return not damaged


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
