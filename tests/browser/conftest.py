"""Debian's Chromium before a real service that has trained, probed, exported, failed and cancelled.

A page is good when the browser has nothing to say: no message on the console, no error, no request to another host, no
violation of the page's policy, no answer that is an error; and when axe-core finds nothing that keeps people out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

from service.access import auth
from service.client import Client, Json
from service.db import make_engine, make_sessions, migrate, transaction
from service.one_machine.up import LocalService
from service.settings import Settings
from tests.chromium import CHROMIUM, chromium
from tests.processes import eventually
from tests.service.data.test_datasets import added
from tests.service.one_machine.test_up import local
from tests.service.worker.places import SMALL
from tests.training.registration import own

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
HOSTILE = ("<img src=x onerror=alert(1)> </script> \"'& {{7*7}} \u202eلا\u202c 🧨 " + "ä" * 255)[:255]
"""A name that is markup, a template, right to left, an emoji, and as long as names may be."""
REPORT = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """While it is there an event loop runs in this thread, so that it must not outlive the tests of its file."""
    if not CHROMIUM.exists():
        if os.environ.get("CI"):
            pytest.fail("no /usr/bin/chromium: .ci/run must call `make browser` before the tests")
        pytest.skip("no /usr/bin/chromium: `make browser` installs it")
    with chromium() as browser:
        yield browser


@dataclass(frozen=True)
class Lived:
    """A service with a past."""

    url: str
    service: LocalService
    training: Json
    probe: Json
    export: Json
    failed: Json
    cancelled: Json
    """With a hostile name and tag."""
    other_seed: Json
    """A training that differs from the first by its seed only."""
    replication: Json
    """Two cells of a table, cancelled before anybody ran them."""
    dataset: str
    """Registered: an image, a text and a sequence in each of 60 samples."""


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    settings = local(tmp_path_factory.mktemp("lived"))
    dataset = a_dataset(settings, tmp_path_factory.mktemp("data"))
    with LocalService(settings) as service, Client(service.url) as client:
        past = a_past(client)
        eventually(lambda: client.dataset(dataset)["previews"], 60)
        yield Lived(service.url, service, dataset=dataset, **past)


def a_past(client: Client) -> dict[str, Json]:
    """Makes it, with real trainings."""
    name = "<b>first</b> & seed 1"  # text stays text
    spec = {**SMALL, "seed": 1, "probe": {"every_epochs": 1, "max_samples": 300}}
    training = finished(client, "train", spec, name=name, tags=["first"])
    probe = finished(client, "probe", {"run": training["id"], "threads": 1})
    # So short a training makes embeddings that int8 changes by more than is allowed.
    far = {"min_cosine": 0, "max_score_drop": 1}
    export = finished(client, "export", {"run": training["id"], "name": "lived", "threads": 1, **far})
    client.set_alias("prod", "lived@1")
    client.attach_heads("lived@1", probe["id"])
    too_exact = {"run": training["id"], "name": "lived", "tolerance": 1e-12, "threads": 1}
    failed = finished(client, "export", too_exact)
    endless: Json = {**SMALL, "epochs": 5000}
    waiting = client.submit("train", endless, priority=-100, name=HOSTILE, tags=[HOSTILE[:100]])["id"]
    client.cancel(waiting)
    cancelled = ended(client, waiting)
    small: Json = {key: SMALL[key] for key in ("model", "epochs", "threads", "device")} | {
        "dataset": {"n_pairs": 256}
    }
    replication = client.replicate(
        "digits", methods=["comm", "infmasking"], seeds=[7], changes=small, priority=-100
    )
    client.cancel_replication(replication["id"])
    other_seed = finished(client, "train", {**spec, "seed": 2}, name="second seed")
    assert [job["state"] for job in (training, probe, export, other_seed, failed, cancelled)] == [
        "succeeded", "succeeded", "succeeded", "succeeded", "failed", "cancelled"
    ]  # fmt: skip
    return {
        "training": training, "probe": probe, "export": export, "failed": failed, "cancelled": cancelled,
        "other_seed": other_seed, "replication": replication,
    }  # fmt: skip


def a_dataset(settings: Settings, folder: Path) -> str:
    """Registered before the service starts, as by the command line; its worker makes the preview."""
    migrate(settings.effective_database_url)
    engine = make_engine(settings.effective_database_url)
    source = own.parquet(folder)
    added(make_sessions(engine), "parquet", source, settings.datasets_dir, name="squares", image_size=24)
    engine.dispose()
    return "squares"


def finished(client: Client, kind: str, spec: Json, **rest: object) -> Json:
    return ended(client, client.submit(kind, spec, **rest)["id"])


def ended(client: Client, job_id: str) -> Json:
    return eventually(lambda: (job := client.job(job_id))["finished_at"] and job, 240, every_s=0.3)


@dataclass(frozen=True)
class Guarded:
    url: str
    key: str
    """May read and submit."""
    reader: str
    """May only read."""


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A service that a network can reach, without jobs."""
    settings: Settings = local(tmp_path_factory.mktemp("guarded")).model_copy(update={"host": "0.0.0.0"})
    migrate(settings.effective_database_url)
    engine = make_engine(settings.effective_database_url)
    with transaction(make_sessions(engine)) as session:
        _, key = auth.create_key(session, "browser", ["read", "submit"])
        _, reader = auth.create_key(session, "reader", ["read"])
    engine.dispose()
    with LocalService(settings, workers=0) as service:
        yield Guarded(service.url, key, reader)


@dataclass
class Visitor:
    """A browser window that remembers everything that should not have happened."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(REPORT)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path)
        self.page.wait_for_load_state("networkidle")
        return self.page

    def assert_content(self) -> None:
        """Nothing went wrong so far, and the page is no wider than the window."""
        self.complaints += self.page.evaluate("window.violations")
        assert not self.complaints, "; ".join(self.complaints)
        width, window = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width <= window, "the page scrolls sideways"

    def assert_accessible(self) -> None:
        """Neither axe-core nor the browser has found anything serious."""
        self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert not serious, "; ".join(f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in serious)
        self.assert_content()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")) and urlsplit(request.url).netloc != urlsplit(self.url).netloc:  # fmt: skip
            self.complaints.append(f"another host: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status}: {response.url}")


@contextmanager
def visiting(browser: Browser, url: str, *, width: int = 1440, scheme: str = "light") -> Iterator[Visitor]:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        has_touch=width < 600,
    )
    context.set_default_timeout(60_000)
    try:
        yield Visitor(context.new_page(), url)
    finally:
        context.close()


@pytest.fixture
def visitor(browser: Browser, lived: Lived) -> Iterator[Visitor]:
    with visiting(browser, lived.url) as visitor:
        yield visitor
