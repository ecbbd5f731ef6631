"""The README's lines do what it says when they are pasted into a shell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.client import Client
from service.up import LocalService
from tests.deploy.compose import ROOT
from tests.service.test_up import local

SERVER = "http://127.0.0.1:8000"
README = (ROOT / "README.md").read_text()


def pasted(url: str) -> str:
    """All shell lines of the README as one script, of this installation and for the server at `url`."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    script = "".join(blocks).replace(f"F={SERVER}", f"F={url}").replace(".venv/bin/python", sys.executable)
    assert SERVER not in script
    assert ".venv/" not in script.replace(sys.executable, "")
    # An answer that is an error fails the script; each answer is a line.
    return 'curl() { command curl --fail-with-body "$@" && echo; }\n' + script


@pytest.mark.slow
def test_the_walk_through_the_nine_doors_can_be_pasted(tmp_path: Path) -> None:
    with LocalService(local(tmp_path / "data")) as service:
        shell = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", pasted(service.url)],
            cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        assert shell.returncode == 0, shell.stderr
        with Client(service.url) as client:
            assert {job["state"] for job in client.jobs()["data"]} == {"succeeded"}
            assert client.model("prod")["name"] == "digits"
    last = json.loads(shell.stdout.splitlines()[-1])
    assert len(last["data"][0]["embedding"]) == 8
