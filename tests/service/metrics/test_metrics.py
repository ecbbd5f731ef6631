"""Curves: every point kept, every spike seen, and no trace of how the points came."""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import select

from service import metrics
from service.db import Sessions, reading, transaction
from service.metrics import merging
from service.tables import MetricBucket, MetricPoint, MetricSeries
from tests.service.rows import submitted, trained
from training.events import Metrics

Value = float | None
Points = Sequence[tuple[int, Value]]
NAN = math.nan


def logged(
    sessions: Sessions,
    job_id: str,
    points: Iterable[tuple[int, float]],
    name: str = "loss",
    *,
    at_once: bool = False,
) -> None:
    """In batches of uneven size, as ingest does, or in one."""
    rest = [Metrics.of(step, 0, {name: value}) for step, value in points]
    sizes = itertools.cycle((len(rest),) if at_once else (1, 40, 7, 1000, 16, 255))
    while rest:
        size = next(sizes)
        some, rest = rest[:size], rest[size:]
        with transaction(sessions) as session:
            metrics.append(session, job_id, 1, some)


def bumpy(n: int, *, seed: int = 0) -> list[tuple[int, float]]:
    """A curve with gaps between its steps, and a value in thirty that is not finite."""
    chance = random.Random(seed)
    steps = itertools.accumulate(chance.choice((1, 1, 1, 2, 10)) for _ in range(n))
    special = (math.nan, math.inf, -math.inf)
    return [
        (step, chance.choice(special) if chance.random() < 1 / 30 else chance.gauss(0, 3)) for step in steps
    ]


def finite(points: Iterable[tuple[int, float]]) -> Points:
    return [(step, value if math.isfinite(value) else None) for step, value in points]


