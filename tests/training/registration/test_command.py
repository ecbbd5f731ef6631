"""`python -m training.registration` as another process sees it: events, an exit status, and bounds it cannot break."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.registration.fixtures import mosi, vision_touch
from training.events import Done, Event, Progress, parse
from training.run_dir import EXIT_FAILED, EXIT_OK
from training.spec.registration import MANIFEST, REGISTERED


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "training.registration", *map(str, arguments)]


def told(*arguments: object) -> tuple[int, list[Event], str]:
    ended = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, check=False)
    return ended.returncode, [parse(line) for line in ended.stdout.splitlines()], ended.stderr


def refusal(*arguments: object, code: str = "data_error") -> str:
    status, events, errors = told(*arguments)
    assert (status, errors) == (EXIT_FAILED, "")
    (done,) = (event for event in events if isinstance(event, Done))
    assert (done.outcome, done.code) == ("failed", code)
    return done.text


def test_the_last_word_is_the_sha256_under_which_the_dataset_lies(tmp_path: Path) -> None:
    status, events, errors = told(
        "vision_touch", vision_touch(tmp_path / "in"), tmp_path / "out", "--options", '{"image_size": 16}'
    )
    assert (status, errors) == (EXIT_OK, "")
    *before, done = events
    assert isinstance(done, Done)
    assert (tmp_path / "out" / REGISTERED / done.text / MANIFEST).is_file()
    phases = [event.phase for event in before if isinstance(event, Progress)]
    assert phases == ["reading sensors"] * 5 + ["reading images"] * 5


def test_a_refusal_is_the_last_word_and_nothing_is_left(tmp_path: Path) -> None:
    path = mosi(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    assert "is not a whole pickle" in refusal("mosi", path, tmp_path / "out")
    assert not (tmp_path / "out" / REGISTERED).exists()


def swollen(n_bytes: int) -> bytes:
    """A small pickle that asks for this much memory by the number under which it remembers something."""
    return b"\x80\x02]r" + min(n_bytes // 8, 2**32 - 1).to_bytes(4, "little") + b"."


def test_a_pickle_that_swells_is_refused_before_it_has_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "mosi_data.pkl"
    path.write_bytes(swollen(32 * 2**30))
    reason = refusal("mosi", path, tmp_path)
    assert (
        reason
        == "reading mosi_data.pkl takes more memory than files of its size can need; nothing was registered"
    )


def test_a_pickle_that_would_run_a_program_runs_none(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/it-ran",)

    (tmp_path / "mosi_data.pkl").write_bytes(pickle.dumps({"train": Attack()}))
    assert "posix.system" in refusal("mosi", tmp_path, tmp_path / "out")
    assert not (tmp_path / "it-ran").exists()


def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    reason = refusal("mosi", mosi(tmp_path / "in"), tmp_path / "out", code="internal")
    assert "Not a directory" in reason or "File exists" in reason


def test_it_needs_no_torch() -> None:
    program = (
        "import sys\n"
        "sys.modules['torch'] = None\n"  # any import of it now raises
        "import training.registration.__main__\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("what", ["RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_CORE"])
def test_its_memory_and_time_are_bounded(tmp_path: Path, what: str) -> None:
    program = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from training.registration.limits import limit_this_process\n"
        f"limit_this_process(Path({str(tmp_path)!r}), piecewise=True)\n"
        f"sys.exit(resource.getrlimit(resource.{what})[1] == resource.RLIM_INFINITY)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
