"""Previews of datasets: samples as they are kept beside two views of each."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from service.schemas.samples import Labels, Shown
from training.spec import Modality


class _Seen(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class SeenOut(_Seen):
    """One modality of one sample, in its own units. Large images are made smaller; of texts, the words that the tokenizer
    gives back, with [MASK] for each hidden one; of sequences and tables, the first numbers."""

    kept: Shown
    views: list[Shown]
    """Two, as a method is trained on them."""


class SampleSeenOut(_Seen):
    row: int
    """Its place among the training samples."""
    modalities: dict[str, SeenOut]
    labels: Labels


class PreviewOut(_Seen):
    dataset: str
    form: str
    digest: str
    """Of the dataset's spec and the code that makes views: another one when either is another."""
    modalities: list[Modality]
    splits: dict[str, int]
    """Split → samples."""
    labels: dict[str, dict[str, dict[str, float]]]
    """Task → split → how many samples have a class or label; of numbers, their means and deviations."""
    samples: list[SampleSeenOut]
    """Spread evenly over the training samples. The same ones, and the same views, each time."""
