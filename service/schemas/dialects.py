"""Requests as other embedding services take them, and answers as they give them, with where the vectors came from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from service.schemas.contents import ContentIn
from service.schemas.embeddings import MOST_INPUTS, ModelAsked, Origin, Seen

Dimension = Annotated[int, Field(strict=True, ge=1)] | None
DType = Literal["float", "int8", "uint8", "binary", "ubinary"]
EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
Few = Field(min_length=1, max_length=MOST_INPUTS)


class _Asked(ModelAsked):
    input_type: Annotated[str, Field(max_length=60)] | None = None
    """Accepted and not looked at: a model embeds what is searched for and what is found alike."""


class VoyageRequest(_Asked):
    """As Voyage's clients send it."""

    inputs: Annotated[list[ContentIn], Few]
    truncation: bool = True
    """Cut texts that are longer than the model reads; otherwise they are refused."""
    output_dtype: DType | None = None
    """`int8`: scaled by each vector's greatest number; `uint8`: the same, 128 higher; `ubinary`: bytes of eight signs;
    `binary`: the same, 128 lower."""
    output_dimension: Dimension = None
    encoding_format: Literal["base64"] | None = None
    """The vector's bytes instead of its numbers."""


class CohereRequest(_Asked):
    """As Cohere's clients send it to version 2 of their API."""

    texts: Annotated[list[str], Few] | None = None
    images: Annotated[list[str], Few] | None = None
    """Data URIs, or addresses where the service allows their hosts."""
    inputs: Annotated[list[ContentIn], Few] | None = None
    embedding_types: Annotated[list[EmbeddingType], Field(min_length=1, max_length=6)] = Field(["float"])
    """All of them in one answer."""
    output_dimension: Dimension = None
    truncate: Literal["NONE", "END"] = "END"
    """Cut texts that are longer than the model reads at their end, or refuse them."""

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if sum(each is not None for each in (self.texts, self.images, self.inputs)) != 1:
            raise PydanticCustomError("one_of_three", "give one of `texts`, `images` and `inputs`")
        return self


class VoyageEmbedding(Seen):
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | list[int] | str
    index: int


class VoyageUsage(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    text_tokens: int
    image_pixels: int
    """As the model reads them, after resizing."""
    video_pixels: Literal[0] = 0
    total_tokens: int
    """Text tokens: images are no tokens here."""


class VoyageAnswer(Origin):
    object: Literal["list"] = "list"
    data: list[VoyageEmbedding]
    model: str
    usage: VoyageUsage


class CohereEmbeddings(BaseModel):
    """Those that were asked for, each in the order of the inputs."""

    model_config = ConfigDict(populate_by_name=True)

    floats: Annotated[list[list[float]] | None, Field(alias="float")] = None
    int8: list[list[int]] | None = None
    uint8: list[list[int]] | None = None
    binary: list[list[int]] | None = None
    ubinary: list[list[int]] | None = None
    base64: list[str] | None = None


class CohereVersion(BaseModel):
    version: Literal["2"] = "2"


class CohereUnits(BaseModel):
    input_tokens: int
    images: int


class CohereMeta(BaseModel):
    api_version: CohereVersion
    billed_units: CohereUnits


class CohereAnswer(Origin):
    id: str
    response_type: Literal["embeddings_by_type"] = "embeddings_by_type"
    embeddings: CohereEmbeddings
    texts: list[str]
    """Those that were sent as `texts`."""
    meta: CohereMeta
    model: str
