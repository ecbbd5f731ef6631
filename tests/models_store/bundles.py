"""Folders as an exporter leaves them, with any bytes for a network; and heads for such a model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_store.heads import HeadManifest, packed
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


def head(weight: Any = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)), **changes: Any) -> tuple[bytes, bytes]:
    """The manifest and the weights of a head (D, K) for models of `bundle`."""
    numbers: NDArray[np.float32] = np.array(weight, dtype=np.float32)
    weights = packed(numbers, np.zeros(numbers.shape[1], dtype=np.float32))
    described: dict[str, Any] = {
        "task": "digit",
        "family": "redundancy",
        "type": "class",
        "outputs": numbers.shape[1],
        "embedding_dim": numbers.shape[0],
        "scores": {"macro_accuracy": {"value": 0.9, "ci95": [0.85, 0.95], "chance": 0.1}},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    source: dict[str, Any] = {
        "probe_job_id": "job_2", "job_id": "job_1", "method": "infmasking", "dataset": "digits",
        "dataset_sha256": "d" * 64, "step": 8, "checkpoint_sha256": "0" * 64, "protocol": "strict", "penalty": "norm",
        "seed": 42, "cost": 1.0, "n_train": 1437, "n_test": 360, "code_version": "0.1.0",
    }  # fmt: skip
    own = {name: value for name, value in changes.items() if name not in source}
    source |= {name: value for name, value in changes.items() if name in source}
    manifest = HeadManifest.model_validate({**described, **own, "source": source})
    return manifest.model_dump_json().encode(), weights
