"""The list of jobs, what can be done with many at once, and the form that makes a new one."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from service.client import Client
from tests.browser.conftest import HOSTILE, Guarded, Lived, Visitor, visiting
from tests.browser.test_pages import WINDOWS, row
from tests.service.worker.places import SMALL


def rows(page: Page) -> int:
    return page.locator("#jobs-table tbody tr").count()


def test_a_jobs_row_says_what_it_is_and_leads_to_its_page(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/jobs")
    shown = row(page, "#jobs-table", lived.training["name"])
    assert shown[1:8] == [
        f"{lived.training['name']} first", "train", "succeeded", "infmasking", "digits", "1", "16 of 16"
    ]  # fmt: skip
    page.get_by_role("link", name=lived.training["name"]).click()
    expect(page).to_have_url(f"{lived.url}/jobs/{lived.training['id']}")
    expect(page.locator("h1")).to_contain_text("<b>first</b> & seed 1")


def test_a_hostile_name_is_text(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/jobs?state=cancelled")
    expect(page.locator("#jobs-table th.name a").filter(has_text=HOSTILE)).to_have_count(1)
    visitor.assert_content()
    page = visitor.go(f"/jobs/{lived.cancelled['id']}")
    expect(page.locator("#title")).to_have_text(HOSTILE)
    page = visitor.go(f"/compare?jobs={lived.cancelled['id']},{lived.training['id']}")
    page.locator("select[name=group]").select_option("none")
    expect(page.locator("#legend")).to_contain_text(HOSTILE)
    visitor.assert_content()


def test_filters_stand_in_the_address_and_leave_only_what_was_asked_for(visitor: Visitor) -> None:
    page = visitor.go("/jobs")
    page.get_by_label("Kind").select_option("probe")
    page.get_by_label("State").select_option("succeeded")
    expect(page.locator("#jobs-table tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"/jobs\?kind=probe&state=succeeded$"))
    page.reload()
    expect(page.get_by_label("Kind")).to_have_value("probe")
    expect(page.locator("#jobs-table tbody tr")).to_have_count(1)
    page.get_by_label("Kind").select_option("")
    page.get_by_label("Search").fill("B>FIRST</b")
    expect(page.locator("#jobs-table tbody tr")).to_have_count(1)
    page.get_by_label("Tag", exact=True).fill("nothing has it")
    expect(page.locator("#jobs-empty")).to_have_text("No such jobs.")
    visitor.assert_content()


def test_what_has_the_focus_keeps_it_while_the_page_renews_itself(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/jobs")
    page.locator("#jobs-table a").first.focus()
    focused = page.evaluate("document.activeElement.href")
    for _ in range(2):
        with page.expect_response("**/v1/jobs?**"):
            pass
    page.wait_for_timeout(100)
    assert page.evaluate("document.activeElement.href") == focused


def test_many_are_cancelled_and_queued_again_at_once_and_nothing_moves_meanwhile(
    visitor: Visitor, lived: Lived
) -> None:
    with Client(lived.url) as client:
        first = client.submit("train", {**SMALL, "epochs": 10_000}, priority=100)["id"]
        names = ["bulk one", "bulk two"]
        for name in names:
            client.submit("train", {**SMALL, "epochs": 10_000}, name=name, tags=["bulk"], after=first)
        page = visitor.go("/jobs?tag=bulk")
        for name in names:
            page.get_by_label(f"Select {name}").check()
        expect(page.locator("#chosen")).to_have_text("2 selected")
        before = page.locator("#jobs-table tbody tr").all_inner_texts()
        client.submit("train", {**SMALL, "epochs": 10_000}, name="a third", tags=["bulk"], after=first)
        expect(page.get_by_role("button", name="Show 1 new")).to_be_visible()
        assert len(page.locator("#jobs-table tbody tr").all_inner_texts()) == len(before)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#answer")).to_have_text("2 told to stop.")
        page.get_by_role("button", name="Retry").click()
        expect(page.locator("#answer")).to_have_text("2 queued again.")
        href = page.get_by_role("link", name="Compare").nth(1).get_attribute("href")
        assert href is not None
        assert href.startswith("/compare?jobs=job_")
        page.get_by_role("button", name="Show 1 new").click()
        expect(page.locator("#jobs-table tbody tr")).to_have_count(3)
        visitor.assert_content()
        client.cancel(first)


def test_many_are_tagged_at_once_and_found_by_their_tag(visitor: Visitor, lived: Lived) -> None:
    tag = f"<i>{HOSTILE[:80]}"
    page = visitor.go("/jobs?kind=train")
    of_both = [lived.training["name"], lived.other_seed["name"]]
    for name in of_both:
        page.get_by_label(f"Select {name}").check()
    page.get_by_placeholder("a tag").fill(f" {tag} ")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_have_text(f"2 have the tag “{tag}” now.")
    shown = page.locator("#jobs-table a.tag").filter(has_text=tag)
    expect(shown).to_have_count(2)
    shown.first.click()
    expect(page.get_by_label("Tag", exact=True)).to_have_value(tag)
    expect(page.locator("#jobs-table tbody tr")).to_have_count(2)
    visitor.assert_accessible()
    page.get_by_label("Select all jobs shown").check()
    page.get_by_placeholder("a tag").fill(tag)
    page.get_by_role("button", name="Remove tag").click()
    expect(page.locator("#answer")).to_have_text(f"2 do not have the tag “{tag}” now.")
    with Client(lived.url) as client:
        assert client.job(lived.training["id"])["tags"] == ["first"]
        assert client.jobs(tag=tag)["data"] == []


def test_a_job_is_renamed_and_tagged_on_its_page(visitor: Visitor, lived: Lived) -> None:
    job_id = lived.failed["id"]
    page = visitor.go(f"/jobs/{job_id}")
    page.get_by_text("Name and tags").click()
    page.get_by_label("Name", exact=True).fill("too exact")
    page.get_by_role("button", name="Rename").click()
    expect(page.locator("#title")).to_have_text("too exact")
    page.get_by_label("Tag", exact=True).fill("for later")
    page.get_by_role("button", name="Add tag").click()
    expect(page.locator("#named")).to_have_text("Its tags: for later.")
    expect(page.locator("#facts a.tag")).to_have_attribute("href", "/jobs?tag=for+later")
    visitor.assert_accessible()
    page.get_by_role("button", name="Remove tag").click()
    expect(page.locator("#named")).to_have_text("Its tags: none.")
    page.get_by_label("Name", exact=True).fill("")
    page.get_by_role("button", name="Rename").click()
    expect(page.locator("#title")).to_have_text(job_id)


def test_a_jobs_log_is_searched(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go(f"/jobs/{lived.training['id']}")
    expect(page.locator("#log")).to_contain_text("succeeded")
    page.locator("#log-search").fill("SUCCEEDED")
    expect(page.locator("#log-count")).to_have_text("1 line")
    expect(page.locator("#log mark")).to_have_text("succeeded")
    page.locator("#log-search").fill("")
    expect(page.locator("#log mark")).to_have_count(0)


def test_a_job_leads_to_what_has_come_from_it(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go(f"/jobs/{lived.training['id']}")
    lineage = page.locator("#lineage")
    expect(lineage.get_by_role("link", name="lived@1")).to_have_attribute("href", "/models/lived")
    expect(lineage.locator("li").filter(has_not_text="embed")).to_have_count(
        4
    )  # a probe, two exports, a model
    expect(page.get_by_role("link", name="Compare its 2 seeds")).to_be_visible()
    expect(page.locator("#attempts tbody tr")).to_have_count(1)


# ------------------------------------------------------------------------------------------------- the form


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_a_job_is_checked_and_submitted_by_its_form(
    browser: Browser, lived: Lived, width: int, scheme: str
) -> None:
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go("/jobs/new")
        page.get_by_label("Search").fill("digits comm")
        page.locator("#preset-list").get_by_text("digits-comm", exact=False).first.click()
        expect(page.get_by_label("Epochs", exact=True)).not_to_have_attribute("placeholder", "100")
        page.get_by_label("Epochs", exact=True).fill("2")
        page.get_by_label("Overrides").fill('{"dataset": {"n_pairs": 256}, "device": "cpu"}')
        page.get_by_label("Priority").fill("-100")
        page.get_by_label("Name", exact=True).first.fill("made by the form")
        page.get_by_role("button", name="Check").click()
        expect(page.locator("#answer")).to_contain_text("It would be accepted.")
        expect(page.locator("#answer")).to_contain_text("Optimizer steps8")
        visitor.assert_accessible()
        page.get_by_role("button", name="Submit").click()
        expect(page).to_have_url(re.compile(r"/jobs/job_"))
        expect(page.locator("#title")).to_have_text("made by the form")
        expect(page.locator("#facts")).to_contain_text("comm")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#state")).to_have_text(re.compile("cancel"))


def test_what_is_wrong_is_told_at_its_field(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/jobs/new")
    page.locator("#spec-dataset\\.name").select_option("digits")
    page.get_by_label("Epochs", exact=True).fill("many")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#spec-epochs-fault")).to_contain_text("integer")
    expect(page.get_by_label("Epochs", exact=True)).to_be_focused()
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    page.get_by_label("Epochs", exact=True).fill("2")
    page.get_by_label("Overrides").fill("{")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not JSON")
    visitor.complaints = [each for each in visitor.complaints if "422" not in each]
    visitor.assert_content()


def test_a_clone_says_what_it_has_otherwise(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go(f"/jobs/{lived.training['id']}")
    page.get_by_role("link", name="Clone").click()
    expect(page.get_by_label("Batch size", exact=True)).to_have_attribute("placeholder", "32")
    page.get_by_label("Epochs", exact=True).fill("3000")
    page.get_by_label("Priority").fill("-100")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#answer")).to_contain_text("It would be accepted.")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#diff tbody tr")).to_have_count(1)
    expect(page.locator("#diff tbody tr")).to_have_text("epochs23000")
    expect(page.locator("#lineage")).to_contain_text("Cloned from")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text(re.compile("cancel"))


def test_a_key_that_may_only_read_is_offered_nothing_it_may_not(browser: Browser, guarded: Guarded) -> None:
    with visiting(browser, guarded.url) as visitor:
        page = visitor.go("/login")
        page.get_by_label("API key").fill(guarded.reader)
        page.get_by_role("button", name="Sign in").click()
        page = visitor.go("/jobs")
        expect(page.locator("#jobs-empty")).to_contain_text("No jobs yet.")
        expect(page.get_by_placeholder("a tag")).to_be_hidden()
        page = visitor.go("/replications")
        expect(page.locator("#replications-empty")).to_contain_text("None yet.")
        expect(page.get_by_role("heading", name="Replicate a table")).to_be_hidden()
        page = visitor.go("/workers")
        expect(page.locator("#workers-empty")).to_contain_text("None has worked yet.")
        visitor.assert_content()
