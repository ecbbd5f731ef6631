"""Datasets in a real browser: a list of them, and of each what its samples look like before and after augmentation."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Guarded, Lived, Visitor, visiting
from tests.browser.test_pages import WINDOWS, row


def drawn(page: Page) -> set[int]:
    """Widths of the pictures of the page, once all have come."""
    widths: list[int] = page.evaluate("""async () => {
      const images = [...document.querySelectorAll("main img")];
      for (const each of images) each.loading = "eager";
      await Promise.all(images.map((each) => each.decode()));
      return images.map((each) => each.naturalWidth);
    }""")
    return set(widths)


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_datasets_are_content_in_every_window(
    browser: Browser, lived: Lived, width: int, scheme: str
) -> None:
    with visiting(browser, lived.url, width=width, scheme=scheme) as visitor:
        page = visitor.go("/")
        page.get_by_role("link", name="Datasets").click()
        expect(page.locator("#datasets-table tbody tr")).to_have_count(3)
        visitor.assert_content()
        page.get_by_role("link", name=lived.dataset).click()
        expect(page.locator("#views figure").first).to_be_visible()
        page.get_by_text("12 more samples").click()
        page.wait_for_load_state("networkidle")
        visitor.assert_content()
        page.go_back()
        page.get_by_role("link", name="digits").click()
        expect(page.locator("#views-lead")).to_contain_text("No worker has made views of these samples yet")
        visitor.assert_content()


def test_a_line_says_what_a_dataset_is(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go("/datasets")
    shown = row(page, "#datasets-table", lived.dataset)
    inputs = "image, caption text, track sequence"
    assert shown[:6] == [lived.dataset, inputs, "colour, weight", "48", "6", "6"]
    assert "always there" in row(page, "#datasets-table", "trifeatures")


def test_where_none_is_registered_the_list_says_how_to_add_one(browser: Browser, guarded: Guarded) -> None:
    with visiting(browser, guarded.url) as visitor:
        page = visitor.go("/datasets")
        page.get_by_label("API key").fill(guarded.key)
        page.get_by_role("button", name="Sign in").click()
        page = visitor.go("/datasets")
        expect(page.locator("#datasets-empty")).to_contain_text(
            "None is registered yet. Add a folder of images with metadata.csv: fusebox datasets upload"
        )
        visitor.assert_content()


def test_every_sample_is_shown_as_it_is_kept_and_as_two_views(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go(f"/datasets/{lived.dataset}")
    expect(page.locator("#views > figure")).to_have_count(12)
    card = page.locator("#views > figure").first
    expect(card.locator("figcaption")).to_contain_text("Training sample 0colour ")
    looks = ["image, as kept", "a view", "another view"]
    assert card.locator(".looks.image small").all_text_contents() == looks
    alt = card.locator("img").nth(1).get_attribute("alt")
    assert alt is not None
    assert alt.startswith("image of training sample 0, a view: colour ")
    assert card.locator(".looks.text .words").count() == card.locator("svg[role=img]").count() == 3
    expect(page.locator("#views mark").first).to_have_text("[MASK]")
    assert drawn(page) == {24}
    sources = page.locator("#views img").evaluate_all("(images) => images.map((each) => each.src)")
    assert len(set(sources)) == 36
    visitor.assert_content()


def test_labels_are_counted_by_split_and_warnings_told(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go(f"/datasets/{lived.dataset}")
    colour = page.locator("#labels figure").filter(has_text="colour")
    rows = [each.split() for each in colour.locator("tbody tr").all_inner_texts()]
    assert [name for name, *_ in rows] == ["blue", "green", "red"]
    assert [sum(int(each[k]) for each in rows) for k in (1, 2, 3)] == [48, 6, 6]
    expect(page.locator("#labels figure").filter(has_text="weight")).to_contain_text("mean")
    expect(page.locator("#warnings")).to_contain_text("val has 6 samples, too few to choose by")
    expect(page.locator("#facts")).to_contain_text("sequence, up to 8 × 2")


def test_stored_samples_are_leafed_through_by_split_with_the_keyboard(visitor: Visitor, lived: Lived) -> None:
    page = visitor.go(f"/datasets/{lived.dataset}")
    expect(page.locator("#place")).to_have_text("1 to 12 of 48")
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    first = page.locator("#samples figcaption").all_text_contents()
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_have_text("13 to 24 of 48")
    assert not set(first) & set(page.locator("#samples figcaption").all_text_contents())
    page.get_by_label("Split").select_option("test")
    expect(page.locator("#place")).to_have_text("1 to 6 of 6")
    expect(page.locator("#samples figure")).to_have_count(6)
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    visitor.assert_content()


def test_nothing_moves_while_a_dataset_is_shown(visitor: Visitor, lived: Lived) -> None:
    visitor.page.add_init_script(
        "window.moved = 0; new PerformanceObserver((list) => list.getEntries().forEach((each) => { window.moved += each.value; }))"
        ".observe({ type: 'layout-shift', buffered: true });"
    )
    page = visitor.go(f"/datasets/{lived.dataset}")
    drawn(page)
    assert page.evaluate("window.moved") < 0.05


def test_a_dataset_that_is_not_there_is_told_as_a_page(visitor: Visitor) -> None:
    page = visitor.go("/datasets/nothing")
    expect(page.locator("main")).to_contain_text("there is no dataset 'nothing'")
