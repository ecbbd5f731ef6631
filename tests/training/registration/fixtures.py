"""Small datasets in the very form in which they are published, with their oddities. All numbers are made up.

Each function writes into a folder and returns the path that somebody would name to register it.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from tests.training.registration import own
from training.registration.registering import register
from training.spec import Registered
from training.spec.registration import MANIFEST, REGISTERED, REPORT, DatasetManifest, Format, Options, Report

STEPS = 50
AFFECT_SIZES = {"train": 12, "valid": 6, "test": 6}


def registered(made_from: Format, path: Path, datasets_dir: Path, **options: Any) -> Registered:
    """The dataset's spec, once it has been registered."""
    said = Options.model_validate(
        {name: options.pop(name) for name in list(options) if name in Options.model_fields}
    )
    sha256 = register(made_from, path, datasets_dir, said, lambda event: None)
    return Registered(name=made_from, sha256=sha256, card=manifest_of(datasets_dir, sha256).card, **options)


def manifest_of(datasets_dir: Path, sha256: str) -> DatasetManifest:
    return DatasetManifest.model_validate_json((datasets_dir / REGISTERED / sha256 / MANIFEST).read_bytes())


def report_of(datasets_dir: Path, sha256: str) -> Report:
    return Report.model_validate_json((datasets_dir / REGISTERED / sha256 / REPORT).read_bytes())


# ---------------------------------------------------------------------------------------------------- affect


def affect_content(vision: int, audio: int, seed: int = 0) -> dict[str, dict[str, Any]]:
    """In train: sample 0 fills all 50 steps, sample 3 has no words, sample 4 silence of −inf; labels hold 0 and −2."""
    rng = np.random.default_rng(seed)
    content = {}
    for split, n in AFFECT_SIZES.items():
        length = rng.integers(5, STEPS - 1, n)
        length[0] = STEPS
        there = (np.arange(STEPS) >= STEPS - length[:, None])[..., None]  # padded at the front

        def part(features: int, n: int = n, there: Any = there) -> Any:
            return (rng.normal(size=(n, STEPS, features)) * there).astype(np.float32)

        content[split] = {
            "vision": part(vision),
            "audio": part(audio),
            "text": part(300),
            "labels": np.array([(1.5, -2.0, 0.0, 0.4)[i % 4] for i in range(n)]).reshape(n, 1, 1),
            "id": [f"{split}_{i}" for i in range(n)],
        }
    content["train"]["text"][3] = 0
    content["train"]["audio"][4, -3:] = -np.inf
    return content


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def mosi(folder: Path) -> Path:
    return write_pickle(folder / "mosi_data.pkl", affect_content(20, 5))


def ur_funny(folder: Path) -> Path:
    return write_pickle(folder / "humor.pkl", affect_content(371, 81))


def mustard(folder: Path) -> Path:
    return write_pickle(folder / "sarcasm.pkl", affect_content(371, 81, seed=1))


# ----------------------------------------------------------------------------------------------------- MIMIC


def mimic_content(n: int = 40) -> dict[str, Any]:
    """NaN and infinities, a static column that nearly never changes and one that never does."""
    rng = np.random.default_rng(0)
    static = rng.normal(60, 15, (n, 5))
    static[:, 3] = 7.0 + 1e-4 * rng.normal(size=n)
    static[:, 4] = 1.0
    static[2, 0], static[5, 1] = np.nan, np.inf
    series = rng.normal(80, 20, (n, 24, 12))
    series[1, 3, 4], series[7, 0, 0] = -np.inf, np.nan
    outcome = rng.integers(0, 6, n)
    mortality = np.zeros((n, 6))
    mortality[np.arange(n), outcome] = 1
    mortality[outcome == 1, 4] = 1  # who died within a day also died within a year: the first column counts
    diagnoses = rng.integers(0, 2, (n, 20)).astype(np.float64)
    return {
        "ep_tdata": series,
        "adm_features_all": static,
        "adm_labels_all": mortality,
        "y_icd9": diagnoses,
    }


