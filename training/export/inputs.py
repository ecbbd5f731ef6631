"""What a network takes, as a manifest describes it; and inputs to compare it by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models_store.manifest import ImageInput, Input, SequenceInput, TableInput, TextInput
from training.data import Data, prepare
from training.methods import Method
from training.spec import Modality, Registered, TrainSpec
from training.spec.encoders import Force

SHORT = (1, 5)
"""Lengths at which texts and sequences are compared besides the longest."""
Subset = tuple[str, ...]


def described(modality: Modality, data: Data, trained: TrainSpec) -> Input:
    match modality.kind:
        case "text":
            return TextInput(name=modality.name, max_tokens=modality.max_tokens, pad_id=0)
        case "image":
            return _image(modality, data, trained)
        case "sequence":
            mean, std = data.normalisation.get(modality.name, (None, None))
            return SequenceInput(
                name=modality.name,
                features=modality.features,
                max_steps=modality.length,
                fixed_steps=has_one_length(modality, trained),
                mean=mean,
                std=std,
            )
        case "table":
            mean, std = data.normalisation.get(modality.name, (None, None))
            return TableInput(name=modality.name, features=modality.features, mean=mean, std=std)


def has_one_length(modality: Modality, trained: TrainSpec) -> bool:
    """Whether a sequence must always be padded to the same length: protocol `reference` knows no padding, and some
    encoders no other length."""
    is_force = isinstance(trained.model.encoder_of(modality), Force)
    return trained.protocol == "reference" or is_force or modality.length == 1


def _image(modality: Modality, data: Data, trained: TrainSpec) -> ImageInput:
    """Registered pictures were cut to squares and lost their transparency; those made here fill their frame."""
    mean, std = data.mean_std(modality.name)
    channels = 1 if modality.channels == 1 else 3
    is_registered = isinstance(trained.dataset, Registered)
    paper = (0, 0, 0) if channels == 1 else (255, 255, 255)  # scans show white ink on black
    return ImageInput(
        name=modality.name,
        channels=channels,
        height=modality.size,
        width=modality.size,
        mean=mean,
        std=std,
        fit="cover" if is_registered else "stretch",
        background=None if is_registered else paper,
    )


def open_length(described: Input) -> int | None:
    """The longest that texts and sequences may be; none where an input has always the same shape."""
    match described:
        case TextInput(max_tokens=longest):
            return longest
        case SequenceInput(max_steps=longest, fixed_steps=False):
            return longest
        case _:
            return None


def sample(data: Data, method: Method, rows: Tensor) -> dict[str, Tensor]:
    """Test samples, as the network takes them: of its modalities alone, in its order."""
    raw = data.probe_test.batch(rows)
    return prepare({modality.name: raw[modality.name] for modality in method.modalities}, data)


def first(data: Data, method: Method, size: int) -> dict[str, Tensor]:
    """So many test samples, from the first on and over again when there are fewer."""
    return sample(data, method, torch.arange(size) % len(data.probe_test))


def shortened(inputs: dict[str, Tensor], described: tuple[Input, ...]) -> Iterator[dict[str, Tensor]]:
    """The inputs as they are, then with all lengths that are open cut short, each at each length and no two alike."""
    yield inputs
    names = [each.name for each in described if open_length(each) is not None]
    lengths = (*SHORT, None) if len(names) > 1 else SHORT
    for turn in range(len(lengths) if names else 0):
        cut = {name: lengths[(turn + place) % len(lengths)] for place, name in enumerate(names)}
        yield {name: tensor[:, : cut[name]] if name in cut else tensor for name, tensor in inputs.items()}


def unpadded(row: NDArray[np.generic], described: Input) -> NDArray[np.generic]:
    """One sample's array as it is sent alone: texts and sequences to their end, at least one token or step."""
    if open_length(described) is None:
        return row
    there = np.flatnonzero((row != 0).reshape(len(row), -1).any(axis=1))
    return row[: max(1, there[-1] + 1 if len(there) else 0)]


def subsets(names: Sequence[str]) -> list[Subset]:
    """All but the empty one, that of all modalities last."""
    return [each for size in range(1, len(names) + 1) for each in combinations(names, size)]
