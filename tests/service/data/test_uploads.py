"""Uploading datasets over HTTP: in parts, on after whatever broke off, checked by a worker, and there whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.access import auth
from service.data import upload_claims, upload_files, uploads
from service.db import Sessions, reading, transaction
from service.errors import FuseboxError, UnavailableError
from service.leases import FencedError
from service.settings import Settings
from service.tables import Dataset, Upload, utc_now
from service.worker.registrar import GIVEN_UP, Registrar
from tests.training.registration import own
from training.spec.registration import REGISTERED

pytestmark = pytest.mark.long  # so many that on PostgreSQL they run in `make test-all` only

PART = {"Content-Type": "application/offset+octet-stream"}
SMALL = {"image_size": 16}
HASH = "0" * 64


@pytest.fixture
def registrar(sessions: Sessions, settings: Settings) -> Registrar:
    return Registrar(sessions, settings, "tests")


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("squares")
    return own.packed(own.image_folder(folder / "in"), folder / "squares.zip").read_bytes()


def begun(client: TestClient, **asked: Any) -> str:
    given = {"name": "squares", "format": "image_folder", "options": SMALL} | asked
    answer = client.post("/v1/datasets", json=given)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/datasets/uploads/{answer.json()['id']}"
    return str(answer.headers["location"])


def send(client: TestClient, upload: str, content: bytes, offset: int = 0) -> httpx.Response:
    return client.patch(upload, content=content, headers=PART | {"Upload-Offset": str(offset)})


def sent(client: TestClient, content: bytes, **asked: Any) -> str:
    """Announced, sent and completed."""
    upload = begun(client, **asked)
    assert send(client, upload, content).status_code == 204
    answer = client.post(f"{upload}/complete")
    assert (answer.status_code, answer.json()["state"]) == (202, "checking"), answer.text
    return upload


def kept(settings: Settings) -> list[str]:
    """What lies in the folder of uploads."""
    return upload_files.every(settings)


def row(sessions: Sessions, upload: str) -> Upload:
    with reading(sessions) as session:
        return uploads.get(session, upload.rpartition("/")[2])


# -------------------------------------------------------------------------------------------- from file to dataset


def test_a_file_that_was_sent_in_parts_becomes_a_dataset(
    client: TestClient, registrar: Registrar, settings: Settings, squares: bytes
) -> None:
    digest = hashlib.sha256(squares).hexdigest()
    upload = begun(client, size_bytes=len(squares), sha256=digest)
    parts = [squares[:1000], squares[1000:1001], squares[1001:]]
    offset = 0
    for part in parts:
        answer = send(client, upload, part, offset)
        offset += len(part)
        assert (answer.status_code, answer.headers["upload-offset"], answer.content) == (
            204,
            str(offset),
            b"",
        )
    assert client.post(f"{upload}/complete").json()["state"] == "checking"
    registrar.tick()
    told = client.get(upload).json()
    assert (told["state"], told["error"], told["offset"], told["unusable"]) == (
        "ready",
        None,
        len(squares),
        [],
    )
    assert told["report"]["samples"]["strict"] == {"train": 48, "val": 6, "test": 6}
    (dataset,) = (each for each in client.get("/v1/datasets").json()["data"] if each["name"] == "squares")
    assert dataset["registered"]["sha256"] == told["dataset_sha256"]
    assert (settings.datasets_dir / REGISTERED / told["dataset_sha256"] / "manifest.json").is_file()
    assert kept(settings) == []
    job = {
        "kind": "train",
        "spec": {"dataset": "squares", "model": {"dim": 16, "heads": 2}, "batch_size": 16},
    }
    assert client.post("/v1/jobs", json=job).status_code == 201


def test_what_cannot_be_used_is_told_with_its_line(
    client: TestClient, registrar: Registrar, tmp_path: Path
) -> None:
    folder = own.image_folder(tmp_path / "in")
    (folder / "3.png").write_bytes(b"no image")
    upload = sent(client, own.packed(folder, tmp_path / "in.tar").read_bytes())
    registrar.tick()
    told = client.get(upload).json()
    assert told["state"] == "ready"
    assert told["unusable"] == told["report"]["dropped"] == [
        {
            "reason": "its image is cut off, or is no PNG, JPEG or WebP",
            "count": 1,
            "ids": ["metadata.csv line 5: 3.png"],
        }
    ]  # fmt: skip


def test_files_that_cannot_be_a_dataset_are_refused_with_what_was_wrong_with_them(
    client: TestClient, registrar: Registrar, settings: Settings, tmp_path: Path
) -> None:
    folder = own.image_folder(tmp_path / "in")
    for number in range(40):
        (folder / f"{number}.png").unlink()
    upload = sent(client, own.packed(folder, tmp_path / "in.tar.gz").read_bytes())
    registrar.tick()
    told = client.get(upload).json()
    assert told["state"] == "refused"
    assert told["error"] == (
        "of the 60 samples only 20 can be used: dropped were 40 because its image is missing"
    )
    assert told["unusable"][0]["count"] == 40
    assert told["unusable"][0]["ids"][:2] == ["metadata.csv line 2: 0.png", "metadata.csv line 3: 1.png"]
    assert client.get("/v1/datasets/squares").status_code == 404
    assert kept(settings) == []
    assert list((settings.datasets_dir / REGISTERED).iterdir()) == []
    begun(client)


@pytest.mark.parametrize(
    ("content", "format", "words"),
    [
        (b"PK\x03\x04 and no more", "image_folder", "upload is cut off or damaged"),
        (b"\x80\x04N.", "arrays", "there is no .npy file in upload"),
        (b"PAR1" + b"x" * 100, "parquet", "upload is not a whole Parquet file"),
        (os.urandom(1000), "webdataset", "upload is no .tar of samples"),
    ],
    ids=["zip", "pickle", "parquet", "noise"],
)
def test_what_is_refused_is_told_without_a_word_about_our_disk(
    client: TestClient, registrar: Registrar, settings: Settings, content: bytes, format: str, words: str
) -> None:
    upload = sent(client, content, format=format, options={})
    registrar.tick()
    told = client.get(upload)
    assert words in told.json()["error"]
    assert str(settings.data_dir) not in told.text
    assert "Traceback" not in told.text


def test_a_file_that_is_not_what_was_announced_is_refused(
    client: TestClient, registrar: Registrar, squares: bytes
) -> None:
    upload = sent(client, squares, sha256=HASH)
    registrar.tick()
    assert "has not the sha256 that was announced" in client.get(upload).json()["error"]


def test_an_upload_replaces_the_dataset_of_its_name_once_it_is_ready(
    client: TestClient, registrar: Registrar, squares: bytes, tmp_path: Path
) -> None:
    sent(client, squares)
    registrar.tick()
    before = client.get("/v1/datasets/squares").json()["registered"]["sha256"]
    other = own.packed(own.image_folder(tmp_path / "in", range(30)), tmp_path / "in.zip").read_bytes()
    sent(client, other)
    assert client.get("/v1/datasets/squares").json()["registered"]["sha256"] == before
    registrar.tick()
    assert client.get("/v1/datasets/squares").json()["registered"]["sha256"] != before


# --------------------------------------------------------------------------------------------- what is refused at once


@pytest.mark.parametrize("format", ["mosi", "ur_funny", "mustard", "mimic"])
def test_a_pickle_is_refused_and_the_command_line_is_named(client: TestClient, format: str) -> None:
    answer = client.post("/v1/datasets", json={"name": "mine", "format": format})
    assert (answer.status_code, answer.json()["code"]) == (422, "format_not_uploadable")
    assert "its files are pickles, which can run programs" in answer.json()["detail"]
    assert f"`fusebox datasets add {format} PATH`" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "status", "code", "pointer"),
    [
        ({"format": "vision_touch"}, 422, "format_not_uploadable", "/format"),
        ({"format": "csv"}, 422, "invalid_request", "/format"),
        ({"name": "digits"}, 422, "dataset_name", "/name"),
        ({"name": "uploads"}, 422, "dataset_name", "/name"),
        ({"name": "../x"}, 422, "dataset_name", "/name"),
        ({"size_bytes": 0}, 422, "invalid_request", "/size_bytes"),
        ({"size_bytes": 2**40}, 413, "upload_too_large", None),
        ({"sha256": "abc"}, 422, "invalid_request", "/sha256"),
        ({"options": {"image_size": 7}}, 422, "invalid_request", "/options/image_size"),
        ({"options": {"modality": {}}}, 422, "invalid_request", "/options/modality"),
        ({"options": {"modalities": {"x": "video"}}}, 422, "invalid_request", "/options/modalities/x"),
        ({"options": {"modalities": {"../x": "text"}}}, 422, "invalid_request", None),
        (
            {"options": {"tasks": {"x": {"family": "luck"}}}},
            422,
            "invalid_request",
            "/options/tasks/x/family",
        ),
        ({"path": "/etc/passwd"}, 422, "invalid_request", "/path"),
        (
            {"options": {"modalities": {"x": {"kind": "table", "columns": ["c" * 199] * 400}}}},
            422,
            "options_too_long",
            "/options",
        ),
    ],
    ids=range(15),
)
def test_what_is_announced_wrongly_is_told_where(
    client: TestClient,
    settings: Settings,
    changes: dict[str, Any],
    status: int,
    code: str,
    pointer: str | None,
) -> None:
    answer = client.post("/v1/datasets", json={"name": "squares", "format": "image_folder"} | changes)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert pointer is None or [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert kept(settings) == []


def test_what_is_larger_than_it_may_be_is_refused_and_what_came_before_stays(client: TestClient) -> None:
    upload = begun(client, size_bytes=10)
    assert send(client, upload, b"12345678").status_code == 204
    answer = send(client, upload, b"90123", offset=8)
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    assert client.head(upload).headers["upload-offset"] == "8"


def test_a_part_that_is_longer_than_a_request_may_be_is_refused(
    client: TestClient, settings: Settings
) -> None:
    upload = begun(client)
    answer = send(client, upload, bytes(settings.max_body_bytes + 1))
    assert answer.status_code == 413
    assert client.head(upload).headers["upload-offset"] == "0"


def test_parts_of_another_type_are_refused(client: TestClient) -> None:
    upload = begun(client)
    answer = client.patch(upload, json={}, headers={"Upload-Offset": "0"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert client.patch(upload, content=b"x", headers=PART).status_code == 422


def test_what_is_not_complete_is_not_checked(client: TestClient) -> None:
    upload = begun(client, size_bytes=10)
    for content, n in ((b"", 0), (b"1234", 4)):
        send(client, upload, content)
        answer = client.post(f"{upload}/complete")
        assert (answer.status_code, answer.json()["code"]) == (409, "upload_incomplete")
        assert answer.headers["upload-offset"] == str(n)
    assert client.get(upload).json()["state"] == "uploading"


def test_nothing_comes_to_an_upload_that_is_complete_and_completing_it_again_changes_nothing(
    client: TestClient, squares: bytes
) -> None:
    upload = sent(client, squares)
    answer = send(client, upload, b"x", offset=len(squares))
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_complete")
    assert client.post(f"{upload}/complete").json()["state"] == "checking"


@pytest.mark.parametrize("upload_id", ["upload_nowhere", "..%2F..%2Fetc", "a" * 300, "%F0%9F%92%A9"])
def test_an_upload_that_is_not_there_is_a_problem(client: TestClient, upload_id: str) -> None:
    upload = f"/v1/datasets/uploads/{upload_id}"
    for answer in (
        client.get(upload),
        send(client, upload, b"x"),
        client.post(f"{upload}/complete"),
        client.delete(upload),
    ):
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_so_many_at_once_and_no_more(client: TestClient, settings: Settings) -> None:
    for number in range(settings.max_uploads):
        begun(client, name=f"squares-{number}")
    answer = client.post("/v1/datasets", json={"name": "one-more", "format": "arrays"})
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_uploads")


def test_sending_needs_submit_and_looking_needs_read(client: TestClient, sessions: Sessions) -> None:
    with transaction(sessions) as session:
        _, reader = auth.create_key(session, "reader", ["read"])
        _, sender = auth.create_key(session, "sender", ["submit"])
    upload = begun(client)
    body = {"name": "x", "format": "arrays"}
    for key, is_reader in ((reader, True), (sender, False)):
        who = {"Authorization": f"Bearer {key}"}
        looking = [
            client.get(upload, headers=who),
            client.head(upload, headers=who),
            client.get("/v1/datasets/uploads", headers=who),
        ]
        assert {answer.status_code for answer in looking} == {200 if is_reader else 403}
        part = client.patch(upload, content=b"", headers=PART | who | {"Upload-Offset": "0"})
        assert part.status_code == (403 if is_reader else 204)
        assert client.post("/v1/datasets", json=body, headers=who).status_code == (403 if is_reader else 201)
    assert client.delete(upload, headers={"Authorization": f"Bearer {reader}"}).status_code == 403


# -------------------------------------------------------------------------------------------------------- broken off


def test_a_wrong_offset_is_told_the_right_one(client: TestClient) -> None:
    upload = begun(client, size_bytes=10)
    send(client, upload, b"1234")
    for offset in (0, 3, 5, 2**40):
        answer = send(client, upload, b"x", offset)
        assert (answer.status_code, answer.json()["code"]) == (409, "upload_offset")
        assert answer.headers["upload-offset"] == "4"
    head = client.head(upload)
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == ("4", "10")
    assert client.get(upload).json()["offset"] == 4


def test_what_has_come_before_a_connection_broke_stays(settings: Settings) -> None:
    upload_files.make(settings, "u")

    async def breaking():
        yield b"a" * 3_000_000
        yield b"b" * 10
        raise ConnectionError

    with pytest.raises(ConnectionError):
        asyncio.run(upload_files.append(settings, "u", 0, breaking(), 10**9))
    assert upload_files.received(settings, "u") == 3_000_010
    assert upload_files.path_of(settings, "u").read_bytes()[-11:] == b"abbbbbbbbbb"


def test_two_who_send_at_once_do_not_mix(settings: Settings) -> None:
    upload_files.make(settings, "u")
    problems: list[str] = []

    async def other():
        yield b"x"

    async def slow():
        yield b"1"
        try:
            await upload_files.append(settings, "u", 0, other(), 100)
        except FuseboxError as error:
            problems.append(error.code)
        yield b"2"

    assert asyncio.run(upload_files.append(settings, "u", 0, slow(), 100)) == 2
    assert (problems, upload_files.path_of(settings, "u").read_bytes()) == (["upload_busy"], b"12")


def test_a_full_disk_is_told_and_what_was_written_stays(settings: Settings) -> None:
    upload_files.make(settings, "u")
    path = upload_files.path_of(settings, "u")
    path.unlink()
    path.symlink_to("/dev/full")

    async def content():
        yield b"x" * 100

    with pytest.raises(UnavailableError, match="the server cannot store more"):
        asyncio.run(upload_files.append(settings, "u", 0, content(), 10**9))


def test_of_one_name_only_one_upload_is_under_way(
    client: TestClient, squares: bytes, registrar: Registrar
) -> None:
    first = begun(client)
    again = {"name": "squares", "format": "arrays"}
    answer = client.post("/v1/datasets", json=again)
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_under_way")
    assert answer.headers["location"] == first
    send(client, first, squares)
    client.post(f"{first}/complete")
    assert client.post("/v1/datasets", json=again).status_code == 409
    registrar.tick()
    assert client.post("/v1/datasets", json=again).status_code == 201
    names = [each["state"] for each in client.get("/v1/datasets/uploads?name=squares").json()["data"]]
    assert names == ["uploading", "ready"]


def test_of_two_who_begin_at_once_one_is_refused(client: TestClient, settings: Settings) -> None:
    answers: list[int] = []

    def begin() -> None:
        answers.append(client.post("/v1/datasets", json={"name": "one", "format": "arrays"}).status_code)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] + [409] * 5
    assert len(kept(settings)) == 1


def test_an_upload_may_be_broken_off_at_any_time(
    client: TestClient, settings: Settings, squares: bytes, registrar: Registrar
) -> None:
    for upload in (begun(client), sent(client, squares, name="other")):
        assert client.delete(upload).status_code == 204
        assert client.get(upload).status_code == 404
    assert kept(settings) == []
    registrar.tick()
    assert len(client.get("/v1/datasets").json()["data"]) == 2


def aged(sessions: Sessions, settings: Settings, upload: str, **columns: Any) -> None:
    with transaction(sessions) as session:
        found = uploads.get(session, upload.rpartition("/")[2])
        for name, value in columns.items():
            setattr(found, name, value)
    path = upload_files.path_of(settings, upload.rpartition("/")[2])
    if path.exists():
        long_ago = time.time() - 25 * 3600
        os.utime(path, (long_ago, long_ago))


def test_uploads_that_nobody_went_on_with_for_a_day_are_removed(
    client: TestClient, sessions: Sessions, settings: Settings, squares: bytes
) -> None:
    yesterday = utc_now() - timedelta(hours=25)
    old, fresh, young, waiting = (begun(client, name=name) for name in ("old", "fresh", "young", "waiting"))
    send(client, waiting, squares)
    client.post(f"{waiting}/complete")
    aged(sessions, settings, old, created_at=yesterday)
    aged(sessions, settings, waiting, created_at=yesterday)
    aged(sessions, settings, young)  # only its file's time is old
    aged(sessions, settings, fresh, created_at=yesterday)
    assert send(client, fresh, b"more").status_code == 204
    uploads.forget_old(sessions, settings)
    assert client.get(old).status_code == 404
    for upload in (fresh, young, waiting):
        assert client.get(upload).status_code == 200
    assert len(kept(settings)) == 3


def test_what_came_of_an_upload_is_remembered_for_a_week_and_lost_files_are_cleared_away(
    client: TestClient, sessions: Sessions, settings: Settings, registrar: Registrar
) -> None:
    upload = sent(client, b"nothing")
    registrar.tick()
    lost = settings.uploads_dir / "upload_lost"
    lost.mkdir()
    uploads.forget_old(sessions, settings)
    assert client.get(upload).json()["state"] == "refused"
    assert not lost.exists()
    with transaction(sessions) as session:
        session.get_one(Upload, upload.rpartition("/")[2]).updated_at = utc_now() - timedelta(days=8)
    uploads.forget_old(sessions, settings)
    assert client.get(upload).status_code == 404


# ------------------------------------------------------------------------------------------------- who checks


def test_an_upload_is_claimed_by_one_worker_and_by_another_when_that_is_not_heard_of(
    client: TestClient, sessions: Sessions, squares: bytes
) -> None:
    upload = sent(client, squares)
    first = upload_claims.claim(sessions, "one", 30)
    assert first is not None
    assert upload_claims.claim(sessions, "two", 30) is None
    aged_to = utc_now() - timedelta(seconds=1)
    with transaction(sessions) as session:
        session.get_one(Upload, first.upload_id).lease_expires_at = aged_to
    second = upload_claims.claim(sessions, "two", 30)
    assert second is not None
    assert (second.upload_id, second.tries) == (first.upload_id, 2)
    for too_late in (
        lambda: upload_claims.renew(sessions, first, 30, {}),
        lambda: upload_claims.refuse(sessions, first, "late"),
        lambda: upload_claims.release(sessions, first),
    ):
        with pytest.raises(FencedError):
            too_late()
    assert row(sessions, upload).error is None


def test_a_worker_that_gives_an_upload_back_has_not_tried(
    client: TestClient, sessions: Sessions, squares: bytes
) -> None:
    sent(client, squares)
    for _ in range(5):
        claim = upload_claims.claim(sessions, "one", 30)
        assert claim is not None
        assert claim.tries == 1
        upload_claims.release(sessions, claim)


def test_what_workers_die_of_is_not_tried_for_ever(
    client: TestClient, sessions: Sessions, squares: bytes, registrar: Registrar
) -> None:
    upload = sent(client, squares)
    for _ in range(upload_claims.MOST_TRIES):
        claim = upload_claims.claim(sessions, "dies", 0)
        assert claim is not None
        time.sleep(0.01)
    registrar.tick()
    assert client.get(upload).json()["error"] == GIVEN_UP


def test_a_dataset_and_the_end_of_its_upload_are_seen_at_the_same_moment(
    client: TestClient,
    sessions: Sessions,
    squares: bytes,
    registrar: Registrar,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that is fenced at the last moment has made no dataset."""
    upload = sent(client, squares)
    finish: Callable[..., Any] = upload_claims.finish

    def taken_away(sessions: Sessions, *rest: Any) -> Any:
        with transaction(sessions) as session:
            session.get_one(Upload, upload.rpartition("/")[2]).token += 1
        return finish(sessions, *rest)

    monkeypatch.setattr(upload_claims, "finish", taken_away)
    registrar.tick()
    with reading(sessions) as session:
        assert session.query(Dataset).count() == 0
    assert client.get(upload).json()["state"] == "checking"
