"""Somebody's own data that is not what it should be: a line in the report and a sample less, or one clear refusal."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.service.pictures import bomb
from tests.training.registration import own
from tests.training.registration.test_own import Kept, described, folder_of
from tests.training.registration.test_refusals import refusal
from training.events import Event, Unusable
from training.registration.registering import register
from training.spec.registration import Format, Options

SMALL = {"image_size": 16}
Rows = list[dict[str, Any]]


def rows() -> Rows:
    return [own.row(number) for number in range(own.N)]


class Attack:
    def __reduce__(self):
        return os.system, ("touch it-ran",)


# ------------------------------------------------------------------------------------------------- image folders


def test_images_that_cannot_be_used_are_dropped_and_told_with_their_line(tmp_path: Path) -> None:
    folder = own.image_folder(tmp_path / "in")
    (folder / "1.png").unlink()
    (folder / "2.png").write_bytes(own.as_png(2)[:300])
    (folder / "3.png").write_bytes(b"GIF89a" + b"x" * 100)
    (folder / "4.png").write_bytes(bomb(20_000, 20_000))
    (folder / "5.png").write_bytes(b"")
    own.square(6, (400_000, 2)).save(folder / "6.png")
    assert Kept("image_folder", folder, tmp_path).dropped == {
        "its image is missing": ("metadata.csv line 3: 1.png",),
        "its image is cut off, or is no PNG, JPEG or WebP": (
            "metadata.csv line 4: 2.png",
            "metadata.csv line 5: 3.png",
            "metadata.csv line 7: 5.png",
        ),
        "its image has more than 50,000,000 pixels": ("metadata.csv line 6: 4.png",),
        "its image is too long for its width": ("metadata.csv line 8: 6.png",),
    }


def test_lines_that_cannot_be_used_are_dropped_and_told(tmp_path: Path) -> None:
    table = rows()
    table[0]["text"] = " "
    table[1]["text"] = None
    table[2]["weight"] = float("nan")
    table[3]["weight"] = float("inf")
    table[4]["colour"] = None
    table[5]["file_name"] = "../in/5.png"
    table[6]["file_name"] = str(tmp_path / "in" / "6.png")
    table[7]["file_name"] = 7
    table[8] |= {"id": "a"}
    table[9] |= {"id": "a"}
    table[10]["text"] = "x" * 100_001
    folder = folder_of(tmp_path / "in", table)
    with (folder / "metadata.jsonl").open("ab") as file:
        file.write(b'{"file_name": "1.png", "text": "d\xe4y"}\n[1]\n{"a\n\n' + b"[" * 10_000 + b"\n")
    dropped = Kept("image_folder", folder, tmp_path).dropped
    place = "metadata.jsonl line {}: {}.png".format
    assert dropped == {
        "its line is not a JSON object in UTF-8": tuple(f"metadata.jsonl line {n}" for n in (61, 62, 63, 65)),
        "its id came before": (place(10, 9),),
        "it has no text": (place(1, 0), place(2, 1)),
        "its text has more than 100,000 characters": (place(11, 10),),
        "it has no label 'colour'": (place(5, 4),),
        "it has no label 'weight'": (place(3, 2),),
        "its label 'weight' is NaN or infinite": (place(4, 3),),
        "its image is missing": (
            "metadata.jsonl line 6: ../in/5.png", f"metadata.jsonl line 7: {tmp_path / 'in' / '6.png'}"[:100],
            "metadata.jsonl line 8: 7",
        ),
    }  # fmt: skip


def test_of_many_the_first_hundred_are_named(tmp_path: Path) -> None:
    table = [
        {"file_name": f"{number % 10}.png", "text": "a text" if number > 120 else ""} for number in range(300)
    ]
    kept = Kept("image_folder", folder_of(tmp_path / "in", table, range(10)), tmp_path)
    (each,) = kept.report.dropped
    assert (each.count, len(each.ids), each.ids[99]) == (121, 100, "metadata.jsonl line 100: 9.png")


def test_lines_with_other_cells_than_the_first_are_dropped(tmp_path: Path) -> None:
    folder = own.image_folder(tmp_path / "in")
    with (folder / "metadata.csv").open("a") as file:
        file.write('1.png,"two\nlines"\n\n1.png,a,b,1,2\n')
    assert Kept("image_folder", folder, tmp_path).dropped == {
        "its line has not 4 cells like the first": ("metadata.csv line 63", "metadata.csv line 65")
    }


def test_sequences_and_tables_of_another_form_are_dropped(tmp_path: Path) -> None:
    table = [{**own.row(k), "size": [1, k], "steps": [[k, 1], [2, 3]]} for k in range(own.N)]
    table[0]["size"] = [1, 2, 3]
    table[1]["size"] = [1, float("nan")]
    table[2]["size"] = [1, None]
    table[3]["steps"] = [[1, 2], [3]]
    table[4]["steps"] = [[1], [2]]
    table[5]["steps"] = [[1, 1e300], [0, 0]]
    table[6]["steps"] = None
    table[7]["steps"] = []
    folder = described(
        folder_of(tmp_path / "in", table), modalities={"image": "image", "size": "table", "steps": "sequence"}
    )
    reasons = {reason: len(ids) for reason, ids in Kept("image_folder", folder, tmp_path).dropped.items()}
    assert reasons == {
        "its size is no list of 2 numbers": 1,
        "its size holds NaN or infinity": 1,
        "its size is no list of numbers": 1,
        "its steps is no list of numbers": 2,
        "its steps has not 2 numbers a step": 1,
        "its steps holds NaN or infinity": 1,
        "its steps is missing": 1,
    }


def test_a_split_that_nobody_knows_drops_the_sample(tmp_path: Path) -> None:
    table = [row | {"split": ("train", "test")[k % 2]} for k, row in enumerate(rows())]
    table[3]["split"], table[4]["split"] = "tset", None
    kept = Kept("image_folder", folder_of(tmp_path / "in", table), tmp_path)
    ((reason, ids),) = kept.dropped.items()
    assert reason == "its split is none of train, validation and test"
    assert len(ids) == 2


def without(column: str) -> Rows:
    return [{name: value for name, value in row.items() if name != column} for row in rows()]


@pytest.mark.parametrize(
    ("table", "said", "words"),
    [
        (without("file_name"), {}, "metadata.jsonl has no column 'file_name' to say which image a line is about"),
        ([row | {"split": "train"} for row in rows()], {}, "of train and test there must be both; there is train"),
        ([row | {"file_name": "x.png"} for row in rows()], {}, "of the 60 samples only 0 can be used"),
        ([row | {"group": 7} for row in rows()], {}, "are of 1 groups or different contents, too few"),
        ([row | {"colour": None if k % 3 else "red"} for k, row in enumerate(rows())], {"tasks": {"colour": "other"}},
         "only 20 of 60 samples have a label in 'colour'; complete them, or leave the task out"),
        (rows(), {"tasks": {"color": "other"}}, "there is no column 'color' for the task 'color'; there are colour,"),
        (rows(), {"modalities": {"depth": "sequence"}}, "there is no column 'depth' for the modality 'depth'"),
        (rows(), {"modalities": {"image": "text"}}, "the column 'image' holds images, so 'image' cannot be of the kind text"),
        (rows(), {"modalities": {"text": "image"}}, "the column 'text' does not hold images"),
        (rows(), {"modalities": {"text": "table"}}, "no sample has numbers for 'text'"),
        (rows(), {"modalities": {"model": {"kind": "text", "column": "text"}}}, "a modality cannot be called 'model'"),
        (rows(), {"tasks": {"weight": {"type": "class"}}}, "the column 'weight' cannot be classes"),
        (rows(), {"tasks": {"text": {"type": "regression"}}}, "the column 'text' cannot be a regression"),
        (rows(), {"tasks": {"weight": {"type": "multilabel"}}}, "the column 'weight' cannot be several labels"),
        ([row | {"a.b": [1, 2], "a b": [2, 3]} for row in rows()], {}, "are two columns that would both be called 'a_b'"),
    ],
    ids=range(15),
)  # fmt: skip
def test_a_folder_that_cannot_be_a_dataset_is_refused(
    tmp_path: Path, table: Rows, said: Mapping[str, Any], words: str
) -> None:
    assert words in refusal("image_folder", folder_of(tmp_path / "in", table), tmp_path, **SMALL, **said)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file_name,text\n1.png,d\xe4y\n", "metadata.csv is not UTF-8 text; save it as UTF-8"),
        (b"file_name,file_name\n1.png,2.png\n", "the first line of metadata.csv must name each column, and none twice"),
        (b"file_name,text\n1.png,\"" + b"x" * 200_000 + b"\n", "is not a table of comma-separated values"),
        (b"", "metadata.csv has no lines that could be read"),
        (b"file_name,\n1.png,2\n", "the first line of metadata.csv must name each column"),
        (b"file_name,text\n", "metadata.csv has no lines that could be read"),
        (b"file_name,text\n\0,\0\n", "of the 1 samples only 0 can be used"),
        (b",".join(b"c%d" % k for k in range(1001)) + b"\n" + b"," * 1000 + b"\n", "has 1,001 columns; 1,000 are read"),
    ],
    ids=range(8),
)  # fmt: skip
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    folder = own.write_pictures(tmp_path / "in", range(3))
    (folder / "metadata.csv").write_bytes(content)
    assert words in refusal("image_folder", folder, tmp_path, **SMALL)


def test_a_line_of_a_gigabyte_is_refused_without_reading_it(tmp_path: Path) -> None:
    folder = own.write_pictures(tmp_path / "in", range(3))
    with (folder / "metadata.jsonl").open("wb") as file:
        file.truncate(2**30)
    tracemalloc.start()
    assert "line 1 has more than 1,048,576 bytes" in refusal("image_folder", folder, tmp_path, **SMALL)
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"{", "dataset.json is not a JSON object in UTF-8"),
        (b"\xff", "dataset.json is not a JSON object in UTF-8"),
        (b"[" * 100_000, "dataset.json is not a JSON object in UTF-8"),
        (b"7", "dataset.json"),
        (b'{"task": {}}', "dataset.json: task: Extra inputs are not permitted"),
        (b'{"modalities": {"x": "video"}}', "dataset.json: modalities.x.kind: Input should be"),
        (b'{"modalities": {"../x": "text"}}', "dataset.json: modalities."),
        (b'{"modalities": {}}', "dataset.json: modalities:"),
        (b'{"tasks": {"x": {"family": "luck"}}}', "dataset.json: tasks.x.family: Input should be"),
        (
            b'{"modalities": {"x": {"kind": "table", "changes": ["crop"]}}}',
            "'crop' does not suit the kind table",
        ),
        (
            b'{"modalities": {"x": {"kind": "text", "columns": ["a"]}}}',
            "only a table is made of several `columns`",
        ),
    ],
    ids=range(11),
)
def test_a_description_that_is_wrong_is_told_where(tmp_path: Path, said: bytes, words: str) -> None:
    folder = own.image_folder(tmp_path / "in")
    (folder / "dataset.json").write_bytes(said)
    assert words in refusal("image_folder", folder, tmp_path, **SMALL)


def test_more_than_the_disk_should_have_to_take_is_refused(tmp_path: Path) -> None:
    folder = own.write_pictures(tmp_path / "in", range(1))
    own.write_jsonl(folder / "metadata.jsonl", [{"file_name": "0.png"}] * 5_000)
    reason = refusal("image_folder", folder, tmp_path, image_size=1024)
    assert reason == (
        "the samples would take 14.6 GiB, and files of this size may give 4.0; take a smaller image_size, or shorter "
        "sequences"
    )


def test_what_was_dropped_before_a_refusal_is_told(tmp_path: Path) -> None:
    folder = own.image_folder(tmp_path / "in")
    for number in range(40):
        (folder / f"{number}.png").unlink()
    told: list[Event] = []
    with pytest.raises(Exception, match="of the 60 samples only 20 can be used"):
        register("image_folder", folder, tmp_path / "datasets", Options(image_size=16), told.append)
    (unusable,) = (each for each in told if isinstance(each, Unusable))
    assert (unusable.reason, unusable.count) == ("its image is missing", 40)
    assert unusable.ids[0] == "metadata.csv line 2: 0.png"


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    for made_from in ("image_folder", "webdataset", "parquet", "arrays"):
        path = tmp_path / "attack"
        path.write_bytes(pickle.dumps(Attack()))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            refusal(made_from, path, tmp_path)
    assert not (tmp_path / "it-ran").exists()


# -------------------------------------------------------------------------------------------------------- arrays


def saved(array: np.ndarray, **options: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


def header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(np.array([{}] * own.N, dtype=object), allow_pickle=True), "x.npy holds objects, which are a program"),
        (saved(np.zeros(own.N, [("a", "f4")])), "x.npy holds [('a', '<f4')]; make it an array of numbers or texts"),
        (saved(np.zeros(own.N, "M8[s]")), "x.npy holds datetime64[s]"),
        (saved(np.zeros((own.N, 3), complex)), "x.npy holds complex128"),
        (saved(np.zeros((own.N - 1, 3))), "has not as many samples of each kind"),
        (saved(np.zeros((own.N, 0))), "x.npy has the shape (60, 0); it must have one to four axes, of which none is empty"),
        (saved(np.float64(3)), "x.npy has the shape ()"),
        (saved(np.zeros((own.N, 1, 1, 1, 1))), "it must have one to four axes"),
        (saved(np.zeros((own.N, 2, 2, 3))), "x has the shape (60, 2, 2, 3) of float64; tables are"),
        (saved(np.zeros((own.N, 3)))[:-8], "x.npy has 1,432 bytes where its shape (60, 3) needs 1,440"),
        (saved(np.asfortranarray(np.zeros((own.N, 3)))), "x.npy lies column by column; save numpy.ascontiguousarray of it"),
        (saved(np.zeros((own.N, 5, 6, 7), np.uint8)), "x has the shape (60, 5, 6, 7); images are (N, H, W, 3)"),
        (header("(1000000000000,)"), "x.npy has 0 bytes where its shape (1000000000000,) needs 4,000,000,000,000"),
        (header("(-60, 3)"), "x.npy has the shape (-60, 3)"),
        (header("(60, __import__('os').system('touch it-ran'))"), "x.npy is not a whole .npy file"),
        (header("(" * 5000), "x.npy is not a whole .npy file"),
        (header("(60,)" + " " * 20_000), "x.npy is not a whole .npy file"),
        (b"\x93NUMPY", "x.npy is not a whole .npy file"),
        (b"", "x.npy is not a whole .npy file"),
        (pickle.dumps(Attack()), "x.npy is not a whole .npy file"),
    ],
    ids=range(20),
)  # fmt: skip
def test_an_array_of_another_form_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "labs.npy", np.random.default_rng(0).normal(size=(own.N, 4)))
    (folder / "x.npy").write_bytes(content)
    assert words in refusal("arrays", folder, tmp_path)
    assert words in refusal("arrays", own.packed(folder, tmp_path / "in.npz.zip"), tmp_path)
    assert not (tmp_path / "it-ran").exists()


def test_rows_of_arrays_with_nan_or_infinity_or_doubled_ids_are_dropped(tmp_path: Path) -> None:
    content = own.arrays_content() | {"id": np.arange(own.N)}
    content["heart"][3, 5, 1] = np.nan
    content["labs"][4, 0] = -np.inf
    content["labs"][5, 0] = 1e300
    content["labels.age"][6] = np.nan
    content["id"][7] = 0
    np.savez(tmp_path / "all.npz", **content)
    assert Kept("arrays", tmp_path / "all.npz", tmp_path).dropped == {
        "its id came before": ("row 7",),
        "it has no label 'labels.age'": ("row 6",),
        "its heart holds NaN or infinity": ("row 3",),
        "its labs holds NaN or infinity": ("row 4", "row 5"),
    }


# ----------------------------------------------------------------------------------------------- shards, Parquet


def test_samples_of_shards_that_lack_a_part_are_dropped(tmp_path: Path) -> None:
    members = {}
    for number in range(30):
        members[f"{number:03}.png"] = own.as_png(number)
        members[f"{number:03}.txt"] = own.caption(number).encode()
        members[f"{number:03}.json"] = json.dumps({"colour": own.NAMES[number % 3]}).encode()
    del members["001.png"], members["002.txt"], members["003.json"]
    members["004.txt"] = b"d\xe4y"
    members["005.json"] = b"{"
    members["006.txt"] = b"x" * (2**20 + 1)
    kept = Kept("webdataset", own.write_tar(tmp_path / "all.tar", members), tmp_path)
    assert kept.dropped == {
        "its .txt is not what it should be, in UTF-8": ("all.tar/004",),
        "its .json is not what it should be, in UTF-8": ("all.tar/005",),
        "it has no text": ("all.tar/002", "all.tar/006"),
        "it has no label 'colour'": ("all.tar/003",),
        "its image is missing": ("all.tar/001",),
    }


def test_rows_of_a_parquet_file_that_cannot_be_used_are_dropped(tmp_path: Path) -> None:
    columns = own.parquet_table().to_pydict()
    columns["image"][1] = None
    columns["image"][2] = {"bytes": None, "path": "/etc/passwd"}
    columns["image"][3] = {"bytes": b"not an image", "path": ""}
    columns["caption"][4] = None
    columns["track"][5] = None
    columns["track"][6] = [[1.0, None]]
    columns["track"][7] = [[1.0, 2.0], [3.0]]
    columns["colour"][8] = None
    pq.write_table(pa.table(columns), tmp_path / "all.parquet")
    assert Kept("parquet", tmp_path / "all.parquet", tmp_path).dropped == {
        "it has no caption": ("all.parquet row 4",),
        "it has no label 'colour'": ("all.parquet row 8",),
        "its image is missing": ("all.parquet row 1", "all.parquet row 2"),
        "its image is cut off, or is no PNG, JPEG or WebP": ("all.parquet row 3",),
        "its track is missing": ("all.parquet row 5",),
        "its track is no list of numbers": ("all.parquet row 6", "all.parquet row 7"),
    }


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def scrambled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:5000] = os.urandom(4900)
    path.write_bytes(content)


def other_columns(path: Path) -> None:
    pq.write_table(own.parquet_table().drop_columns(["weight"]), path.with_name("z.parquet"))


def empty(path: Path) -> None:
    pq.write_table(own.parquet_table().slice(0, 0), path)


def not_utf8(path: Path) -> None:
    table = own.parquet_table()
    broken = pa.array([b"d\xe4y"] * own.N).view(pa.string())
    pq.write_table(table.set_column(1, "caption", broken), path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut_off, "squares.parquet is not a whole Parquet file"),
        (scrambled, "squares.parquet is not a whole Parquet file"),
        (other_columns, "z.parquet has not the same columns as squares.parquet, of the same types"),
        (empty, "there are 0 samples; 1 to 1,000,000 are read"),
        (not_utf8, "squares.parquet is not a whole Parquet file of texts in UTF-8, numbers and bytes"),
    ],
)
def test_a_parquet_file_that_is_damaged_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(own.parquet(tmp_path / "in"))
    assert words in refusal("parquet", tmp_path / "in", tmp_path, **SMALL)


@pytest.mark.parametrize("made_from", ["image_folder", "webdataset", "parquet", "arrays"])
def test_a_file_of_another_format_is_refused(tmp_path: Path, made_from: Format) -> None:
    for name, content in {
        "a.txt": b"some text",
        "a.zip": b"PK\x03\x04" + b"x" * 100,
        "b": os.urandom(3000),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert len(refusal(made_from, tmp_path / name, tmp_path)) > 20


def test_a_parquet_file_that_swells_ends_the_process_that_reads_it_only(tmp_path: Path) -> None:
    """8 GB of one letter are a few kilobytes in a dictionary."""
    text = pa.array(["x" * 2**20] * 4).dictionary_encode()
    chunk = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000_000, np.int8)), text.dictionary)
    pq.write_table(pa.table({"text": chunk}), tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 2**20
    ended = subprocess.run(
        [sys.executable, "-m", "training.registration", "parquet", str(tmp_path / "bomb.parquet"), str(tmp_path / "out")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    *_, last = map(json.loads, ended.stdout.splitlines())
    assert last["outcome"] == "failed"
