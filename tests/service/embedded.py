"""Embeddings as an embed run leaves them, made by hand, and the job that has left them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_store.embeddings import EmbeddingsManifest, write_manifest
from models_store.files import digest_of
from service import jobs, leases, requests
from service.db import Sessions, transaction
from service.settings import Settings
from service.tables import Checkpoint
from tests.service.rows import checkpointed
from training.run_dir import RunDir

COUNT, TRAIN, DIM = 30, 20, 6
NAMES = ("red", "green", "blue")
PROJECTION = {
    "seed": 0,
    "rows": [3, 7, 25],
    "subsets": {"image": {"pca": [[0, 1], [2, 3], [4, 5]], "explained": [0.5, 0.25]}},
}
SEEN = {
    "image": np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4),
    "image.of": np.arange(COUNT) % 3,
    "text": np.array(["a <b>word</b>", "two words"]),
    "text.of": np.arange(COUNT) % 2,
}  # fmt: skip


def written(folder: Path, seed: int = 0, **source: Any) -> tuple[EmbeddingsManifest, str]:
    """20 samples to train and 10 to test, with vectors of images and of texts. Returns the manifest and its sha256."""
    random = np.random.default_rng(seed)
    vectors = [random.standard_normal((COUNT, DIM)).astype(np.float32) + 2 * turn for turn in range(2)]
    labels = {
        "sample": np.arange(COUNT) * 2,
        "label.colour": np.arange(COUNT) % 3,
        "label.tags": np.stack([np.arange(COUNT) % 2, np.ones(COUNT)], axis=1).astype(np.float32),
        "label.size": np.arange(COUNT, dtype=np.float32)[:, None] / 2,
    }
    files = {
        "part-00000.npz": b"not looked at",
        "projection.json": json.dumps(PROJECTION).encode(),
        "seen.npz": _npz(SEEN),
        "labels.npz": _npz(labels),
        **{f"vectors-{turn}.npy": _npy(each) for turn, each in enumerate(vectors)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    modalities = (("image",), ("text",))
    manifest = EmbeddingsManifest.model_validate(
        {
            "file_format": "npz",
            "count": COUNT,
            "dim": DIM,
            "splits": [
                {"split": "train", "start": 0, "count": TRAIN},
                {"split": "test", "start": TRAIN, "count": COUNT - TRAIN},
            ],
            "subsets": [
                {"modalities": names, "file": f"vectors-{turn}.npy", "mean": vectors[turn].mean(axis=0, dtype=np.float64).tolist()}
                for turn, names in enumerate(modalities)
            ],
            "tasks": [
                {"task": "colour", "type": "class", "names": NAMES},
                {"task": "tags", "type": "multilabel", "names": ["odd", "any"]},
                {"task": "size", "type": "regression", "names": ["0"]},
            ],
            "source": {
                "job_id": "job_1", "method": "infmasking", "step": 16, "checkpoint_sha256": "0" * 64, "dataset": "digits",
                "dataset_sha256": "d" * 64, "code_version": "0.1.0", **source,
            },
            "files": {name: {"size_bytes": len(content), "sha256": digest_of(content)} for name, content in files.items()},
        }
    )  # fmt: skip
    return manifest, write_manifest(folder, manifest)


def embedded(
    sessions: Sessions, settings: Settings, training: str, state: str = "succeeded", **source: Any
) -> str:
    """An embed job of the training that has left what `written` writes. Returns its id."""
    with sessions() as session:
        known = session.get(Checkpoint, (training, 16))
    if known is None:
        checkpointed(sessions, training, 16)
    with transaction(sessions) as session:
        job = jobs.create(session, requests.checked(session, "embed", {"run": training}), actor="tests")
        job.state = state
        _, sha256 = written(RunDir(settings.runs_dir / job.id).embeddings, **source)
        leases.tell(session, job, "embedded", "kept", sha256=sha256, count=COUNT)
        return job.id


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _npy(array: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()
