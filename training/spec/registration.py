"""What registering a dataset leaves behind: a folder that is named after its content.

    registered/<sha256>/manifest.json                 what the dataset is; <sha256> is that of this file
                        report.json                   what was found, dropped and remarkable, of which files, and when
                        <modality>.npy                images uint8 (N, 3, S, S), sequences float32 (N, L, F), tables float32 (N, F)
                        <modality>.jsonl              texts: a line for each item, a JSON list of one or more strings
                        labels.<task>.npy             classes int64 (N,); several labels or numbers float32 (N, K)
                        split.<protocol>.<split>.npy  the items of a split, int64
                        scale.<protocol>.<modality>.npy   mean and deviation per feature, float64 (2, F), where there are any

All files of modalities and labels have the same N items in the same order; items that were dropped are in no split.
The manifest says nothing of where the data came from or when, so equal content has an equal sha256 wherever it is
registered; it is written last, so a folder without one does not count. Torch-free: the service reads it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from training.events import Family
from training.spec.base import Protocol, Spec, whole
from training.spec.datasets import CHANGES, Card, Change, SplitName, Task
from training.spec.encoders import Kind

OwnFormat = Literal["image_folder", "webdataset", "parquet", "arrays"]
"""Conventions for anybody's own data."""
Format = Literal["mosi", "ur_funny", "mustard", "mimic", "vision_touch", "mmimdb", "hateful_memes", OwnFormat]
OWN_FORMATS: tuple[OwnFormat, ...] = get_args(OwnFormat)
PICKLES = frozenset({"mosi", "ur_funny", "mustard", "mimic"})
"""Formats whose files are programs that only a reader of ours makes harmless."""
ABOUT: Mapping[Format, str] = {
    "mosi": "MOSI: films' reviewers, their face, words and voice, and whether they liked the film. mosi_data.pkl of MultiBench.",
    "ur_funny": "UR-FUNNY: speakers, their face, words and voice, and whether they were funny. humor.pkl of MultiBench.",
    "mustard": "MUSTARD: scenes of series, face, words and voice, and whether they are sarcastic. sarcasm.pkl of MultiBench.",
    "mimic": "MIMIC-III: patients in intensive care, 5 numbers and 24 hours of measurements. im.pk of MultiBench.",
    "vision_touch": "Vision & Touch: a robot with a camera, a force sensor and joints. A folder of *.h5 files.",
    "mmimdb": "MM-IMDb: film posters, plots and genres. The folder with dataset/ and split.json.",
    "hateful_memes": "Hateful Memes: pictures with a line of text. The folder with img/, train.jsonl and dev.jsonl.",
    "image_folder": "Images with a table of texts and labels. A folder, .zip or .tar with images and metadata.csv or metadata.jsonl.",
    "webdataset": "Images with texts and labels in shards. A .tar, or a folder of them, with NAME.jpg, NAME.txt, NAME.json.",
    "parquet": "Images, texts, numbers and labels in columns. A .parquet file, or a folder of them.",
    "arrays": "Sequences, tables or images with labels. An .npz, or a folder of .npy: an array each, and labels.TASK.",
}
"""What it is, and what is registered."""
PROTOCOLS: tuple[Protocol, ...] = ("reference", "strict")
REGISTERED = "registered"
"""The folder, below that of all datasets."""
MANIFEST, REPORT = "manifest.json", "report.json"
MOST_IDS = 100
"""Of the samples that were dropped for one reason, so many are named."""


NAME = r"[A-Za-z][A-Za-z0-9_]{0,39}"
"""Of a modality or a task: it becomes the name of a file, of a network's input and of a query's parameter."""
MOST_MODALITIES, MOST_TASKS = 8, 100
IMAGE_SIZES = range(16, 1025)
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Column = Annotated[str, Field(min_length=1, max_length=200)]


class ModalityDescription(Spec):
    """What one modality of somebody's own data is."""

    kind: Kind
    column: Column | None = None
    """Where it is; by default the column of its own name, for an image also the one that names its file."""
    columns: Annotated[tuple[Column, ...], Field(max_length=1000)] = ()
    """Tables: instead, columns of one number each, side by side."""
    max_tokens: Annotated[int, whole(1, 512)] | None = None
    """Texts: longest token sequence; by default twice the words of the longest text, 16 to 128."""
    changes: tuple[Change, ...] | None = None
    """Sequences and tables: what a view does; by default `drop` and `noise`, of tables `noise`."""

    @model_validator(mode="after")
    def _only_what_the_kind_has(self) -> Self:
        wrong = [each for each in self.changes or () if each not in CHANGES[self.kind]]
        if wrong:
            raise PydanticCustomError(
                "change_not_for_kind",
                "'{change}' does not suit the kind {kind}; choose from {choices}",
                {"change": wrong[0], "kind": self.kind, "choices": ", ".join(CHANGES[self.kind]) or "none"},
            )
        if self.columns and self.kind != "table":
            raise PydanticCustomError(
                "columns_not_for_kind", "only a table is made of several `columns`; name one `column`"
            )
        return self


