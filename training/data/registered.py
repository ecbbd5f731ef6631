"""Registered datasets: from the folder that registering left (`training.spec.registration`) to samples.

Every file is checked against its sha256 before its first use on this machine, and again whenever its size or time of
change is another. Arrays stay on disk and are mapped from there: what is read stays in the machine's page cache.

Of texts, tokens are kept. A sample with several texts is given one of them at random in every training batch, and its
longest, the first of equals, whenever it is evaluated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer
from torch import Tensor

from models_store.durable import sha256_of, write_atomically
from training.data.captions import token_pool, train_tokenizer
from training.data.samples import IMAGENET, Data, Normalisation, Split
from training.errors import DataError
from training.spec import Modality, Protocol, Registered
from training.spec.datasets import SplitName
from training.spec.registration import (
    MANIFEST,
    REGISTERED,
    DatasetManifest,
    labels_file,
    scale_file,
    split_file,
)

VOCABULARY = 8192
"""Of a tokenizer trained on the data's own texts."""
STAMPS = ".checked.json"
"""File → size and time of change when its sha256 was last found right."""


def registered(
    spec: Registered,
    datasets_dir: Path,
    protocol: Protocol,
    splits: Protocol,
    tokenizer: Tokenizer | None = None,
) -> Data:
    """`protocol` says how numbers are standardised, `splits` which samples are for what. Raises DataError when the dataset
    is not here, or not what the spec says.

    A `tokenizer` that is given replaces the one that would be trained on the training texts.
    """
    folder, manifest = opened(spec, datasets_dir)
    texts = {each.name: _read_texts(folder, each) for each in spec.modalities if each.kind == "text"}
    if texts and tokenizer is None:
        tokenizer = _trained_tokenizer(texts, _rows(folder, protocol, "train"), spec.modalities)
    pools = {each.name: _pool(folder, each, texts, tokenizer) for each in spec.modalities}
    labels = {task.name: _mapped(folder / labels_file(task.name)) for task in spec.card.tasks}

    def split(name: SplitName, *, draws: bool = False) -> Split:
        return _split(pools, labels, texts, _rows(folder, splits, name), draws=draws)

    has_val = split_file(splits, "val") in manifest.files
    return Data(
        train=split("train", draws=True),
        probe_train=split("train"),
        probe_test=split("test"),
        probe_val=split("val") if has_val else None,
        tokenizer=tokenizer if texts else None,
        normalisation=_normalisation(folder, manifest, spec.modalities, protocol),
        sha256=_sha256(spec, tokenizer if texts else None),
    )


def opened(spec: Registered, datasets_dir: Path) -> tuple[Path, DatasetManifest]:
    """The dataset's folder, all of whose files are as registered. Raises DataError."""
    folder = datasets_dir / REGISTERED / spec.sha256
    again = f"register '{spec.name}' again on this machine, with `fusebox datasets add`"
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError:
        raise DataError(
            f"dataset '{spec.name}' ({spec.sha256[:12]}) is not on this machine; {again}"
        ) from None
    try:
        manifest = DatasetManifest.model_validate_json(content)
    except ValidationError:
        manifest = None
    if manifest is None or hashlib.sha256(content).hexdigest() != spec.sha256 or manifest.card != spec.card:
        raise DataError(f"dataset '{spec.name}' is not what was registered as {spec.sha256[:12]}; {again}")
    damaged = _damaged(folder, manifest)
    if damaged:
        raise DataError(
            f"dataset '{spec.name}' is damaged: {', '.join(damaged)} differ from what was registered; {again}"
        )
    return folder, manifest


def _damaged(folder: Path, manifest: DatasetManifest) -> list[str]:
    """Files that are not as the manifest says. Those found right are not read again until they change."""
    stamps = _read_stamps(folder / STAMPS)
    now = {name: _stamp(folder / name) for name in manifest.files}
    damaged = [
        name for name, file in manifest.files.items()
        if now[name] is None or (now[name] != stamps.get(name) and sha256_of(folder / name) != file.sha256)
    ]  # fmt: skip
    if not damaged and stamps != now:
        write_atomically(folder / STAMPS, json.dumps(now).encode())
    return damaged


