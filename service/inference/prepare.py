"""The first step: from one input of a request to arrays that fit into a batch, or to what is wrong with it.

Everything that can be wrong with an input is found here, before it waits together with others: an input that gets
through cannot spoil a batch.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models_store.manifest import ImageInput, Input, Manifest, SequenceInput, TableInput, TextInput
from service.data import asset_files
from service.errors import Fault, FuseboxError, InvalidError, TooLargeError
from service.inference import arrays, images, texts
from service.inference.arrays import Packed
from service.settings import Settings


@dataclass(frozen=True)
class AssetRef:
    """An image uploaded earlier."""

    asset_id: str


@dataclass(frozen=True)
class Unfetched:
    """An address whose image could not be had, with what is wrong."""

    error: FuseboxError


Value = str | bytes | AssetRef | Unfetched | Packed | list[Any]
"""A text, a base64 or data-URI image; an image's file; an asset; or numbers, packed or in lists."""


@dataclass(frozen=True)
class Given:
    """One input as it was sent: what it has of each modality, and where in the request it stands."""

    values: Mapping[str, Value]
    pointer: str
    is_bare: bool = False
    """The value of its one modality stands at `pointer` itself."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Pointers of values that do not stand below `pointer` by their modality's name."""

    def at(self, modality: str) -> str:
        if modality in self.places:
            return self.places[modality]
        escaped = modality.replace("~", "~0").replace("/", "~1")
        return self.pointer if self.is_bare else f"{self.pointer}/{escaped}"


@dataclass(frozen=True)
class Sample:
    """One input ready for a batch: per modality that it has, an image (C, H, W), token ids (L,), steps (L, F) or
    columns (F,).

    An image of bytes is normalised when it is put into a batch: until then it takes a quarter of the memory, and bytes
    tell it apart as well. One of float32 is normalised already.
    """

    arrays: Mapping[str, NDArray[Any]]
    truncated: tuple[str, ...] = ()
    """Texts that were cut to the longest the network can read."""
    keys: Mapping[str, bytes] = field(default_factory=dict)
    """Of each array, where they are known: a sha256 of all that its encoding depends on."""

    def part(self, names: Sequence[str]) -> Sample:
        """The same with no other modalities than these."""
        kept = [name for name in names if name in self.arrays]
        keys = {name: self.keys[name] for name in kept if name in self.keys}
        return Sample({name: self.arrays[name] for name in kept}, self.truncated, keys)


class Made(NamedTuple):
    """Of one modality of an input."""

    array: NDArray[Any]
    cut: bool = False
    """Whether something was cut off."""


def prepare(
    given: Given, manifest: Manifest, tokenizers: Mapping[str, Tokenizer], settings: Settings
) -> Sample | list[Fault]:
    faults = _misfits(given, manifest)
    if faults:
        return faults
    ready: dict[str, Made] = {}
    for wanted in manifest.inputs:
        if wanted.name not in given.values:
            continue
        try:
            ready[wanted.name] = _prepared(given.values[wanted.name], wanted, tokenizers, settings)
        except FuseboxError as error:
            inner = error.faults or (Fault("", error.code, error.detail),)
            faults += [Fault(given.at(wanted.name) + each.pointer, each.code, each.detail) for each in inner]
    return faults or Sample(
        {name: each.array for name, each in ready.items()},
        tuple(name for name, each in ready.items() if each.cut),
    )


def _misfits(given: Given, manifest: Manifest) -> list[Fault]:
    """Modalities that the model does not know, and those it cannot do without."""
    names = [each.name for each in manifest.inputs]
    listed = ", ".join(names)
    unknown = [
        Fault(given.at(name), "unknown_modality", f"the model has no modality {name[:60]!r}; it has {listed}")
        for name in given.values
        if name not in names
    ]
    missing = [name for name in names if name not in given.values]
    if len(missing) == len(names) and not unknown:
        return [Fault(given.pointer, "empty_input", f"give at least one of {listed}")]
    if manifest.may_miss:
        return unknown
    return unknown + [
        Fault(given.at(name), "missing_modality", "this model needs every modality; this one is missing")
        for name in missing
    ]


def _prepared(value: Value, wanted: Input, tokenizers: Mapping[str, Tokenizer], settings: Settings) -> Made:
    match wanted:
        case TextInput():
            return Made(*_text(value, tokenizers[wanted.name], settings))
        case ImageInput():
            values = _image(value, wanted, settings)
            return Made(values if values.dtype == np.uint8 else images.normalised(values, wanted))
        case SequenceInput():
            return Made(arrays.steps(_numbers(value, wanted), wanted))
        case TableInput():
            return Made(arrays.columns(_numbers(value, wanted), wanted))


def _text(value: Value, tokenizer: Tokenizer, settings: Settings) -> texts.Tokens:
    if isinstance(value, AssetRef):
        raise InvalidError("not_a_text", "this modality takes a text, and assets are images")
    if not isinstance(value, str):
        raise InvalidError("not_a_text", "this modality takes a text, not numbers")
    return texts.encode(tokenizer, value, settings.max_text_chars)


def _image(value: Value, wanted: ImageInput, settings: Settings) -> images.Values:
    if isinstance(value, AssetRef):
        image = asset_files.load(settings, value.asset_id)
    elif isinstance(value, Unfetched):
        raise value.error
    elif isinstance(value, bytes):
        image = images.decode(value, settings)
    elif isinstance(value, str):
        image = images.decode(_from_base64(value, settings.max_image_bytes), settings)
    else:
        raise InvalidError(
            "not_an_image",
            'this modality takes an image, not numbers; send its file in base64, or {"asset": id}',
        )
    return images.fitted(image, wanted)


def _numbers(value: Value, wanted: SequenceInput | TableInput) -> list[Any] | Packed:
    if isinstance(value, list | Packed):
        return value
    what = "an image" if isinstance(value, AssetRef) else "a text"
    raise InvalidError("not_numbers", f"{what}, where numbers belong; give {arrays.asked_for(wanted)}")


def _from_base64(text: str, max_bytes: int) -> bytes:
    """The bytes of `…` or `data:image/png;base64,…`."""
    if text[:8].lower().startswith(("http://", "https://", "file:")):
        raise InvalidError(
            "address_not_fetched",
            "addresses are not fetched here; send the image itself or POST it to /v1/assets",
        )
    head, comma, tail = text.partition(",") if text[:5].lower() == "data:" else ("", "", text)
    if head and not (comma and head[-7:].lower() == ";base64"):
        raise InvalidError("bad_data_uri", "not a data URI with base64: 'data:image/png;base64,…'")
    if len(tail) > max_bytes * 4 / 3 + 4:
        raise TooLargeError(
            "image_too_large", f"the image has more than the {max_bytes} bytes that are allowed"
        )
    try:
        return base64.b64decode(tail, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidError(
            "bad_base64",
            'not base64; send the standard alphabet with padding and without line breaks, or {"asset": id}',
        ) from None
