"""What the heaviest pages send: a comparison of 20 runs of 100,000 steps, and a job of 40 curves."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Request, expect

from service.db import make_engine, make_sessions, migrate
from service.one_machine.up import LocalService
from tests.bench.metrics import job_id
from tests.bench.pages import METHODS, SEEDS, seed
from tests.browser.conftest import visiting
from tests.browser.test_views import MOST_BYTES
from tests.service.one_machine.test_up import local

LONG = [job_id("long", no) for no in range(len(METHODS) * SEEDS)]


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with the runs that the pages are measured by."""
    settings = local(tmp_path_factory.mktemp("heavy"))
    migrate(settings.effective_database_url)
    engine = make_engine(settings.effective_database_url)
    seed(make_sessions(engine))
    engine.dispose()
    with LocalService(settings, workers=0) as service:
        yield service.url


@pytest.mark.slow
@pytest.mark.parametrize("path", [f"/compare?jobs={','.join(LONG)}", f"/jobs/{job_id('wide', 0)}"])
def test_a_page_of_many_curves_sends_little_and_asks_for_nothing_twice(
    browser: Browser, heavy: str, path: str
) -> None:
    with visiting(browser, heavy) as visitor:
        asked: list[Request] = []
        visitor.page.on("requestfinished", lambda request: asked.append(request))
        page = visitor.go(path)
        page.locator("#curves").scroll_into_view_if_needed()
        expect(page.locator("#curves canvas").nth(8)).to_be_visible()
        page.wait_for_load_state("networkidle")
        sent = sum(request.sizes()["responseBodySize"] for request in asked)
        assert 50_000 < sent < MOST_BYTES, f"{sent:,} bytes"
        data = [
            (request.url, request.post_data)
            for request in asked
            if urlsplit(request.url).path.startswith("/v1/")
        ]
        assert len(data) == len(set(data))
        visitor.assert_content()
