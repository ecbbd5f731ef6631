"""What a run says becomes rows once, whatever dies in between, and a resumed run's curve has no seam."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from service import leases, metrics
from service.db import Sessions, transaction
from service.leases import Ending, Lease
from service.settings import Settings
from service.tables import Checkpoint, JobEvent, MetricPoint, ProbeResult
from service.worker.ingest import Ingest, ProtocolError
from service.worker.supervise import Workplace
from tests.service.worker.places import a_job, a_lease, a_place, a_row, say
from training.events import CheckpointSaved, Done, Event, Message, Metrics, Progress, Result, Started
from training.run_dir import RunDir


def started(after: int = 0) -> Started:
    return Started(total_steps=16, resumed_from_step=after, device="cpu", code_version="0")


def losses(*steps: int, value: float = 1.0) -> list[Event]:
    return [Metrics.of(step, 0, {"loss": value + step}) for step in steps]


def saved(step: int, *kept: int, best: bool = False, sha256: str = "a") -> CheckpointSaved:
    return CheckpointSaved(
        step=step, epoch=0, path=f"checkpoints/{step}", sha256=sha256, size_bytes=1, is_best=best, kept_steps=kept
    )  # fmt: skip


class Reading:
    """A claimed job, its run, and whoever reads it."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self.job_id = a_job(place.sessions)
        self.run_dir = RunDir(place.settings.runs_dir / self.job_id)
        self.next_attempt()

    def next_attempt(self) -> None:
        self.lease: Lease = a_lease(self.place)
        self.ingest = Ingest(self.run_dir, self.place.store)

    def lose(self) -> None:
        with transaction(self.place.sessions) as session:
            job = leases.held(session, self.lease)
            leases.settle(session, job, Ending("lost", "runner_lost", "gone"))
            job.not_before = None

    def read(self) -> int:
        with transaction(self.place.sessions) as session:
            return self.ingest.read_some(session, leases.held(session, self.lease))

    def curve(self) -> dict[int, float | None]:
        with self.place.sessions() as session:
            (loss,) = metrics.query(session, [self.job_id], ["loss"], None, None, 1000) or [None]
        return {} if loss is None else dict(zip(loss.step, loss.value, strict=True))

    def told(self, kind: str) -> list[str]:
        with self.place.sessions() as session:
            mine = select(JobEvent).where(JobEvent.job_id == self.job_id, JobEvent.type == kind)
            return [event.text for event in session.scalars(mine.order_by(JobEvent.seq))]


@pytest.fixture
def reading(settings: Settings, sessions: Sessions) -> Reading:
    return Reading(a_place(settings, sessions))


def test_events_become_rows_once(reading: Reading) -> None:
    say(reading.run_dir, started(), *losses(1, 2, 3), Progress(phase="training", step=3, total=16, rate=2.0))
    assert reading.read() == 5
    assert reading.read() == 0
    assert reading.curve() == {1: 2.0, 2: 3.0, 3: 4.0}
    job = a_row(reading.place.sessions, reading.job_id)
    assert job.state == "running"
    assert job.progress == {
        "phase": "training",
        "step": 3,
        "total": 16,
        "epoch": None,
        "rate": 2.0,
        "eta_s": 6.5,
    }
    assert job.events_offset == reading.run_dir.events.stat().st_size


def test_a_line_that_is_not_complete_yet_waits(reading: Reading) -> None:
    say(reading.run_dir, started())
    with reading.run_dir.events.open("ab") as file:
        file.write(b'{"type":"message",')
    assert reading.read() == 1
    with reading.run_dir.events.open("ab") as file:
        file.write(b'"text":"whole now"}\n')
    assert reading.read() == 1
    assert reading.told("message") == ["whole now"]


