"""A worker has previews made: of registered datasets at once, of others when it has nothing to do; never at a job's cost."""

from __future__ import annotations

import logging
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from service.data import previews
from service.db import Sessions, reading
from service.settings import Settings
from service.worker.previewer import Previewer
from tests.processes import eventually
from tests.service.data.test_datasets import added
from tests.training.registration import own
from training.spec.preview import PREVIEW, always_there, folder_of
from training.spec.registration import REGISTERED

DIGITS = always_there("digits")[0]


@pytest.fixture
def squares(sessions: Sessions, settings: Settings, tmp_path: Path) -> Path:
    """A registered dataset. Returns its preview's place."""
    source = own.image_folder(tmp_path / "in")
    added(sessions, "image_folder", source, settings.datasets_dir, name="squares", image_size=16)
    with reading(sessions) as session:
        return folder_of(settings.datasets_dir, previews.spec_of(session, "squares", None))


def previewer(sessions: Sessions, settings: Settings, at_work: bool = True, **changes: float) -> Previewer:
    return Previewer(sessions, settings.model_copy(update=changes), at_work=lambda: at_work)


def at_making() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "training.preview" in each.cmdline()]


@pytest.mark.long
def test_a_damaged_dataset_is_told_of_once_and_tried_once(
    sessions: Sessions, settings: Settings, squares: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (image,) = (settings.datasets_dir / REGISTERED).glob("*/image.npy")
    image.write_bytes(b"not what it was")
    ticker = previewer(sessions, settings)
    with caplog.at_level(logging.WARNING):
        ticker.tick()
        ticker.tick()
    (told,) = [each.getMessage() for each in caplog.records]
    assert "no preview of squares (image+text): dataset 'squares' is damaged: image.npy differ" in told
    assert not squares.exists()


def test_a_registered_dataset_gets_its_preview_even_beside_a_job_once_its_files_are_here(
    sessions: Sessions, settings: Settings, squares: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = settings.datasets_dir / REGISTERED
    elsewhere = shelf.rename(shelf.with_name("elsewhere"))
    ticker = previewer(sessions, settings, at_work=True, quiet_s=0)
    ticker.tick()
    assert not squares.exists()
    elsewhere.rename(shelf)
    ticker.tick()
    assert (squares / PREVIEW).is_file()
    assert not folder_of(settings.datasets_dir, DIGITS).exists(), "that would have had to wait"
    assert caplog.records == []


@pytest.mark.parametrize("quiet_s", [0.0, 60.0])
def test_datasets_that_are_always_there_wait_for_quiet(
    sessions: Sessions, settings: Settings, quiet_s: float
) -> None:
    ticker = previewer(sessions, settings, at_work=False, quiet_s=quiet_s)
    begun: list[subprocess.Popen[bytes] | psutil.Process] = []
    thread = threading.Thread(target=ticker.tick)
    thread.start()
    if quiet_s == 0:
        begun = eventually(at_making, 20, every_s=0.02)
        assert begun[0].nice() >= 0
        ticker._ended.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert (begun == []) == (quiet_s > 0)
    assert at_making() == []


def test_a_job_that_comes_ends_the_making_of_what_can_wait(sessions: Sessions, settings: Settings) -> None:
    busy = threading.Event()
    ticker = Previewer(sessions, settings.model_copy(update={"quiet_s": 0}), at_work=busy.is_set)
    thread = threading.Thread(target=ticker.tick)
    thread.start()
    eventually(at_making, 20, every_s=0.02)
    busy.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert at_making() == []
    assert not folder_of(settings.datasets_dir, DIGITS).exists()