def _read_stamps(path: Path) -> dict[str, object]:
    try:
        stamps = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _stamp(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


@dataclass(frozen=True)
class _Texts:
    """All texts of a modality, one after the other, and where each of N items has its own."""

    strings: Sequence[str]
    first: Tensor
    """int64 (N,)."""
    count: Tensor
    """int64 (N,)."""
    longest: Tensor
    """int64 (N,)."""

    def of(self, rows: Tensor) -> list[str]:
        return [
            self.strings[place]
            for first, count in zip(self.first[rows].tolist(), self.count[rows].tolist(), strict=True)
            for place in range(first, first + count)
        ]


def _read_texts(folder: Path, modality: Modality) -> _Texts:
    with (folder / f"{modality.name}.jsonl").open(encoding="utf-8") as lines:
        items: list[list[str]] = [json.loads(line) for line in lines]
    count = [len(item) for item in items]
    first = list(accumulate(count, initial=0))[:-1]
    longest = [
        start + max(range(len(item)), key=lambda i: len(item[i]))
        for start, item in zip(first, items, strict=True)
    ]
    return _Texts([text for item in items for text in item], *map(torch.tensor, (first, count, longest)))


def _trained_tokenizer(
    texts: Mapping[str, _Texts], rows: Tensor, modalities: Sequence[Modality]
) -> Tokenizer:
    most = max(each.max_tokens for each in modalities if each.kind == "text")
    strings = [text for each in texts.values() for text in each.of(rows)]
    return train_tokenizer(strings, most, VOCABULARY)


def _pool(
    folder: Path, modality: Modality, texts: Mapping[str, _Texts], tokenizer: Tokenizer | None
) -> Tensor:
    if modality.kind != "text":
        return _mapped(folder / f"{modality.name}.npy")
    assert tokenizer is not None
    return token_pool(texts[modality.name].strings, modality.max_tokens, tokenizer)


def _split(
    pools: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    texts: Mapping[str, _Texts],
    rows: Tensor,
    *,
    draws: bool,
) -> Split:
    """`draws`: one of a sample's texts at random, else the longest."""
    several = {name: each for name, each in texts.items() if draws and len(each.strings) > len(each.first)}
    starts = {name: several[name].first if name in several else each.longest for name, each in texts.items()}
    return Split(
        pools=pools,
        index={name: starts[name][rows] if name in texts else rows for name in pools},
        labels={task: of_all[rows] for task, of_all in labels.items()},
        alternatives={name: each.count[rows] for name, each in several.items()},
    )


def _rows(folder: Path, protocol: Protocol, split: SplitName) -> Tensor:
    return _mapped(folder / split_file(protocol, split)).clone()


def _mapped(path: Path) -> Tensor:
    # Copy on write: torch would warn of an array that it must not change.
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))


def _normalisation(
    folder: Path, manifest: DatasetManifest, modalities: Sequence[Modality], protocol: Protocol
) -> dict[str, Normalisation]:
    found: dict[str, Normalisation] = {}
    for modality in modalities:
        file = scale_file(protocol, modality.name)
        if modality.kind == "image":
            found[modality.name] = IMAGENET
        elif file in manifest.files:
            mean, deviation = np.load(folder / file, allow_pickle=False).tolist()
            found[modality.name] = (tuple(mean), tuple(deviation))
    return found


def _sha256(spec: Registered, tokenizer: Tokenizer | None) -> str:
    """Equal for the same content seen through the same tokenizer; the modalities and splits in use do not matter."""
    return hashlib.sha256(f"{spec.sha256} {tokenizer.to_str() if tokenizer else ''}".encode()).hexdigest()
