"""Files that are not what they should be: one clear sentence, or a line in the report and a sample less; never a part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from tests.training.registration import fixtures
from tests.training.registration.fixtures import (
    WRITERS,
    affect_content,
    mimic_content,
    registered,
    report_of,
    write_pickle,
)
from training.errors import DataError
from training.registration.registering import register
from training.spec.registration import REGISTERED, Format, Options, Report


def refusal(made_from: Format, path: Path, tmp_path: Path, **options: Any) -> str:
    """Why it is refused, when nothing is left behind."""
    shelf = tmp_path / "datasets"
    with pytest.raises(DataError) as refused:
        registered(made_from, path, shelf, **options)
    left = list((shelf / REGISTERED).glob("*")) if (shelf / REGISTERED).exists() else []
    assert left == []
    reason = str(refused.value)
    assert "\n" not in reason
    return reason


def report(made_from: Format, path: Path, tmp_path: Path) -> Report:
    small = {"image_size": 16} if made_from in ("mmimdb", "hateful_memes") else {}
    return report_of(
        tmp_path / "datasets", registered(made_from, path, tmp_path / "datasets", **small).sha256
    )


def dropped(found: Report) -> dict[str, tuple[str, ...]]:
    return {each.reason: each.ids for each in found.dropped}


# ------------------------------------------------------------------------------------------------ what is asked


@pytest.mark.parametrize("made_from", WRITERS)
def test_a_place_without_the_files_is_refused(tmp_path: Path, made_from: Format) -> None:
    assert "there is no" in refusal(made_from, tmp_path / "nowhere", tmp_path)
    (tmp_path / "empty").mkdir()
    reason = refusal(made_from, tmp_path / "empty", tmp_path)
    assert str(tmp_path / "empty") in reason


@pytest.mark.parametrize("image_size", [0, 15, 1025, -3])
def test_an_image_size_out_of_reason_is_refused(image_size: int) -> None:
    with pytest.raises(ValidationError, match="image_size"):
        Options(image_size=image_size)


def test_an_image_size_for_data_without_images_is_refused(tmp_path: Path) -> None:
    assert "mimic has no images" in refusal("mimic", fixtures.mimic(tmp_path), tmp_path, image_size=64)


# ------------------------------------------------------------------------------------------------------ pickles


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = affect_content(20, 5)
    change(content)
    return content


def cut(content: dict[str, Any], split: str, key: str, part: Any) -> None:
    content[split][key] = content[split][key][part]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "is not a dict but a list"),
        (changed(lambda c: c.pop("valid")), "has no 'valid'; it has test, train"),
        (
            changed(lambda c: c["test"].pop("audio")),
            "mosi_data.pkl['test'] has no 'audio'; it has id, labels, text, vision",
        ),
        (changed(lambda c: c.update(train=7)), "mosi_data.pkl['train'] is not a dict but a int"),
        (
            changed(lambda c: cut(c, "train", "vision", np.s_[:, 0])),
            "['vision'] has the shape (12, 20) where 3 axes are needed",
        ),
        (
            changed(lambda c: cut(c, "train", "vision", np.s_[:5])),
            "not as many samples of each kind: vision 5, text 12, audio 12",
        ),
        (
            changed(lambda c: cut(c, "train", "audio", np.s_[:, :9])),
            "not as many steps of each kind: vision 50, text 50, audio 9",
        ),
        (
            changed(lambda c: cut(c, "valid", "text", np.s_[..., :9])),
            "'text' has other shapes in other splits",
        ),
        (changed(lambda c: cut(c, "train", "labels", np.s_[:9])), "['labels'] has the shape (9, 1, 1)"),
        (
            changed(lambda c: c["train"].update(vision=np.array([{}] * 12, dtype=object))),
            "['vision'] holds objects where numbers",
        ),
        (
            changed(lambda c: c["train"].update(vision=c["train"]["vision"].astype(str))),
            "['vision'] holds texts where numbers",
        ),
        (changed(lambda c: c["train"].update(labels=[[1], [1, 2]])), "['labels'] is a list of unequal parts"),
        (changed(lambda c: c["train"]["text"].fill(0)), "of the 12 samples in train only 0 can be used"),
        (
            changed(lambda c: c["test"]["vision"].fill(np.nan)),
            "of the 6 samples in test only 0 can be used: dropped were",
        ),
    ],
    ids=lambda each: each[:30] if isinstance(each, str) else "",
)
def test_an_affect_pickle_of_another_form_is_refused(tmp_path: Path, content: object, words: str) -> None:
    assert words in refusal("mosi", write_pickle(tmp_path / "mosi_data.pkl", content), tmp_path)


def test_affect_samples_with_nan_or_without_a_label_are_dropped_and_told(tmp_path: Path) -> None:
    content = affect_content(20, 5)
    content["train"]["vision"][1, 49, 2] = np.nan
    content["train"]["text"][2, 49, 0] = 1e300 if content["train"]["text"].dtype == np.float64 else np.inf
    content["train"]["labels"][5] = np.nan
    content["valid"]["audio"][0, 49, 0] = np.inf  # not the logarithm of silence
    found = dropped(report("mosi", write_pickle(tmp_path / "mosi_data.pkl", content), tmp_path))
    assert found == {
        "it has no words": ("train_3",),
        "its vision holds NaN or infinity": ("train_1",),
        "its text holds NaN or infinity": ("train_2",),
        "it has no label": ("train_5",),
        "its audio holds NaN or infinity": ("valid_0",),
    }


def deep(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "ids",
    [
        None,
        [deep(300)] * 12,
        [{}] * 12,
        np.arange(12),
        np.array([["a", "b"]] * 12, dtype=object),
        [b"\xff"] * 12,
        "x",
        [1],
    ],
)
def test_whatever_samples_are_called_they_are_read(tmp_path: Path, ids: Any) -> None:
    content = affect_content(20, 5)
    content["train"]["id"] = ids
    if ids is None:
        del content["train"]["id"]
    found = dropped(report("mosi", write_pickle(tmp_path / "mosi_data.pkl", content), tmp_path))
    ((name,),) = found.values()
    assert name in ("3", "a b", "\ufffd", "mosi_data.pkl['train'][3]", "list", "dict")


def without(key: str) -> dict[str, Any]:
    return {name: array for name, array in mimic_content().items() if name != key}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (without("y_icd9"), "im.pk has no 'y_icd9'"),
        (
            mimic_content() | {"ep_tdata": np.zeros((39, 24, 12))},
            "not as many samples of each kind: ep_tdata 39",
        ),
        (mimic_content() | {"y_icd9": np.zeros((40, 19))}, "['y_icd9'] has 19 columns; at least 20"),
        (mimic_content() | {"y_icd9": np.full((40, 20), 0.5)}, "['y_icd9'] holds other numbers than 0 and 1"),
        (
            mimic_content() | {"adm_labels_all": np.zeros((40, 3))},
            "['adm_labels_all'] has 3 columns; at least 6",
        ),
        (mimic_content(12), "has 12 samples; at least 20 are needed"),
    ],
    ids=range(6),
)
def test_a_mimic_pickle_of_another_form_is_refused(tmp_path: Path, content: object, words: str) -> None:
    assert words in refusal("mimic", write_pickle(tmp_path / "im.pk", content), tmp_path)


# --------------------------------------------------------------------------------------------- Vision & Touch


@pytest.fixture
def attempts(tmp_path: Path) -> Path:
    return fixtures.vision_touch(tmp_path / "attempts")


def rewritten(folder: Path, key: str, array: np.ndarray | None) -> str:
    """The first file with another array, or without it. Returns the file's name."""
    path = sorted(folder.glob("*.h5"))[0]
    with h5py.File(path, "r+", libver="latest") as file:
        del file[key]
        if array is not None:
            file[key] = array
    return path.name


