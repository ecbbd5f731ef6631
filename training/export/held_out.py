"""Samples that the training has not seen, and what is made of them. n samples, S subsets of modalities, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models_store.manifest import Golden, Input, Precision
from training.data import Data
from training.export.inputs import Subset, sample, subsets, unpadded
from training.export.network import Array, Network, Vectors
from training.methods import Method

MOST_SAMPLES, MOST_VECTORS = 512, 8_192
"""Of each subset of modalities, and of all together."""
GOLDEN_SAMPLES, GOLDEN_SUBSETS = 3, 15
GOLDEN_FILE = "golden.npz"
LEAST_TOLERANCE, MORE_THAN_HERE = 1e-3, 4
"""Relative to a vector's length. Another processor adds in another order; and where it rounds to shorter numbers otherwise,
that may cost some times what rounding costs here, and no more."""


@dataclass(frozen=True)
class HeldOut:
    inputs: Mapping[str, Array]
    """Modality → (n, …), as the network takes them."""
    labels: Mapping[str, Tensor]
    """Task → as in `Split.labels`, of these samples."""
    subsets: Sequence[Subset]
    """That of all modalities last."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.inputs)


def held_out(method: Method, data: Data) -> HeldOut:
    """Test samples from all over the split."""
    every = subsets([each.name for each in method.modalities])
    total = len(data.probe_test)
    count = min(total, MOST_SAMPLES, max(1, MOST_VECTORS // len(every)))
    rows = spread(total, count)
    inputs = {name: tensor.numpy() for name, tensor in sample(data, method, rows).items()}
    return HeldOut(inputs, {task: truth[rows] for task, truth in data.probe_test.labels.items()}, every)


def spread(total: int, count: int) -> Tensor:
    """So many different rows of `total`, the same ones always, in order."""
    drawn = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]
    return drawn.sort().values


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """Of vectors (…, D) with their counterparts; 0 where one of them is all zeros."""
    one, two = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
    found: NDArray[np.float64] = np.divide(
        (one * two).sum(-1), lengths, out=np.zeros(lengths.shape), where=lengths > 0
    )
    return np.clip(found, -1.0, 1.0)


def golden_tolerance(fp32: Vectors, here: Vectors) -> float:
    """From the held-out vectors (…, D) in fp32 and in the precision in question."""
    apart = np.linalg.norm(here - fp32, axis=-1) / np.maximum(np.linalg.norm(fp32, axis=-1), 1e-12)
    return max(LEAST_TOLERANCE, MORE_THAN_HERE * float(apart.max()))


def write_golden(
    folder: Path, inputs: Sequence[Input], held: HeldOut, networks: Mapping[Precision, Network]
) -> Golden:
    """The first samples with their vectors. Of many modalities, each alone and all together stand for all subsets."""
    count = min(GOLDEN_SAMPLES, len(next(iter(held.inputs.values()))))
    some = {name: batch[:count] for name, batch in held.inputs.items()}
    kept = tuple(held.subsets)
    if len(kept) > GOLDEN_SUBSETS:
        kept = (*((name,) for name in held.names), held.names)
    arrays = {
        f"inputs.{row}.{each.name}": unpadded(some[each.name][row], each)
        for each in inputs
        for row in range(count)
    }
    arrays |= {f"vectors.{precision}": network.vectors(some, kept) for precision, network in networks.items()}
    np.savez(folder / GOLDEN_FILE, allow_pickle=False, **arrays)
    return Golden(file=GOLDEN_FILE, samples=count, subsets=kept)
