"""Embeddings of datasets: their files, and the nearest of them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from models_store.embeddings import EmbeddedSource, Format, SplitRows
from service.answers.embedded import Embedded
from service.answers.indexes import Metric
from service.schemas.embeddings import MOST_MODALITIES, Digest, InputIn, Reference
from service.schemas.samples import Labels
from training.spec.datasets import SplitName

MOST_NEIGHBOURS = 1_000
MOST_NUMBERS = 1_000_000
Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
Modalities = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=100)]],
    Field(min_length=1, max_length=MOST_MODALITIES),
]


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class EmbeddingFile(_Told):
    name: str
    size_bytes: int
    sha256: str
    url: str


class EmbeddingFiles(_Told):
    """A dataset's embeddings, as an embed job has left them."""

    job_id: str
    manifest_sha256: str
    format: Format
    count: int
    """Samples."""
    dim: int
    """Numbers of a vector, as the network gives them: not of length 1."""
    splits: list[SplitRows]
    """Which rows are whose."""
    subsets: list[list[str]]
    """The modalities that were embedded, each subset by itself."""
    source: EmbeddedSource
    data: list[EmbeddingFile]
    """`part-…` for programs that read tables, `vectors-….npy` (all rows, one file for each subset), `labels.npz`, and
    `projection.json` to draw."""

    @classmethod
    def of(cls, found: Embedded) -> Self:
        manifest, address = found.manifest, f"/v1/jobs/{found.job_id}/embeddings"
        return cls(
            job_id=found.job_id,
            manifest_sha256=found.sha256,
            format=manifest.file_format,
            count=manifest.count,
            dim=manifest.dim,
            splits=list(manifest.splits),
            subsets=[list(each.modalities) for each in manifest.subsets],
            source=manifest.source,
            data=[
                EmbeddingFile(name=name, url=f"{address}/{name}", **kept.model_dump())
                for name, kept in manifest.files.items()
            ],
        )


class SearchRequest(BaseModel):
    """What to look for, in one of three ways: `inputs` with the `model` that embeds them, a `vector`, or a `sample`."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {"index": "job_…", "model": "captions", "inputs": [{"text": "a handwritten three"}], "k": 5},
                {"index": "job_…", "sample": 17, "k": 5, "split": "test"},
            ]
        },
    )

    index: Annotated[str, Field(min_length=1, max_length=100)]
    """An embed job that has succeeded."""
    k: Annotated[int, Field(strict=True, ge=1, le=MOST_NEIGHBOURS)] = 10
    """At most as many as there are samples to be found."""
    inputs: Annotated[list[InputIn], Field(min_length=1, max_length=1)] | None = None
    """One sample, as POST /v1/embeddings takes it."""
    model: Reference | None = None
    """Of the very checkpoint that the index was made by; 409 otherwise."""
    model_digest: Digest | None = None
    """The model whose vectors you have already: should `model` mean another one by now, the answer is 409."""
    vector: Annotated[list[Number], Field(min_length=1, max_length=MOST_NUMBERS)] | None = None
    """As the network gives it, where lengths matter: with `normalize: false`."""
    sample: Annotated[int, Field(strict=True, ge=0, le=2**62)] | None = None
    """A sample of the index by its place in the dataset; it is not among its own neighbours."""
    modalities: Modalities | None = None
    """The subset whose vectors are searched in, of those that the index has; by default its first."""
    metric: Metric = "cosine"
    """`l2` is the Euclidean distance."""
    split: SplitName | None = None
    """Only samples of this split are found; by default any."""
    center: bool = False
    """Subtract from all vectors the mean of those of their modalities. A network may keep images and texts apart from each
    other, so that the nearest of a text are nearest for reasons of kind; this takes that away."""

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        asked = [name for name in ("inputs", "vector", "sample") if getattr(self, name) is not None]
        if len(asked) != 1:
            raise PydanticCustomError(
                "one_query", "give one of `inputs`, `vector` and `sample`, and only one"
            )
        if (self.model is None) == (self.inputs is not None):
            raise PydanticCustomError(
                "model_of_inputs",
                "`inputs` are embedded by a `model`, and nothing else is; give both or neither",
            )
        if self.model_digest is not None and self.model is None:
            raise PydanticCustomError(
                "digest_of_model", "`model_digest` is that of a `model`; name one, or leave it out"
            )
        return self


class Links(_Told):
    sample: str
    """The sample with all that there is of it."""
    images: dict[str, str]
    """By modality, a PNG."""


class Neighbour(_Told):
    score: float
    """The cosine, the product, or the distance."""
    row: int
    """In the files of the embeddings."""
    sample: int
    """Its place in the dataset: among all samples of a registered one, else counted through its splits."""
    split: SplitName
    labels: Labels
    links: Links | None
    """Of a registered dataset, as long as it is the one that was embedded."""


class QueryOut(_Told):
    modalities: list[str]
    """What the query's vector is of."""
    model: str | None
    """`name@version` of the model that embedded it."""
    model_digest: str | None
    truncated: list[str]
    """Texts that were longer than the model reads and were cut."""


class SearchAnswer(_Told):
    index: str
    metric: Metric
    centered: bool
    modalities: list[str]
    """What the vectors that were searched in are of."""
    searched: int
    """Samples that were compared with."""
    query: QueryOut
    checkpoint_sha256: str
    dataset: str
    dataset_sha256: str
    kind: Literal["exact"] = "exact"
    """Every sample was compared, so that none that is nearer was missed."""
    data: list[Neighbour]
    """Nearest first."""
