"""MM-IMDb: film posters with their plots, to predict the genres from.

A folder: dataset/{id}.jpeg, dataset/{id}.json {"plot": [str, …], "genres": [str, …], …}, and split.json, at the top or in
metadata/, {"train", "dev", "test"} → ids. The task `genres` has 23 labels in alphabetical order; other genres are left
out, as published. A film may have several plots: training draws one at random each time, evaluation takes the longest
(the published code draws there too).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import DataError
from training.registration.found import Found, Ledger, Rows, Source, same_for_all
from training.registration.images import stream
from training.spec import Modality, Task, encoders
from training.spec.datasets import SplitName

GENRES = (
    "action", "adventure", "animation", "biography", "comedy", "crime", "documentary", "drama", "family", "fantasy",
    "film-noir", "history", "horror", "music", "musical", "mystery", "romance", "sci-fi", "short", "sport", "thriller",
    "war", "western",
)  # fmt: skip
SPLITS: dict[SplitName, str] = {"train": "train", "val": "dev", "test": "test"}
IMAGE_TOWER = "openai/clip-vit-base-patch32"
TEXT_TOWER = "sentence-transformers/clip-ViT-B-32-multilingual-v1"
MAX_TOKENS = 128


def picture_and_text(size: int) -> tuple[Modality, Modality]:
    """As the tables have them, also for Hateful Memes."""
    return (
        Modality(
            name="image",
            kind="image",
            channels=3,
            size=size,
            encoder=encoders.PretrainedImage(source=IMAGE_TOWER),
        ),
        Modality(
            name="text",
            kind="text",
            max_tokens=MAX_TOKENS,
            encoder=encoders.PretrainedText(source=TEXT_TOWER),
        ),
    )


def read_mmimdb(source: Source) -> Found:
    index, ledger = source.below("split.json", "metadata/split.json"), source.ledger
    folder = source.path / "dataset"
    ids, splits = _ids(index, ledger)
    unknown: Counter[str] = Counter()
    films = [_film(folder, film_id, row, ledger, unknown) for row, film_id in enumerate(ids)]
    if unknown:
        named = ", ".join(f"{genre} ({count})" for genre, count in unknown.most_common(20))
        ledger.note(f"genres that are none of the {len(GENRES)} were left out, as published: {named}")
    return Found(
        modalities=picture_and_text(source.image_size),
        tasks=(Task(name="genres", family="other", classes=len(GENRES), type="multilabel"),),
        contents={
            "image": stream(
                [
                    None if row in ledger.rows else folder / f"{film_id}.jpeg"
                    for row, film_id in enumerate(ids)
                ],
                ids,
                source.image_size,
                ledger,
            ),
            "text": [plots or [""] for plots, _ in films],
        },
        labels={"genres": np.array([_multi_hot(genres) for _, genres in films], dtype=np.float32)},
        splits=same_for_all(splits),
        ledger=ledger,
        files=[index, *(folder / f"{film_id}{end}" for film_id in ids for end in (".json", ".jpeg"))],
        classes={"genres": GENRES},
    )


def _ids(index: Path, ledger: Ledger) -> tuple[list[str], dict[SplitName, Rows]]:
    """All films, and which of them are in which split. An id that came before is dropped."""
    try:
        listed = json.loads(index.read_text("utf-8"))
    except (ValueError, RecursionError):
        raise DataError(f"{index.name} is not JSON in UTF-8") from None
    ids: dict[str, None] = {}
    splits: dict[SplitName, Rows] = {}
    for split, key in SPLITS.items():
        named = listed.get(key) if isinstance(listed, dict) else None
        if not isinstance(named, list) or not all(isinstance(each, str | int) for each in named):
            raise DataError(f"{index.name} has no list of ids under {key!r}")
        first = len(ids)
        for film_id in map(str, named):
            if film_id in ids:
                ledger.drop(None, film_id, "its id came before, in this or another split")
            elif Path(film_id).name != film_id or film_id in ("", ".", ".."):
                ledger.drop(None, film_id, "its id is not the name of a file")
            else:
                ids[film_id] = None
        splits[split] = np.arange(first, len(ids), dtype=np.int64)
    return list(ids), splits


def _film(
    folder: Path, film_id: str, row: int, ledger: Ledger, unknown: Counter[str]
) -> tuple[list[str], list[str]]:
    """Its plots and genres; without either, it is dropped."""
    told = _told(folder / f"{film_id}.json")
    plots = [each.strip() for each in _strings(told.get("plot")) if each.strip()]
    genres = [each.lower() for each in _strings(told.get("genres"))]
    unknown.update(genre for genre in genres if genre not in GENRES)
    if not told:
        ledger.drop(row, film_id, "its JSON is missing, or is not an object in UTF-8")
    elif not plots:
        ledger.drop(row, film_id, "it has no plot")
    elif "genres" not in told:
        ledger.drop(row, film_id, "it has no genres")
    return plots, genres


def _told(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _strings(value: object) -> list[str]:
    given = [value] if isinstance(value, str) else value
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else []


def _multi_hot(genres: list[str]) -> list[float]:
    return [float(genre in genres) for genre in GENRES]
