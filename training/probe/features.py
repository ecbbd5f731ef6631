"""Embeddings of whole splits, under evaluation mode and without gradients. N samples, D width."""

from __future__ import annotations

import torch
from torch import Tensor

from training.data import Augmenter, Data, Split, prepare
from training.methods import Method
from training.spec import DatasetSpec, Digits, Protocol

BATCH = 512


@torch.no_grad()
def embed_split(
    method: Method,
    dataset: DatasetSpec,
    data: Data,
    split: Split,
    protocol: Protocol,
    limit: int | None = None,
) -> Tensor:
    """(N, D) float32, on the method's device; the first `limit` samples only, when one is given.

    Under `reference`, Trifeatures images are cropped at random (at least half the area) even here, as published.
    """
    crops = protocol == "reference" and not isinstance(dataset, Digits)
    augment = Augmenter(dataset, data, "crop") if crops else None
    was_training = method.training
    method.eval()
    device = next(method.parameters()).device
    rows = torch.arange(len(split) if limit is None else min(limit, len(split)), device=device)
    parts = []
    for some in rows.split(BATCH):
        raw = split.batch(some)
        inputs = augment(raw) if augment else prepare(raw, data)
        present = torch.ones(len(some), len(method.modalities), dtype=torch.bool, device=device)
        parts.append(method.embed(inputs, present).float())
    method.train(was_training)
    return torch.cat(parts)
