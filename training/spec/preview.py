"""What a preview is: some training samples of a dataset as they are kept, and as two views, for people to look at.

    previews/<digest>/preview.json                  what is shown
                      <sample>.<modality>.<k>.png   images: k is 0 as they are kept, 1 and 2 for the views

<digest> is that of the dataset's spec and of the code that makes views, so that a preview never shows what is no longer
done. A folder is put in its place whole. Torch-free: the service reads previews, and only the trainer makes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from training.spec.base import Spec
from training.spec.datasets import DATASETS, DatasetSpec, Digits, Form, Modality, Registered, Trifeatures

PREVIEWS = "previews"
"""The folder, below that of all datasets."""
PREVIEW = "preview.json"
VIEWS = 1
"""To be counted up when views or previews change between two versions, so that older previews are not taken for them."""
SAMPLES = 24
MOST_PIXELS = 128
"""Larger images are shown smaller."""
MOST_STEPS, MOST_FEATURES, MOST_COLUMNS = 64, 4, 32


class Steps(Spec):
    """Of a sequence."""

    steps: int
    """Without padding."""
    values: tuple[tuple[float, ...], ...]
    """Of the first steps, the first numbers."""


Seen = str | Steps | tuple[float, ...] | None
"""A text, with [MASK] for each hidden word; a sequence; a table's first columns; None for an image, which is a file."""


class SampleSeen(Spec):
    row: int
    """Its place among the training samples."""
    labels: Mapping[str, str | tuple[str, ...] | tuple[float, ...]]
    """Task → the name of its class, the names of its labels, or its numbers."""
    modalities: Mapping[str, tuple[Seen, Seen, Seen]]
    """As it is kept, and two views."""


class Preview(Spec):
    modalities: tuple[Modality, ...]
    splits: Mapping[str, int]
    """Split → samples."""
    labels: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Task → split → how many samples have a class or label; of numbers, their means and deviations."""
    samples: tuple[SampleSeen, ...]


def always_there(name: str) -> tuple[Digits | Trifeatures, ...]:
    """What is shown of a dataset that need not be registered, of each of its forms. Raises KeyError."""
    sizes = {"digits": 8, "trifeatures": 64}
    return tuple(DATASETS[name](form=form, image_size=sizes[name]) for form in get_args(Form))


def whole(spec: Registered) -> Registered:
    """With all that the dataset has."""
    use, predict = (tuple(each.name for each in parts) for parts in (spec.card.modalities, spec.card.tasks))
    return spec.model_copy(update={"use": use, "predict": predict or None})


def folder_of(datasets_dir: Path, spec: DatasetSpec) -> Path:
    """Where the preview of these samples is or would be; of a registered dataset, whatever its name is."""
    said = spec.model_dump(mode="json", exclude={"name"} if isinstance(spec, Registered) else None)
    content = json.dumps([VIEWS, SAMPLES, version("fusebox"), said], sort_keys=True)
    return datasets_dir / PREVIEWS / hashlib.sha256(content.encode()).hexdigest()


def read(folder: Path) -> Preview:
    """Raises OSError or pydantic.ValidationError."""
    return Preview.model_validate_json((folder / PREVIEW).read_bytes())


def image_file(sample: int, modality: str, k: int) -> str:
    return f"{sample}.{modality}.{k}.png"
