"""What data is once it is built: pools of distinct items, and samples that point into them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from tokenizers import Tokenizer
from torch import Tensor

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, of pixels in [0, 1]."""


@dataclass(frozen=True)
class Split:
    """Samples of one split: per modality a pool of distinct items, and which of them each sample has.

    N samples; images are uint8 (items, C, H, W), texts are tokens, int64 (items, L), right-padded with 0.
    """

    pools: Mapping[str, Tensor]
    index: Mapping[str, Tensor]
    """Modality → rows of its pool, int64 (N,)."""
    labels: Mapping[str, Tensor]
    """Task → classes, int64 (N,)."""

    def __len__(self) -> int:
        return len(next(iter(self.index.values())))

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """The raw items of these samples (B,), per modality (B, …)."""
        return {name: pool[self.index[name][rows]] for name, pool in self.pools.items()}

    def to(self, device: torch.device | str) -> Split:
        return self._to(device, {})

    def _to(self, device: torch.device | str, moved: dict[int, Tensor]) -> Split:
        """Modalities and splits that share a pool share it on the device too."""
        for pool in self.pools.values():
            if id(pool) not in moved:
                moved[id(pool)] = pool.to(device)
        return Split(
            pools={name: moved[id(pool)] for name, pool in self.pools.items()},
            index={name: rows.to(device) for name, rows in self.index.items()},
            labels={task: classes.to(device) for task, classes in self.labels.items()},
        )


@dataclass(frozen=True)
class Data:
    train: Split
    """What the method is trained on: exactly as many samples as the spec says, biased if it says so."""
    probe_train: Split
    """Samples of the training items with and without the synergy relation, however `train` is biased."""
    probe_test: Split
    """The same of items that training never sees."""
    tokenizer: Tokenizer | None
    """For datasets with text. Pads with 0, masks with 1, truncates to the spec's `max_tokens`."""
    normalisation: Normalisation
    sha256: str
    """Of the content: equal for equal samples, whatever built them."""

    def mean_std(self, modality: str) -> Normalisation:
        """Raises KeyError for a modality that is not an image of this dataset."""
        if self.train.pools[modality].dtype != torch.uint8:
            raise KeyError(f"{modality} is not an image")
        return self.normalisation

    def to(self, device: torch.device | str) -> Data:
        moved: dict[int, Tensor] = {}
        return replace(
            self,
            train=self.train._to(device, moved),
            probe_train=self.probe_train._to(device, moved),
            probe_test=self.probe_test._to(device, moved),
        )


def prepare(batch: Mapping[str, Tensor], data: Data) -> dict[str, Tensor]:
    """Raw items as the network takes them: images float32 and normalised, tokens unchanged. What serving does too."""
    return {
        name: normalise(items.float() / 255, data.normalisation) if items.dtype == torch.uint8 else items
        for name, items in batch.items()
    }


def normalise(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Pixels in [0, 1], (B, C, H, W), to zero mean and unit deviation per channel."""
    mean, std = (_per_channel(values, images.device) for values in normalisation)
    return (images - mean) / std


@lru_cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def content_sha256(splits: Mapping[str, Split], tokenizer: Tokenizer | None) -> str:
    digest = hashlib.sha256()
    hashed: dict[int, str] = {}
    for split_name, split in splits.items():
        for part, tensors in (("pools", split.pools), ("index", split.index), ("labels", split.labels)):
            for name, tensor in tensors.items():
                if id(tensor) not in hashed:
                    hashed[id(tensor)] = hashlib.sha256(tensor.contiguous().numpy().data).hexdigest()
                line = (
                    f"{split_name}/{part}/{name} {tensor.dtype} {tuple(tensor.shape)} {hashed[id(tensor)]}\n"
                )
                digest.update(line.encode())
    if tokenizer is not None:
        digest.update(tokenizer.to_str().encode())
    return digest.hexdigest()
