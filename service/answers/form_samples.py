"""One sample as a form: a field for each of its modalities, a file for an image, and options beside them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile

from models_store.manifest import Manifest
from service.answers.embeddings import embed_given
from service.answers.inputs import found_as_pinned, value_of
from service.errors import FuseboxError, InvalidError, MalformedError, UnsupportedMediaError
from service.inference.engine import InferenceEngine
from service.inference.prepare import Given, Value
from service.schemas.embeddings import MOST_MODALITIES, Asking, ValueIn
from service.settings import Settings
from service.web import problems
from service.web.forms import fields_of
from service.web.strict_input import check_json

OPTIONS = frozenset(Asking.model_fields) - {"model"}
"""Fields that are no modality."""
WHOLE_NUMBERS = ("dimensions", "top")
MOST_FIELDS = 100
AT = "/body"
NUMBERS: TypeAdapter[ValueIn] = TypeAdapter(ValueIn)


@dataclass(frozen=True)
class FormSample:
    asking: Asking
    values: dict[str, str | bytes]
    """By modality; bytes are a file's."""


async def read(request: Request) -> FormSample:
    """Raises UnsupportedMediaError for what is no form, MalformedError or InvalidError for a bad one."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "multipart/form-data":
        raise UnsupportedMediaError(
            "not_json",
            "send JSON, with 'Content-Type: application/json', or one sample as multipart/form-data",
        )
    most_bytes = len(await request.body())  # which the server's limit has let through
    form = fields_of(
        request, AT, max_files=MOST_MODALITIES, max_fields=MOST_FIELDS, max_part_size=max(1, most_bytes)
    )
    async with form as fields:
        sent = [(name, await _content(each)) for name, each in fields]
    values = {name: value for name, value in sent if name not in Asking.model_fields}
    twice = [name for name, _ in sent if name != "heads" and sum(name == each for each, _ in sent) > 1]
    if twice:
        raise InvalidError.at(
            f"{AT}/{twice[0][:60]}", "given_twice", "give each field once; a form is one sample"
        )
    return FormSample(_asking([each for each in sent if each[0] in Asking.model_fields]), values)


async def embed(engine: InferenceEngine, settings: Settings, sample: FormSample) -> bytes:
    """An EmbeddingList as JSON. Raises what `service.answers.embeddings.embed` does."""
    asking = sample.asking
    found = await found_as_pinned(engine, asking.model, asking.model_digest, asking.precision, AT)
    given = Given({name: _value(name, value, found.manifest) for name, value in sample.values.items()}, AT)
    return await embed_given(engine, settings, found, [given], asking, AT)


async def _content(field: UploadFile | str) -> str | bytes:
    return field if isinstance(field, str) else await field.read()


def _asking(sent: list[tuple[str, str | bytes]]) -> Asking:
    asked: dict[str, Any] = {}
    for name, value in sent:
        text = _text(name, value)
        if name == "heads":
            asked.setdefault(name, []).append(text)
        else:
            asked[name] = int(text) if name in WHOLE_NUMBERS and text.isdecimal() and len(text) < 10 else text
    try:
        return Asking.model_validate(asked)
    except ValidationError as error:
        raise problems.invalid(error.errors(include_url=False), asked, AT) from None


def _value(name: str, value: str | bytes, manifest: Manifest) -> Value:
    wanted = manifest.input_named(name)
    match wanted.kind if wanted else None:
        case "image" if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        case "sequence" | "table":
            return _numbers(name, value)
        case _:
            return _text(name, value)


def _text(name: str, value: str | bytes) -> str:
    try:
        text = value.decode() if isinstance(value, bytes) else value
        text.encode()
    except UnicodeError:
        raise InvalidError.at(f"{AT}/{name[:60]}", "not_utf8", "not a text in UTF-8") from None
    if "\0" in text:
        raise MalformedError("nul_in_text", "text may not contain the character NUL")
    return text


def _numbers(name: str, value: str | bytes) -> Value:
    text = _text(name, value)
    try:
        check_json(text.encode())
        return value_of(NUMBERS.validate_python(json.loads(text)))
    except (FuseboxError, ValidationError):
        remedy = 'give JSON: numbers in lists, or {"base64": …, "shape": …}'
        raise InvalidError.at(f"{AT}/{name[:60]}", "not_numbers", f"not numbers; {remedy}") from None