@pytest.mark.parametrize(
    ("key", "array", "words"),
    [
        ("contact", None, "has no 'contact'"),
        ("image", np.zeros((50, 128, 128), np.uint8), "has 'image' of the shape (50, 128, 128)"),
        ("image", np.zeros((49, 128, 128, 3), np.uint8), "has 'image' of the shape (49, 128, 128, 3)"),
        ("image", np.zeros((50, 128, 128, 3), np.float32), "has images of float32; they must be uint8"),
        ("ee_forces_continuous", np.zeros((50, 31, 6)), "at least 32 readings"),
        (
            "ee_forces_continuous",
            np.zeros((50, 50, 3)),
            "has 'ee_forces_continuous' of the shape (50, 50, 3)",
        ),
        ("proprio", np.zeros((50, 7)), "at least 32 readings and 8 numbers"),
        ("proprio", np.array([b"x"] * 50), "has 'proprio' of the shape (50,)"),
    ],
    ids=range(8),
)
def test_an_attempt_of_another_form_is_refused(
    attempts: Path, tmp_path: Path, key: str, array: np.ndarray | None, words: str
) -> None:
    name = rewritten(attempts, key, array)
    reason = refusal("vision_touch", attempts, tmp_path)
    assert reason.startswith(name)
    assert words in reason


