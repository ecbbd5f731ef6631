"""What an embed run embeds, by which network, and where it goes: samples split after split, and the parts they come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import checkpoint
from training.data import Data, Split, load, load_for
from training.errors import DataError
from training.methods import Method
from training.probe.job import device_for, restored
from training.runner import Run
from training.spec import DatasetSpec, EmbedSpec, Registered, TrainSpec
from training.spec.datasets import SplitName
from training.spec.registration import REGISTERED, split_file


@dataclass(frozen=True)
class Part:
    """Neighbouring samples of one split."""

    number: int
    split: SplitName
    start: int
    """Its first sample's place in the split."""
    count: int

    def file(self, form: str) -> str:
        return f"part-{self.number:05d}.{form}"


@dataclass(frozen=True)
class Place:
    """What is embedded, by what, and where it goes."""

    run: Run
    spec: EmbedSpec
    found: checkpoint.Checkpoint
    data: Data
    method: Method
    splits: Mapping[SplitName, Split]

    @property
    def folder(self) -> Path:
        return self.run.dir.embeddings

    @property
    def trained(self) -> TrainSpec:
        return self.found.meta.spec

    @property
    def dataset(self) -> DatasetSpec:
        return self.spec.embeds(self.trained)

    @property
    def subsets(self) -> tuple[tuple[str, ...], ...]:
        return self.spec.subsets(self.trained)

    @property
    def count(self) -> int:
        return sum(map(len, self.splits.values()))


def opened(run: Run, spec: EmbedSpec, found: checkpoint.Checkpoint) -> Place:
    """Raises DataError for a spec that does not go with the training, and when the data has changed since."""
    trained = found.meta.spec
    misfits = spec.misfits(trained)
    if misfits:
        raise DataError("; ".join(f"{each.pointer}: {each.detail}" for each in misfits))
    own = load_for(trained, run.datasets_dir, splits="strict")
    method = restored(found, own)
    data, dataset = own, spec.embeds(trained)
    if dataset != trained.dataset:
        # The network knows numbers as it was trained on them, and texts in the tokens it has learned.
        other = load(dataset, run.datasets_dir, trained.protocol, splits="strict", tokenizer=own.tokenizer)
        data = replace(other, normalisation=own.normalisation)
    device = device_for(trained)
    data = data.to(device)
    have = {"train": data.probe_train, "val": data.probe_val, "test": data.probe_test}
    splits = {name: split for name in spec.splits_of(trained) if (split := have[name])}
    return Place(run, spec, found, data, method.to(device), splits)


def parted(place: Place) -> list[Part]:
    size = place.spec.samples_per_part
    places = [
        (name, start, min(size, len(split) - start))
        for name, split in place.splits.items()
        for start in range(0, len(split), size)
    ]
    return [Part(number, *each) for number, each in enumerate(places)]


def samples_of(place: Place, split: SplitName) -> NDArray[np.int64]:
    """Each sample's place in the dataset, whatever its split: as registered, or counted on from split to split."""
    dataset, count = place.dataset, len(place.splits[split])
    if isinstance(dataset, Registered):
        folder = place.run.datasets_dir / REGISTERED / dataset.sha256
        rows: NDArray[np.int64] = np.load(folder / split_file("strict", split), allow_pickle=False)
        return rows
    return np.arange(count) + (len(place.data.probe_train) if split == "test" else 0)
