"""A sample as a list of parts, as other embedding services are sent it: each part says what it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

MOST_PARTS = 64


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class TextPart(_Part):
    type: Literal["text"]
    text: str


class ImageUrl(_Part):
    url: str


class ImageUrlPart(_Part):
    type: Literal["image_url"]
    image_url: str | ImageUrl
    """A data URI, or an address `https://…` where the service allows its host."""


class ImageBase64Part(_Part):
    type: Literal["image_base64"]
    image_base64: str
    """The file in base64, or a data URI."""


TAGS = {"text": "words", "image_url": "picture at a url", "image_base64": "picture in base64"}
"""None is the name of a field, which pointers would mistake it for."""


def _tag(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return TAGS.get(kind) if isinstance(kind, str) else None


Part = Annotated[
    Annotated[TextPart, Tag(TAGS["text"])]
    | Annotated[ImageUrlPart, Tag(TAGS["image_url"])]
    | Annotated[ImageBase64Part, Tag(TAGS["image_base64"])],
    Discriminator(
        _tag,
        custom_error_type="unknown_part",
        custom_error_message="give parts of the type 'text', 'image_url' or 'image_base64'",
    ),
]


class ContentIn(_Part):
    """One sample. Its text is the model's one text modality, its image the model's one image modality."""

    content: Annotated[list[Part], Field(min_length=1, max_length=MOST_PARTS)]