def test_an_attempt_that_is_cut_off_is_refused(attempts: Path, tmp_path: Path) -> None:
    path = sorted(attempts.glob("*.h5"))[2]
    path.write_bytes(path.read_bytes()[:100_000])
    reason = refusal("vision_touch", attempts, tmp_path)
    assert reason.startswith(f"{path.name} is not a whole HDF5 file")


def test_too_few_attempts_are_refused(attempts: Path, tmp_path: Path) -> None:
    sorted(attempts.glob("*.h5"))[0].unlink()
    assert "holds 4 files *.h5; at least 5 are needed" in refusal("vision_touch", attempts, tmp_path)


def test_steps_with_nan_are_dropped_and_told(attempts: Path, tmp_path: Path) -> None:
    state = np.random.default_rng(0).normal(size=(50, 8))
    state[10, 1] = np.nan  # this step's own state, and what follows the step before
    rewritten(attempts, "proprio", state)
    found = dropped(report("vision_touch", attempts, tmp_path))
    assert found == {
        "its force or proprioception, now or next, holds NaN or infinity": (
            "triangle_00_1000.h5[9]",
            "triangle_00_1000.h5[10]",
        )
    }


# --------------------------------------------------------------------------------------------------- MM-IMDb


@pytest.fixture
def films(tmp_path: Path) -> Path:
    return fixtures.mmimdb(tmp_path / "films")


def test_films_that_cannot_be_used_are_dropped_and_told(films: Path, tmp_path: Path) -> None:
    folder = films / "dataset"
    (folder / "0000000.jpeg").unlink()
    (folder / "0000001.jpeg").write_bytes((folder / "0000001.jpeg").read_bytes()[:200])
    (folder / "0000004.json").write_bytes(b'{"plot": ["\xff"], "genres": []}')
    (folder / "0000008.json").write_text('{"plot": ["a plot"]}')
    (folder / "0000012.json").write_text('{"plot": [" "], "genres": ["Drama"]}')
    (folder / "0000013.jpeg").write_bytes(b"GIF89a")
    assert dropped(report("mmimdb", films, tmp_path)) == {
        "its image is missing": ("0000000",),
        "its image is cut off, or is no PNG, JPEG or WebP": ("0000001", "0000013"),
        "its JSON is missing, or is not an object in UTF-8": ("0000004",),
        "it has no genres": ("0000008",),
        "it has no plot": ("0000012",),
    }


def test_an_id_that_comes_twice_or_leads_out_of_the_folder_is_dropped(films: Path, tmp_path: Path) -> None:
    index = films / "metadata" / "split.json"
    listed = json.loads(index.read_text())
    listed["test"] += [listed["train"][0], "../../etc/passwd", ".."]
    index.write_text(json.dumps(listed))
    found = report("mmimdb", films, tmp_path)
    assert found.samples["strict"] == {"train": 8, "val": 4, "test": 4}
    assert dropped(found) == {
        "its id came before, in this or another split": ("0000000",),
        "its id is not the name of a file": ("../../etc/passwd", ".."),
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "split.json is not JSON in UTF-8"),
        (b'{"train": "\xff"}', "split.json is not JSON in UTF-8"),
        (b"[]", "split.json has no list of ids under 'train'"),
        (b'{"train": [{}], "dev": [], "test": []}', "split.json has no list of ids under 'train'"),
        (b'{"train": [], "dev": [], "test": []}', "of the 0 samples in train only 0 can be used"),
        (b"[" * 100_000, "split.json is not JSON in UTF-8"),
    ],
    ids=range(6),
)
def test_a_list_of_films_of_another_form_is_refused(
    films: Path, tmp_path: Path, content: bytes, words: str
) -> None:
    (films / "metadata" / "split.json").write_bytes(content)
    assert words in refusal("mmimdb", films, tmp_path, image_size=16)