class TaskDescription(Spec):
    """What one task of somebody's own data is."""

    column: Column | None = None
    """Where its labels are; by default the column of its own name."""
    type: Literal["class", "multilabel", "regression"] | None = None
    """By default what the labels look like."""
    family: Family = "other"
    """What must be known to solve it: what several modalities tell, one alone, or only all together."""


def _by_kind(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


def _by_family(value: object) -> object:
    return {"family": value} if isinstance(value, str) else value


class Description(Spec):
    """What `dataset.json` beside somebody's own data may say of it. What it does not say is guessed from the data, and
    the report says how."""

    modalities: (
        Annotated[
            Mapping[Name, Annotated[ModalityDescription, BeforeValidator(_by_kind)]],
            Field(min_length=1, max_length=MOST_MODALITIES),
        ]
        | None
    ) = None
    """All that there are, in this order: name → kind, or an object with its kind and more."""
    tasks: (
        Annotated[
            Mapping[Name, Annotated[TaskDescription, BeforeValidator(_by_family)]],
            Field(max_length=MOST_TASKS),
        ]
        | None
    ) = None
    """All that there are: name → family, or an object with its family, type and column."""
    splits: Column = "split"
    """The column that says `train`, `validation` or `test`, where there is one."""
    groups: Column = "group"
    """The column whose equal values must not come apart in splits, where there is one."""
    ids: Column = "id"
    """The column that names samples, where there is one."""


class Options(Description):
    """What somebody who registers data may say of it. Of published formats only the size of images is not fixed."""

    image_size: Annotated[int, whole(IMAGE_SIZES.start, IMAGE_SIZES.stop - 1)] | None = None
    """Pixels along an image's side."""


class StoredFile(Spec):
    sha256: str
    dtype: str
    """Of its numbers; `json` for texts."""
    shape: tuple[int, ...]


class DatasetManifest(Spec):
    version: Literal[1] = 1
    format: Format
    card: Card
    files: Mapping[str, StoredFile]


class Dropped(Spec):
    """Samples that are in no split, for one reason."""

    reason: str
    count: int
    ids: tuple[str, ...]
    """The first hundred, as the source names them."""


class Report(Spec):
    """For the person who registered the data."""

    format: Format
    source: Mapping[str, int]
    """File → bytes, of the first hundred files."""
    n_files: int
    n_bytes: int
    created_at: str
    """UTC, ISO 8601."""
    samples: Mapping[Protocol, Mapping[SplitName, int]]
    """Per protocol and split, without those dropped."""
    labels: Mapping[str, Mapping[SplitName, Mapping[str, float]]]
    """Task → split → how many samples have a class or label; of numbers, their means and deviations. Under `strict`."""
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()
    """What was changed, as published."""
    warnings: tuple[str, ...] = ()
    """What is allowed and may still mislead."""

    def counted(self, task: Task) -> tuple[str, ...] | None:
        """What the task's classes or labels are called, in their order; None when the data does not say."""
        names = tuple(next(iter(self.labels.get(task.name, {}).values()), {}))
        return names if len(names) == task.classes else None


def numbered(task: Task) -> tuple[str, ...]:
    """What classes are called that have no names."""
    return tuple(str(k) for k in range(task.classes))


def split_file(protocol: Protocol, split: SplitName) -> str:
    return f"split.{protocol}.{split}.npy"


def scale_file(protocol: Protocol, modality: str) -> str:
    return f"scale.{protocol}.{modality}.npy"


def labels_file(task: str) -> str:
    return f"labels.{task}.npy"


def read_registered(datasets_dir: Path, sha256: str) -> tuple[DatasetManifest, Report]:
    """What registering has left of a dataset. Raises OSError or pydantic.ValidationError."""
    folder = datasets_dir / REGISTERED / sha256
    manifest = DatasetManifest.model_validate_json((folder / MANIFEST).read_bytes())
    return manifest, Report.model_validate_json((folder / REPORT).read_bytes())
