"""What data is once it is built: pools of distinct items, and samples that point into them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.modules.padding import is_there

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation: of an image per channel, of pixels in [0, 1]; of a sequence or table per feature."""
IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RESIDENT_BYTES = 4 * 2**30
"""A pool that is larger stays where it is, mapped from disk, and an accelerator is sent each batch of it."""


@dataclass(frozen=True)
class Split:
    """Samples of one split: per modality a pool of distinct items, and which of them each sample has.

    N samples; images are uint8 (items, C, H, W), texts are tokens, int64 (items, L), right-padded with 0, sequences are
    float32 (items, L, F), right-padded with steps of zeros, and tables float32 (items, F).
    """

    pools: Mapping[str, Tensor]
    index: Mapping[str, Tensor]
    """Modality → rows of its pool, int64 (N,)."""
    labels: Mapping[str, Tensor]
    """Task → classes, int64 (N,); several labels of 0 or 1, or numbers, float32 (N, K)."""
    alternatives: Mapping[str, Tensor] = field(default_factory=dict)
    """Modality → how many items each sample has of it, int64 (N,), one after the other from `index` on, where that may
    be more than one: each batch is given one of them at random, by torch's global generator."""

    def __len__(self) -> int:
        return len(next(iter(self.index.values())))

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """The raw items of these samples (B,), per modality (B, …), on the device of `rows`."""
        return {name: _gathered(pool, self._items(name, rows)) for name, pool in self.pools.items()}

    def _items(self, modality: str, rows: Tensor) -> Tensor:
        first = self.index[modality][rows]
        if modality not in self.alternatives:
            return first
        count = self.alternatives[modality][rows]
        drawn = (torch.rand(len(rows), device=rows.device) * count).long()
        return first + torch.minimum(drawn, count - 1)

    def to(self, device: torch.device | str) -> Split:
        return self._to(device, {})

    def _to(self, device: torch.device | str, moved: dict[int, Tensor]) -> Split:
        """Modalities and splits that share a pool share it on the device too."""
        for pool in self.pools.values():
            if id(pool) not in moved:
                moved[id(pool)] = pool if pool.nbytes > RESIDENT_BYTES else pool.to(device)
        return Split(
            pools={name: moved[id(pool)] for name, pool in self.pools.items()},
            index={name: rows.to(device) for name, rows in self.index.items()},
            labels={task: classes.to(device) for task, classes in self.labels.items()},
            alternatives={name: count.to(device) for name, count in self.alternatives.items()},
        )


def _gathered(pool: Tensor, rows: Tensor) -> Tensor:
    return pool[rows] if pool.device == rows.device else pool[rows.to(pool.device)].to(rows.device)


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
    normalisation: Mapping[str, Normalisation]
    """Of every image, and of the sequences and tables that are standardised."""
    sha256: str
    """Of the content: equal for equal samples, whatever built them."""
    probe_val: Split | None = None
    """Samples to choose a probe's cost and a checkpoint by; where there are none, some of `probe_train` are held out."""

    def mean_std(self, modality: str) -> Normalisation:
        """Raises KeyError for a modality that is taken as it is: every text, and sequences and tables in raw numbers."""
        if modality not in self.normalisation:
            raise KeyError(f"{modality} is not normalised")
        return self.normalisation[modality]

    def to(self, device: torch.device | str) -> Data:
        moved: dict[int, Tensor] = {}
        return replace(
            self,
            train=self.train._to(device, moved),
            probe_train=self.probe_train._to(device, moved),
            probe_test=self.probe_test._to(device, moved),
            probe_val=None if self.probe_val is None else self.probe_val._to(device, moved),
        )


def prepare(batch: Mapping[str, Tensor], data: Data) -> dict[str, Tensor]:
    """Raw items as the network takes them: tokens unchanged, all else float32 and normalised. What serving does too."""
    return {name: normalise(measured(items), data.normalisation.get(name)) for name, items in batch.items()}


def measured(items: Tensor) -> Tensor:
    """Pixels as numbers in [0, 1]; all else as it is."""
    return items.float().div_(255) if items.dtype == torch.uint8 else items


def normalise(items: Tensor, normalisation: Normalisation | None) -> Tensor:
    """Images (B, C, H, W) to zero mean and unit deviation per channel, sequences (B, L, F) and tables (B, F) per
    feature. Padding of a sequence stays zero."""
    if normalisation is None:
        return items
    mean, std = (_broadcastable(values, items.ndim, items.device) for values in normalisation)
    normal = (items - mean).div_(std)
    return normal * is_there("sequence", items)[..., None] if items.ndim == 3 else normal


def unnormalised(items: Tensor, normalisation: Normalisation | None) -> Tensor:
    """What `normalise` has made of them, in their own units again."""
    if normalisation is None:
        return items
    mean, std = (_broadcastable(values, items.ndim, items.device) for values in normalisation)
    own = items * std + mean
    return own * is_there("sequence", items)[..., None] if items.ndim == 3 else own


@lru_cache
def _broadcastable(values: tuple[float, ...], ndim: int, device: torch.device) -> Tensor:
    """Along the channels of images, the only items of four dimensions, and along the features of others."""
    return torch.tensor(values, device=device).view((1, -1, 1, 1) if ndim == 4 else (-1,))


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
