"""A page that is looked at while the API dies goes on where it was once the API is there again."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.sync_api import Page, expect

from service.client import Client
from tests.browser.conftest import Lived, Visitor
from tests.processes import eventually
from tests.service.worker.places import SMALL

PATIENCE_S = 90


def step_told(page: Page) -> int:
    """By the bar of a job's progress."""
    found = re.search(r"(\d+) of", page.locator("#pace").inner_text())
    return int(found[1]) if found else 0


def step_drawn(page: Page) -> int:
    """By the curve of the loss."""
    loss = page.locator("#curves figure").filter(has_text=re.compile(r"^loss\d")).first
    found = re.search(r"to step (\d+);", loss.inner_text()) if loss.count() else None
    return int(found[1]) if found else 0


@pytest.mark.slow
def test_progress_and_curve_move_on_after_the_api_was_killed_and_nothing_is_doubled(
    visitor: Visitor, lived: Lived
) -> None:
    with Client(lived.url) as client:
        job_id = client.submit("train", {**SMALL, "epochs": 10_000}, priority=100)["id"]
        page = visitor.go(f"/jobs/{job_id}")
        page.evaluate("window.isTheSamePage = true")
        eventually(lambda: step_told(page) > 0, PATIENCE_S)
        page.locator("#curves").scroll_into_view_if_needed()
        eventually(lambda: step_drawn(page) > 0, PATIENCE_S)
        killed = lived.service.pids["api"]
        os.kill(killed, signal.SIGKILL)
        page.context.set_offline(
            True
        )  # the socket outlives the API: requests would wait in it, and none would fail
        expect(page.locator("#connection")).to_have_text("The server does not answer; trying again.")
        eventually(lambda: lived.service.pids.get("api") not in (None, killed), PATIENCE_S)
        page.context.set_offline(False)
        now = client.job(job_id)["progress"]["step"]  # waits in the socket until the API is there
        eventually(lambda: min(step_told(page), step_drawn(page)) > now, PATIENCE_S)
        assert page.evaluate("window.isTheSamePage")
        expect(page.locator("#connection")).to_have_text("")
        visitor.complaints.clear()  # what the browser said of the answers that never came
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#state")).to_have_text("cancelled", timeout=PATIENCE_S * 1000)
        told = [each for each in client.events(job_id) if each["type"] not in ("progress", "end")]
        expect(page.locator("#events tbody tr")).to_have_count(len(told))
        expect(page.locator("#curves figure")).to_have_count(len(client.job_metrics(job_id)["data"]))
        visitor.assert_content()
