"""The published runs as presets: listed, started by name, and changed only where asked."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from training.spec.presets import PRESETS, ROWS

NAME = "trifeatures-synergy-infmasking"


def dry(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", params={"dry_run": "true"}, json={"kind": "train", **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["spec"]
    return found


def test_presets_are_listed_with_where_their_options_come_from(client: TestClient) -> None:
    listed = {each["name"]: each for each in client.get("/v1/presets").json()["data"]}
    assert list(listed) == list(PRESETS)
    assert {each["row"] for each in listed.values()} == set(ROWS)
    assert all(each["about"] and each["options_from"] for each in listed.values())
    assert listed[NAME]["ready"]
    assert not listed["mosi-infmasking"]["ready"]


def test_a_preset_is_the_whole_spec(client: TestClient) -> None:
    spec = dry(client, preset=NAME)
    assert spec["dataset"] == {
        "name": "trifeatures",
        "form": "pairs",
        "biased": True,
        "n_pairs": 10_000,
        "augment": True,
        "image_size": 224,
        "views": "full",
        "balanced_probes": False,
    }
    assert (spec["method"]["name"], spec["method"]["n_masks"], spec["protocol"]) == (
        "infmasking",
        6,
        "reference",
    )


def test_what_the_spec_says_beside_a_preset_wins(client: TestClient) -> None:
    spec = dry(client, preset=NAME, spec={"protocol": "strict", "seed": 43, "method": {"n_masks": 64}})
    assert (spec["protocol"], spec["seed"]) == ("strict", 43)
    assert (spec["method"]["n_masks"], spec["method"]["mask_ratio"]) == (64, 0.7)


def test_a_job_from_a_preset_bears_its_name_unless_it_is_given_one(client: TestClient) -> None:
    small = {"epochs": 1, "dataset": {"n_pairs": 64, "image_size": 64}}
    for extra, name in (({}, NAME), ({"name": "mine"}, "mine")):
        job = client.post("/v1/jobs", json={"kind": "train", "preset": NAME, "spec": small, **extra}).json()
        assert job["name"] == name
        assert job["method"] == "infmasking"


def test_a_misspelt_preset_is_told_what_it_may_have_meant(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json={"kind": "train", "preset": "trifeatures-synergy-infmask"})
    assert answer.status_code == 422
    assert NAME in answer.json()["detail"]