def test_a_resumed_run_voids_what_came_after_its_checkpoint(reading: Reading) -> None:
    say(reading.run_dir, started(), *losses(1, 2, 3, 4), saved(2, 2), saved(4, 2, 4), *losses(5))
    reading.read()
    reading.lose()
    reading.next_attempt()
    say(reading.run_dir, started(after=2), saved(2, 2), *losses(3, 4, 5, 6, value=10.0))
    reading.read()
    assert reading.curve() == {1: 2.0, 2: 3.0, 3: 13.0, 4: 14.0, 5: 15.0, 6: 16.0}
    with reading.place.sessions() as session:
        rows = session.scalars(select(Checkpoint).order_by(Checkpoint.step)).all()
        assert [(row.step, row.exists) for row in rows] == [(2, True), (4, False)]
        assert {p.attempt for p in session.scalars(select(MetricPoint).where(MetricPoint.step > 2))} == {2}
    assert reading.told("checkpoint") == ["checkpoint after step 2", "checkpoint after step 4"]


def test_the_best_checkpoint_is_one_and_removed_ones_are_known_as_removed(reading: Reading) -> None:
    say(reading.run_dir, started(), saved(1, 1, best=True), saved(2, 1, 2, best=True), saved(3, 2, 3))
    reading.read()
    with reading.place.sessions() as session:
        rows = session.scalars(select(Checkpoint).order_by(Checkpoint.step)).all()
    assert [(row.step, row.is_best, row.exists) for row in rows] == [
        (1, False, False), (2, True, True), (3, False, True)
    ]  # fmt: skip


def test_values_that_are_not_finite_are_kept_as_what_they_are(reading: Reading) -> None:
    say(reading.run_dir, started(), Metrics.of(1, 0, {"loss": float("nan"), "lr": 0.1}))
    reading.read()
    with reading.place.sessions() as session:
        (point,) = metrics.points(session, reading.job_id, "loss", None, 10)
    assert (point.value, point.nonfinite) == (None, "nan")


def test_a_result_that_is_told_twice_is_one_row_of_the_job_it_belongs_to(reading: Reading) -> None:
    def result(value: float) -> Result:
        return Result(
            model_job_id="job_somebody_elses", checkpoint_step=16, dataset="digits", task="digit", family="redundancy",
            metric="accuracy", split="test", protocol="strict", seed=1, value=value, n=360,
        )  # fmt: skip

    say(reading.run_dir, started(), result(0.5), result(0.75))
    reading.read()
    with reading.place.sessions() as session:
        (row,) = session.scalars(select(ProbeResult)).all()
    assert (row.value, row.job_id, row.model_job_id) == (0.75, reading.job_id, reading.job_id)


def test_who_has_lost_the_lease_writes_nothing(reading: Reading) -> None:
    say(reading.run_dir, started(), *losses(1))
    reading.read()
    stale_lease, stale_ingest = reading.lease, reading.ingest
    reading.lose()
    reading.next_attempt()
    say(reading.run_dir, *losses(2, 3))
    with pytest.raises(leases.FencedError), transaction(reading.place.sessions) as session:
        stale_ingest.read_some(session, leases.held(session, stale_lease))
    assert reading.curve() == {1: 2.0}
    reading.read()
    assert reading.curve() == {1: 2.0, 2: 3.0, 3: 4.0}


@pytest.mark.parametrize(
    "line", [b"not json\n", b'{"type":"done","outcome":"excellent","step":1}\n', b"\xff\xfe\n", b"[]\n"]
)
def test_a_line_that_is_no_event_is_refused_and_leaves_no_rows(reading: Reading, line: bytes) -> None:
    say(reading.run_dir, *losses(1))
    with reading.run_dir.events.open("ab") as file:
        file.write(line)
    with pytest.raises(ProtocolError):
        reading.read()
    assert reading.curve() == {}


def test_an_endless_line_is_refused(reading: Reading) -> None:
    reading.run_dir.path.mkdir(parents=True)
    reading.run_dir.events.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(ProtocolError, match="more than"):
        reading.read()


def test_the_last_word_is_the_last_whole_line(reading: Reading) -> None:
    assert reading.ingest.last_word() is None
    say(reading.run_dir, Done(outcome="succeeded", step=16))
    last = reading.ingest.last_word()
    assert last is not None
    assert last.outcome == "succeeded"
    say(reading.run_dir, Message(text="something came after"))
    assert reading.ingest.last_word() is None
