"""Probe heads: linear maps from a model's embedding to the classes, labels or numbers of a task, beside the model.

A probe writes each head as two files, and the store keeps both under their sha256:

    <task>.f32     float32, little-endian, (D + 1, K) row by row: the weights, and last the biases
    <task>.json    the manifest: what the head answers, how well, and which checkpoint it was fitted on

    heads/<digest>/<task>      in the store: the sha256 of the manifest of the head that this model has for the task

A head is attached to models of the very checkpoint that it was fitted on, and to no others. Attaching another for the
same task replaces it from one moment to the next. D width of the embedding, K outputs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models_store.durable import write_atomically
from models_store.files import blob, digest_of
from models_store.manifest import Manifest
from models_store.store import DIGEST, ModelStore, StoreError

TASK = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"
MOST_WEIGHT_BYTES = 256 << 20
MOST_MANIFEST_BYTES = 32 << 20
Sha256 = Annotated[str, Field(pattern=f"^{DIGEST.pattern}$")]
MAIN = {"class": "macro_accuracy", "multilabel": "f1_macro", "regression": "mse"}
"""Of several scores the one to name first, and by which a probe is chosen."""


class DamagedHeadError(StoreError):
    """A head's file is not what its digest says, or no head, or gone."""


class ForeignHeadError(StoreError):
    """A head was fitted on another checkpoint than the model's."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HeadScore(_Frozen):
    """On test samples that the head was not fitted on."""

    value: float
    ci95: tuple[float, float] | None = None
    """The ends of the bootstrap's 95 % interval."""
    chance: float | None = None
    """What guessing would give."""


class HeadSource(_Frozen):
    """What the head was fitted on, and how."""

    probe_job_id: str
    job_id: str
    """The training."""
    method: str
    dataset: str
    dataset_sha256: str
    step: int
    checkpoint_sha256: Sha256
    protocol: Literal["reference", "strict"]
    penalty: Literal["norm", "squared"]
    """Of a task of classes."""
    seed: int
    cost: float
    """Of a logistic regression; of a ridge regression the alpha."""
    n_train: int
    n_test: int
    random_crops: bool = False
    """Whether images were cropped at random even here, as published; what is served is not cropped."""
    code_version: str


class HeadManifest(_Frozen):
    format: Literal[1] = 1
    task: Annotated[str, Field(pattern=f"^{TASK}$")]
    family: str
    type: Literal["class", "multilabel", "regression"]
    outputs: Annotated[int, Field(ge=1, le=10_000_000)]
    """Classes of which one is right, labels of which any may be, or numbers."""
    names: tuple[str, ...] | None = None
    """Of the classes or labels, in the order of the outputs; without them they are counted from 0."""
    embedding_dim: Annotated[int, Field(ge=1, le=1_000_000)]
    scores: dict[str, HeadScore]
    """By metric."""
    source: HeadSource
    weights_sha256: Sha256

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.names is not None and not len(set(self.names)) == len(self.names) == self.outputs:
            raise ValueError("as many different names are needed as there are outputs")
        if self.weight_bytes > MOST_WEIGHT_BYTES:
            raise ValueError(f"the weights take more than {MOST_WEIGHT_BYTES} bytes")
        return self

    @property
    def weight_bytes(self) -> int:
        return 4 * (self.embedding_dim + 1) * self.outputs

    @property
    def metric(self) -> str | None:
        """The score to name first; none where that could not be computed."""
        return MAIN[self.type] if MAIN[self.type] in self.scores else next(iter(self.scores), None)


@dataclass(frozen=True)
class Head:
    """Ready to answer."""

    sha256: str
    """Of the manifest's bytes, and so of all of it."""
    manifest: HeadManifest
    weight: NDArray[np.float32]  # (D, K)
    bias: NDArray[np.float32]  # (K)


