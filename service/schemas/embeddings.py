"""What is embedded, and the fused embedding that comes back with where it came from."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from models_store.manifest import Precision
from service.inference.finish import Encoding
from service.schemas.contents import ContentIn
from service.schemas.heads import MOST_TASKS, Task

MOST_INPUTS, MOST_MODALITIES = 10_000, 16
"""Beyond these nobody counts what else is wrong."""
Top = Annotated[int, Field(strict=True, ge=1)] | None
Reference = Annotated[str, Field(min_length=1, max_length=200)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Finish(BaseModel):
    """In which form the vectors come back."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    encoding_format: Encoding = "float"
    """`base64`: little-endian float32, a quarter of the bytes and exact. `int8`: whole numbers up to ±127, scaled by each
    vector's greatest, so that cosines stay within half a step. `binary`: bytes of eight signs each, the first number in
    the highest bit, for Hamming distances."""
    dimensions: Annotated[int, Field(strict=True, ge=1)] | None = None
    """Keep this many of the first numbers; the shorter vector is normalised again."""
    normalize: bool = True
    """Scale each vector to length 1. `false` gives the network's own numbers."""


class AssetIn(BaseModel):
    """An image uploaded earlier with POST /v1/assets."""

    model_config = ConfigDict(extra="forbid")

    asset: str


class PackedIn(BaseModel):
    """Numbers of a sequence or a table as bytes: exact, and a third of the length that they have as text."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    base64: str
    """32-bit floats, little-endian, row by row."""
    shape: Annotated[list[Annotated[int, Field(strict=True, ge=0)]], Field(min_length=1, max_length=8)]
    """`[steps, features]` of a sequence, `[features]` of a table."""


Numbers = Annotated[
    list[Any],
    Field(
        title="Numbers",
        description="A table's numbers, or a sequence's steps, each a list of numbers.",
        json_schema_extra={
            "items": {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]}
        },
    ),
]
"""What is in the lists is checked once it is known what the model takes."""


def _kind(value: Any) -> str | None:
    match value:
        case str():
            return "given"
        case list():
            return "listed"
        case PackedIn() | {"base64": _} | {"shape": _}:
            return "packed"
        case AssetIn() | dict():
            return "uploaded"
        case _:
            return None


ValueIn = Annotated[
    Annotated[str, Tag("given")]
    | Annotated[Numbers, Tag("listed")]
    | Annotated[PackedIn, Tag("packed")]
    | Annotated[AssetIn, Tag("uploaded")],
    Discriminator(
        _kind,
        custom_error_type="bad_value",
        custom_error_message='give a text, a base64 image or {"asset": id}, a list of numbers or {"base64": …, "shape": …}',
    ),
]


def _few(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > MOST_MODALITIES:
        raise PydanticCustomError(
            "too_many_modalities",
            "{count} modalities; no model has more than {most}",
            {"count": len(value), "most": MOST_MODALITIES},
        )
    return value


def _form(value: Any) -> str:
    """Numbers are never objects, so that no modality called `content` can be meant by a list of them."""
    match value:
        case ContentIn():
            return "parts"
        case {"content": [dict(), *_], **others} if not others:
            return "parts"
        case _:
            return "modalities"


InputIn = Annotated[
    Annotated[dict[str, ValueIn], Tag("modalities")] | Annotated[ContentIn, Tag("parts")],
    Discriminator(_form),
    BeforeValidator(_few),
]


class ModelAsked(BaseModel):
    """Which model, and how it computes."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: Reference
    """Name (its newest version), `name@version`, alias or digest."""
    model_digest: Digest | None = None
    """The model whose vectors you have already: should `model` mean another one by now, the answer is 409."""
    precision: Precision = "fp32"
    """In which the network computes, one of those that the model was exported in. Compare vectors of one precision."""


