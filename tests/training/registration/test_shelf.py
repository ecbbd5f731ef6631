"""A registered dataset is whole or not there, is named after its content, and mends when it is registered again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.registration.fixtures import (
    affect_content,
    manifest_of,
    mosi,
    registered,
    report_of,
    write_pickle,
)
from training.registration import shelf
from training.registration.found import Found, Ledger, Stream, same_for_all
from training.spec import Modality, Task
from training.spec.registration import MANIFEST, REGISTERED, REPORT


def test_a_dataset_lies_under_the_sha256_of_its_manifest_which_names_every_file(tmp_path: Path) -> None:
    spec = registered("mosi", mosi(tmp_path), tmp_path)
    folder = tmp_path / REGISTERED / spec.sha256
    assert hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest() == spec.sha256
    manifest = manifest_of(tmp_path, spec.sha256)
    assert {path.name for path in folder.iterdir()} == {*manifest.files, MANIFEST, REPORT}
    for name, file in manifest.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == file.sha256
        array = np.load(folder / name, mmap_mode="r", allow_pickle=False)
        assert (array.shape, str(array.dtype)) == (file.shape, file.dtype)


def test_equal_content_has_an_equal_name_wherever_and_whenever_it_is_registered(tmp_path: Path) -> None:
    content = affect_content(20, 5)
    one = registered("mosi", write_pickle(tmp_path / "a" / "mosi_data.pkl", content), tmp_path / "x")
    other = registered(
        "mosi", write_pickle(tmp_path / "b" / "renamed.pkl", content, protocol=2), tmp_path / "y"
    )
    assert one.sha256 == other.sha256
    content["train"]["labels"][0] = -1
    another = registered("mosi", write_pickle(tmp_path / "a" / "mosi_data.pkl", content), tmp_path / "x")
    assert another.sha256 != one.sha256


def test_a_report_says_what_was_read_and_when(tmp_path: Path) -> None:
    path = mosi(tmp_path)
    report = report_of(tmp_path, registered("mosi", path, tmp_path).sha256)
    assert report.source == {"mosi_data.pkl": path.stat().st_size}
    assert (report.n_files, report.n_bytes) == (1, path.stat().st_size)
    assert report.created_at.endswith("+00:00")


def test_registering_again_leaves_what_is_there(tmp_path: Path) -> None:
    spec = registered("mosi", mosi(tmp_path), tmp_path)
    folder = tmp_path / REGISTERED / spec.sha256
    before = {path.name: path.stat() for path in folder.iterdir()}
    assert registered("mosi", mosi(tmp_path), tmp_path).sha256 == spec.sha256
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == {
        name: status.st_ino for name, status in before.items()
    }


@pytest.mark.parametrize("damage", ["changed", "gone", "no manifest"])
def test_registering_again_mends_what_is_damaged(tmp_path: Path, damage: str) -> None:
    spec = registered("mosi", mosi(tmp_path), tmp_path)
    folder = tmp_path / REGISTERED / spec.sha256
    if damage == "changed":
        with (folder / "vision.npy").open("r+b") as file:
            file.seek(1000)
            file.write(b"\xff")
    else:
        (folder / (MANIFEST if damage == "no manifest" else "text.npy")).unlink()
    registered("mosi", mosi(tmp_path), tmp_path)
    assert shelf.damaged(folder, manifest_of(tmp_path, spec.sha256)) == []


def broken_off(n: int) -> Found:
    """A dataset whose reading ends in the middle."""

    def chunks():
        yield np.zeros((1, 2), np.float32)
        raise KeyboardInterrupt

    return Found(
        modalities=(Modality(name="t", kind="table", features=2),),
        tasks=(Task(name="y", family="other", classes=2),),
        contents={"t": Stream((n, 2), np.dtype(np.float32), chunks())},
        labels={"y": np.zeros(n, np.int64)},
        splits=same_for_all({"train": np.arange(n)}),
        ledger=Ledger(),
        files=[],
    )


def test_a_registration_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        shelf.keep(broken_off(3), "mimic", tmp_path)
    assert list((tmp_path / REGISTERED).iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    place = tmp_path / REGISTERED
    for name in ("dead", "alive"):
        (place / f".{name}.part").mkdir(parents=True)
        (place / f".{name}.part" / "vision.npy").write_bytes(b"half")
        (place / f".{name}.lock").touch()
    held = os.open(place / ".alive.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        spec = registered("mosi", mosi(tmp_path), tmp_path)
    finally:
        os.close(held)
    assert {path.name for path in place.iterdir()} == {".alive.part", ".alive.lock", spec.sha256}
    shutil.rmtree(place)


def test_texts_of_any_script_are_kept(tmp_path: Path) -> None:
    texts = [["ä"], ["日本", "\u2028", "\x00"], ["\ud800"]]
    found = Found(
        modalities=(Modality(name="t", kind="text", max_tokens=4),),
        tasks=(Task(name="y", family="other", classes=2),),
        contents={"t": texts},
        labels={"y": np.array([0, 1, 0])},
        splits=same_for_all({"train": np.arange(3)}),
        ledger=Ledger(),
        files=[],
    )
    folder = tmp_path / REGISTERED / shelf.keep(found, "mimic", tmp_path)
    with (folder / "t.jsonl").open(encoding="utf-8", newline="\n") as lines:
        assert [json.loads(line) for line in lines] == [["ä"], ["日本", "\u2028", "\x00"], ["?"]]
