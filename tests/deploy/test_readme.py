"""The README's lines do what it says when they are pasted into a shell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from service.client import Client
from service.one_machine.up import LocalService
from tests.chromium import CHROMIUM, chromium
from tests.deploy.compose import ROOT
from tests.service.one_machine.test_up import local

SERVER = "http://127.0.0.1:8000"
README = (ROOT / "README.md").read_text()


WALK, OWN_DATA = README.split("\n## Your own data\n")


def pasted(text: str, url: str) -> str:
    """All shell lines of a text as one script, of this installation and for the server at `url`."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert blocks
    script = "".join(blocks).replace(f"F={SERVER}", f"F={url}").replace(".venv/bin/python", sys.executable)
    script = script.replace("$PWD/.venv/bin", str(Path(sys.executable).parent))
    script = script.replace(".venv/bin/fusebox", str(Path(sys.executable).with_name("fusebox")))
    assert SERVER not in script
    assert ".venv/" not in script.replace(str(Path(sys.executable).parent), "")
    # An answer that is an error fails the script; each answer is a line.
    return 'curl() { command curl --fail-with-body "$@" && echo; }\n' + script


def done(script: str, folder: Path, url: str) -> str:
    """What it printed, in `folder`, by people who have named their server and where its data are."""
    shell = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env={**os.environ, "FUSEBOX_SERVER": url, "FUSEBOX_DATA_DIR": str(folder / "data")},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert shell.returncode == 0, shell.stderr
    return shell.stdout


@pytest.mark.slow
def test_the_walk_through_the_nine_doors_can_be_pasted(tmp_path: Path) -> None:
    with LocalService(local(tmp_path / "data")) as service:
        printed = done(pasted(WALK, service.url), tmp_path, service.url)
        with Client(service.url) as client:
            assert {job["state"] for job in client.jobs()["data"]} == {"succeeded"}
            assert client.model("prod")["name"] == "digits"
        if CHROMIUM.exists():
            embedded_in_a_browser(f"{service.url}/models/digits", tmp_path / "seven.png")
    *_, by_curl, by_openai = printed.splitlines()
    assert len(json.loads(by_curl)["data"][0]["embedding"]) == len(json.loads(by_openai)) == 8


def embedded_in_a_browser(page_url: str, picture: Path) -> None:
    assert page_url.replace(page_url.partition("/models")[0], SERVER) in WALK
    with chromium() as browser:
        page = browser.new_page()
        page.goto(page_url)
        page.locator("#try-text").fill("a handwritten seven")
        page.locator("#try-image").set_input_files(picture)
        with page.expect_response("**/v1/embeddings") as answer:
            page.get_by_role("button", name="Embed").click()
        (embedded,) = answer.value.json()["data"]
        assert embedded["modalities"] == ["image", "text"]
        expect(page.locator("#answer")).to_contain_text("Missingnothing")


@pytest.mark.slow
def test_the_walk_with_data_of_ones_own_can_be_pasted(tmp_path: Path) -> None:
    pets = tmp_path / "pets"
    pets.mkdir()
    lines = ["file_name,text,kind"]
    for number in range(120):
        kind, colour = [("cat", (200, 60, 60)), ("dog", (60, 60, 200))][number % 2]
        Image.new("RGB", (80, 64), (*colour[:2], colour[2] - number % 50)).save(pets / f"{number:04}.jpg")
        lines.append(f"{number:04}.jpg,a {kind} asleep on chair {number},{kind}")
    (pets / "metadata.csv").write_text("\n".join(lines))
    with LocalService(local(tmp_path / "data")) as service:
        printed = done(pasted(OWN_DATA, service.url), tmp_path, service.url)
    (embedded,) = json.loads(printed[printed.index("\n{") :])["data"]
    assert embedded["modalities"] == ["image", "text"]
    assert len(embedded["embedding"]) == 64