class Asking(Finish, ModelAsked):
    """Of which model, and what besides the vectors."""

    heads: Annotated[list[Task], Field(min_length=1, max_length=MOST_TASKS)] | None = None
    """Tasks whose heads are asked as well, as POST /v1/predictions does."""
    top: Top = None
    """Of the classes or labels of `heads`, tell so many of the most probable."""
    explain: Literal["modality"] | None = None
    """Say of each sample what each of its modalities has to do with its vector."""

    @model_validator(mode="after")
    def _top_is_of_heads(self) -> Self:
        if self.top is not None and self.heads is None:
            raise PydanticCustomError("top_without_heads", "`top` is of `heads`; name heads, or leave it out")
        return self


class EmbeddingRequest(Asking):
    """`inputs` in general, or OpenAI's `input` for models that have one text modality and may miss the others."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "captions",
                    "inputs": [
                        {"image": {"asset": "the id of POST /v1/assets"}, "text": "a handwritten three"}
                    ],
                    "explain": "modality",
                },
                {
                    "model": "captions",
                    "inputs": [{"content": [{"type": "text", "text": "a handwritten three"}]}],
                },
                {"model": "captions", "input": ["a handwritten three"], "encoding_format": "base64"},
            ]
        }
    )

    inputs: Annotated[list[InputIn], Field(min_length=1, max_length=MOST_INPUTS)] | None = None
    """One object per sample: modality → text; image (base64, data URI or `{"asset": id}`); or numbers, of a sequence
    `[[…], …]`, of a table `[…]`, of both also `{"base64": …, "shape": …}`. Modalities may be left out where the model
    allows it; one at least is needed. Where the service allows its host, an image may be an address `https://…`. Or `{"content": [{"type": "text", "text": …}, {"type": "image_url", "image_url":
    "data:…"}]}` for models with one modality of each kind that is sent."""
    input: str | Annotated[list[str], Field(min_length=1, max_length=MOST_INPUTS)] | None = None
    """One text or several."""
    user: str | None = None
    """Accepted for OpenAI's clients, and not looked at."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.inputs is None) == (self.input is None):
            raise PydanticCustomError("one_of_inputs_and_input", "give `inputs`, or `input`, and not both")
        return self


class SubsetOut(BaseModel):
    modalities: list[str]
    cosine: float
    """Between their embedding and that of the whole sample."""


class ExplanationOut(BaseModel):
    """What modalities have to do with a vector: angles between embeddings, which are no measure of information.

    It is about the network's own vectors, before they are shortened.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    subsets: list[SubsetOut]
    """Embeddings of parts of the sample. Of more than three modalities, those without one of them."""
    shares: dict[str, float]
    """By modality, adding up to 1: its Shapley value in the cosines of subsets. It may be negative."""
    redundancy: float | None
    """The least of the cosines of single modalities: what any of them gives by itself. None for more than three."""
    uniqueness: dict[str, float] | None
    """How much more one gives by itself than any other does."""
    synergy: float | None
    """What none gives by itself: 1 less the greatest cosine of single modalities."""


class Seen(BaseModel):
    """What is said of every input."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    modalities: list[str]
    """What the input had of the model's modalities: one vector for all of it."""
    missing: list[str]
    truncated: list[str]
    """Texts that were longer than the model reads and were cut."""


class Origin(BaseModel):
    """Where vectors come from: what is said in every answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model_digest: str
    checkpoint_sha256: str
    job_id: str
    """The training that the weights come from."""
    method: str
    dataset: str
    dataset_sha256: str | None
    """Of what the weights were trained on; none for models that were exported before it was kept."""
    precision: str


class EmbeddingOut(Seen):
    object: Literal["embedding"] = "embedding"
    index: int
    """Of the input in the request."""
    embedding: list[float] | list[int] | str
    """By `encoding_format`."""
    explanation: ExplanationOut | None = None
    """Where `explain` asks for it."""


class Usage(BaseModel):
    inputs: int
    images: int
    prompt_tokens: int
    """Text tokens that the model read."""
    total_tokens: int


class EmbeddingList(Origin):
    """The vectors in the order of the inputs. Only vectors of one `model_digest` can be compared with each other."""

    object: Literal["list"] = "list"
    model: str
    """`name@version`, or the digest of a model that has no such name."""
    data: list[EmbeddingOut]
    dim: int
    """Numbers per vector in this answer."""
    usage: Usage
