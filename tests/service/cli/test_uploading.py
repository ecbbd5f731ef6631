"""`fusebox datasets upload`: from a folder to a dataset on a server, also when the server is killed in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.cli import uploading
from service.cli.uploading import Packed
from service.client import ApiProblem, Client
from service.data import uploads
from service.db import make_engine, make_sessions, reading
from service.one_machine.up import LocalService
from service.settings import Settings
from service.tables import Upload
from tests.processes import eventually, is_gone
from tests.service.one_machine.test_up import local
from tests.service.test_client_and_cli import fusebox, refusal
from tests.training.registration import own

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return local(tmp_path_factory.mktemp("uploading"))


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[LocalService]:
    with LocalService(settings) as service:
        yield service


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own.image_folder(tmp_path_factory.mktemp("squares") / "in")


def upload(service: LocalService, name: str, path: Path, *options: str) -> Any:
    command = (
        "datasets",
        "upload",
        name,
        str(path),
        "--format",
        "image_folder",
        "--image-size",
        "16",
        *options,
    )
    return fusebox(*command, FUSEBOX_SERVER=service.url)


def rows(settings: Settings) -> list[Upload]:
    engine = make_engine(settings.effective_database_url)
    with reading(make_sessions(engine)) as session:
        found = uploads.page(session, None, 100)
    engine.dispose()
    return found


def test_a_folder_becomes_a_dataset_that_specs_may_name(service: LocalService, folder: Path) -> None:
    done = upload(service, "squares", folder)
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.sub(r" +", " ", done.stdout)
    assert "train 48 48 colour: blue" in shown
    assert "changed the column 'colour' was taken for 3 classes" in shown
    assert 'Train on it with {"dataset": "squares"}' in shown
    assert "squares" in fusebox("datasets", "list", FUSEBOX_SERVER=service.url).stdout


SMALL = (
    "model.dim=16",
    "model.heads=2",
    "model.head_hidden=16",
    "model.head_out=8",
    "batch_size=16",
    "epochs=1",
    "threads=1",
)


@pytest.mark.slow
def test_a_folder_that_nobody_has_seen_before_is_trained_on_probed_exported_and_served(
    service: LocalService, folder: Path
) -> None:
    """By the commands of the README alone."""

    def done(*arguments: str) -> str:
        ended = fusebox(*arguments, FUSEBOX_SERVER=service.url)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    done("datasets", "upload", "mine", str(folder), "--format", "image_folder", "--image-size", "16")
    changes = [part for change in ("dataset=mine", "device=cpu", *SMALL) for part in ("--set", change)]
    training = done("jobs", "submit", "--watch", *changes).split()[0]
    assert "colour: macro_accuracy" in done(
        "jobs", "submit", "--watch", "--kind", "probe", "--set", f"run={training}"
    )
    done("jobs", "submit", "--watch", "--kind", "export", "--set", f"run={training}", "--set", "name=mine")
    picture = str(folder / "1.png")
    answer = json.loads(done("embed", "--model", "mine", "--image", picture, "--text", "a green square"))
    (embedded,) = answer["data"]
    assert len(embedded["embedding"]) == answer["dim"] == 16
    assert (embedded["modalities"], answer["dataset"]) == (["image", "text"], "mine")


def test_what_is_said_beside_goes_along(service: LocalService, folder: Path, tmp_path: Path) -> None:
    said = tmp_path / "said.json"
    said.write_text(json.dumps({"tasks": {"colour": "redundancy"}}))
    assert upload(service, "said", folder, "--describe", str(said)).returncode == 0
    with Client(service.url) as client:
        (form,) = client.dataset("said")["forms"]
    assert [(task["name"], task["family"]) for task in form["tasks"]] == [("colour", "redundancy")]


def test_a_refusal_names_what_could_not_be_used(service: LocalService, tmp_path: Path) -> None:
    folder = own.image_folder(tmp_path / "in")
    for number in range(40):
        (folder / f"{number}.png").write_bytes(b"")
    done = upload(service, "refused", folder)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("error: of the 60 samples only 20 can be used")
    assert second.startswith(
        "  40 because its image is cut off, or is no PNG, JPEG or WebP: metadata.csv line 2: 0.png"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "{nowhere}", "--format", "arrays"], "there is no "),
        (["x", "{folder}", "--format", "mosi"], "'mosi' cannot be uploaded: its files are pickles"),
        (["digits", "{folder}", "--format", "arrays"], "'digits' is a dataset that is always there"),
        (["x", "{folder}", "--format", "arrays", "--image-size", "3"], "image_size: Input should be greater"),
        (
            ["x", "{folder}", "--format", "arrays", "--describe", "{folder}/0.png"],
            "is not a JSON object in UTF-8",
        ),
    ],
    ids=range(5),
)
def test_a_mistake_is_one_line(
    service: LocalService, folder: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    filled = (each.format(nowhere=tmp_path / "nowhere", folder=folder) for each in arguments)
    assert words in refusal("datasets", "upload", *filled, FUSEBOX_SERVER=service.url)


def packed(tmp_path: Path, n_bytes: int) -> Packed:
    """Of a file that nobody will read."""
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(n_bytes))
    return uploading._measured(path, lambda *_: None)


def test_a_client_goes_on_when_the_server_is_killed_while_it_sends(
    service: LocalService, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "PART_BYTES", 100_000)
    killed: list[int] = []
    content = packed(tmp_path, 5_000_000)
    with Client(service.url) as client:
        begun = client.begin_upload(
            "killed", "parquet", {}, size_bytes=content.size_bytes, sha256=content.sha256
        )

        def show(_phase: str, step: int, _total: int | None) -> None:
            if step > 2_000_000 and not killed:
                killed.append(service.pids["api"])
                os.kill(killed[0], signal.SIGKILL)

        uploading._send_parts(client, begun["id"], content, show)
        assert is_gone(killed[0])
        assert client.dataset_upload(begun["id"])["offset"] == content.size_bytes
        client.complete_upload(begun["id"])
        ended = eventually(lambda: (u := client.dataset_upload(begun["id"]))["state"] != "checking" and u, 60)
    assert ended["error"].startswith(
        "there is no .parquet file in upload"
    )  # and not that its sha256 is another


def test_half_a_part_that_came_through_stays(service: LocalService) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with Client(service.url) as client:
        begun = client.begin_upload("half", "parquet", {})["id"]
        head = (
            f"PATCH /v1/datasets/uploads/{begun} HTTP/1.1\r\nHost: {host}:{port}\r\nUpload-Offset: 0\r\n"
            "Content-Type: application/offset+octet-stream\r\nContent-Length: 1000000\r\n\r\n"
        )
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + b"x" * 300_000)
        eventually(lambda: client.dataset_upload(begun)["offset"] == 300_000)
        assert eventually(lambda: _sent(client, begun, 300_000)) == 300_003
        client.remove_upload(begun)


def _sent(client: Client, upload_id: str, offset: int) -> int | None:
    """None while the server has not noticed yet that the other connection broke."""
    try:
        return client.send_part(upload_id, offset, b"end")
    except ApiProblem as problem:
        if problem.code != "upload_busy":
            raise
        return None


def test_the_same_command_goes_on_with_what_another_left(
    service: LocalService, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    with Client(service.url) as client, uploading._packed(folder, lambda *_: None) as content:
        begun = client.begin_upload(
            "left", "image_folder", {"image_size": 16}, size_bytes=content.size_bytes, sha256=content.sha256
        )
        client.send_part(begun["id"], 0, content.path.read_bytes()[:5_000])
        other = own.image_folder(tmp_path / "other", range(30))
        refused = upload(service, "left", other)
        assert refused.returncode == 1
        assert f"`fusebox datasets abort {begun['id']}`" in refused.stderr
        done = upload(service, "left", folder)
        assert (done.returncode, done.stderr) == (0, "")
        ended = client.dataset_upload(begun["id"])
    assert (ended["state"], ended["offset"]) == ("ready", content.size_bytes)


def test_an_upload_is_removed_by_its_id(service: LocalService) -> None:
    with Client(service.url) as client:
        begun = client.begin_upload("removed", "arrays", {})["id"]
        assert (
            fusebox("datasets", "abort", begun, FUSEBOX_SERVER=service.url).stdout == f"{begun} is removed.\n"
        )
        with pytest.raises(ApiProblem, match="there is no upload"):
            client.dataset_upload(begun)


@pytest.mark.parametrize("part", ["api", "worker-1"])
def test_checking_ends_well_when_a_part_of_the_service_is_killed_meanwhile(
    service: LocalService, settings: Settings, folder: Path, part: str
) -> None:
    with Client(service.url) as client, uploading._packed(folder, lambda *_: None) as content:
        begun = client.begin_upload(f"while-{part}", "image_folder", {"image_size": 64})["id"]
        client.send_part(begun, 0, content.path.read_bytes())
        client.complete_upload(begun)
    eventually(lambda: next(row for row in rows(settings) if row.id == begun).token > 0, 60)
    os.kill(service.pids[part], signal.SIGKILL)

    def ended() -> Upload | None:
        row = next(row for row in rows(settings) if row.id == begun)
        return row if row.state != "checking" else None

    row = eventually(ended, 90, every_s=0.3)
    assert (row.state, row.error) == ("ready", None)
    assert row.tries == (2 if part == "worker-1" else 1)
    with Client(service.url) as client:
        eventually(lambda: client.dataset_upload(begun)["state"] == "ready", 60)
        assert client.dataset(f"while-{part}")["registered"]["samples"]["strict"]["train"] == 48


def test_a_worker_that_ends_in_order_gives_what_it_checks_back(settings: Settings, tmp_path: Path) -> None:
    own_settings = local(tmp_path / "var")
    folder = own.image_folder(tmp_path / "in")
    with LocalService(own_settings) as service:
        with Client(service.url) as client, uploading._packed(folder, lambda *_: None) as content:
            begun = client.begin_upload("back", "image_folder", {"image_size": 64})["id"]
            client.send_part(begun, 0, content.path.read_bytes())
            client.complete_upload(begun)
        eventually(lambda: rows(own_settings)[0].token > 0, 60)
    (row,) = rows(own_settings)
    if row.state == "checking":  # else it was done just before
        assert (row.lease_owner, row.tries) == (None, 0)


def test_a_folder_is_always_packed_alike(folder: Path, tmp_path: Path) -> None:
    again = own.image_folder(tmp_path / "in")
    os.utime(again / "0.png", (0, 0))
    with (
        uploading._packed(folder, lambda *_: None) as one,
        uploading._packed(again, lambda *_: None) as other,
    ):
        assert one.sha256 == other.sha256