def packed(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> bytes:
    """Weights (D, K) and biases (K) as they are kept."""
    return np.concatenate([weight, bias[None]]).astype("<f4").tobytes()


def opened(content: bytes, weights: bytes) -> Head:
    """The head of a manifest's bytes and those of its weights. Raises DamagedHeadError unless both are whole."""
    manifest = _parsed(content)
    if len(weights) != manifest.weight_bytes or digest_of(weights) != manifest.weights_sha256:
        raise DamagedHeadError(f"the weights of head {manifest.task!r} have been changed")
    numbers = np.frombuffer(weights, "<f4").reshape(manifest.embedding_dim + 1, manifest.outputs)
    if not np.isfinite(numbers).all():
        raise DamagedHeadError(f"the weights of head {manifest.task!r} are not finite")
    numbers = numbers.astype(np.float32, copy=False)
    return Head(digest_of(content), manifest, numbers[:-1], numbers[-1])


def write_head(folder: Path, manifest: HeadManifest, weights: bytes) -> str:
    """Both files of a head, the manifest last; returns the manifest's sha256.

    Raises StoreError for a manifest that nobody would read.
    """
    content = manifest.model_dump_json(indent=1).encode()
    if len(content) > MOST_MANIFEST_BYTES:
        raise StoreError(f"the names of the outputs of head {manifest.task!r} are too long")
    write_atomically(folder / f"{manifest.task}.f32", weights)
    write_atomically(folder / f"{manifest.task}.json", content)
    return digest_of(content)


def read_head(folder: Path, task: str, sha256: str) -> tuple[bytes, bytes]:
    """The manifest's bytes and the weights', as `write_head` left them. Raises DamagedHeadError unless they are whole."""
    content = _start_of(folder / f"{task}.json", MOST_MANIFEST_BYTES)
    if digest_of(content) != sha256:
        raise DamagedHeadError(f"the manifest of head {task!r} has been changed")
    weights = _start_of(folder / f"{task}.f32", _parsed(content).weight_bytes)
    opened(content, weights)
    return content, weights


class HeadStore:
    """The heads of the models of a store. Raises OSError when the place cannot be reached."""

    def __init__(self, models: ModelStore) -> None:
        self._models = models
        self._files = models.files

    def attach(self, digest: str, content: bytes, weights: bytes) -> Head:
        """Lets the model have this head for its task from now on.

        Raises UnknownModelError, ForeignHeadError when it is another model's, DamagedHeadError unless it is whole.
        """
        head = opened(content, weights)
        assert_fits(head.manifest, self._models.manifest(digest))
        self._files.keep(blob(head.manifest.weights_sha256), weights)
        self._files.keep(blob(head.sha256), content)
        self._files.write(_pointer(digest, head.manifest.task), head.sha256.encode())
        return head

    def detach(self, digest: str, task: str) -> None:
        """Whether or not the model has a head for the task. The files stay: another model may have the same."""
        self._files.remove(_pointer(digest, task))

    def attached(self, digest: str) -> dict[str, str]:
        """Task → sha256 of the head that the model has for it, by name. A pointer that holds none is passed on: reading
        the head says so."""
        names = (name for name in self._files.names(f"heads/{digest}") if _is_task(name))
        found = {task: self._files.read(_pointer(digest, task), 64) for task in sorted(names)}
        return {
            task: sha256.decode("ascii", "replace").strip()
            for task, sha256 in found.items()
            if sha256 is not None
        }

    def read(self, digest: str, task: str, sha256: str) -> Head:
        """Raises UnknownModelError, ForeignHeadError or DamagedHeadError."""
        model = self._models.manifest(digest)
        content = self._blob(task, sha256, MOST_MANIFEST_BYTES) if DIGEST.fullmatch(sha256) else b""
        manifest = _parsed(content)
        if manifest.task != task:
            raise DamagedHeadError(f"what is kept as head {task!r} is one for {manifest.task!r}")
        assert_fits(manifest, model)
        return opened(content, self._blob(task, manifest.weights_sha256, manifest.weight_bytes))

    def _blob(self, task: str, sha256: str, most_bytes: int) -> bytes:
        content = self._files.read(blob(sha256), most_bytes)
        if content is None or digest_of(content) != sha256:
            raise DamagedHeadError(f"a file of head {task!r} is gone or has been changed")
        return content


def assert_fits(head: HeadManifest, model: Manifest) -> None:
    """Raises ForeignHeadError unless the head was fitted on the model's checkpoint."""
    of_head, of_model = head.source.checkpoint_sha256, model.source.checkpoint_sha256
    if of_head != of_model:
        raise ForeignHeadError(
            f"head {head.task!r} was fitted on the checkpoint {of_head}, and the model is of {of_model}"
        )
    if head.embedding_dim != model.embedding_dim:
        raise ForeignHeadError(
            f"head {head.task!r} takes {head.embedding_dim} numbers, and the model gives {model.embedding_dim}"
        )


def _parsed(content: bytes) -> HeadManifest:
    try:
        return HeadManifest.model_validate_json(content)
    except ValidationError as error:
        raise DamagedHeadError(f"not the manifest of a head: {error}") from None


def _start_of(path: Path, most_bytes: int) -> bytes:
    """A byte more than there may be, so that it shows."""
    try:
        with path.open("rb") as file:
            return file.read(most_bytes + 1)
    except FileNotFoundError:
        raise DamagedHeadError(f"{path.name} is gone") from None


def _pointer(digest: str, task: str) -> str:
    if not (DIGEST.fullmatch(digest) and _is_task(task)):
        raise StoreError(f"no head can be for the task {task[:100]!r}")
    return f"heads/{digest}/{task}"


def _is_task(name: str) -> bool:
    return re.fullmatch(TASK, name) is not None
