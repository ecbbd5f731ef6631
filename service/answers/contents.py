"""From lists of parts to what the model has of them: its one text, and its one image."""

from __future__ import annotations

from collections.abc import Sequence

from models_store.manifest import Manifest
from service.errors import Fault, InvalidError
from service.inference.prepare import Given, Value
from service.schemas.contents import ContentIn, ImageBase64Part, ImageUrl, ImageUrlPart, Part, TextPart


def given_as_parts(sent: ContentIn, manifest: Manifest, pointer: str) -> Given | list[Fault]:
    """`pointer`: where the sample stands in the request."""
    values: dict[str, Value] = {}
    places: dict[str, str] = {}
    faults: list[Fault] = []
    for index, part in enumerate(sent.content):
        value, field = _value(part)
        place = f"{pointer}/content/{index}/{field}"
        name = only_one(manifest, "text" if isinstance(part, TextPart) else "image", place)
        if isinstance(name, Fault):
            faults.append(name)
        elif name in values:
            said = f"a second {part.type.partition('_')[0]}; the model reads one of '{name}' in a sample"
            faults.append(Fault(place, "given_twice", f"{said}, so put them together or send two samples"))
        else:
            values[name], places[name] = value, place
    return faults or Given(values, pointer, places=places)


def only_one(manifest: Manifest, kind: str, pointer: str) -> str | Fault:
    """The name of the model's one modality of a kind, or what is wrong with asking for it at a place."""
    names = [each.name for each in manifest.inputs if each.kind == kind]
    if len(names) == 1:
        return names[0]
    has = f"several of this kind ({', '.join(names)})" if names else f"no {kind}"
    remedy = (
        f"name the modality: {', '.join(each.name for each in manifest.inputs)}, as in POST /v1/embeddings"
    )
    return Fault(
        pointer, "ambiguous_modality" if names else "unknown_modality", f"the model has {has}; {remedy}"
    )


def refused(faults: Sequence[Fault]) -> InvalidError:
    return InvalidError(faults[0].code, faults[0].detail, faults=tuple(faults[:100]))


def _value(part: Part) -> tuple[str, str]:
    """What was sent, and the name of its place in the part."""
    match part:
        case TextPart(text=text):
            return text, "text"
        case ImageUrlPart(image_url=ImageUrl(url=url)):
            return url, "image_url/url"
        case ImageUrlPart(image_url=str() as url):
            return url, "image_url"
        case ImageBase64Part(image_base64=content):
            return content, "image_base64"
    raise AssertionError(part)
