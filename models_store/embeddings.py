"""A dataset's embeddings, as an embed run leaves them in RUN_DIR/embeddings, for people to take away and to search in.

    part-00000.npz …       or .parquet: for so many samples each, their vectors and what is known of them
    vectors-0.npy …        float32 (N, D): all samples' vectors of one subset of the modalities, to be searched in
    labels.npz             the place of each sample in its dataset, (N,), and its labels by task
    projection.json        two coordinates for some of the samples, to be drawn
    seen.npz               small images and texts of samples that are in no file of a dataset, to be looked at
    manifest.json          written last: without it, there are no embeddings

Samples stand split after split, in the order that the manifest names. N samples, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models_store.durable import write_atomically
from models_store.files import digest_of
from models_store.store import StoreError

MANIFEST, LABELS, PROJECTION = "manifest.json", "labels.npz", "projection.json"
SEEN, SEEN_OF = "seen.npz", ".of"
"""Of each modality the distinct items, and by the name with this behind it which of them each sample has."""
MOST_MANIFEST_BYTES = 64 << 20
SAMPLE = "sample"
"""The array of `LABELS` that holds places; those of labels are called after `LABEL`."""
LABEL = "label."
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Format = Literal["npz", "parquet"]


class DamagedEmbeddingsError(StoreError):
    """A file of the embeddings is gone, or is not what was written."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class KeptFile(_Frozen):
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class SplitRows(_Frozen):
    """Where a split's samples stand among all."""

    split: Literal["train", "val", "test"]
    start: Annotated[int, Field(ge=0)]
    count: Annotated[int, Field(ge=0)]


class LabelNames(_Frozen):
    """A task, and what its classes, labels or numbers are called."""

    task: str
    type: Literal["class", "multilabel", "regression"]
    names: tuple[str, ...]


class SubsetVectors(_Frozen):
    """What was embedded of each sample, all else being absent, and where its vectors are."""

    modalities: tuple[str, ...]
    file: FileName
    mean: tuple[float, ...]
    """(D,) of all vectors. Those of different modalities lie apart; what is left once the means are gone can be compared."""


class EmbeddedSource(_Frozen):
    """Whose embeddings of what."""

    job_id: str
    """The training."""
    method: str
    step: int
    checkpoint_sha256: Sha256
    dataset: str
    """What was embedded."""
    dataset_sha256: str
    """Of its samples as the network read them."""
    registered_sha256: Sha256 | None = None
    """Of a registered dataset's manifest."""
    code_version: str


class EmbeddingsManifest(_Frozen):
    format: Literal[1] = 1
    file_format: Format
    count: Annotated[int, Field(ge=1)]
    """Samples (N)."""
    dim: Annotated[int, Field(ge=1)]
    """Numbers of a vector (D), as the network gives them."""
    splits: Annotated[tuple[SplitRows, ...], Field(min_length=1)]
    subsets: Annotated[tuple[SubsetVectors, ...], Field(min_length=1)]
    tasks: tuple[LabelNames, ...]
    source: EmbeddedSource
    files: dict[FileName, KeptFile]

    def rows_of(self, split: str) -> SplitRows | None:
        return next((each for each in self.splits if each.split == split), None)

    def split_of(self, row: int) -> SplitRows:
        """Raises StopIteration for a row that there is not."""
        return next(each for each in self.splits if each.start <= row < each.start + each.count)

    def subset(self, modalities: Sequence[str]) -> SubsetVectors | None:
        """In whichever order they are named."""
        return next((each for each in self.subsets if set(each.modalities) == set(modalities)), None)


def write_manifest(folder: Path, manifest: EmbeddingsManifest) -> str:
    """Returns its sha256. Raises StoreError for one that nobody would read."""
    content = manifest.model_dump_json(indent=1).encode()
    if len(content) > MOST_MANIFEST_BYTES:
        raise StoreError("the names of the classes and labels are too long")
    write_atomically(folder / MANIFEST, content)
    return digest_of(content)


def read_manifest(folder: Path, sha256: str) -> EmbeddingsManifest:
    """As `write_manifest` left it. Raises DamagedEmbeddingsError."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            content = file.read(MOST_MANIFEST_BYTES + 1)
    except OSError:
        raise DamagedEmbeddingsError("the manifest of the embeddings is gone") from None
    if digest_of(content) != sha256:
        raise DamagedEmbeddingsError("the manifest of the embeddings has been changed")
    try:
        return EmbeddingsManifest.model_validate_json(content)
    except ValidationError as error:
        raise DamagedEmbeddingsError(f"not the manifest of embeddings: {error}") from None


def read_file(folder: Path, manifest: EmbeddingsManifest, name: str) -> bytes:
    """All of one of its files. Raises DamagedEmbeddingsError unless it is what was written."""
    return read_written(folder / name, manifest.files[name].sha256)


def read_written(path: Path, sha256: str) -> bytes:
    """The same of a file whose sha256 is known."""
    try:
        content = path.read_bytes()
    except OSError:
        raise DamagedEmbeddingsError(f"{path.name} is gone") from None
    if digest_of(content) != sha256:
        raise DamagedEmbeddingsError(f"{path.name} has been changed")
    return content
