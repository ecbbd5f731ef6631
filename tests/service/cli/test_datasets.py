"""`fusebox datasets`: from a downloaded file to a name that specs may use, and every mistake in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.data import datasets
from service.db import make_engine, make_sessions, reading
from service.one_machine.up import LocalService
from tests.service.one_machine.test_up import local
from tests.service.test_client_and_cli import fusebox, refusal
from tests.training.registration.fixtures import mimic, mosi, vision_touch, write_pickle
from training.spec.registration import REGISTERED


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    return {"FUSEBOX_DATA_DIR": str(tmp_path / "var")}


def known(tmp_path: Path) -> dict[str, str]:
    """Name → sha256 of what the database there knows."""
    engine = make_engine(f"sqlite:///{tmp_path}/var/fusebox.db")
    with reading(make_sessions(engine)) as session:
        found = {row.name: row.sha256 or "" for row in datasets.every(session)}
    engine.dispose()
    return found


def test_a_downloaded_file_becomes_a_dataset_that_specs_may_name(
    tmp_path: Path, place: dict[str, str]
) -> None:
    added = fusebox("datasets", "add", "mosi", str(mosi(tmp_path)), **place)
    assert (added.returncode, added.stderr) == (0, "")
    for words in (
        "train 11 11 sentiment: 0 6, 1 5",
        "dropped 1 because it has no words: train_3",
        "changed mosi_data.pkl['train']: 15 numbers of −inf in the audio became 0, as published",
        "warning val has 6 samples",
        'Train on it with {"dataset": "mosi"}',
    ):
        assert words in re.sub(r" +", " ", added.stdout)
    (sha256,) = known(tmp_path).values()
    assert (tmp_path / "var" / "datasets" / REGISTERED / sha256 / "manifest.json").is_file()


def test_a_dataset_may_have_another_name_and_other_images(tmp_path: Path, place: dict[str, str]) -> None:
    folder = vision_touch(tmp_path / "in")
    sizes = ("16", "32")
    for size in sizes:
        added = fusebox(
            "datasets",
            "add",
            "vision_touch",
            str(folder),
            "--name",
            f"touch-{size}",
            "--image-size",
            size,
            **place,
        )
        assert added.returncode == 0, added.stderr
        assert "contact: no contact 7" in added.stdout
    found = known(tmp_path)
    assert list(found) == ["touch-16", "touch-32"]
    assert len(set(found.values())) == 2


class Attack:
    def __reduce__(self):
        return os.system, ("touch it-ran",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mossi", "x"], "there is no format 'mossi'; choose one of mosi, ur_funny"),
        (["mosi", "{nowhere}"], "there is no "),
        (["mosi", "{mosi}", "--name", "digits"], "'digits' is a dataset that is always there"),
        (["mosi", "{mosi}", "--name", "A B"], "'A B' cannot name a dataset"),
        (["mosi", "{mosi}", "--image-size", "64"], "mosi has no images; leave --image-size out"),
        (["mimic", "{mosi}"], "mosi_data.pkl has no 'ep_tdata'; it has test, train, valid"),
        (["mosi", "{cut}"], "is not a whole pickle"),
        (["mosi", "{attack}"], "calls for posix.system"),
    ],
    ids=range(8),
)
def test_a_mistake_is_one_line_and_registers_nothing(
    tmp_path: Path, place: dict[str, str], arguments: list[str], words: str
) -> None:
    file = mosi(tmp_path)
    (tmp_path / "cut.pkl").write_bytes(file.read_bytes()[:1000])
    paths = {
        "nowhere": tmp_path / "nowhere",
        "mosi": file,
        "cut": tmp_path / "cut.pkl",
        "attack": write_pickle(tmp_path / "attack.pkl", Attack()),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert words in refusal("datasets", "add", *(each.format(**paths) for each in arguments), **place)
    assert not (tmp_path / "it-ran").exists()
    assert not list((tmp_path / "var" / "datasets").glob(f"{REGISTERED}/*"))
    if (tmp_path / "var" / "fusebox.db").exists():
        assert known(tmp_path) == {}


def test_what_would_take_more_memory_than_there_is_is_one_line(tmp_path: Path, place: dict[str, str]) -> None:
    (tmp_path / "mosi_data.pkl").write_bytes(b"\x80\x02]r\xff\xff\xff\xff.")  # asks for 32 GB
    line = refusal("datasets", "add", "mosi", str(tmp_path), **place)
    assert "takes more memory than files of its size can need" in line


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that knows one dataset, registered while it ran."""
    folder = tmp_path_factory.mktemp("datasets")
    settings = local(folder)
    with LocalService(settings, workers=0) as service:
        added = fusebox(
            "datasets",
            "add",
            "mimic",
            str(mimic(folder)),
            "--name",
            "icu",
            FUSEBOX_DATA_DIR=str(settings.data_dir),
        )
        assert added.returncode == 0, added.stderr
        yield service.url


def test_datasets_are_listed_with_their_splits(server: str) -> None:
    listed = fusebox("datasets", "list", FUSEBOX_SERVER=server)
    assert listed.returncode == 0, listed.stderr
    lines = {line.split()[0]: line for line in listed.stdout.splitlines()}
    assert list(lines) == ["dataset", "digits", "trifeatures", "icu"]
    assert re.search(r"static, series +icd9_7 +32 +4 +4", lines["icu"])


def test_a_dataset_is_shown_with_its_modalities_and_its_report(server: str) -> None:
    shown = re.sub(r" +", " ", fusebox("datasets", "show", "icu", FUSEBOX_SERVER=server).stdout)
    for words in (
        "MIMIC-III: patients",
        "static+series static table 5 mlp",
        "series sequence 24 × 12 gru",
        "train 32 32 mortality:",
        "changed ep_tdata: 2 numbers",
        "warning static never changes in column 4",
    ):
        assert words in shown
    assert "captions" in fusebox("datasets", "show", "digits", FUSEBOX_SERVER=server).stdout


def test_a_dataset_that_is_not_there_is_one_line(server: str) -> None:
    assert "there is no dataset 'nothing'" in refusal("datasets", "show", "nothing", FUSEBOX_SERVER=server)
