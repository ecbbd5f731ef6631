"""API processes at one address answer for one another."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service import siblings
from service.schemas.health import PartOut
from service.siblings import Place, Siblings, Told, summed

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def exposition(answers: int, took: float, waiting: int, wait_s: float) -> str:
    registry = CollectorRegistry()
    Counter("answers", "Given.", ["kind"], registry=registry).labels("good").inc(answers)
    Histogram("took", "Seconds.", buckets=(1, 2), registry=registry).observe(took)
    Gauge("waiting", "Now.", registry=registry).set(waiting)
    Gauge("fusebox_inference_wait_seconds", "Now.", registry=registry).set(wait_s)
    return generate_latest(registry).decode()


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(pid: int, text: str = "", at: float | None = None, state: str = "ok") -> Told:
    part = PartOut.model_validate({"state": state, "detail": "as it says"})
    return Told(pid=pid, at=time.monotonic() if at is None else at, inference=part, exposition=text)


def counted(siblings: Siblings, answers: int, waiting: int) -> Samples:
    """By all, when this process has counted that."""
    return samples(siblings.counted(lambda: told(os.getpid(), exposition(answers, 0.5, waiting, 0.1))))


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_processes_count_adds_up_and_the_longest_wait_is_that_of_all() -> None:
    found = samples(summed([exposition(3, 0.5, 2, 0.1), exposition(4, 1.5, 5, 0.7)], []))
    assert found["answers_total", (("kind", "good"),)] == 7
    assert found["took_bucket", (("le", "1.0"),)] == 1
    assert found["took_bucket", (("le", "2.0"),)] == found["took_count", ()] == 2
    assert found["took_sum", ()] == 2.0
    assert found["waiting", ()] == 7
    assert found["fusebox_inference_wait_seconds", ()] == 0.7


def test_a_sum_is_written_as_its_parts_are() -> None:
    one, none = exposition(3, 0.5, 2, 0.1), exposition(0, 5, 0, 0)
    kinds = [line for line in one.splitlines() if line[0] == "#"]
    assert [line for line in summed([one, none], []).splitlines() if line[0] == "#"] == kinds


def test_of_processes_that_are_gone_only_what_they_counted_is_left() -> None:
    found = samples(summed([exposition(3, 0.5, 2, 0.1)], [exposition(4, 1.5, 5, 0.7)]))
    assert found["answers_total", (("kind", "good"),)] == 7
    assert found["took_count", ()] == 2
    assert found["waiting", ()] == 2
    assert found["fusebox_inference_wait_seconds", ()] == 0.1


def test_a_process_that_is_alone_says_what_it_counts_and_writes_nothing() -> None:
    alone = Siblings(None)
    with alone.told(lambda: pytest.fail("nobody asks")):
        assert alone.counted(lambda: told(os.getpid(), exposition(3, 0.5, 2, 0.1))) == exposition(
            3, 0.5, 2, 0.1
        )
    assert (alone.count, alone.others()) == (1, [])


def test_each_hears_what_the_others_say(tmp_path: Path) -> None:
    first, second = (Siblings(Place(tmp_path, number, 2)) for number in (1, 2))
    with first.told(lambda: told(os.getpid(), exposition(3, 0.5, 2, 0.1), state="degraded")):
        while not second.others():
            time.sleep(0.01)
        assert [each.inference.state for each in second.others()] == ["degraded"]
        assert second.others()[0].is_there
        assert second.others()[0].silent_s < 5
        assert first.others() == []
        found = counted(second, 4, waiting=1)
    assert found["answers_total", (("kind", "good"),)] == 7
    assert found["waiting", ()] == 3


def test_who_follows_a_process_that_died_goes_on_with_its_counters(tmp_path: Path, gone: int) -> None:
    place = Place(tmp_path, 1, 2)
    for answers in (3, 4):  # two that died, one after the other
        with Siblings(place).told(lambda n=answers: told(gone, exposition(n, 0.5, 9, 0.1))):  # type: ignore[misc]
            pass
    third, other = Siblings(place), Siblings(Place(tmp_path, 2, 2))
    assert not other.others()[0].is_there
    for found in (counted(other, 10, waiting=1), counted(third, 0, waiting=0)):
        assert found["answers_total", (("kind", "good"),)] == 17
        assert found["waiting", ()] == 1


def test_what_a_process_was_seen_to_count_outlives_it(tmp_path: Path, gone: int) -> None:
    dies, lives = (Siblings(Place(tmp_path, number, 2)) for number in (1, 2))
    seen = samples(dies.counted(lambda: told(gone, exposition(5, 0.5, 0, 0.1))))
    after = counted(lives, 0, waiting=0)
    assert after["answers_total", (("kind", "good"),)] == seen["answers_total", (("kind", "good"),)] == 5


def test_who_could_not_tell_once_tells_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings, "EVERY_S", 0.01)
    first, second = (Siblings(Place(tmp_path, number, 2)) for number in (1, 2))
    tries = iter([RuntimeError("dictionary changed size during iteration")])

    def tell() -> Told:
        for error in tries:
            raise error
        return told(os.getpid())

    with first.told(tell):
        while not second.others():
            time.sleep(0.01)


def test_a_file_that_is_torn_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "2.json").write_text('{"pid": 1, "at"')
    assert Siblings(Place(tmp_path, 1, 2)).others() == []


def test_a_folder_that_is_gone_ends_no_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Siblings(Place(tmp_path / "gone", 1, 2)).told(lambda: told(os.getpid())):
        while not caplog.records:
            time.sleep(0.01)
    assert "cannot be told" in caplog.text
