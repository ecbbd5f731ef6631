"""The dashboard in a real browser: it shows what there is, in every window, and the browser has no complaint."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from service.client import Client
from tests.browser.conftest import Guarded, Lived, Visitor, visiting
from tests.service.worker.places import SMALL

WINDOWS = [
    (1440, "light"),
    pytest.param(1440, "dark", marks=pytest.mark.slow),
    pytest.param(390, "light", marks=pytest.mark.slow),
    (390, "dark"),
]


def row(page: Page, table: str, text: str) -> list[str]:
    """The texts of the cells of the first row that holds `text`."""
    found = page.locator(f"{table} tbody tr").filter(has_text=text).first
    expect(found).to_be_attached()
    return [cell.strip() for cell in found.locator("th, td").all_text_contents()]


# --------------------------------------------------------------------------------------- every page, every window


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_every_list_is_content_in_every_window(
    browser: Browser, lived: Lived, width: int, scheme: str
) -> None:
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go("/")
        expect(page.locator("#results-tables table").first).to_be_visible()
        expect(page.locator("#served-models")).to_contain_text("lived@1")
        for name, filled in LISTS.items():
            visitor.assert_accessible()
            page.get_by_role("navigation", name="Main").get_by_role("link", name=name).click()
            expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
            expect(page.locator(filled).first).to_be_visible()
            expect(page.locator("[aria-current=page]")).to_have_text(name)
        visitor.assert_accessible()


LISTS = {
    "Jobs": "#jobs-table tbody tr",
    "Compare": "#suggestions .card",
    "Replications": "#replications-table tbody tr",
    "Models": "#models-table tbody tr",
    "Workers": "#workers-list .card",
}
"""By their name in the navigation: what is there once they are filled."""


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
@pytest.mark.parametrize("which", ["training", "probe", "export", "failed", "cancelled"])
def test_every_kind_of_job_is_content_in_every_window(
    browser: Browser, lived: Lived, which: str, width: int, scheme: str
) -> None:
    job = getattr(lived, which)
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go(f"/jobs/{job['id']}")
        expect(page.locator("#state")).to_have_text(job["state"])
        expect(page.locator("#events tbody tr").first).to_be_visible()
        expect(page.locator("#timeline svg")).to_be_visible()
        visitor.assert_accessible()


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_the_reference_of_the_api_is_content_in_every_window(
    browser: Browser, lived: Lived, width: int, scheme: str
) -> None:
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go("/docs")
        submit = page.locator(".opblock").filter(has_text="/v1/jobs").first
        submit.click()
        expect(page.get_by_text("Request body").first).to_be_visible()
        visitor.assert_content()


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_colours_can_be_read(browser: Browser, lived: Lived, width: int, scheme: str) -> None:
    """WCAG AA: text differs from what is behind it by 4.5 to 1."""
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        for path in ("/", "/jobs", "/jobs/new", f"/jobs/{lived.failed['id']}", f"/replications/{lived.replication['id']}",
                     "/datasets", f"/datasets/{lived.dataset}", "/workers", "/login"):  # fmt: skip
            page = visitor.go(path)
            expect(page.locator("h1").first).to_be_visible()
            assert page.evaluate(FAINT) == []


FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("main *, header *, footer *")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || !element.checkVisibility({ visibilityProperty: true })) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) faint.push(element.textContent.trim().slice(0, 40));
  }
  return faint;
}"""


@pytest.mark.parametrize(
    ("happening", "complaint"),
    [
        ("console.error('e')", "console: e"),
        ("setTimeout(() => { throw new Error('thrown'); })", "error: "),
        ("new Image().src = 'http://192.0.2.1/x.png'", "another host: http://192.0.2.1/x.png"),
        ("fetch('/v1/nothing')", "404: "),
        ("document.body.setAttribute('style', 'color: red')", "style-src"),
        ("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))", "script-src"),
        ("document.body.append(Object.assign(document.createElement('p'), {innerText: 'x'.repeat(1e4)}))", "sideways"),
    ],
)  # fmt: skip
def test_a_visitor_notices_what_must_not_happen(visitor: Visitor, happening: str, complaint: str) -> None:
    visitor.go("/login").evaluate(happening)
    visitor.page.wait_for_timeout(300)
    with pytest.raises(AssertionError, match=complaint):
        visitor.assert_content()


# ------------------------------------------------------------------------------------------- what the pages show


def test_results_stand_beside_what_guessing_gives(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/")
    table = page.locator("#results-tables table").first
    expect(table).to_contain_text("macro accuracy on test, protocol strict")
    expect(table.locator("tr").filter(has_text="infmasking").first).to_contain_text(
        re.compile(r"\d+\.\d n = 1")
    )
    expect(table.locator("tr").filter(has_text="chance")).to_contain_text("10.0")


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_a_table_shows_what_was_published_and_by_whom_in_every_window(
    browser: Browser, lived: Lived, width: int, scheme: str
) -> None:
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go("/")
        page.get_by_role("link", name=re.compile("^Trifeatures: what")).click()
        expect(page.locator("#summary")).to_contain_text("fusebox replicate trifeatures")
        infmasking = page.locator("#table tr").filter(has_text=re.compile("^InfMasking"))
        expect(infmasking).to_contain_text("77.0 ± 4.22 by InfMasking's authors")
        expect(infmasking.locator("td").last).to_contain_text("not run")
        expect(page.get_by_label("Protocol")).to_have_value("reference")
        visitor.assert_content()


def test_a_table_is_copied_as_the_api_writes_it(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/tables/trifeatures")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=lived.url)
    page.get_by_role("button", name="LaTeX").click()
    expect(page.locator("#answer")).to_have_text("Copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == httpx.get(f"{lived.url}/v1/results?table=trifeatures&format=latex", trust_env=False).text
    assert "InfMasking" in copied
    visitor.assert_content()


def test_a_table_that_is_not_there_says_so_as_a_page(visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{visitor.url}/tables/nothing")
    expect(page.locator("main")).to_contain_text("trifeatures")


def test_a_training_shows_its_curves_checkpoints_scores_and_log(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go(f"/jobs/{lived.training['id']}")
    page.locator("#curves").scroll_into_view_if_needed()
    loss = page.locator("#curves figure").filter(has_text=re.compile(r"^loss\d")).first
    expect(loss.locator("canvas")).to_be_visible()
    expect(loss).to_contain_text("16 points to step 16")
    loss.get_by_text("Numbers").click()
    expect(loss.locator("tbody tr")).to_have_count(16)
    drawn = loss.locator("canvas").evaluate(
        "(canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((each) => each)"
    )
    assert drawn
    assert "yes, best" in " ".join(page.locator("#checkpoints tbody tr").all_text_contents())
    assert row(page, "#scores", "macro_accuracy")[:5] == [
        "digit",
        "redundancy",
        "macro_accuracy",
        "test",
        "strict",
    ]
    expect(page.locator("#log")).to_contain_text("succeeded")
    expect(page.locator("#spec")).to_contain_text('"n_masks": 6')
    visitor.assert_content()


def test_what_failed_says_why_and_offers_another_try(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go(f"/jobs/{lived.failed['id']}")
    expect(page.locator("#reason")).to_have_text(lived.failed["error"])
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(page.locator("#facts a")).to_have_attribute("href", f"/jobs/{lived.training['id']}")
    visitor.assert_content()


def test_a_running_job_moves_and_can_be_cancelled(visitor: Visitor, lived: Lived) -> None:
    with Client(lived.url) as client:
        job_id = client.submit("train", {**SMALL, "epochs": 10_000})["id"]
        page = visitor.go(f"/jobs/{job_id}")
        expect(page.locator("#state")).to_have_text("running", timeout=60_000)
        expect(page.locator("#pace")).to_contain_text("per second", timeout=60_000)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#state")).to_have_text("cancelled", timeout=60_000)
        expect(page.get_by_role("button", name="Retry")).to_be_visible()
        visitor.assert_content()
        assert client.job(job_id)["state"] == "cancelled"


def test_a_page_that_is_not_there_says_so_as_a_page(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/jobs/job_nothing")
    expect(page.locator("main")).to_contain_text("there is no job 'job_nothing'")
    page.get_by_role("link", name="All jobs").click()
    expect(page.locator("#jobs-table")).to_be_visible()


def test_a_server_that_goes_away_is_told_and_found_again(browser: Browser, lived: Lived) -> None:
    with visiting(browser, lived.url) as visitor:
        page = visitor.go("/jobs")
        page.context.set_offline(True)
        expect(page.locator("#connection")).to_have_text("The server does not answer; trying again.")
        page.context.set_offline(False)
        expect(page.locator("#connection")).to_have_text("")


# ---------------------------------------------------------------------------------------------------- signing in


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_signing_in_and_out(browser: Browser, guarded: Guarded, width: int, scheme: str) -> None:
    with visiting(browser, guarded.url, width=width, scheme=scheme) as visitor:
        page = visitor.go("/")
        expect(page).to_have_url(f"{guarded.url}/login")
        page.get_by_label("API key").fill(guarded.key)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{guarded.url}/")
        expect(page.locator("#results-tables")).to_contain_text("No scores yet.")
        expect(page.locator("#now")).to_contain_text("Nothing waits and nothing runs.")
        expect(page.locator("#served-models")).to_contain_text("No model is published yet.")
        visitor.assert_content()
        assert page.evaluate("document.cookie") == ""  # no script can read the key
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{guarded.url}/login")
        visitor.go("/docs")
        expect(page).to_have_url(f"{guarded.url}/login")
        visitor.assert_content()


def test_a_wrong_key_is_told_at_the_form(browser: Browser, guarded: Guarded) -> None:
    with visiting(browser, guarded.url) as visitor:
        page = visitor.go("/login")
        page.get_by_label("API key").fill("fbx_0_0")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("this API key is not known")


def test_the_page_of_a_key_that_ended_leads_to_the_login(browser: Browser, guarded: Guarded) -> None:
    with visiting(browser, guarded.url) as visitor:
        page = visitor.go("/login")
        page.get_by_label("API key").fill(guarded.key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#results-tables")).to_contain_text("No scores yet.")
        page.context.clear_cookies()
        expect(page).to_have_url(f"{guarded.url}/login")
