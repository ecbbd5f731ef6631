"""Hateful Memes: pictures with a line of text; only the two together tell whether they are meant to hurt.

A folder: img/*.png, and train.jsonl and dev.jsonl, at the top or in metadata/, a line for each meme: {"id": int, "img":
"img/…png", "label": 0 or 1, "text": str}. The published code evaluates on dev, which is the test here; what a probe
selects by is held out of train. test.jsonl has no labels and is not read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from training.registration.found import Found, Ledger, Source, same_for_all
from training.registration.images import stream
from training.registration.mmimdb import picture_and_text
from training.spec import Task
from training.spec.datasets import SplitName

SPLITS: dict[SplitName, str] = {"train": "train.jsonl", "test": "dev.jsonl"}
MOST_LINE_BYTES = 1_000_000


class _Meme(NamedTuple):
    meme_id: str
    picture: Path
    text: str
    label: int


def read_hateful_memes(source: Source) -> Found:
    ledger = source.ledger
    memes: dict[str, _Meme] = {}
    splits = {}
    lists = {split: source.below(name, f"metadata/{name}") for split, name in SPLITS.items()}
    for split, path in lists.items():
        first = len(memes)
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            meme = _meme(line, f"{path.name} line {number}", source.path, ledger) if line.strip() else None
            if meme is not None and meme.meme_id in memes:
                ledger.drop(None, meme.meme_id, "its id came before, in this or another split")
            elif meme is not None:
                memes[meme.meme_id] = meme
        splits[split] = np.arange(first, len(memes), dtype=np.int64)
    ids = list(memes)
    return Found(
        modalities=picture_and_text(source.image_size),
        tasks=(Task(name="hateful", family="other", classes=2),),
        contents={
            "image": stream([each.picture for each in memes.values()], ids, source.image_size, ledger),
            "text": [[each.text] for each in memes.values()],
        },
        labels={"hateful": np.array([each.label for each in memes.values()], dtype=np.int64)},
        splits=same_for_all(splits),
        ledger=ledger,
        files=[*lists.values(), *(each.picture for each in memes.values())],
        classes={"hateful": ("not hateful", "hateful")},
    )


def _meme(line: bytes, place: str, folder: Path, ledger: Ledger) -> _Meme | None:
    """None when it had to be dropped."""
    told = _told(line)
    name = str(told.get("id", place))
    problem = _problem(told)
    if problem is not None:
        ledger.drop(None, name, problem)
        return None
    return _Meme(name, folder / told["img"], told["text"].strip(), int(told["label"]))


def _told(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line.decode("utf-8")) if len(line) <= MOST_LINE_BYTES else {}
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _problem(told: dict[str, Any]) -> str | None:
    if not told:
        return "its line is not a JSON object in UTF-8"
    if isinstance(told.get("label"), bool) or told.get("label") not in (0, 1):
        return "it has no label 0 or 1"
    if not isinstance(told.get("text"), str) or not told["text"].strip():
        return "it has no text"
    if not isinstance(told.get("img"), str) or not _is_below(told["img"]):
        return "it names no image inside of the folder"
    return None


def _is_below(name: str) -> bool:
    path = Path(name)
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts
