"""Tables over HTTP: what was run here beside what was published, and what is said of both."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service import jobs, references, requests, results
from service.db import Sessions, reading, transaction
from service.tables import Dataset, Job
from tests.published import CARDS
from tests.service.rows import scored

pytestmark = pytest.mark.long  # so many that on PostgreSQL they run in `make test-all` only

Scores = Mapping[int, float]
"""Training seed → score, as the probe gives it."""


def ran(
    sessions: Sessions,
    table: str,
    row: str,
    scores: Mapping[str, Scores],
    changes: Mapping[str, Any] | None = None,
    **columns: Any,
) -> dict[int, str]:
    """Trainings of the row's presets, probed. scores: column → seed → value. Returns the last column's, by seed."""
    asked = references.table(table)
    trainings: dict[int, str] = {}
    for column_id, values in scores.items():
        column = asked.column(column_id)
        for seed, value in values.items():
            raw = asked.spec_of(row, column_id, seed=seed, changes=changes)
            assert raw is not None
            with transaction(sessions) as session:
                job = jobs.create(session, requests.checked(session, "train", raw), actor="tests")
                job.state = "succeeded"
            given = {
                "dataset": raw["dataset"]["name"], "task": column.task, "family": column.family, "metric": column.metric,
                "protocol": asked.protocol, "chance": None,
            }  # fmt: skip
            scored(sessions, job.id, value, **given | columns)
            trainings[seed] = job.id
    return trainings


def known(sessions: Sessions, *names: str) -> None:
    """As if these datasets had been registered at their published size."""
    with transaction(sessions) as session:
        for name in names:
            card = CARDS[name].model_dump(mode="json")
            session.add(
                Dataset(
                    id=f"dataset_{name}", name=name, state="ready", sha256="0" * 64, manifest={"card": card}
                )
            )


def view(client: TestClient, table: str, **asked: str) -> dict[str, Any]:
    answer = client.get("/v1/results", params={"table": table, **asked})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def cell(view: Mapping[str, Any], row: str, column: str) -> dict[str, Any]:
    place = [each["id"] for each in view["columns"]].index(column)
    found: dict[str, Any] = next(each for each in view["rows"] if each["id"] == row)["cells"][place]
    return found


def grouped(client: TestClient, **filters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/results", params=filters).json()["data"]
    return found


# ------------------------------------------------------------------------------------------------------- one cell


def test_a_cell_holds_what_was_run_here_and_what_was_published(
    client: TestClient, sessions: Sessions
) -> None:
    scores = {44: 0.78, 42: 0.74, 43: 0.76}
    trainings = ran(sessions, "trifeatures", "infmasking", {"synergy": scores}, chance=0.5)
    table = view(client, "trifeatures")
    assert (table["protocol"], table["source"]) == ("reference", "InfMasking (arXiv:2509.25270)")
    found = cell(table, "infmasking", "synergy")
    assert (found["state"], found["n"], found["chance"]) == ("ran", 3, 0.5)
    assert (found["mean"], found["std"]) == pytest.approx((0.76, 0.02))
    assert found["interval"] == pytest.approx([0.76 - 0.0496828, 0.76 + 0.0496828], abs=1e-6)  # t = 4.30265
    assert found["job_ids"] == [trainings[seed] for seed in (42, 43, 44)]
    assert found["shown"]["text"] == "76.00 ± 2.00"
    assert (found["shown"]["mean"], found["shown"]["std"]) == pytest.approx((76, 2))
    (published,) = found["published"]
    assert published == {
        "value": 0.77, "std": 0.0422, "n": 5, "unit": "fraction", "printed": "77.0 ± 4.22",
        "ran_by": "InfMasking's authors", "source": "InfMasking's README, Trifeatures", "primary": True,
        "table": "trifeatures", "row": "InfMasking",
    }  # fmt: skip
    assert found["verdict"] == "within_1_std"
    assert found["difference"] == pytest.approx(-0.01)


def test_a_cell_that_was_not_run_says_why_and_shows_what_was_published(
    client: TestClient, sessions: Sessions
) -> None:
    assert "no training of it has succeeded" in cell(view(client, "trifeatures"), "mae", "synergy")["reason"]
    found = cell(view(client, "multibench"), "comm", "mosi")
    assert (found["state"], found["mean"], found["n"], found["verdict"]) == ("not_run", None, 0, "not_run")
    assert found["reason"] == "the dataset 'mosi' is not registered; add it with: fusebox datasets add mosi …"
    assert [each["printed"] for each in found["published"]] == ["63.7 ± 2.5", "67.5"]
    assert [each["ran_by"] for each in found["published"]] == ["InfMasking's authors", "CoMM's authors"]
    clip = cell(view(client, "mmimdb"), "clip-vl", "f1_macro")
    assert (clip["preset"], clip["reason"]) == (None, "nothing here runs this row")
    average = cell(view(client, "multibench"), "comm", "average")
    assert (
        average["reason"]
        == "the dataset 'mimic' is not registered; add it with: fusebox datasets add mimic …"
    )


def test_one_seed_has_neither_spread_nor_interval_nor_mark(client: TestClient, sessions: Sessions) -> None:
    ran(sessions, "digits", "comm", {"synergy": {42: 0.5}})
    ran(sessions, "digits", "cross", {"synergy": {42: 0.9}})
    found = cell(view(client, "digits"), "cross", "synergy")
    assert (found["std"], found["interval"], found["mark"], found["n"]) == (None, None, None, 1)
    assert (found["shown"]["text"], found["shown"]["std"], found["verdict"]) == ("90.00", None, None)
    (other,) = found["comparisons"]
    assert (other["row"], other["n_common"], other["p"], other["p_holm"]) == ("comm", 1, None, None)
    for format_ in ("markdown", "latex"):
        text = client.get("/v1/results", params={"table": "digits", "format": format_}).text
        assert "90.00 (n = 1)" in text
        assert "90.00 ±" not in text


def test_errors_are_shown_in_ten_thousandths_and_judged_there(client: TestClient, sessions: Sessions) -> None:
    known(sessions, "vision_touch")
    ran(sessions, "multibench", "infmasking", {"vision-touch-ee": {42: 4.5e-4, 43: 4.3e-4}})
    ran(sessions, "multibench", "comm", {"vision-touch-ee": {42: 9e-4, 43: 9.3e-4}})
    table = view(client, "multibench")
    found = cell(table, "infmasking", "vision-touch-ee")
    assert (found["shown"]["text"], found["verdict"]) == ("4.40 ± 0.14", "within_1_std")
    assert found["mean"] == pytest.approx(4.4e-4)
    assert (found["published"][0]["value"], found["published"][0]["unit"]) == (0.000423, "mse")
    comm = cell(table, "comm", "vision-touch-ee")
    assert comm["published"][1]["value"] == 0.000455  # CoMM's authors'
    assert comm["verdict"] == "within_1_std"  # of 7.96 ± 2.13
    assert table["columns"][0]["better"] == "lower"


# ------------------------------------------------------------------------------------ what counts as the same run


def test_a_training_with_other_options_stands_beside_and_is_not_judged(
    client: TestClient, sessions: Sessions
) -> None:
    changes = {"epochs": 3}
    ran(sessions, "trifeatures", "comm", {"synergy": {42: 0.9, 43: 0.8}}, changes)
    table = references.table("trifeatures")
    with reading(sessions) as session:
        changed = results.table_view(session, table, results.table_groups(session, table, changes))
    found = cell(changed.model_dump(mode="json"), "comm", "synergy")
    assert (found["verdict"], found["difference"], found["n"]) == ("other_spec", None, 2)
    assert found["published"][0]["printed"] == "71.4 ± 3.47"
    assert cell(view(client, "trifeatures"), "comm", "synergy")["verdict"] == "not_run"


def test_a_table_shows_one_protocol_and_names_it(client: TestClient, sessions: Sessions) -> None:
    ran(sessions, "trifeatures", "comm", {"synergy": {42: 0.7, 43: 0.72}})
    ran(sessions, "trifeatures", "comm", {"synergy": {42: 0.5}}, {"protocol": "strict"}, protocol="strict")
    for protocol, n in (("reference", 2), ("strict", 1)):
        table = view(client, "trifeatures", protocol=protocol)
        assert (table["protocol"], cell(table, "comm", "synergy")["n"]) == (protocol, n)
        for format_ in ("markdown", "latex", "csv"):
            asked = {"table": "trifeatures", "protocol": protocol, "format": format_}
            assert protocol in client.get("/v1/results", params=asked).text
    # Its presets' protocol trained it, another probed it: that is neither table's.
    ran(sessions, "trifeatures", "mae", {"synergy": {42: 0.5}}, protocol="strict")
    assert all(
        cell(view(client, "trifeatures", protocol=protocol), "mae", "synergy")["state"] == "not_run"
        for protocol in ("reference", "strict")
    )


def test_what_a_table_was_not_asked_for_was_not_run(sessions: Sessions) -> None:
    ran(sessions, "digits", "comm", {"synergy": {42: 0.7}})
    table = references.table("digits")
    with reading(sessions) as session:
        of_cross = {
            place: group
            for place, group in results.table_groups(session, table).items()
            if place[0] == "cross"
        }
        found = cell(results.table_view(session, table, of_cross).model_dump(mode="json"), "comm", "synergy")
    assert (found["state"], found["reason"]) == ("not_run", "it was not asked for")


def test_groups_are_those_that_jobs_get(sessions: Sessions) -> None:
    known(sessions, "mosi")
    training = ran(sessions, "multibench", "comm", {"mosi": {44: 0.6}})[44]
    with reading(sessions) as session:
        groups = results.table_groups(session, references.table("multibench"))
        assert groups["comm", "mosi"] == session.get_one(Job, training).group_sha256
        assert groups["comm", "mimic"] is None
        assert ("comm", "average") not in groups


def test_the_same_method_with_other_changes_is_another_row(client: TestClient, sessions: Sessions) -> None:
    for row, level in (("t4", 0.6), ("t64", 0.7)):
        ran(sessions, "digits-masks", row, {"synergy": {42: level, 43: level + 0.01}})
    table = view(client, "digits-masks")
    assert [round(cell(table, row, "synergy")["mean"] or 0, 3) for row in ("t1", "t4", "t64")] == [
        0,
        0.605,
        0.705,
    ]
    assert [each["row"] for each in cell(table, "t4", "synergy")["comparisons"]] == ["t64"]


# --------------------------------------------------------------------------------------- means, marks, comparisons


def test_a_mean_column_is_made_seed_by_seed_of_those_that_all_its_columns_have(
    client: TestClient, sessions: Sessions
) -> None:
    one, two = {42: 0.8, 43: 0.9, 44: 0.1}, {42: 0.6, 43: 0.9, 45: 0.1}
    ran(sessions, "trifeatures", "infmasking", {"texture1": one, "texture2": two})
    found = cell(view(client, "trifeatures"), "infmasking", "uniqueness")
    assert [(each["seed"], each["value"]) for each in found["seeds"]] == [
        (42, pytest.approx(0.7)),
        (43, pytest.approx(0.9)),
    ]
    assert (found["n"], found["group_sha256"]) == (2, None)
    assert (found["mean"], found["verdict"]) == (pytest.approx(0.8), "outside")  # of 90.6 ± 2.31
    assert cell(view(client, "trifeatures"), "infmasking", "texture1")["published"] == []


def test_the_best_is_marked_only_when_it_is_better_than_every_other(
    client: TestClient, sessions: Sessions
) -> None:
    seeds = range(42, 47)
    noise = dict(zip(seeds, (0.01, -0.012, 0.004, 0.0, -0.003), strict=True))
    ran(sessions, "digits", "infmasking", {"synergy": {seed: 0.8 + noise[seed] for seed in seeds}})
    ran(sessions, "digits", "comm", {"synergy": {seed: 0.6 - noise[seed] for seed in seeds}})
    ran(sessions, "digits", "supervised", {"synergy": {seed: 0.99 + noise[seed] / 2 for seed in seeds}})
    table = view(client, "digits")
    assert [cell(table, row, "synergy")["mark"] for row in ("infmasking", "comm", "supervised")] == [
        "best",
        None,
        None,
    ]
    comparisons = {each["row"]: each for each in cell(table, "infmasking", "synergy")["comparisons"]}
    assert set(comparisons) == {"comm", "supervised"}  # the bound is compared, and not ranked
    assert comparisons["comm"]["difference"] == pytest.approx(0.2, abs=0.01)
    assert comparisons["comm"]["p"] <= comparisons["comm"]["p_holm"] < 0.05
    ran(sessions, "digits", "mae", {"synergy": {seed: 0.8 - noise[seed] for seed in seeds}})
    table = view(client, "digits")
    assert [cell(table, row, "synergy")["mark"] for row in ("infmasking", "mae", "comm")] == [
        "tied",
        "tied",
        None,
    ]


# -------------------------------------------------------------------------------------------------------- formats


def test_a_table_in_csv_has_every_number_as_json_has_it(client: TestClient, sessions: Sessions) -> None:
    ran(sessions, "trifeatures", "comm", {"synergy": {42: 0.7123, 43: 0.7345}, "redundancy": {42: 1 / 3}})
    answer = client.get("/v1/results", params={"table": "trifeatures", "format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    table = view(client, "trifeatures")
    here = {(each["row"], each["column"]): each for each in rows if each["ran_by"] == "here"}
    for row in table["rows"]:
        for found in row["cells"]:
            line = here.pop((row["id"], found["column"]))
            assert line["state"] == found["state"]
            assert int(line["n"]) == found["n"]
            shown = found["shown"]
            assert (float(line["value"]) if line["value"] else None) == (shown and shown["mean"])
            assert (float(line["std"]) if line["std"] else None) == (shown and shown["std"])
            assert line["job_ids"].split() == found["job_ids"]
            told = [each for each in rows if (each["row"], each["column"]) == (row["id"], found["column"])][
                1:
            ]
            assert [float(each["value"]) for each in told] == [
                float(each["printed"].split()[0]) for each in found["published"]
            ]
    assert here == {}


def test_every_table_is_written_in_every_format_and_says_who_ran_what(client: TestClient) -> None:
    types = {
        "markdown": "text/markdown; charset=utf-8",
        "latex": "application/x-tex",
        "csv": "text/csv; charset=utf-8",
    }
    for name, table in references.tables().items():
        for format_, media_type in types.items():
            answer = client.get("/v1/results", params={"table": name, "format": format_})
            assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
            for row in table.rows:
                assert row.label in answer.text
            for published in table.cells:
                for word in (published.ran_by, published.source, str(published.value)):
                    assert word in answer.text


def test_the_tables_are_listed(client: TestClient) -> None:
    listed = client.get("/v1/results/tables").json()["data"]
    assert [each["id"] for each in listed] == list(references.tables())
    assert (listed[0]["protocol"], listed[4]["protocol"]) == ("reference", "strict")
    assert listed[0]["columns"] == ["redundancy", "texture1", "texture2", "uniqueness", "synergy"]


def test_what_is_no_table_is_refused_with_a_remedy(client: TestClient) -> None:
    for query, status, word in (
        ("table=none", 404, "multibench-3"),
        ("table=digits&dataset=digits", 422, "leave out `dataset`"),
        ("table=digits&group_by=none", 422, "leave out `group_by`"),
        ("job_id=job_1", 422, "group_by=none"),
        ("format=csv", 422, "name a table"),
        ("table=digits&format=pdf", 422, "'latex'"),
        ("table=digits&protocol=loose", 422, "'strict'"),
    ):
        answer = client.get(f"/v1/results?{query}")
        code = {404: "table_not_found", 422: "invalid_request"}[status]
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert word in answer.json()["detail"]


# ------------------------------------------------------------------------------------------------ lists of groups


def test_a_group_stands_beside_the_published_numbers_of_its_very_run(
    client: TestClient, sessions: Sessions
) -> None:
    known(sessions, "ur_funny")
    ran(sessions, "multibench-3", "infmasking-2", {"ur-funny": {42: 0.64, 43: 0.65}})
    ran(sessions, "multibench-3", "infmasking-3", {"ur-funny": {42: 0.64, 43: 0.65}})
    ran(sessions, "multibench-3", "infmasking-3", {"ur-funny": {42: 0.6, 43: 0.7}}, {"epochs": 3})
    rows = grouped(client)
    judged = [(row["verdict"], [each["printed"] for each in row["published"]]) for row in rows]
    assert sorted(judged) == [
        ("other_spec", ["64.3 ± 0.9", "65.6 ± 1.15"]),
        ("within_1_std", ["64.3 ± 0.9"]),
        ("within_1_std", ["65.6 ± 1.15"]),
    ]
    assert all(row["comparisons"] == [] for row in rows)  # which of the three is InfMasking's?


def test_a_group_of_another_protocol_is_compared_with_the_preset_under_it(
    client: TestClient, sessions: Sessions
) -> None:
    ran(sessions, "trifeatures", "comm", {"synergy": {42: 0.72}}, {"protocol": "strict"}, protocol="strict")
    (row,) = grouped(client)
    assert (row["protocol"], row["verdict"]) == ("strict", "within_1_std")
    assert row["difference"] == pytest.approx(0.72 - 0.714)


def test_groups_have_intervals_and_what_nobody_published_has_no_verdict(
    client: TestClient, sessions: Sessions
) -> None:
    ran(sessions, "digits", "comm", {"synergy": {42: 0.7, 43: 0.8}})
    (row,) = grouped(client)
    assert row["interval"] == pytest.approx([0.75 - 0.6353102, 0.75 + 0.6353102], abs=1e-6)  # t = 12.7062
    assert (row["published"], row["verdict"], row["difference"]) == ([], None, None)


def test_methods_of_one_column_are_compared_over_their_common_seeds(
    client: TestClient, sessions: Sessions
) -> None:
    ran(sessions, "digits", "comm", {"synergy": {42: 0.6, 43: 0.62, 44: 0.9}})
    ran(sessions, "digits", "cross", {"synergy": {42: 0.5, 43: 0.54, 45: 0.1}})
    cross, comm = grouped(client)
    (comparison,) = comm["comparisons"]
    assert (comparison["method"], comparison["n_common"]) == ("cross", 2)
    assert comparison["difference"] == pytest.approx(0.09)
    assert comparison["p"] == comparison["p_holm"] == cross["comparisons"][0]["p"]
    assert cross["comparisons"][0]["difference"] == pytest.approx(-0.09)
    assert grouped(client, method="comm")[0]["comparisons"] == comm["comparisons"]
    assert all(row["comparisons"] == [] for row in grouped(client, compare="false"))


def test_lists_are_in_the_papers_order_and_never_by_score(client: TestClient, sessions: Sessions) -> None:
    for row, value in (("supervised", 0.9), ("cross", 0.8), ("infmasking", 0.7), ("mae", 0.6)):
        ran(sessions, "digits", row, {"synergy": {42: value}})
    assert [row["method"] for row in grouped(client)] == ["cross", "mae", "infmasking", "supervised"]


def test_the_order_in_which_seeds_were_trained_changes_nothing(
    client: TestClient, sessions: Sessions
) -> None:
    scores = {42: 0.61, 43: 0.64, 44: 0.58}
    other = {42: 0.52, 43: 0.5, 44: 0.57}
    ran(sessions, "digits", "comm", {"synergy": scores, "redundancy": dict(reversed(scores.items()))})
    ran(sessions, "digits", "cross", {"synergy": other, "redundancy": dict(reversed(other.items()))})
    told = {
        column: [
            {name: found[name] for name in ("mean", "std", "interval", "n", "seeds", "mark", "comparisons")}
            for found in (cell(view(client, "digits"), row, column) for row in ("comm", "cross"))
        ]
        for column in ("synergy", "redundancy")
    }
    assert told["synergy"] == told["redundancy"]
