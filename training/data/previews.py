"""Previews: some training samples as they are kept, beside two views of each. What they consist of and where they lie
says `training.spec.preview`."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from models_store.durable import make_folder, sync_folder, write_atomically
from training.data.augment import Augmenter
from training.data.captions import PAD_ID
from training.data.class_names import class_names
from training.data.dataset import load
from training.data.samples import Data, Split, measured, unnormalised
from training.data.words import MASK_TOKEN
from training.modules.padding import is_there
from training.spec import DatasetSpec, Modality, Registered, Task
from training.spec.preview import (
    MOST_COLUMNS,
    MOST_FEATURES,
    MOST_PIXELS,
    MOST_STEPS,
    PREVIEW,
    SAMPLES,
    Preview,
    SampleSeen,
    Seen,
    Steps,
    folder_of,
    image_file,
)
from training.spec.registration import read_registered

SEED = 0
Named = Mapping[str, Sequence[str]]


def make(spec: DatasetSpec, datasets_dir: Path) -> Path:
    """Returns the preview's folder, whether it was there or is made now. Always the same pictures of the same spec.

    Raises DataError when the data is not here or damaged, and OSError.
    """
    folder = folder_of(datasets_dir, spec)
    with _locked(folder):
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
            part.mkdir()
            _write(part, spec, datasets_dir)
            sync_folder(part)
            part.rename(folder)
            sync_folder(folder.parent)
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Whoever wants the same preview waits for the one that makes it."""
    make_folder(folder.parent)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(folder: Path, spec: DatasetSpec, datasets_dir: Path) -> None:
    data, names = load(spec, datasets_dir), class_names(spec, datasets_dir)
    rows = torch.linspace(0, len(data.train) - 1, min(SAMPLES, len(data.train))).long()
    looks = _looks(spec, data, rows)
    samples = [
        SampleSeen(
            row=row,
            labels={task.name: _label(task, data.train, names, row) for task in spec.tasks},
            modalities={each.name: _seen(folder, each, looks, data.tokenizer, i) for each in spec.modalities},
        )
        for i, row in enumerate(rows.tolist())
    ]
    splits, labels = _counts(spec, data, names, datasets_dir)
    preview = Preview(modalities=spec.modalities, splits=splits, labels=labels, samples=tuple(samples))
    write_atomically(folder / PREVIEW, preview.model_dump_json(indent=1).encode())


def _looks(spec: DatasetSpec, data: Data, rows: Tensor) -> list[dict[str, Tensor]]:
    """The samples as they are kept and as two views, in the same units; images in [0, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        raw, augment = data.train.batch(rows), Augmenter(spec, data)
        views = [augment(raw), augment(raw)]
    kept = {name: measured(items) for name, items in raw.items()}
    return [
        kept,
        *({n: unnormalised(x, data.normalisation.get(n)) for n, x in view.items()} for view in views),
    ]


def _seen(
    folder: Path,
    modality: Modality,
    looks: Sequence[Mapping[str, Tensor]],
    tokenizer: Tokenizer | None,
    i: int,
) -> tuple[Seen, Seen, Seen]:
    items = [look[modality.name][i] for look in looks]
    if modality.kind == "image":
        for k, pixels in enumerate(items):
            _write_image(folder / image_file(i, modality.name, k), pixels)
        return None, None, None
    kept, one, other = (_told(modality, item, tokenizer) for item in items)
    return kept, one, other


def _write_image(path: Path, pixels: Tensor) -> None:
    """(C, H, H) in [0, 1] of one channel or three."""
    whole = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(np.ascontiguousarray(whole[..., 0] if whole.shape[-1] == 1 else whole))
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
    picture.save(path, "PNG")


def _told(modality: Modality, item: Tensor, tokenizer: Tokenizer | None) -> Seen:
    if modality.kind == "text":
        assert tokenizer is not None
        return _text(item.tolist(), tokenizer)
    if modality.kind == "table":
        return tuple(_rounded(item[:MOST_COLUMNS]))
    length = int(is_there("sequence", item[None]).sum())
    shown = item[: min(length, MOST_STEPS), :MOST_FEATURES]
    return Steps(steps=length, values=tuple(tuple(_rounded(step)) for step in shown))


def _text(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """What the tokens say; hidden words stand apart, whatever the tokenizer joins."""
    mask = tokenizer.token_to_id(MASK_TOKEN)
    parts: list[list[int]] = [[]]
    for token in ids:
        if token == mask:
            parts.append([])
        elif token != PAD_ID:
            parts[-1].append(token)
    return f" {MASK_TOKEN} ".join(tokenizer.decode(part).strip() for part in parts).strip()


def _rounded(numbers: Tensor) -> list[float]:
    """To what single precision can tell."""
    return [float(f"{number:.6g}") for number in numbers.tolist()]


def _label(task: Task, split: Split, names: Named, row: int) -> str | tuple[str, ...] | tuple[float, ...]:
    label = split.labels[task.name][row]
    match task.type:
        case "class":
            return names[task.name][int(label)]
        case "multilabel":
            return tuple(name for name, there in zip(names[task.name], label.tolist(), strict=True) if there)
        case "regression":
            return tuple(_rounded(label))


def _counts(
    spec: DatasetSpec, data: Data, names: Named, datasets_dir: Path
) -> tuple[dict[str, int], dict[str, dict[str, dict[str, float]]]]:
    """Samples per split, and per task and split how often each label comes."""
    if isinstance(spec, Registered):
        _, report = read_registered(datasets_dir, spec.sha256)
        told = {task.name: report.labels[task.name] for task in spec.tasks}
        counts = {
            task: {str(split): dict(each) for split, each in of_it.items()} for task, of_it in told.items()
        }
        return {str(split): count for split, count in report.samples["strict"].items()}, counts
    splits = {"train": data.train, "probe train": data.probe_train, "probe test": data.probe_test}
    sizes = {name: len(split) for name, split in splits.items()}
    return sizes, {
        task.name: {
            name: _frequencies(split.labels[task.name], names[task.name]) for name, split in splits.items()
        }
        for task in spec.tasks
    }


def _frequencies(classes: Tensor, names: Sequence[str]) -> dict[str, float]:
    return dict(zip(names, torch.bincount(classes, minlength=len(names)).tolist(), strict=True))
