"""What is compared, replicated, published and at work, each on a page of its own."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, FilePayload, Page, Response, expect

from service.client import Client
from tests.browser.conftest import Guarded, Lived, Visitor, finished, visiting
from tests.browser.test_pages import WINDOWS, row
from tests.service.pictures import png
from tests.service.worker.places import SMALL

MOST_BYTES = 200_000
"""That a page may make a browser fetch, as it is sent."""


def compared(lived: Lived) -> str:
    return f"/compare?jobs={lived.training['id']},{lived.other_seed['id']},{lived.cancelled['id']}"


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_what_is_compared_is_content_in_every_window(
    browser: Browser, lived: Lived, width: int, scheme: str
) -> None:
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go(compared(lived))
        expect(page.locator("#scores figure").first).to_be_visible()
        page.locator("#curves").scroll_into_view_if_needed()
        expect(page.locator("#curves canvas").first).to_be_visible()
        visitor.assert_accessible()


def test_seeds_of_one_spec_become_one_line_with_a_band(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go(compared(lived))
    legend = page.locator("#legend tbody tr")
    expect(legend).to_have_count(2)
    expect(legend.first).to_contain_text("21, 2")  # two jobs: seeds 1 and 2
    page.locator("#curves").scroll_into_view_if_needed()
    loss = page.locator("#curves figure").filter(has_text=re.compile(r"^loss[^/]")).first
    expect(loss).to_contain_text("to step 16")
    loss.get_by_text("Numbers").click()
    expect(loss.locator("tbody tr")).to_have_count(16)
    with Client(lived.url) as client:
        query = {"job_ids": [lived.training["id"], lived.other_seed["id"]], "names": ["loss"]}
        first = [curve["value"][0] for curve in client.query_metrics(query)["data"]]
    shown = float(loss.locator("tbody tr").first.locator("td").nth(1).inner_text())
    assert shown == pytest.approx(sum(first) / 2, rel=1e-3)
    legend_of_scores = page.locator("#scores figure").first
    expect(legend_of_scores.locator("tbody tr")).to_have_count(1)  # the cancelled one has no score
    expect(page.locator("#diff")).to_contain_text("epochs25000")
    expect(page.locator("#diff")).not_to_contain_text("batch_size")
    page.get_by_label("Also those that are the same everywhere").check()
    expect(page.locator("#diff")).to_contain_text("batch_size")


@pytest.mark.slow
def test_the_same_seed_again_is_no_further_seed(visitor: Visitor, lived: Lived) -> None:
    spec = {**SMALL, "seed": 3, "epochs": 1}
    with Client(lived.url) as client:
        first = finished(client, "train", spec, name="once")
        again = finished(client, "train", spec, name="again")
        assert again["group_sha256"] == first["group_sha256"]
        for each in (first, again):
            finished(client, "probe", {"run": each["id"], "threads": 1})
        alone = {curve["job_id"]: curve["value"] for curve in client.query_metrics(
            {"job_ids": [first["id"], again["id"]], "names": ["loss"]}
        )["data"]}  # fmt: skip
    page = visitor.go(f"/jobs/{again['id']}")
    page.get_by_role("link", name="Compare its 2 runs").click()
    expect(page.locator("#repeats")).to_be_visible()
    expect(page.locator("#legend tbody tr td").nth(1)).to_have_text("1")
    expect(page.locator("#legend")).to_contain_text("3 (repeat)")
    scores = page.locator("#scores figure").first.locator("tbody td")
    expect(scores.nth(1)).to_have_text("1")
    expect(scores.first).not_to_contain_text("±")
    page.locator("#curves").scroll_into_view_if_needed()
    loss = page.locator("#curves figure").filter(has_text=re.compile(r"^loss[^/]")).first
    loss.get_by_text("Numbers").click()
    shown = float(loss.locator("tbody tr").first.locator("td").nth(1).inner_text())
    assert shown == pytest.approx(alone[again["id"]][0], rel=1e-3)
    page.locator("select[name=group]").select_option("none")
    expect(page.locator("#repeats")).to_be_hidden()
    expect(page.locator("#legend tbody tr")).to_have_count(2)
    visitor.assert_content()


def test_a_curve_is_read_step_by_step_with_the_keyboard(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go(f"/jobs/{lived.training['id']}")
    page.locator("#curves").scroll_into_view_if_needed()
    loss = page.locator("#curves figure").filter(has_text=re.compile(r"^loss\d")).first
    expect(loss).to_contain_text("to step 16")
    loss.locator(".canvas").focus()
    page.keyboard.press("Home")
    expect(loss.locator(".readout")).to_contain_text("step 1:")
    page.keyboard.press("ArrowRight")
    expect(loss.locator(".readout")).to_contain_text("step 2:")
    assert page.evaluate("performance.getEntriesByName('drawn loss').length") > 0


@pytest.mark.parametrize("jobs", ["job_nothing,job_either", "job_alone"])
def test_what_cannot_be_compared_is_said(visitor: Visitor, jobs: str) -> None:
    page = visitor.go(f"/compare?jobs={jobs}")
    expect(page.locator("#about")).to_contain_text(
        "there is no job" if "," in jobs else "compare two to fifty jobs"
    )


# ---------------------------------------------------------------------------------------------- replications


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_a_replication_shows_its_missing_cells_in_every_window(
    browser: Browser, lived: Lived, width: int, scheme: str
) -> None:
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go(f"/replications/{lived.replication['id']}")
        expect(page.locator("#state")).to_have_text("cancelled")
        expect(page.locator("#grid td.cancelled a")).to_have_count(2)
        expect(page.get_by_role("button", name="Run the missing cells")).to_be_visible()
        expect(page.locator("#left")).to_contain_text("missing cells would take")
        page.get_by_text("2 cells are missing").click()
        expect(page.locator("#troubles li")).to_have_count(2)
        expect(page.locator("#table tbody th")).to_have_text(["CoMM", "InfMasking", "chance"])
        visitor.assert_accessible()


@pytest.mark.slow
def test_missing_cells_are_run_and_fill_in_while_somebody_looks(visitor: Visitor, lived: Lived) -> None:
    asked = lived.replication["request"]
    with Client(lived.url) as client:
        made = client.replicate("digits", methods=["comm"], seeds=[8], changes=asked["changes"])
        client.cancel_replication(made["id"])
    page = visitor.go(f"/replications/{made['id']}")
    page.get_by_role("button", name="Run the missing cells").click()
    expect(page.locator("#grid td.running, #grid td.queued")).to_have_count(1)
    expect(page.locator("#grid td.succeeded")).to_have_count(1, timeout=300_000)
    expect(page.locator("#state")).to_have_text("succeeded")
    expect(page.locator("#table tbody tr").first).to_contain_text("n = 1")
    visitor.assert_content()


def test_a_replication_is_estimated_before_it_is_run(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/replications?table=digits")
    page.get_by_label("Seeds").fill("2")
    page.locator("#changes").fill('{"epochs": 1}')
    page.get_by_label("infmasking", exact=True).uncheck()
    expect(page.get_by_role("button", name="Run")).to_be_disabled()
    page.get_by_role("button", name="Estimate").click()
    expect(page.locator("#answer")).to_contain_text("18 trainings and 18 probes would run")
    expect(page.get_by_role("button", name="Run")).to_be_enabled()
    page.get_by_label("Seeds").fill("3")
    expect(page.get_by_role("button", name="Run")).to_be_disabled()
    visitor.assert_content()


# ----------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_a_model_is_tried_with_an_image_a_text_and_without_either(
    browser: Browser, lived: Lived, width: int, scheme: str
) -> None:
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go("/models/lived")
        expect(page.locator("#heads tbody tr").first).to_contain_text("digit")
        page.locator("#try-text").fill("a handwritten three <b>")
        page.get_by_role("button", name="Embed").click()
        answer = page.locator("#answer")
        expect(answer).to_contain_text("Missingimage")
        expect(answer.locator(".prediction tbody tr")).to_have_count(10)
        picture: FilePayload = {"name": "three.png", "mimeType": "image/png", "buffer": png()}
        page.locator("#try-image").set_input_files(picture)
        page.get_by_role("button", name="Embed").click()
        expect(answer).to_contain_text("Missingnothing")
        expect(answer).to_contain_text("Cosine with the try before")
        visitor.assert_accessible()


def test_a_model_leads_back_to_what_justifies_it(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/models")
    shown = row(page, "#models-table", "lived")
    assert shown[:2] == ["lived@1", "prod"]
    page.get_by_role("link", name="lived@1").click()
    chain = page.locator("#lineage li")
    expect(chain).to_have_count(5)
    expect(chain.nth(1).get_by_role("link")).to_have_attribute("href", f"/jobs/{lived.training['id']}")
    expect(chain.nth(3).get_by_role("link")).to_have_attribute("href", f"/jobs/{lived.export['id']}")
    expect(page.locator("#heads").get_by_role("link")).to_have_attribute("href", f"/jobs/{lived.probe['id']}")


def test_a_model_says_what_to_expect_of_each_modality_and_precision(visitor: Visitor, lived: Lived) -> None:
    with Client(lived.url) as client:
        told = client.model("lived@1")
    page = visitor.go("/models/lived")
    for each in told["quality"]["subsets"]:
        shown = row(page, "[aria-label='By modality']", " + ".join(each["modalities"]))
        score = f"{100 * each['scores']['digit']['value']:.1f} %"
        assert shown[1:4] == [f"{each['mean_cosine']:.4f}", f"{each['min_cosine']:.4f}", score]
    (int8,) = [each for each in told["manifest"]["variants"] if each["precision"] == "int8"]
    assert row(page, "[aria-label='By precision']", "int8")[2] == f"{int8['closeness']['min_cosine']:.6f}"
    expect(page.locator("#facts")).to_contain_text("in fp32 or int8")


def test_a_model_says_why_a_precision_is_not_offered(visitor: Visitor, lived: Lived) -> None:
    with Client(lived.url) as client:
        finished(
            client, "export", {"run": lived.training["id"], "name": "exact", "threads": 1, "min_cosine": 1}
        )
    page = visitor.go("/models/exact")
    expect(page.locator("#quality")).to_contain_text(
        "int8 is not offered: a held-out embedding has a cosine of"
    )
    expect(page.get_by_role("group", name="By precision")).to_have_count(0)


def test_a_head_is_detached_and_its_probe_attached_again(visitor: Visitor, lived: Lived) -> None:
    with Client(lived.url) as client:
        before = client.heads("lived@1")["data"]
        page = visitor.go("/models/lived")
        page.get_by_role("button", name="Detach digit", exact=True).click()
        expect(page.locator("#attached")).to_have_text(
            f"digit is detached; its probe {lived.probe['id']} has it still."
        )
        expect(page.locator("#heads tbody tr")).to_have_count(len(before) - 1)
        assert "digit" not in [head["task"] for head in client.heads("lived@1")["data"]]
        expect(page.locator("#attach option")).to_have_count(1)
        page.get_by_role("button", name="Attach its heads").click()
        expect(page.locator("#attached")).to_contain_text("Attached: ")
        expect(page.locator("#heads tbody tr")).to_have_count(len(before))
        assert [head["sha256"] for head in client.heads("lived@1")["data"]] == [
            head["sha256"] for head in before
        ]
    visitor.assert_accessible()


def test_an_alias_is_moved_by_who_may(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/models/lived")
    page.locator("#alias input").fill("staging")
    page.get_by_role("button", name="Let it mean this version").click()
    expect(page.locator("#moved")).to_have_text("staging means lived@1 now.")
    expect(page.locator("#versions .tag")).to_have_text(["prod", "staging"])


def test_a_model_of_nothing_is_refused_in_words(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/models/lived")
    page.get_by_role("button", name="Embed").click()
    expect(page.get_by_role("alert")).to_have_text("Give one modality at least.")
    visitor.go("/models/nothing")
    expect(page.locator("main")).to_contain_text("there is no model 'nothing'")


# ---------------------------------------------------------------------------------------------------- workers


def test_a_worker_is_known_by_what_it_has_done(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/workers")
    expect(page.locator("#workers-list .card").first).to_contain_text("attempts ended")
    expect(page.locator("#queues caption")).to_contain_text([re.compile("^cpu .*usually a job waits"), "gpu"])


# -------------------------------------------------------------------------------------------------- all of them


def test_no_page_is_heavy(browser: Browser, lived: Lived) -> None:
    paths = ("/", "/jobs", "/jobs/new", f"/jobs/{lived.training['id']}", compared(lived), "/replications",
             f"/replications/{lived.replication['id']}", "/models", "/models/lived", "/workers", "/datasets")  # fmt: skip
    for path in paths:
        with visiting(browser, lived.url) as visitor:
            answers: list[Response] = []
            visitor.page.on("response", lambda answer, into=answers: into.append(answer))
            visitor.go(path)
            sent = sum(answer.request.sizes()["responseBodySize"] for answer in list(answers))
            assert 0 < sent < MOST_BYTES, f"{path}: {sent:,} bytes"


def test_empty_views_say_what_to_do(browser: Browser, guarded: Guarded) -> None:
    with visiting(browser, guarded.url) as visitor:
        page: Page = visitor.go("/login")
        page.get_by_label("API key").fill(guarded.key)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{guarded.url}/")
        for path, place, words in [
            ("/jobs", "#jobs-empty", "No jobs yet. Start one, or from a shell:"),
            ("/compare", "#suggestions", "There are not two finished trainings"),
            ("/replications", "#replications-empty", "None yet. Choose a table below"),
            ("/models", "#models-empty", "None yet. An export publishes one"),
            ("/workers", "#workers-empty", "None has worked yet. Start one: fusebox worker"),
        ]:
            visitor.go(path)
            expect(page.locator(place)).to_contain_text(words)
            visitor.assert_content()
