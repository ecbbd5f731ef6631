"""Embeddings of whole splits, under evaluation mode and without gradients. N samples, D width."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.data import Augmenter, Data, Split, prepare
from training.methods import Method
from training.spec import DatasetSpec, Protocol, Trifeatures

BATCH = 512


@dataclass(frozen=True)
class Embedded:
    """Samples as a probe sees them."""

    x: Tensor  # (N, D)
    labels: Mapping[str, Tensor]
    """As in `Split.labels`."""

    def and_also(self, other: Embedded | None) -> Embedded:
        """The samples of both."""
        if other is None:
            return self
        labels = {task: torch.cat([own, other.labels[task]]) for task, own in self.labels.items()}
        return Embedded(torch.cat([self.x, other.x]), labels)


def embed_split(
    method: Method,
    dataset: DatasetSpec,
    data: Data,
    split: Split,
    protocol: Protocol,
    rows: Tensor | None = None,
    *,
    modalities: Collection[str] | None = None,
    batch: int = BATCH,
) -> Tensor:
    """(N, D) float32, on the method's device; of these rows only, when some are given. `modalities`: those that are seen
    of each sample, all others being absent; by default all.

    Under `reference`, Trifeatures images are cropped at random (at least half the area) even here, as published.
    """
    augment = Augmenter(dataset, data, "crop") if crops_at_random(dataset, protocol) else None
    was_training = method.training
    method.eval()
    device = next(method.parameters()).device
    rows = torch.arange(len(split)) if rows is None else rows
    parts = [
        _embed(method, augment(raw) if augment else prepare(raw, data), modalities)
        for raw in (split.batch(some) for some in rows.to(device).split(batch))
    ]
    method.train(was_training)
    return torch.cat(parts) if parts else torch.empty(0, method.embedding_dim, device=device)


def crops_at_random(dataset: DatasetSpec, protocol: Protocol) -> bool:
    return protocol == "reference" and isinstance(dataset, Trifeatures)


@torch.no_grad()
def _embed(method: Method, inputs: Mapping[str, Tensor], seen: Collection[str] | None) -> Tensor:
    inputs = {modality.name: inputs[modality.name] for modality in method.modalities}
    first = next(iter(inputs.values()))
    there = torch.tensor([seen is None or name in seen for name in inputs], device=first.device)
    present = there.expand(len(first), -1)
    return method.embed(inputs, present).float()
