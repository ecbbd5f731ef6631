"""A minute of a mixed load with bad inputs: no 500, right vectors, flat memory. `make soak` does it for ten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.__main__ import failures, soak
from tests.soak.load import Seen as Answers
from tests.soak.requests import Asked
from tests.soak.watch import Seen


@pytest.mark.slow
@pytest.mark.parametrize("api_processes", [1, 2])
def test_a_minute_of_good_and_bad_requests_leaves_the_server_as_it_was(
    tmp_path: Path, api_processes: int
) -> None:
    found = soak(tmp_path, seconds=60, callers=8, beside=False, api_processes=api_processes)
    assert found["failures"] == [], found
    assert found["ready"] == "ok"
    assert {"200", "400", "401", "404", "409", "413", "422"} <= set(found["statuses"])
    assert found["vectors_compared"] > 500


def test_what_must_not_be_is_told() -> None:
    """A soak that cannot fail says nothing."""
    good = {
        "wrong": 0, "statuses": {"200": 9, "422": 1}, "vectors_compared": 9, "largest_difference": 1e-6,
        "files": {"at_rest": 20, "after": 20},
    }  # fmt: skip
    flat = Seen(200, 30)
    assert failures(good, flat, flat) == []
    for worse, last in [
        ({"wrong": 1}, flat), ({"statuses": {"200": 9, "500": 1}}, flat), ({"largest_difference": 2e-5}, flat),
        ({"largest_difference": float("nan")}, flat), ({"vectors_compared": 0}, flat), ({}, Seen(206, 30)), ({}, Seen(200, 40)),
        ({"files": {"at_rest": 20, "after": 30}}, flat), ({"p99_beside_training_over_alone": 2.1}, flat),
    ]:  # fmt: skip
        assert len(failures(good | worse, flat, last)) == 1, worse


def test_an_answer_is_held_against_what_it_should_be() -> None:
    seen = Answers()
    asked = Asked("by name", "/v1/embeddings", vectors=[[1.0, 0.0]])  # type: ignore[list-item]
    seen.note(asked, 200, b'{"data": [{"embedding": [1.0, 0.000001]}]}')
    seen.note(asked, 429, b"")
    seen.note(Asked("nothing", "/v1/embeddings", 422), 422, b"")
    assert (seen.wrong, seen.vectors) == (0, 1)
    seen.note(asked, 200, b'{"data": [{"embedding": [0.0, 1.0]}]}')
    seen.note(asked, 200, b'{"data": []}')
    seen.note(asked, 500, b"")
    seen.note(Asked("nothing", "/v1/embeddings", 422), 200, b"")
    assert seen.wrong == 4
    assert seen.statuses == {200: 4, 422: 1, 429: 1, 500: 1}