def test_films_without_any_image_are_refused(films: Path, tmp_path: Path) -> None:
    for poster in (films / "dataset").glob("*.jpeg"):
        poster.unlink()
    reason = refusal("mmimdb", films, tmp_path, image_size=16)
    assert (
        reason == "of the 8 samples in train only 0 can be used: dropped were 16 because its image is missing"
    )


# ---------------------------------------------------------------------------------------------- Hateful Memes


@pytest.fixture
def memes(tmp_path: Path) -> Path:
    return fixtures.hateful_memes(tmp_path / "memes")


def test_memes_that_cannot_be_used_are_dropped_and_told(memes: Path, tmp_path: Path) -> None:
    shutil.copy(memes / "img" / "00000.png", tmp_path / "outside.png")
    usable = json.loads((memes / "metadata" / "train.jsonl").read_text("utf-8").splitlines()[0])
    more = [
        json.dumps({**usable, "id": 1}).encode()[:-5],
        json.dumps({**usable, "id": 2}).replace("day", "d\xe4y").encode("latin1"),
        json.dumps({**usable, "id": 3, "label": None}).encode(),
        json.dumps({**usable, "id": 4, "label": True}).encode(),
        json.dumps({**usable, "id": 5, "text": ""}).encode(),
        json.dumps({**usable, "id": 6, "img": "../outside.png"}).encode(),
        json.dumps({**usable, "id": 7, "img": str(tmp_path / "outside.png")}).encode(),
        json.dumps({**usable, "id": 8, "img": "img/none.png"}).encode(),
        json.dumps(usable).encode(),
        b"",
    ]
    with (memes / "metadata" / "train.jsonl").open("ab") as lines:
        lines.write(b"\n".join(more))
    found = report("hateful_memes", memes, tmp_path)
    assert found.samples["strict"] == {"train": 8, "test": 4}
    assert dropped(found) == {
        "its line is not a JSON object in UTF-8": ("train.jsonl line 9", "train.jsonl line 10"),
        "it has no label 0 or 1": ("3", "4"),
        "it has no text": ("5",),
        "it names no image inside of the folder": ("6", "7"),
        "its id came before, in this or another split": ("1000",),
        "its image is missing": ("8",),
    }


def test_memes_of_which_half_have_no_label_are_read_without_them(memes: Path, tmp_path: Path) -> None:
    path = memes / "metadata" / "train.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for told in lines[::2]:
        del told["label"]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = report("hateful_memes", memes, tmp_path)
    assert found.samples["strict"]["train"] == 4
    assert "hateful: no sample of train has class not hateful" in found.warnings


def test_a_list_without_any_meme_is_refused(memes: Path, tmp_path: Path) -> None:
    (memes / "metadata" / "dev.jsonl").write_text("")
    assert "of the 0 samples in test only 0 can be used" in refusal(
        "hateful_memes", memes, tmp_path, image_size=16
    )


# ------------------------------------------------------------------------------------------------ what misleads


def test_the_same_content_in_two_splits_is_told(tmp_path: Path) -> None:
    content = affect_content(20, 5)
    for key in ("vision", "audio", "text"):
        content["test"][key][2] = content["train"][key][5]
    found = report("mosi", write_pickle(tmp_path / "mosi_data.pkl", content), tmp_path)
    assert "1 sample has the same content in train and in test" in found.warnings


def test_a_class_that_nearly_all_samples_have_is_told(tmp_path: Path) -> None:
    content = mimic_content()
    content["y_icd9"][:, 3] = 0
    content["y_icd9"][0, 3] = 1
    found = report("mimic", write_pickle(tmp_path / "im.pk", content), tmp_path)
    assert any(
        line.startswith("icd9_3:") and "of the training samples have class 0" in line
        for line in found.warnings
    )


def test_a_file_with_other_features_than_published_is_told(tmp_path: Path) -> None:
    found = report("mosi", write_pickle(tmp_path / "mosi_data.pkl", affect_content(47, 74)), tmp_path)
    assert "vision has 47 numbers a step where the published file has 20" in found.notes


def test_no_event_is_told_of_what_was_refused_before_it_was_read(tmp_path: Path) -> None:
    told: list[object] = []
    with pytest.raises(DataError):
        register("mosi", tmp_path / "nothing", tmp_path, Options(), told.append)
    assert told == []
