"""Folders as an exporter leaves them, with any bytes for a network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from models_store.manifest import Manifest


def bundle(folder: Path, files: dict[str, bytes] | None = None, **changes: Any) -> Path:
    """A folder with `files` and the manifest that belongs to them."""
    files = {"model.onnx": b"weights"} if files is None else files
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "manifest.json").write_bytes(manifest(files, **changes).model_dump_json().encode())
    return folder


def manifest(files: dict[str, bytes], **changes: Any) -> Manifest:
    described: dict[str, Any] = {
        "name": "digits",
        "created_at": "2026-11-24T08:00:00+00:00",
        "embedding_dim": 4,
        "inputs": [{"kind": "text", "name": "text", "max_tokens": 16, "pad_id": 0}],
        "may_miss": True,
        "opset": 20,
        "source": {
            "job_id": "job_1", "method": "infmasking", "dataset": "digits", "step": 8, "epoch": 1,
            "checkpoint_sha256": "0" * 64, "seed": 0,
        },
        "parity": {"max_abs_diff": 0, "tolerance": 1e-4, "batch_sizes": [1], "subsets": [["text"]]},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }  # fmt: skip
    return Manifest.model_validate(described | changes)