def mimic(folder: Path) -> Path:
    return write_pickle(folder / "im.pk", mimic_content())


# ------------------------------------------------------------------------------------------- Vision & Touch


def vision_touch(folder: Path, n_files: int = 5) -> Path:
    """The second file's images have their axes reversed."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for place in range(n_files):
        frames = rng.integers(0, 256, (50, 128, 128, 3), dtype=np.uint8)
        content = {
            "image": frames.transpose(0, 3, 2, 1) if place == 1 else frames,
            "ee_forces_continuous": rng.normal(size=(50, 50, 6)) * 3,
            "proprio": rng.normal(size=(50, 8)),
            "contact": (rng.random((50, 50)) < 0.015).astype(np.float64),
            "action": rng.normal(size=(50, 4)),
            "ee_yaw": rng.normal(size=(50, 4)),
        }
        with h5py.File(folder / f"triangle_{place:02}_1000.h5", "w", libver="latest") as file:
            for key, array in content.items():
                file.create_dataset(key, data=array)
    return folder


# ------------------------------------------------------------------------------------ MM-IMDb, Hateful Memes


def mmimdb(folder: Path) -> Path:
    """One film with two plots, one with a genre of its own; posters in grey, with transparency, wide and high."""
    (folder / "dataset").mkdir(parents=True, exist_ok=True)
    (folder / "metadata").mkdir(exist_ok=True)
    ids = [f"{place:07}" for place in range(16)]
    genres = (["Drama"], ["Comedy", "Romance"], ["Drama", "News"], ["Film-Noir", "Crime"])
    for place, film_id in enumerate(ids):
        plots = [f"Film {place}: somebody looks for something in a town by the sea."]
        if place == 2:
            plots = ["A short plot.", "A plot that is a good deal longer than the first one."]
        told = {"title": f"Film {place}", "plot": plots, "genres": genres[place % 4], "year": 1950 + place}
        (folder / "dataset" / f"{film_id}.json").write_text(json.dumps(told), "utf-8")
        mode, size = {0: ("L", (40, 60)), 1: ("RGB", (90, 30))}.get(place, ("RGB", (48, 72)))
        picture(place, size, mode).save(folder / "dataset" / f"{film_id}.jpeg", format="JPEG")
    # The published files are called .jpeg; a few of them are PNG with transparency.
    picture(3, (50, 70), "RGBA").save(folder / "dataset" / f"{ids[3]}.jpeg", format="PNG")
    splits = {"train": ids[:8], "dev": ids[8:12], "test": ids[12:]}
    (folder / "metadata" / "split.json").write_text(json.dumps(splits))
    return folder


def hateful_memes(folder: Path) -> Path:
    (folder / "img").mkdir(parents=True, exist_ok=True)
    (folder / "metadata").mkdir(exist_ok=True)
    lines = []
    for place in range(12):
        name = f"img/{place:05}.png"
        picture(place, (60, 40), "RGB").save(folder / name)
        lines.append(
            json.dumps({"id": 1000 + place, "img": name, "label": place % 2, "text": f"it is day {place} ☀"})
        )
    (folder / "metadata" / "train.jsonl").write_text("\n".join(lines[:8]) + "\n", "utf-8")
    (folder / "metadata" / "dev.jsonl").write_text("\n".join(lines[8:]) + "\n", "utf-8")
    return folder


def picture(seed: int, size: tuple[int, int], mode: str) -> Image.Image:
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode=None)


WRITERS: dict[Format, Callable[[Path], Path]] = {
    "mosi": mosi,
    "ur_funny": ur_funny,
    "mustard": mustard,
    "mimic": mimic,
    "vision_touch": vision_touch,
    "mmimdb": mmimdb,
    "hateful_memes": hateful_memes,
    "image_folder": own.image_folder,
    "webdataset": own.webdataset,
    "parquet": own.parquet,
    "arrays": own.arrays,
}
