"""Embedded datasets in a real browser: a list, a map of each, the neighbours of its points, and search by text and image."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, FilePayload, Page, Response, expect

from service.client import Client, Json
from tests.browser.conftest import Guarded, Lived, Visitor, ended, finished, visiting
from tests.browser.test_pages import FAINT, WINDOWS, row
from tests.browser.test_views import MOST_BYTES
from tests.service.pictures import png

NAME = "<b>map</b> & \u202eم\u202c 🧨"


@pytest.fixture(scope="session")
def index(lived: Lived) -> Json:
    """Digits with captions, embedded whole, by image and by text."""
    spec = {
        "run": lived.training["id"],
        "modalities": [["image", "text"], ["image"], ["text"]],
        "splits": ["test"],
        "threads": 1,
    }
    with Client(lived.url) as client:
        job = finished(client, "embed", spec, name=NAME)
    assert job["state"] == "succeeded", job["error"]
    return job


def opened(visitor: Visitor, index: Json) -> Page:
    page = visitor.go(f"/embeddings/{index['id']}")
    expect(page.locator("#legend tbody tr").first).to_be_visible()
    return page


def middle(page: Page) -> None:
    """Points at what is nearest to the middle of the map, by keyboard."""
    page.locator("#points").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#pointed")).to_contain_text("Sample ")


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_a_map_its_neighbours_and_a_search_are_content_in_every_window(
    browser: Browser, lived: Lived, index: Json, width: int, scheme: str
) -> None:
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go("/embeddings")
        expect(page.locator("[aria-current=page]")).to_have_text("Embeddings")
        shown = row(page, "#embeddings-table", NAME)
        assert shown[1:5] == ["succeeded", "digits", "infmasking", "image and text; image; text"]
        visitor.assert_accessible()
        page.get_by_role("link", name=NAME).click()
        expect(page.locator("#title")).to_have_text(NAME)
        expect(page.locator("#summary")).to_contain_text("1,080 points, 3 kinds by what was embedded")
        expect(page.locator("#summary")).to_contain_text("standard deviations away")
        middle(page)
        page.keyboard.press("Enter")
        expect(page.locator("#near-lead")).to_contain_text("by cosine among 360 vectors of")
        expect(page.locator("#found figure")).to_have_count(8)
        expect(page.locator("#looked-at figcaption")).to_contain_text("Sample ")
        expect(page.locator("#found .words").first).not_to_be_empty()
        page.locator("#try-text").fill("a handwritten <i>three</i>")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("#near-lead")).to_contain_text("what you gave (text)")
        page.locator("#as-table summary").click()
        expect(page.locator("#found-table tbody tr")).to_have_count(8)
        images = page.locator("#found img").evaluate_all(
            "(images) => Promise.all(images.map((each) => { each.loading = 'eager'; return each.decode().then(() => each.naturalWidth); }))"
        )
        assert images == [8] * 8
        visitor.assert_accessible()
        assert page.evaluate(FAINT) == []


@pytest.mark.slow
def test_points_are_coloured_by_what_is_asked_for_and_counted(visitor: Visitor, index: Json) -> None:
    page = opened(visitor, index)
    legend = page.locator("#legend tbody tr")
    expect(legend).to_have_count(3)
    expect(legend.first).to_contain_text("360")
    page.locator("#drawing [name=of]").select_option("image")
    page.get_by_label("Coloured by").select_option(label="label: digit")
    expect(legend).to_have_count(10)
    counts = [int(text) for text in page.locator("#legend td").all_text_contents()]
    assert sum(counts) == 360
    assert page.locator("#legend th svg").count() == 10
    page.get_by_label("Coloured by").select_option("split")
    expect(legend).to_have_text([re.compile("test.*360")])
    visitor.assert_content()


@pytest.mark.slow
def test_a_map_is_moved_and_zoomed_by_keyboard_mouse_and_buttons(visitor: Visitor, index: Json) -> None:
    page = opened(visitor, index)
    middle(page)
    canvas = page.locator("#points")
    looks = [canvas.screenshot()]
    for key in ("+", "Shift+ArrowLeft", "0"):
        page.keyboard.press(key)
        page.wait_for_timeout(150)
        looks.append(canvas.screenshot())
    assert looks[0] == looks[3]
    assert len(set(looks)) == 3
    page.get_by_role("button", name="Closer").click()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 260, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Whole").click()
    canvas.focus()
    canvas.hover(position={"x": 120, "y": 200})
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 300)
    page.wait_for_timeout(150)
    assert page.evaluate("scrollY") == before
    assert canvas.screenshot() != looks[0]
    visitor.assert_content()


@pytest.mark.slow
def test_a_point_that_is_clicked_is_looked_at_and_leads_on(visitor: Visitor, index: Json) -> None:
    page = opened(visitor, index)
    middle(page)
    said = page.locator("#pointed").inner_text()
    sample = said.split(",")[0]
    page.keyboard.press("Enter")
    expect(page.locator("#looked-at figcaption")).to_contain_text(sample)
    digit = re.search(r"digit (\d)", said)
    assert digit is not None
    expect(page.locator("#looked-at figcaption")).to_contain_text(f"digit {digit[1]}")
    expect(page.locator("#near-lead")).to_contain_text(f"have the digit {digit[1]}, as it has")
    first = page.locator("#found figcaption").first.inner_text()
    page.get_by_role("button", name="Look from here").first.click()
    neighbour = re.search(r"sample ([\d,]+)", first)
    assert neighbour is not None
    expect(page.locator("#looked-at figcaption")).to_contain_text(f"Sample {neighbour[1]}")
    page.locator("#near [name=k]").select_option("4")
    expect(page.locator("#found figure")).to_have_count(4)
    visitor.assert_content()


@pytest.mark.slow
def test_a_hundred_thousand_points_are_drawn_while_one_looks(visitor: Visitor, index: Json) -> None:
    page = opened(visitor, index)
    took = page.evaluate("""async () => {
      const { scatter } = await import("/static/scatter.js");
      const n = 100000, canvas = document.querySelector("#points");
      const random = (k) => Math.abs(Math.sin(k * 12.9898) * 43758.5453) % 1;
      const map = scatter(canvas, { pointed() {}, chosen() {} });
      const points = { xs: Float32Array.from({ length: n }, (_, k) => random(k)), ys: Float32Array.from({ length: n }, (_, k) => random(k + n)),
        code: Uint8Array.from({ length: n }, (_, k) => k % 10), kinds: 10, rest: -1 };
      performance.clearMeasures();
      map.draw(points);
      for (let turn = 0; turn < 8; turn += 1) {
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        map.zoom(1.2);
      }
      const each = performance.getEntriesByName("drawn map").map((one) => one.duration).sort((a, b) => a - b);
      return each[Math.floor(each.length / 2)];
    }""")
    assert 0 < took < 400, f"{took} ms, on a machine with other work"


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), pytest.param(390, "dark", marks=pytest.mark.slow)])  # fmt: skip
def test_a_tried_model_shows_what_is_near(
    browser: Browser, lived: Lived, index: Json, width: int, scheme: str
) -> None:
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go("/models/lived")
        picture: FilePayload = {"name": "three.png", "mimeType": "image/png", "buffer": png()}
        page.locator("#try-image").set_input_files(picture)
        page.get_by_role("button", name="Embed", exact=True).click()
        near = page.locator("#answer .near")
        expect(near.locator("figure")).to_have_count(6)
        expect(near).to_contain_text("of 360 samples of digits, by vectors of image.")
        expect(near.get_by_role("link")).to_have_attribute("href", f"/embeddings/{index['id']}")
        visitor.assert_accessible()


@pytest.mark.slow
def test_a_model_without_an_index_gets_one_by_a_button(visitor: Visitor, lived: Lived) -> None:
    with Client(lived.url) as client:
        export = finished(client, "export", {"run": lived.other_seed["id"], "name": "bare", "threads": 1})
        assert export["state"] == "succeeded", export["error"]
        page = visitor.go("/models/bare")
        page.locator("#try-text").fill("seven")
        page.get_by_role("button", name="Embed", exact=True).click()
        near = page.locator("#answer .near")
        near.get_by_role("button", name="Make an index of digits").click()
        expect(near).to_contain_text("It is being embedded")
        (job,) = client.jobs(kind="embed", source_job_id=lived.other_seed["id"])["data"]
        assert job["spec"]["modalities"] == [["image", "text"], ["image"], ["text"]]
        assert ended(client, job["id"])["state"] == "succeeded"
    page.get_by_role("button", name="Embed", exact=True).click()
    expect(near).to_contain_text("of 1,797 samples of digits, by vectors of text.")
    visitor.assert_content()


@pytest.mark.slow
def test_a_job_and_a_dataset_lead_to_the_map(visitor: Visitor, lived: Lived, index: Json) -> None:
    page = visitor.go(f"/jobs/{index['id']}")
    page.get_by_role("link", name="Map and search").click()
    expect(page.locator("#title")).to_have_text(NAME)
    page = visitor.go(f"/jobs/{lived.training['id']}")
    expect(page.get_by_role("link", name="Map and search")).to_be_hidden()
    page.get_by_role("link", name="Embed", exact=True).click()
    expect(page).to_have_url(re.compile(rf"/jobs/new\?kind=embed&run={lived.training['id']}"))
    page = visitor.go("/datasets/digits")
    page.get_by_role("link", name="maps and search").click()
    expect(page.locator("#of-dataset")).to_contain_text("Only those of digits.")
    visitor.assert_content()


@pytest.mark.slow
def test_registered_samples_are_shown_from_their_dataset(visitor: Visitor, lived: Lived) -> None:
    with Client(lived.url) as client:
        training = finished(
            client,
            "train",
            {
                "dataset": lived.dataset,
                "method": "comm",
                "model": {"dim": 16, "heads": 2, "head_hidden": 32, "head_out": 16},
                "epochs": 1,
                "batch_size": 16,
                "threads": 1,
                "device": "cpu",
            },
        )
        assert training["state"] == "succeeded", training["error"]
        index = finished(client, "embed", {"run": training["id"], "projection": "tsne", "threads": 1})
        assert index["state"] == "succeeded", index["error"]
    page = opened(visitor, index)
    expect(page.locator("#asking-lead")).to_contain_text("none is published")
    page.get_by_label("Coloured by").select_option(label="label: weight")
    expect(page.locator("#legend tbody tr").first).to_contain_text(" to ")
    middle(page)
    page.keyboard.press("Enter")
    expect(page.locator("#looked-at .words")).to_contain_text("square, number")
    expect(page.locator("#found svg[role=img]")).to_have_count(8)
    visitor.assert_accessible()


@pytest.mark.slow
def test_the_pages_are_not_heavy(browser: Browser, lived: Lived, index: Json) -> None:
    for path in ("/embeddings", f"/embeddings/{index['id']}"):
        with visiting(browser, lived.url) as visitor:
            answers: list[Response] = []
            visitor.page.on("response", lambda answer, into=answers: into.append(answer))
            visitor.go(path)
            page_only = [each for each in answers if "/v1/" not in each.url]
            sent = sum(each.request.sizes()["responseBodySize"] for each in page_only)
            assert 0 < sent < MOST_BYTES, f"{path}: {sent:,} bytes"


@pytest.mark.slow
def test_where_nothing_is_embedded_the_page_says_what_to_do(browser: Browser, guarded: Guarded) -> None:
    with visiting(browser, guarded.url) as visitor:
        page = visitor.go("/login")
        page.get_by_label("API key").fill(guarded.reader)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{guarded.url}/")
        visitor.go("/embeddings")
        expect(page.locator("#embeddings-empty")).to_contain_text("None yet. Train a model first")
        visitor.assert_accessible()


@pytest.mark.slow
def test_what_is_no_embedding_is_said_as_a_page(visitor: Visitor, lived: Lived) -> None:
    for job_id in ("job_nothing", lived.training["id"]):
        page = visitor.go(f"/embeddings/{job_id}")
        expect(page.locator("main")).to_contain_text(f"there is no index '{job_id}'")
