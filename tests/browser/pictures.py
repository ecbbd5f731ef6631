"""python -m tests.browser.pictures URL [--into docs/pictures] [--only compare …]: the documentation's pictures of a service
that has a past.

What the pages show is the newest there is: of the jobs the last training that succeeded, of the replications the last one;
compared are its trainings, of the first four methods. The embeddings' pictures, for which something is tried and asked
for, are taken by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser

from service.client import Client, Json
from tests.chromium import chromium

WIDE, PHONE = 1280, 390
COMPARED = ("infmasking", "comm", "mae", "cross")


class Picture(NamedTuple):
    name: str
    path: str
    height: int
    width: int = WIDE
    scheme: str = "light"


def pictures(client: Client) -> Iterator[Picture]:
    """Those there is something to show for."""
    trainings = client.jobs(kind="train", state="succeeded", limit=200)["data"]
    replications = client.replications()["data"]
    yield Picture("results", "/", 1080)
    yield Picture("results-dark", "/", 900, scheme="dark")
    yield Picture("jobs", "/jobs", 900)
    yield Picture("jobs-phone", "/jobs", 900, PHONE)
    yield Picture("new-job", "/jobs/new", 1500)
    yield Picture("workers-dark", "/workers", 800, scheme="dark")
    if client.models()["data"]:
        yield Picture("models", "/models", 500)
    if trainings:
        yield Picture("job", f"/jobs/{trainings[0]['id']}", 1500)
        compare = f"/compare?jobs={','.join(alike(trainings))}"
        yield Picture("compare", compare, 1500)
        yield Picture("compare-phone", compare, 1200, PHONE)
    if replications:
        yield Picture("replications", "/replications", 700)
        yield Picture("replication", f"/replications/{replications[0]['id']}", 1000)


def alike(trainings: list[Json]) -> list[str]:
    """Ids of the trainings on the newest one's dataset, by one of four methods."""
    chosen = [
        job for job in trainings if job["dataset"] == trainings[0]["dataset"] and job["method"] in COMPARED
    ]
    return [job["id"] for job in sorted(chosen, key=lambda job: COMPARED.index(job["method"]))]


def take(browser: Browser, url: str, picture: Picture, into: Path) -> None:
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme=picture.scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.goto(url + picture.path)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=into / f"{picture.name}.png")
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.pictures", description=__doc__)
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--into", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[])
    asked = parser.parse_args()
    with Client(asked.url) as client, chromium() as browser:
        for picture in pictures(client):
            if not asked.only or picture.name in asked.only:
                take(browser, asked.url, picture, asked.into)
                sys.stdout.write(f"{asked.into / picture.name}.png\n")


if __name__ == "__main__":
    main()