def slowly(points: Points, first: int, last: int, max_points: int) -> list[tuple[int, Value, Value, Value]]:
    """The rows of a curve by the definition: merge by place in the series, then neighbours until there are few enough."""
    within = [(no, step, value) for no, (step, value) in enumerate(points) if first <= step <= last]
    width = next(
        (w for w in (1, 16, 256, 4096) if len(within) <= metrics.READ_PER_ROW * max_points * w), 4096
    )
    merged = [list(group) for _, group in itertools.groupby(within, key=lambda point: point[0] // width)]
    together = max(1, math.ceil(len(merged) / max_points))
    rows = []
    for start in range(0, len(merged), together):
        row = [point for group in merged[start : start + together] for point in group]
        values = [value for _, _, value in row if value is not None]
        mean = math.fsum(values) / len(values) if values else None
        middle = (row[0][1] + row[-1][1]) // 2
        rows.append((middle, mean, min(values, default=None), max(values, default=None)))
    return rows


def curve(sessions: Sessions, job_id: str, **asked: Any) -> metrics.Curve:
    given = {"names": ["loss"], "from_step": None, "to_step": None, "max_points": 400} | asked
    with reading(sessions) as session:
        (found,) = metrics.query(session, [job_id], **given)
    return found


def assert_same_rows(found: metrics.Curve, expected: list[tuple[int, Value, Value, Value]]) -> None:
    rows = list(zip(found.step, found.value, found.low, found.high, strict=True))
    assert [(row[0], row[2], row[3]) for row in rows] == [(row[0], row[2], row[3]) for row in expected]
    means, expected_means = (
        [math.nan if row[1] is None else row[1] for row in each] for each in (rows, expected)
    )
    assert means == pytest.approx(expected_means, rel=1e-9, abs=1e-9, nan_ok=True)


def everything(sessions: Sessions, job_id: str) -> dict[str, Any]:
    """All that is kept of a job's curves, but for numbers of rows and times."""
    with reading(sessions) as session:
        found: dict[str, Any] = {}
        for series in session.scalars(select(MetricSeries).where(MetricSeries.job_id == job_id)).all():
            points = session.scalars(
                select(MetricPoint).where(MetricPoint.series_id == series.id).order_by(MetricPoint.step)
            )
            buckets = session.scalars(
                select(MetricBucket)
                .where(MetricBucket.series_id == series.id)
                .order_by(MetricBucket.width, MetricBucket.no)
            )
            found[series.name] = {
                "summary": columns(series, "id", "job_id", "vsum", "vsumsq"),
                "sums": (series.vsum, series.vsumsq),
                "points": [columns(point, "series_id", "at") for point in points],
                "buckets": [columns(bucket, "series_id") for bucket in buckets],
            }
        return found


def columns(row: Any, *without: str) -> dict[str, Any]:
    return {
        column.name: getattr(row, column.name)
        for column in row.__table__.columns
        if column.name not in without
    }


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, series in expected.items():
        assert found[name]["summary"] == series["summary"]
        assert found[name]["points"] == series["points"]
        assert found[name]["buckets"] == series["buckets"]
        assert found[name]["sums"] == pytest.approx(series["sums"], rel=1e-12)


def test_a_curve_is_what_the_definition_says_at_every_zoom(sessions: Sessions) -> None:
    job_id, points = trained(sessions), bumpy(9_000)
    logged(sessions, job_id, points)
    last = points[-1][0]
    middle = points[4_500][0]
    for max_points in (2, 3, 100, 400, 2000):
        for first, end in (
            (0, last), (1, last - 1), (middle, last), (0, middle), (middle, middle), (middle, middle + 1),
            (points[2_047][0] + 1, points[8_191][0]), (100, 900), (last + 1, last + 9),
        ):  # fmt: skip
            found = curve(sessions, job_id, from_step=first, to_step=end, max_points=max_points)
            assert_same_rows(found, slowly(finite(points), first, end, max_points))
            assert len(found.step) <= max_points
            assert found.points_total == sum(first <= step <= end for step, _ in points)


def test_a_curve_that_is_short_enough_is_given_as_it_is(sessions: Sessions) -> None:
    job_id, points = trained(sessions), bumpy(400)
    logged(sessions, job_id, points)
    found = curve(sessions, job_id)
    assert (found.width, found.points_total) == (1, 400)
    assert list(zip(found.step, found.value, strict=True)) == finite(points)
    assert found.low == found.high == found.value


@pytest.mark.parametrize("at", [0, 15, 4_095, 4_999])
def test_a_spike_of_a_single_step_is_seen_at_every_zoom(sessions: Sessions, at: int) -> None:
    job_id = trained(sessions)
    logged(
        sessions,
        job_id,
        [(step, -7.0 if step == at else 1e6 if step == at + 1 else 1.0) for step in range(5_001)],
    )
    for max_points in (2, 10, 400, 2000):
        found = curve(sessions, job_id, max_points=max_points)
        assert (min(filter(None, found.low)), max(filter(None, found.high))) == (-7.0, 1e6)


def test_points_outside_of_the_steps_asked_for_do_not_show(sessions: Sessions) -> None:
    job_id = trained(sessions)
    logged(sessions, job_id, [(step, 1e6 if step in (999, 9_001) else 1.0) for step in range(10_000)])
    found = curve(sessions, job_id, from_step=1_000, to_step=9_000, max_points=50)
    assert set(found.high) == {1.0}
    assert 1_000 <= found.step[0] < found.step[-1] <= 9_000


def test_it_makes_no_difference_in_how_many_parts_points_come(sessions: Sessions) -> None:
    points = bumpy(1_000)
    parts, whole = trained(sessions), trained(sessions, seed=1)
    logged(sessions, parts, points)
    logged(sessions, whole, points, at_once=True)
    assert everything(sessions, parts) == everything(sessions, whole)


def test_what_is_said_again_changes_nothing(sessions: Sessions) -> None:
    job_id, points = trained(sessions), bumpy(300)
    logged(sessions, job_id, points)
    before = everything(sessions, job_id)
    logged(sessions, job_id, [(step, 0.5) for step, _ in points])
    assert everything(sessions, job_id) == before


def test_of_a_step_that_comes_twice_at_once_the_first_counts(sessions: Sessions) -> None:
    job_id = trained(sessions)
    with transaction(sessions) as session:
        metrics.append(session, job_id, 1, [Metrics.of(step, 0, {"loss": value}) for step, value in ((1, 1.0), (1, 2.0), (3, 3.0), (2, 4.0))])  # fmt: skip
    assert [(point["step"], point["value"]) for point in everything(sessions, job_id)["loss"]["points"]] == [
        (1, 1.0),
        (3, 3.0),
    ]


@pytest.mark.parametrize(
    ("n", "cuts"), [(600, (599, 513, 512, 511, 257, 256, 255, 17, 16, 15, 1)), (4_300, (4_097, 4_096, 4_095))]
)
def test_a_curve_that_was_cut_and_told_again_equals_one_that_never_was(
    sessions: Sessions, n: int, cuts: tuple[int, ...]
) -> None:
    points = bumpy(n)
    job_id = trained(sessions)
    logged(sessions, job_id, points)
    whole = everything(sessions, job_id)
    for kept in cuts:
        with transaction(sessions) as session:
            metrics.truncate(session, job_id, points[kept - 1][0])
        never = trained(sessions, seed=kept)
        logged(sessions, never, points[:kept], at_once=True)
        assert_equal(everything(sessions, job_id), everything(sessions, never))
        logged(sessions, job_id, points[kept:], at_once=True)
        assert_equal(everything(sessions, job_id), whole)


def test_a_curve_that_was_cut_before_its_first_step_was_never_said(sessions: Sessions) -> None:
    job_id = trained(sessions)
    logged(sessions, job_id, [(step, 1.0) for step in range(5, 50)])
    logged(sessions, job_id, [(step, 2.0) for step in range(1, 50)], name="accuracy")
    with transaction(sessions) as session:
        metrics.truncate(session, job_id, 4)
    assert everything(sessions, job_id).keys() == {"accuracy"}
    logged(sessions, job_id, [(5, 3.0)])
    assert [point["value"] for point in everything(sessions, job_id)["loss"]["points"]] == [3.0]


def test_cutting_after_the_last_step_changes_nothing(sessions: Sessions) -> None:
    job_id = trained(sessions)
    logged(sessions, job_id, bumpy(100))
    before = everything(sessions, job_id)
    with transaction(sessions) as session:
        metrics.truncate(session, job_id, before["loss"]["summary"]["last_step"])
    assert everything(sessions, job_id) == before


def test_a_cut_leaves_other_jobs_alone(sessions: Sessions) -> None:
    mine, other = trained(sessions), trained(sessions, seed=1)
    for job_id in (mine, other):
        logged(sessions, job_id, bumpy(100))
    before = everything(sessions, other)
    with transaction(sessions) as session:
        metrics.truncate(session, mine, 0)
    assert everything(sessions, mine) == {}
    assert everything(sessions, other) == before


def test_cutting_and_telling_again_works_within_one_transaction(sessions: Sessions) -> None:
    """A batch of events may hold a resumed run's start between two runs' values."""
    job_id, points = trained(sessions), bumpy(600)
    logged(sessions, job_id, points)
    whole = everything(sessions, job_id)
    with transaction(sessions) as session:
        for kept in (500, 100, 0):
            metrics.truncate(session, job_id, points[kept - 1][0] if kept else 0)
            metrics.append(
                session, job_id, 1, [Metrics.of(step, 0, {"loss": value}) for step, value in points[kept:]]
            )
    assert_equal(everything(sessions, job_id), whole)


def test_the_summary_is_of_all_points(client: TestClient, sessions: Sessions) -> None:
    job_id = submitted(client)["id"]
    logged(sessions, job_id, [(2, 3.0), (4, 1.0), (5, NAN), (7, 1.0), (8, 3.0), (9, NAN)], name="loss/mask_1")
    logged(sessions, job_id, [(1, math.inf)], name="grad")
    assert client.get(f"/v1/jobs/{job_id}/metrics").json()["data"] == [
        {"name": "grad", "n": 1, "n_nonfinite": 1, "first_step": 1, "last_step": 1, "last": None, "mean": None,
         "min": None, "min_step": None, "max": None, "max_step": None},
        {"name": "loss/mask_1", "n": 6, "n_nonfinite": 2, "first_step": 2, "last_step": 9, "last": None, "mean": 2.0,
         "min": 1.0, "min_step": 4, "max": 3.0, "max_step": 2},
    ]  # fmt: skip


def test_points_are_told_one_by_one_and_a_page_at_a_time(client: TestClient, sessions: Sessions) -> None:
    job_id = submitted(client)["id"]
    logged(
        sessions, job_id, [(1, 1.5), (2, NAN), (3, math.inf), (5, -math.inf), (8, -0.25)], name="loss/mask_1"
    )
    path = f"/v1/jobs/{job_id}/metrics/loss/mask_1/points"
    page = client.get(path).json()
    assert [(each["step"], each["value"], each["nonfinite"]) for each in page["data"]] == [
        (1, 1.5, None), (2, None, "nan"), (3, None, "inf"), (5, None, "-inf"), (8, -0.25, None),
    ]  # fmt: skip
    assert not page["has_more"]
    seen: list[int] = []
    more, after = True, {}
    while more:
        page = client.get(path, params={"limit": 2, **after}).json()
        seen += [each["step"] for each in page["data"]]
        more, after = page["has_more"], {"after_step": seen[-1]}
    assert seen == [1, 2, 3, 5, 8]


def test_curves_of_several_jobs_come_by_job_and_name(client: TestClient, sessions: Sessions) -> None:
    one, two = submitted(client)["id"], submitted(client)["id"]
    for job_id in (one, two):
        logged(sessions, job_id, [(1, 1.0), (2, NAN)], name="loss")
        logged(sessions, job_id, [(1, 0.5)], name="probe/share")
    answer = client.post("/v1/metrics/query", json={"job_ids": [two, one]}).json()
    assert [(each["job_id"], each["name"]) for each in answer["data"]] == [
        (one, "loss"), (one, "probe/share"), (two, "loss"), (two, "probe/share"),
    ]  # fmt: skip
    assert answer["data"][0] == {
        "job_id": one, "name": "loss", "points_total": 2, "width": 1, "sampled": False,
        "step": [1, 2], "value": [1.0, None], "low": [1.0, None], "high": [1.0, None],
    }  # fmt: skip
    without = client.post("/v1/metrics/query", json={"job_ids": [two, one], "extremes": False}).json()
    assert without["data"] == [each | {"low": [], "high": []} for each in answer["data"]]
    answer = client.post(
        "/v1/metrics/query", json={"job_ids": [one], "names": ["probe/share", "none"]}
    ).json()
    assert [each["name"] for each in answer["data"]] == ["probe/share"]


def test_the_names_of_metrics_are_those_that_any_job_has_logged(
    client: TestClient, sessions: Sessions
) -> None:
    one, two, three = (submitted(client)["id"] for _ in range(3))
    for job_id, name in [(one, "loss"), (two, "loss"), (two, "a b/<c>&d"), (three, "other")]:
        logged(sessions, job_id, [(1, 1.0)], name=name)
    answer = client.get("/v1/metrics/names", params={"job_id": [two, one, "job_nowhere"]})
    assert answer.json() == {"data": ["a b/<c>&d", "loss"]}
    assert client.get("/v1/metrics/names", params={"job_id": ["job_nowhere"]}).json() == {"data": []}


def test_values_are_told_with_so_many_digits_as_are_asked_for(client: TestClient, sessions: Sessions) -> None:
    job_id, values = submitted(client)["id"], [2 / 3, NAN, -1234567.89, 1e-9 / 3, 0.0, math.inf, 0.25]
    logged(sessions, job_id, list(enumerate(values)))
    asked = {"job_ids": [job_id]}
    (found,) = client.post("/v1/metrics/query", json=asked | {"digits": 4}).json()["data"]
    assert found["value"] == [0.6667, None, -1235000.0, 3.333e-10, 0.0, None, 0.25]
    assert found["low"] == found["high"] == found["value"]
    (found,) = client.post("/v1/metrics/query", json=asked | {"digits": 4, "extremes": False}).json()["data"]
    assert (found["value"][0], found["low"], found["high"]) == (0.6667, [], [])
    (found,) = client.post("/v1/metrics/query", json=asked).json()["data"]
    assert found["value"][:3] == [2 / 3, None, -1234567.89]


@given(value=st.floats(allow_nan=False, allow_infinity=False), digits=st.integers(2, 12))
@example(value=sys.float_info.max, digits=2)
@example(value=-sys.float_info.min, digits=12)
@example(value=999.9999999999999, digits=6)
@example(value=1e3, digits=2)
def test_a_rounded_number_is_next_to_the_one_it_stands_for(value: float, digits: int) -> None:
    (rounded,) = merging.rounded(np.array([value]), digits).tolist()
    assert abs(rounded - value) <= abs(value) * 0.5001 * 10.0 ** (1 - digits)
    if 1e-6 < abs(value) < 1e20:
        assert rounded == float(f"{rounded:.{digits}g}"), "more digits would be written"


def test_a_long_curve_says_that_it_is_merged(client: TestClient, sessions: Sessions) -> None:
    job_id = submitted(client)["id"]
    logged(sessions, job_id, [(step, 1.0) for step in range(1_000)])
    (found,) = client.post("/v1/metrics/query", json={"job_ids": [job_id], "max_points": 100}).json()["data"]
    assert (found["sampled"], found["width"], found["points_total"], len(found["step"])) == (
        True,
        16,
        1_000,
        63,
    )
    asked = {"job_ids": [job_id], "max_points": 100, "from_step": 200, "to_step": 299}
    (found,) = client.post("/v1/metrics/query", json=asked).json()["data"]
    assert (found["sampled"], found["width"], found["step"]) == (False, 1, list(range(200, 300)))


def test_sums_that_outgrow_a_number_do_no_harm(client: TestClient, sessions: Sessions) -> None:
    job_id, most = submitted(client)["id"], sys.float_info.max
    logged(sessions, job_id, [(step, most) for step in range(50)] + [(50, -most)])
    assert client.get(f"/v1/jobs/{job_id}/metrics").json()["data"][0]["max"] == most
    (found,) = client.post("/v1/metrics/query", json={"job_ids": [job_id], "max_points": 2}).json()["data"]
    assert all(math.isfinite(value) for value in found["value"] + found["low"] + found["high"])
    with transaction(sessions) as session:
        metrics.truncate(session, job_id, 20)
    assert everything(sessions, job_id)["loss"]["summary"]["n"] == 21
