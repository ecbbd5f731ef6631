"""Somebody's own data: what is guessed of it, what can be said of it, and who is in which split."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.training.registration import own
from tests.training.registration.fixtures import registered, report_of
from training.spec import Registered
from training.spec.registration import REGISTERED, Format, Report

SMALL = {"image_size": 16}


class Kept:
    def __init__(self, made_from: Format, path: Path, place: Path, **options: Any) -> None:
        given = options if made_from == "arrays" else SMALL | options
        self.spec: Registered = registered(made_from, path, place / "datasets", **given)
        self.folder = place / "datasets" / REGISTERED / self.spec.sha256
        self.report: Report = report_of(place / "datasets", self.spec.sha256)

    def array(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy", allow_pickle=False)

    def texts(self, name: str = "text") -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text("utf-8").splitlines()]

    def rows(self, split: str) -> set[int]:
        return set(self.array(f"split.strict.{split}").tolist())

    @property
    def kinds(self) -> dict[str, str]:
        return {each.name: each.kind for each in self.spec.card.modalities}

    @property
    def tasks(self) -> dict[str, tuple[str, int]]:
        return {each.name: (each.type, each.classes) for each in self.spec.card.tasks}

    @property
    def dropped(self) -> dict[str, tuple[str, ...]]:
        return {each.reason: each.ids for each in self.report.dropped}


def folder_of(place: Path, rows: list[Mapping[str, Any]], numbers: range = range(own.N)) -> Path:
    own.write_jsonl(own.write_pictures(place, numbers) / "metadata.jsonl", rows)
    return place


def described(folder: Path, **content: Any) -> Path:
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


# ------------------------------------------------------------------------------------------------- what is guessed


@pytest.mark.parametrize(
    ("made_from", "kinds", "tasks"),
    [
        (
            "image_folder",
            {"image": "image", "text": "text"},
            {"colour": ("class", 3), "weight": ("regression", 1)},
        ),
        (
            "webdataset",
            {"image": "image", "text": "text"},
            {"colour": ("class", 3), "tags": ("multilabel", 4)},
        ),
        (
            "parquet",
            {"image": "image", "caption": "text", "track": "sequence"},
            {"colour": ("class", 3), "weight": ("regression", 1)},
        ),
        (
            "arrays",
            {"heart": "sequence", "labs": "table"},
            {"sleeps": ("class", 2), "age": ("regression", 1), "drugs": ("multilabel", 4)},
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_a_column_is_follows_from_what_it_holds(
    shelf: Any, made_from: Format, kinds: dict[str, str], tasks: dict[str, tuple[str, int]]
) -> None:
    card = shelf(made_from).spec.card
    assert {each.name: each.kind for each in card.modalities} == kinds
    assert {each.name: (each.type, each.classes) for each in card.tasks} == tasks
    assert all(each.family == "other" for each in card.tasks)


@pytest.mark.parametrize("packing", ["folder", "zip", "tar", "tar.gz"])
@pytest.mark.parametrize("table", ["csv", "jsonl"])
def test_a_folder_is_the_same_dataset_however_it_is_packed_and_written_down(
    tmp_path: Path, packing: str, table: str
) -> None:
    folder = own.image_folder(tmp_path / "squares")
    if table == "jsonl":
        (folder / "metadata.csv").unlink()
        own.write_jsonl(folder / "metadata.jsonl", [own.row(number) for number in range(own.N)])
    path = folder if packing == "folder" else own.packed(folder, tmp_path / f"squares.{packing}")
    kept = Kept("image_folder", path, tmp_path)
    expected = Kept("image_folder", own.image_folder(tmp_path / "again"), tmp_path)
    assert kept.texts()[7] == ["a green square, number 7"]
    assert kept.spec.card == expected.spec.card
    by_text = {text[0]: row for row, text in enumerate(kept.texts())}
    for row, (text,) in enumerate(expected.texts()):
        assert np.array_equal(kept.array("image")[by_text[text]], expected.array("image")[row])
        assert kept.array("labels.weight")[by_text[text]] == pytest.approx(row / 7)


def test_a_packed_folder_may_lie_in_a_folder(tmp_path: Path) -> None:
    own.image_folder(tmp_path / "in" / "squares")
    assert (
        Kept("image_folder", own.packed(tmp_path / "in", tmp_path / "a.zip"), tmp_path).kinds["image"]
        == "image"
    )


def test_without_a_table_the_folder_of_an_image_is_its_label(tmp_path: Path) -> None:
    for place, colour in enumerate(own.NAMES):
        own.write_pictures(tmp_path / "in" / colour, range(place, own.N, 3))
    kept = Kept("image_folder", tmp_path / "in", tmp_path)
    assert (kept.kinds, kept.tasks) == ({"image": "image"}, {"label": ("class", 3)})
    assert set(kept.report.labels["label"]["train"]) == set(own.NAMES)


def test_several_images_of_a_sample_stand_in_columns_of_their_own(tmp_path: Path) -> None:
    rows = [
        {"left_file_name": f"{k}.png", "right_file_name": f"{k + 1}.png", "near": k % 2} for k in range(50)
    ]
    kept = Kept("image_folder", folder_of(tmp_path / "in", rows), tmp_path)
    assert kept.kinds == {"left": "image", "right": "image"}
    assert np.array_equal(kept.array("left")[1:], kept.array("right")[:-1])
    assert kept.tasks == {"near": ("class", 2)}


def test_lists_of_numbers_are_tables_and_lists_of_them_are_sequences(tmp_path: Path) -> None:
    rows = [
        {**own.row(k), "size": [k, 2.5], "steps": [[k, 1, 2]] * (k % 4 + 1), "on": k % 2 == 0}
        for k in range(own.N)
    ]
    kept = Kept("image_folder", folder_of(tmp_path / "in", rows), tmp_path)
    assert kept.kinds == {"image": "image", "text": "text", "size": "table", "steps": "sequence"}
    steps = kept.array("steps")
    assert steps.shape == (own.N, 4, 3)
    assert np.array_equal(steps[5], [[5, 1, 2], [5, 1, 2], [0, 0, 0], [0, 0, 0]])
    assert kept.tasks["on"] == ("class", 2)


def test_a_column_that_is_neither_is_left_out_and_told(tmp_path: Path) -> None:
    rows = [{**own.row(k), "note": f"seen on day {k}", "same": 1, "odd": {"a": 1}} for k in range(own.N)]
    kept = Kept("image_folder", folder_of(tmp_path / "in", rows), tmp_path)
    notes = " ".join(kept.report.notes)
    assert set(kept.tasks) == {"colour", "weight"}
    assert "the column 'note' was left out: it has 60 different values" in notes
    assert "the column 'same' was left out: it is the same everywhere" in notes
    assert "the column 'odd' was left out: it holds neither texts nor numbers alone" in notes


def test_a_camera_s_turned_image_is_kept_upright(tmp_path: Path) -> None:
    folder = own.image_folder(tmp_path / "in")
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[:4] = 255  # bright above; the file says that it must be turned upside down
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 3
    picture.save(folder / "0.png", exif=exif)
    kept = Kept("image_folder", folder, tmp_path).array("image")[0]
    assert kept[:, -1].min() > 200
    assert kept[:, 0].max() < 50


def test_sixteen_bits_of_grey_keep_their_upper_half(tmp_path: Path) -> None:
    folder = own.image_folder(tmp_path / "in")
    Image.fromarray(np.full((24, 24), 51400, np.uint16)).save(folder / "0.png")
    assert np.array_equal(Kept("image_folder", folder, tmp_path).array("image")[0], np.full((3, 16, 16), 200))


def test_classes_of_a_parquet_file_have_the_names_that_its_writer_noted(tmp_path: Path) -> None:
    table = own.parquet_table().drop_columns(["colour"])
    table = table.append_column("label", pa.array([k % 2 for k in range(own.N)]))
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    told = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pq.write_table(table.replace_schema_metadata(told), tmp_path / "pets.parquet")
    kept = Kept("parquet", tmp_path / "pets.parquet", tmp_path)
    counts = kept.report.labels["label"]
    assert {name: sum(of_it[name] for of_it in counts.values()) for name in counts["train"]} == {
        "cat": 30,
        "dog": 30,
    }


def test_images_texts_and_grey_pixels_may_be_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    content = {
        "photo": rng.integers(0, 256, (40, 20, 24, 3), dtype=np.uint8),
        "first": rng.integers(0, 256, (40, 3, 20, 20), dtype=np.uint8),
        "grey": rng.integers(0, 256, (40, 28, 28), dtype=np.uint8),
        "note": np.array([f"note number {k}" for k in range(40)]),
        "weight": rng.normal(size=40),
        "labels.kind": np.array(["a", "b"] * 20),
    }
    np.savez_compressed(tmp_path / "all.npz", **content)
    kept = Kept("arrays", tmp_path / "all.npz", tmp_path)
    assert kept.kinds == {
        "photo": "image",
        "first": "image",
        "grey": "image",
        "note": "text",
        "weight": "table",
    }
    assert {each.size for each in kept.spec.card.modalities if each.kind == "image"} == {20}
    assert np.array_equal(kept.array("photo")[3], content["photo"][3, :, 2:22].transpose(2, 0, 1))
    assert np.array_equal(kept.array("first"), content["first"])
    assert np.allclose(kept.array("weight")[:, 0], content["weight"])
    assert kept.texts("note")[5] == ["note number 5"]


def test_arrays_may_lie_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, array in own.arrays_content().items():
        np.save(tmp_path / "in" / f"{name}.npy", array)
    from_files = Kept("arrays", tmp_path / "in", tmp_path)
    assert from_files.spec.sha256 == Kept("arrays", own.arrays(tmp_path / "packed"), tmp_path).spec.sha256


def test_shards_may_hold_arrays_classes_and_several_images(tmp_path: Path) -> None:
    members = {}
    for k in range(40):
        content = io.BytesIO()
        np.save(content, np.full((3, 2), k, np.float32))
        members |= {
            f"{k:03}.left.png": own.as_png(k), f"{k:03}.right.jpg": own.as_png(k + 1), f"{k:03}.cls": str(k % 2).encode(),
            f"{k:03}.walk.npy": content.getvalue(),
        }  # fmt: skip
    kept = Kept("webdataset", own.write_tar(tmp_path / "all.tar", members), tmp_path)
    assert kept.kinds == {"left": "image", "right": "image", "walk": "sequence"}
    assert kept.tasks == {"cls": ("class", 2)}
    assert np.array_equal(kept.array("walk")[7], np.full((3, 2), 7))


@pytest.mark.parametrize("packing", ["tar", "zip"])
def test_shards_may_be_packed_together(tmp_path: Path, packing: str) -> None:
    folder = own.webdataset(tmp_path / "in")
    packed = Kept("webdataset", own.packed(folder, tmp_path / f"all.{packing}"), tmp_path)
    assert packed.spec.sha256 == Kept("webdataset", folder, tmp_path).spec.sha256


# ----------------------------------------------------------------------------------------------- what can be said


def test_a_description_names_modalities_tasks_and_families(tmp_path: Path) -> None:
    folder = described(
        own.image_folder(tmp_path / "in"),
        modalities={"picture": "image", "words": {"kind": "text", "column": "text", "max_tokens": 33}},
        tasks={
            "colour": "redundancy",
            "heavy": {"column": "weight", "type": "regression", "family": "uniqueness"},
        },
    )
    card = Kept("image_folder", folder, tmp_path).spec.card
    assert [(each.name, each.kind, each.max_tokens) for each in card.modalities] == [
        ("picture", "image", 0),
        ("words", "text", 33),
    ]
    assert [(each.name, each.family, each.type) for each in card.tasks] == [
        ("colour", "redundancy", "class"),
        ("heavy", "uniqueness", "regression"),
    ]


def test_who_registers_the_data_has_the_last_word(tmp_path: Path) -> None:
    folder = described(own.image_folder(tmp_path / "in"), tasks={"weight": "synergy"}, splits="colour")
    kept = Kept("image_folder", folder, tmp_path, tasks={"colour": "other"}, splits="none")
    assert kept.tasks == {"colour": ("class", 3)}


def test_columns_of_numbers_may_be_one_table(tmp_path: Path) -> None:
    rows = [{**own.row(k), "x": k, "y": k / 2} for k in range(own.N)]
    folder = own.write_pictures(tmp_path / "in")
    own.write_csv(folder / "metadata.csv", rows)
    table = {"kind": "table", "columns": ["x", "y"], "changes": []}
    kept = Kept("image_folder", described(folder, modalities={"image": "image", "place": table}), tmp_path)
    assert np.array_equal(kept.array("place")[4], [4, 2])
    assert kept.spec.card.modalities[1].changes == ()
    assert set(kept.tasks) == {"colour", "weight"}


def test_texts_between_bars_may_be_several_labels(tmp_path: Path) -> None:
    rows = [{**own.row(k), "tags": "a | b" if k % 2 else "b"} for k in range(own.N)]
    folder = own.write_pictures(tmp_path / "in")
    own.write_csv(folder / "metadata.csv", rows)
    kept = Kept("image_folder", folder, tmp_path, tasks={"tags": {"type": "multilabel"}})
    assert kept.array("labels.tags")[:2].tolist() == [[0, 1], [1, 1]]


def test_data_without_any_label_is_a_dataset_too(tmp_path: Path) -> None:
    kept = Kept("image_folder", own.image_folder(tmp_path / "in"), tmp_path, tasks={})
    assert (kept.tasks, kept.report.labels) == ({}, {})


def test_sequences_and_tables_are_standardised_by_their_training_samples_without_padding(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.normal(100, 5, (int(rng.integers(2, 7)), 2)) for _ in range(50)]
    table = rng.normal(-3, 7, (50, 3))
    table[:, 1] = 4
    content = pa.table({"walk": [each.tolist() for each in sequences], "size": table.tolist()})
    pq.write_table(content, tmp_path / "all.parquet")
    kept = Kept("parquet", tmp_path / "all.parquet", tmp_path)
    train = sorted(kept.rows("train"))
    steps = np.concatenate([sequences[row] for row in train])
    for protocol in ("reference", "strict"):
        assert np.allclose(kept.array(f"scale.{protocol}.walk"), [steps.mean(0), steps.std(0)], rtol=1e-5)
        mean, deviation = kept.array(f"scale.{protocol}.size")
        assert np.allclose(mean, table[train].mean(0), rtol=1e-5)
        assert np.allclose(deviation[[0, 2]], table[train].std(0)[[0, 2]], rtol=1e-5)
        assert deviation[1] == 1
    assert "size never changes in column 1 of the training samples" in kept.report.warnings


# --------------------------------------------------------------------------------------------------------- splits


def test_drawn_splits_are_tenths_and_always_the_same(tmp_path: Path) -> None:
    first = Kept("image_folder", own.image_folder(tmp_path / "a"), tmp_path)
    assert first.spec.card.samples == {"train": 48, "val": 6, "test": 6}
    assert first.spec.card.reference_samples is None
    assert first.rows("train") | first.rows("val") | first.rows("test") == set(range(own.N))
    second = Kept("image_folder", own.image_folder(tmp_path / "b"), tmp_path)
    assert first.spec.sha256 == second.spec.sha256


def test_the_same_picture_is_never_in_two_splits(tmp_path: Path) -> None:
    folder = own.write_pictures(tmp_path / "in", range(20))
    for k in range(20):
        shutil.copy(folder / f"{k}.png", folder / f"copy-{k}.png")
    rows = [
        {"file_name": name.format(k), "text": f"{k} said anew {time}"}
        for k in range(20)
        for time, name in enumerate(("{}.png", "{}.png", "copy-{}.png"))
    ]
    own.write_jsonl(folder / "metadata.jsonl", rows)
    kept = Kept("image_folder", folder, tmp_path)
    for split in ("train", "val", "test"):
        rows_of = kept.rows(split)
        assert rows_of
        assert all({row // 3 * 3 + place for place in range(3)} <= rows_of for row in rows_of)


def test_groups_are_never_in_two_splits(tmp_path: Path) -> None:
    content = {**own.arrays_content(90), "group": np.arange(90) % 11}
    np.savez(tmp_path / "all.npz", **content)
    kept = Kept("arrays", tmp_path / "all.npz", tmp_path)
    assert "group" not in kept.kinds
    of_split = [{row % 11 for row in kept.rows(split)} for split in ("train", "val", "test")]
    assert all(of_split)
    assert sum(map(len, of_split)) == 11


def test_a_few_large_groups_are_shared_out_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", **{**own.arrays_content(60), "group": np.arange(60) // 20})
    assert Kept("arrays", tmp_path / "all.npz", tmp_path).spec.card.samples == {
        "train": 20,
        "val": 20,
        "test": 20,
    }


def test_a_column_may_say_the_splits(tmp_path: Path) -> None:
    words = ["train", "Train", "validation", "test"]
    rows = [{**own.row(k), "split": words[k % 4]} for k in range(own.N)]
    kept = Kept("image_folder", folder_of(tmp_path / "in", rows), tmp_path)
    assert kept.rows("val") == {k for k in range(own.N) if k % 4 == 2}
    assert kept.spec.card.samples == {"train": 30, "val": 15, "test": 15}


@pytest.mark.parametrize("table", ["one", "of each"])
def test_folders_may_say_the_splits(tmp_path: Path, table: str) -> None:
    folder = tmp_path / "in"
    numbers = {"train": range(40), "validation": range(40, 50), "test": range(50, 60)}
    for split, of_it in numbers.items():
        own.image_folder(folder / split, of_it)
        if table == "one":
            (folder / split / "metadata.csv").unlink()
    if table == "one":
        rows = [
            own.row(k) | {"file_name": f"{split}/{k}.png"} for split, of_it in numbers.items() for k in of_it
        ]
        own.write_csv(folder / "metadata.csv", rows)
    kept = Kept("image_folder", own.packed(folder, tmp_path / "in.tar"), tmp_path)
    assert kept.spec.card.samples == {"train": 40, "val": 10, "test": 10}
    assert {kept.texts()[row][0] for row in kept.rows("test")} == {own.caption(k) for k in range(50, 60)}


def test_names_of_files_may_say_the_splits_and_validation_stands_in_for_a_test(tmp_path: Path) -> None:
    (tmp_path / "in" / "data").mkdir(parents=True)
    pq.write_table(own.parquet_table(range(40)), tmp_path / "in/data/train-00000-of-00001.parquet")
    pq.write_table(own.parquet_table(range(40, 60)), tmp_path / "in/data/validation-00000-of-00001.parquet")
    kept = Kept("parquet", tmp_path / "in", tmp_path)
    assert kept.spec.card.samples == {"train": 40, "test": 20}
    assert "the one for validation is taken for it" in " ".join(kept.report.notes)


def test_a_picture_that_is_called_like_a_split_is_only_a_picture(tmp_path: Path) -> None:
    folder = own.write_pictures(tmp_path / "in")
    rows = [own.row(k) for k in range(own.N)]
    for k, name in ((0, "train-station.png"), (1, "test.png")):
        (folder / f"{k}.png").rename(folder / name)
        rows[k]["file_name"] = name
    own.write_csv(folder / "metadata.csv", rows)
    assert Kept("image_folder", folder, tmp_path).spec.card.samples == {"train": 48, "val": 6, "test": 6}


def test_splits_that_only_some_files_say_or_that_are_one_are_not_looked_at(tmp_path: Path) -> None:
    folder = own.webdataset(tmp_path / "some")
    (folder / "squares-000.tar").rename(folder / "train-000.tar")
    some = Kept("webdataset", folder, tmp_path)
    (folder / "squares-001.tar").rename(folder / "train-001.tar")
    one = Kept("webdataset", folder, tmp_path)
    for kept, words in ((some, "as not all do"), (one, "all files are said to be for train")):
        assert kept.spec.card.samples == {"train": 48, "val": 6, "test": 6}
        assert words in " ".join(kept.report.notes)


@pytest.mark.parametrize("made_from", ["image_folder", "webdataset", "parquet"])
def test_another_image_size_leaves_the_splits_as_they_are(tmp_path: Path, made_from: Format) -> None:
    path = getattr(own, made_from)(tmp_path / "in")
    small, large = (Kept(made_from, path, tmp_path, image_size=size) for size in (16, 24))
    assert small.spec.sha256 != large.spec.sha256
    for split in ("train", "val", "test"):
        assert small.rows(split) == large.rows(split)
