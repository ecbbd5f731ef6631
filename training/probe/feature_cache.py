"""Embeddings that were computed before: one file each in a folder that is kept below a size.

What is known of a checkpoint on a split never changes, so a file is written once under the name of all it depends on, by
rename; two processes that do so at the same time write the same. Whoever finds no file, or a damaged one, computes.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models_store.durable import write_atomically

log = logging.getLogger(__name__)
KEPT_BYTES = 2 << 30
SUFFIX = ".safetensors"


def cached(folder: Path, key: tuple[object, ...], compute: Callable[[], Tensor]) -> Tensor:
    """The embeddings (N, D) that belong to `key`, on the CPU when they were found and else where they were computed."""
    path = folder / (hashlib.sha256("\n".join(map(str, key)).encode()).hexdigest() + SUFFIX)
    found = _read(path)
    if found is not None:
        return found
    computed = compute()
    if computed.nbytes <= KEPT_BYTES:
        kept = computed.cpu().contiguous()
        write_atomically(path, save({"embeddings": kept}, {"sha256": _sha256(kept)}))
        _forget_oldest(folder, KEPT_BYTES)
    return computed


def _read(path: Path) -> Tensor | None:
    try:
        with safe_open(path, "pt") as file:
            found, expected = file.get_tensor("embeddings"), file.metadata()["sha256"]
        os.utime(path)  # the least recently used go first
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        log.warning("embeddings in %s cannot be read (%s); they are computed anew", path.name, error)
        return None
    if _sha256(found) != expected:
        log.warning("embeddings in %s are not what was written; they are computed anew", path.name)
        return None
    return torch.as_tensor(found)


def _sha256(embeddings: Tensor) -> str:
    return hashlib.sha256(embeddings.numpy().data).hexdigest()


def _forget_oldest(folder: Path, kept_bytes: int) -> None:
    """Another process may forget the same files, or read one: it then has it open and reads on."""
    files = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        files.append((stat.st_mtime, stat.st_size, path))
    total = 0
    for _, size, path in sorted(files, reverse=True):
        total += size
        if total > kept_bytes:
            path.unlink(missing_ok=True)
