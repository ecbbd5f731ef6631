"""Every format, in its true form on disk: what comes of its numbers, its splits and its oddities."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.training.registration.fixtures import registered, vision_touch
from training.registration.formats import FORMATS
from training.registration.mmimdb import GENRES
from training.spec import encoders
from training.spec.registration import ABOUT, Format, labels_file

AFFECT = ("mosi", "ur_funny", "mustard")


def test_every_format_has_a_reader_and_says_what_it_is():
    assert set(FORMATS) == set(get_args(Format)) == set(ABOUT)


@pytest.mark.parametrize("made_from", FORMATS)
def test_a_card_says_what_the_files_hold(shelf, made_from):
    found = shelf(made_from)
    n = {len(found.array(labels_file(task.name).removesuffix(".npy"))) for task in found.spec.card.tasks}
    for modality in found.spec.card.modalities:
        if modality.kind == "text":
            n.add(len((found.folder / f"{modality.name}.jsonl").read_text("utf-8").splitlines()))
            continue
        array = found.array(modality.name)
        n.add(len(array))
        shape = {
            "image": (modality.channels, modality.size, modality.size),
            "sequence": (modality.length, modality.features),
            "table": (modality.features,),
        }[modality.kind]
        assert array.shape[1:] == shape
        assert array.dtype == (np.uint8 if modality.kind == "image" else np.float32)
        assert np.isfinite(array).all()
    assert len(n) == 1
    for protocol, samples in found.report.samples.items():
        for split, count in samples.items():
            rows = found.rows(protocol, split)
            assert len(rows) == count
            assert set(rows) <= set(range(*n))
    assert found.spec.card.samples == found.report.samples["strict"]


@pytest.mark.parametrize("made_from", FORMATS)
def test_under_strict_no_sample_is_in_two_splits_or_twice_in_one(shelf, made_from):
    found = shelf(made_from)
    rows = [row for split in found.spec.card.samples for row in found.rows("strict", split)]
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("made_from", FORMATS)
def test_label_counts_add_up_to_the_splits(shelf, made_from):
    found = shelf(made_from)
    for task in found.spec.card.tasks:
        for split, n in found.spec.card.samples.items():
            counts = found.report.labels[task.name][split]
            if task.type == "class":
                assert sum(counts.values()) == n
            elif task.type == "multilabel":
                assert len(counts) == task.classes


# ---------------------------------------------------------------------------------------------------- affect


def slowly_read(path: Path) -> list[dict[str, np.ndarray]]:
    """Sample by sample, as the published code goes about it."""
    samples = []
    for split in pickle.loads(path.read_bytes()).values():
        for row in range(len(split["labels"])):
            text = split["text"][row]
            if np.abs(text).sum() == 0:
                continue
            start = next(step for step in range(len(text)) if text[step].any())
            audio = split["audio"][row].copy()
            audio[audio == -np.inf] = 0
            label = int(split["labels"][row].item() > 0)
            samples.append(
                {
                    "vision": split["vision"][row][start:],
                    "text": text[start:],
                    "audio": audio[start:],
                    "label": label,
                }
            )
    return samples


@pytest.mark.parametrize("made_from", AFFECT)
def test_affect_samples_are_those_of_the_published_reading(shelf, made_from):
    found = shelf(made_from)
    expected = slowly_read(found.source)
    rows = [row for split in ("train", "val", "test") for row in found.rows("reference", split)]
    (task,) = found.spec.card.tasks
    labels = found.array(f"labels.{task.name}")
    assert len(rows) == len(expected) == 23
    for row, sample in zip(rows, expected, strict=True):
        assert labels[row] == sample["label"]
        for name in ("vision", "text", "audio"):
            stored, length = found.array(name)[row], len(sample[name])
            assert np.array_equal(stored[:length], sample[name])
            assert not stored[length:].any()


@pytest.mark.parametrize("made_from", AFFECT)
def test_affect_samples_without_words_are_dropped_and_silence_is_told(shelf, made_from):
    report = shelf(made_from).report
    assert [(each.reason, each.ids) for each in report.dropped] == [("it has no words", ("train_3",))]
    assert "numbers of −inf in the audio became 0" in report.notes[0]


def test_affect_reads_two_modalities_unless_three_are_asked_for(shelf):
    spec = shelf("mosi").spec
    assert [each.name for each in spec.modalities] == ["vision", "text"]
    three = spec.model_copy(update={"use": ("vision", "text", "audio")})
    assert [(each.name, each.features) for each in three.modalities] == [
        ("vision", 20),
        ("text", 300),
        ("audio", 5),
    ]
    assert all(
        each.encoder == encoders.Affect() and each.changes == ("drop", "noise") for each in three.modalities
    )
    assert spec.card.shared_coins


# ----------------------------------------------------------------------------------------------------- MIMIC


def test_mimic_is_split_as_pythons_own_shuffle_says(shelf):
    found = shelf("mimic")
    state = random.getstate()
    random.seed(10)
    order = list(range(40))
    random.shuffle(order)
    random.setstate(state)
    assert (found.rows("reference", "val"), found.rows("reference", "test")) == (order[:4], order[4:8])
    assert found.rows("reference", "train") == found.rows("strict", "train") == order[8:]


def test_mimic_scales_are_of_all_samples_or_of_the_training_samples(shelf):
    found = shelf("mimic")
    content = pickle.loads(found.source.read_bytes())
    rows = {"reference": list(range(40)), "strict": found.rows("strict", "train")}
    for name, key in (("static", "adm_features_all"), ("series", "ep_tdata")):
        clean = np.nan_to_num(content[key], nan=0, posinf=0, neginf=0)
        assert np.array_equal(found.array(name), clean.astype(np.float32))
        for protocol, chosen in rows.items():
            mean, deviation = found.array(f"scale.{protocol}.{name}")
            for feature in range(clean.shape[-1]):
                values = clean[chosen][..., feature]
                assert mean[feature] == pytest.approx(values.mean())
                assert deviation[feature] == pytest.approx(values.std() if values.std() > 1e-5 else 1)


def test_mimic_tasks_are_the_columns_of_the_file(shelf):
    found = shelf("mimic")
    content = pickle.loads(found.source.read_bytes())
    assert [task.name for task in found.spec.tasks] == ["icd9_7"]
    assert len(found.spec.card.tasks) == 21
    for k in range(20):
        assert np.array_equal(found.array(f"labels.icd9_{k}"), content["y_icd9"][:, k])
    for row, told in enumerate(content["adm_labels_all"]):
        first = next((column for column in range(1, 6) if told[column] > 0), 0)
        assert found.array("labels.mortality")[row] == first


def test_mimic_tells_of_a_column_that_never_changes(shelf):
    assert "static never changes in column 4 of the training samples" in shelf("mimic").report.warnings


# ------------------------------------------------------------------------------------------- Vision & Touch


def test_vision_touch_samples_are_a_step_and_what_follows_it(shelf):
    found = shelf("vision_touch")
    files = sorted(found.source.glob("*.h5"))
    force, state, image = (found.array(name) for name in ("force", "proprioception", "image"))
    contact, yaw = found.array("labels.contact"), found.array("labels.ee_yaw_next")
    assert len(image) == 5 * 48
    for place, path in enumerate(files):
        with h5py.File(path) as file:
            for t in (0, 17, 47):
                row = 48 * place + t
                frame = file["image"][t]
                if frame.shape[0] == 3:
                    frame = frame.transpose(2, 1, 0)
                assert np.array_equal(image[row], frame.transpose(2, 0, 1))
                assert np.allclose(force[row], np.tanh(file["ee_forces_continuous"][t][-32:]), atol=1e-6)
                assert np.allclose(state[row], file["proprio"][t][:8], atol=1e-6)
                assert np.allclose(yaw[row], file["proprio"][t + 1][:4], atol=1e-6)
                assert contact[row] == int(file["contact"][t + 1].sum() > 0)


def test_vision_touch_files_are_split_as_published_or_so_that_no_file_is_shared(shelf):
    found = shelf("vision_touch")
    order = np.arange(5)
    np.random.default_rng(42).shuffle(order)

    def files(protocol: str, split: str) -> list[int]:
        return list(dict.fromkeys(row // 48 for row in found.rows(protocol, split)))

    assert files("reference", "train") == order[:4].tolist()
    assert found.rows("reference", "val") == found.rows("reference", "test")
    assert files("reference", "test") == files("strict", "test") == order[4:].tolist()
    assert files("strict", "train") == order[:3].tolist()
    assert files("strict", "val") == order[3:4].tolist()


def test_vision_touch_has_a_random_duplicate_in_each_file_as_published_only(shelf):
    found = shelf("vision_touch")
    rows = np.array(found.rows("reference", "train")).reshape(4, 49)
    assert (np.diff(rows[:, :48]) == 1).all()
    assert (rows[:, 48] // 48 == rows[:, 0] // 48).all()
    assert found.spec.card.samples == {"train": 144, "val": 48, "test": 48}
    assert found.spec.card.reference_samples == {"train": 196, "val": 49, "test": 49}
    assert (found.spec.n_train_under("reference"), found.spec.n_train_under("strict")) == (196, 144)


def test_vision_touch_frames_are_made_smaller_when_asked(tmp_path):
    spec = registered("vision_touch", vision_touch(tmp_path / "in"), tmp_path / "out", image_size=32)
    assert spec.card.modalities[0].size == 32


# ------------------------------------------------------------------------------------ MM-IMDb, Hateful Memes


def test_mmimdb_labels_are_the_genres_in_alphabetical_order(shelf):
    found = shelf("mmimdb")
    assert list(GENRES) == sorted(GENRES)
    assert len(GENRES) == 23
    ids = [
        film_id
        for split in json.loads((found.source / "metadata/split.json").read_text()).values()
        for film_id in split
    ]
    for row, film_id in enumerate(ids):
        told = json.loads((found.source / "dataset" / f"{film_id}.json").read_text())
        named = {GENRES[column] for column in np.flatnonzero(found.array("labels.genres")[row])}
        assert named == {genre.lower() for genre in told["genres"]} & set(GENRES)
    assert any("news (4)" in note for note in found.report.notes)


def test_mmimdb_keeps_every_plot_of_a_film(shelf):
    lines = (shelf("mmimdb").folder / "text.jsonl").read_text("utf-8").splitlines()
    assert [len(json.loads(line)) for line in lines] == [1, 1, 2] + [1] * 13


def test_posters_are_resized_by_their_shorter_side_and_cut_in_the_middle(shelf):
    found = shelf("mmimdb")
    for row, (film_id, turned) in enumerate(
        {"0000000": (32, 48), "0000001": (96, 32), "0000002": (32, 48)}.items()
    ):
        with Image.open(found.source / "dataset" / f"{film_id}.jpeg") as poster:
            small = poster.convert("RGB").resize(turned, Image.Resampling.BILINEAR)
        left, top = (turned[0] - 32) // 2, (turned[1] - 32) // 2
        expected = np.asarray(small.crop((left, top, left + 32, top + 32))).transpose(2, 0, 1)
        assert np.array_equal(found.array("image")[row], expected)


def test_hateful_memes_are_tested_on_dev_and_have_nothing_to_select_by(shelf):
    found = shelf("hateful_memes")
    assert found.spec.card.samples == {"train": 8, "test": 4}
    assert found.array("labels.hateful").tolist() == [0, 1] * 6
    assert json.loads((found.folder / "text.jsonl").read_text("utf-8").splitlines()[3]) == ["it is day 3 ☀"]


def test_pictures_with_text_are_read_by_the_towers_of_the_tables(shelf):
    for made_from in ("mmimdb", "hateful_memes"):
        image, text = shelf(made_from).spec.modalities
        assert isinstance(image.encoder, encoders.PretrainedImage)
        assert isinstance(text.encoder, encoders.PretrainedText)
        assert text.max_tokens == 128
