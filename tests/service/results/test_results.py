"""Means over seeds: by hand, and of nothing that may not be averaged."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.db import Sessions
from tests.service.rows import scored, trained


def grouped(client: TestClient, **filters: str) -> list[dict[str, Any]]:
    answer = client.get("/v1/results", params=filters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_mean_and_spread_are_over_the_seeds_of_equal_trainings(
    client: TestClient, sessions: Sessions
) -> None:
    trainings = [trained(sessions, seed=seed) for seed in (3, 1, 2)]
    for training, value in zip(trainings, (0.9, 0.5, 0.7), strict=True):
        scored(sessions, training, value)
    (row,) = grouped(client, group_by="method")
    assert row["mean"] == pytest.approx(0.7)
    assert row["std"] == pytest.approx(0.2)  # ((0.2² + 0.2² + 0²) / 2) ** 0.5
    assert (row["n"], row["chance"]) == (3, 0.5)
    assert row["job_ids"] == [trainings[1], trainings[2], trainings[0]]
    assert row["seeds"] == [{"seed": 1, "value": 0.5}, {"seed": 2, "value": 0.7}, {"seed": 3, "value": 0.9}]
    assert {name: row[name] for name in ("dataset", "task", "family", "metric", "split", "protocol", "method")} == {
        "dataset": "digits", "task": "synergy", "family": "synergy", "metric": "macro_accuracy", "split": "test",
        "protocol": "strict", "method": "infmasking",
    }  # fmt: skip


def test_a_single_seed_has_no_spread(client: TestClient, sessions: Sessions) -> None:
    training = trained(sessions)
    scored(sessions, training, 0.6, chance=None)
    (row,) = grouped(client)
    assert (row["mean"], row["std"], row["n"], row["chance"], row["job_ids"]) == (
        0.6,
        None,
        1,
        None,
        [training],
    )


def test_equal_scores_have_a_spread_of_nothing(client: TestClient, sessions: Sessions) -> None:
    for seed in (1, 2):
        scored(sessions, trained(sessions, seed=seed), 0.75)
    (row,) = grouped(client)
    assert (row["std"], row["n"]) == (0.0, 2)


def test_of_scores_with_the_same_seeds_the_newest_counts_once(client: TestClient, sessions: Sessions) -> None:
    training = trained(sessions)
    scored(sessions, training, 0.2, checkpoint_step=8)
    scored(sessions, training, 0.6)
    again = trained(sessions)  # the same training once more
    (row,) = grouped(client)
    assert (row["mean"], row["n"], row["job_ids"]) == (0.6, 1, [training])
    scored(sessions, again, 0.8)
    (row,) = grouped(client)
    assert (row["mean"], row["std"], row["n"], row["job_ids"]) == (0.8, None, 1, [again])


def test_a_training_counts_once_as_the_mean_over_its_probe_seeds(
    client: TestClient, sessions: Sessions
) -> None:
    one, two = trained(sessions, seed=1), trained(sessions, seed=2)
    for seed, value in ((1, 0.4), (2, 0.6), (3, 0.8)):
        scored(sessions, one, value, seed=seed)
    scored(sessions, two, 0.9, seed=1)
    (row,) = grouped(client)
    assert [each["value"] for each in row["seeds"]] == pytest.approx([0.6, 0.9])
    assert row["mean"] == pytest.approx(0.75)  # and not that of four numbers
    assert row["std"] == pytest.approx(0.3 / 2**0.5)
    assert (row["n"], row["job_ids"]) == (2, [one, two])


def test_only_trainings_that_succeeded_count(client: TestClient, sessions: Sessions) -> None:
    scored(sessions, trained(sessions, seed=1), 0.8)
    for seed, state in enumerate(("running", "failed", "cancelled", "queued"), 2):
        scored(sessions, trained(sessions, seed=seed, state=state), 0.1)
    (row,) = grouped(client)
    assert (row["mean"], row["n"]) == (0.8, 1)
    assert len(grouped(client, group_by="none")) == 5  # each by itself is told all the same


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": "reference"},
        {"metric": "accuracy"},
        {"split": "selection"},
        {"task": "share", "family": "redundancy"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_is_measured_differently_is_never_averaged(
    client: TestClient, sessions: Sessions, other: dict[str, str]
) -> None:
    for seed in (1, 2):
        training = trained(sessions, seed=seed)
        scored(sessions, training, 0.5)
        scored(sessions, training, 0.9, **other)
    rows = grouped(client)
    assert sorted((row["mean"], row["n"]) for row in rows) == [(0.5, 2), (0.9, 2)]
    (name, value), *_ = other.items()
    assert [row["mean"] for row in grouped(client, **{name: value})] == [0.9]


def test_what_is_trained_differently_is_never_averaged(client: TestClient, sessions: Sessions) -> None:
    for seed in (1, 2):
        scored(sessions, trained(sessions, seed=seed), 0.5)
        scored(sessions, trained(sessions, seed=seed, epochs=3), 0.6)
        scored(sessions, trained(sessions, seed=seed, method="comm"), 0.7)
    rows = grouped(client)
    assert sorted((row["method"], row["mean"], row["n"]) for row in rows) == [
        ("comm", 0.7, 2), ("infmasking", 0.5, 2), ("infmasking", 0.6, 2),
    ]  # fmt: skip
    assert len({row["group_sha256"] for row in rows}) == 3
    assert [row["mean"] for row in grouped(client, method="comm")] == [0.7]


def test_filters_choose_and_unknown_names_find_nothing(client: TestClient, sessions: Sessions) -> None:
    scored(sessions, trained(sessions), 0.5)
    every = {
        "dataset": "digits",
        "task": "synergy",
        "metric": "macro_accuracy",
        "split": "test",
        "protocol": "strict",
    }
    assert len(grouped(client, **every)) == 1
    assert (
        grouped(client, dataset="trifeatures")
        == grouped(client, task="none")
        == grouped(client, method="none")
        == []
    )


def test_scores_may_be_asked_for_by_the_jobs_they_are_of(client: TestClient, sessions: Sessions) -> None:
    one, two, other = (trained(sessions, seed=seed) for seed in (1, 2, 3))
    probes = [scored(sessions, training, 0.5) for training in (one, two, other)]
    answer = client.get("/v1/results", params={"group_by": "none", "job_id": [one, probes[1]]})
    assert [(each["job_id"], each["model_job_id"]) for each in answer.json()["data"]] == [
        (probes[1], two),
        (probes[0], one),
    ]


def test_single_scores_come_newest_first_and_page_by_page(client: TestClient, sessions: Sessions) -> None:
    training = trained(sessions, seed=9)
    probes = [scored(sessions, training, number / 10, seed=number) for number in range(5)]
    seen: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/results", params={"group_by": "none", "limit": 2, **cursor}).json()
        seen += page["data"]
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [each["job_id"] for each in seen] == probes[::-1]
    assert {(each["model_job_id"], each["trained_seed"], each["method"]) for each in seen} == {
        (training, 9, "infmasking")
    }
