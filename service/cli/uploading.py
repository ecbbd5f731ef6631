"""Sending a dataset's files to a server: packed where they are a folder, in parts, and on after a broken connection.

A folder is packed the same way each time, so that the same command, given again, goes on with what has arrived.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn

from service.cli.terminal import out
from service.client import ApiProblem, Client, ClientError, Json, UnreachableError

PART_BYTES = 8 * 2**20
"""Below what a server takes at once (FUSEBOX_MAX_BODY_BYTES)."""
LOOK_S = 0.5
NAMED = 5
"""Of the samples that could not be used, for each reason."""
TRIES, PAUSE_S = 8, 1.0
"""In a row, and between them at first; then twice as long each time."""
Show = Callable[[str, int, int | None], None]


class Packed(NamedTuple):
    path: Path
    size_bytes: int
    sha256: str


def send(client: Client, name: str, made_from: str, path: Path, options: Json) -> Json:
    """The upload once it is ready. Raises ClientError when it is refused, or the server does not answer for long."""
    with _bars() as show, _packed(path, show) as packed:
        upload = _begun(client, name, made_from, packed, options)
        if upload["state"] == "uploading":
            _send_parts(client, upload["id"], packed, show)
            _persistently(lambda: client.complete_upload(upload["id"]))
        return _awaited(client, upload["id"], show)


@contextmanager
def _packed(path: Path, show: Show) -> Iterator[Packed]:
    """Raises ClientError when there is nothing."""
    if not path.exists():
        raise ClientError(f"there is no {path}")
    if path.is_file() and path.suffix != ".npy":
        yield _measured(path, show)
        return
    with tempfile.TemporaryDirectory(prefix="fusebox-upload-") as folder:
        tar = Path(folder) / "files.tar"
        files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        _pack(files, path.parent if path.is_file() else path, tar, show)
        yield _measured(tar, show)


def _pack(files: list[Path], folder: Path, tar: Path, show: Show) -> None:
    """Nothing but names and content, so that the same files always give the same bytes."""
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        for number, path in enumerate(files):
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(member, content)
            show("packing", number + 1, len(files))


def _measured(path: Path, show: Show) -> Packed:
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        while piece := file.read(PART_BYTES):
            digest.update(piece)
            show("reading", file.tell(), size)
    return Packed(path, size, digest.hexdigest())


def _begun(client: Client, name: str, made_from: str, packed: Packed, options: Json) -> Json:
    """A new upload, or the one under way if it is of the same file. Raises ClientError when it is of another."""
    size_and_sha256 = {"size_bytes": packed.size_bytes, "sha256": packed.sha256}
    try:
        return client.begin_upload(name, made_from, options, **size_and_sha256)
    except ApiProblem as problem:
        if problem.code != "upload_under_way":
            raise
    known: list[Json] = client.uploads(name)["data"]
    for upload in known:
        if upload["state"] in ("uploading", "checking"):
            if upload["sha256"] == packed.sha256 and upload["format"] == made_from:
                return upload
            raise ClientError(
                f"an upload of other files for {name!r} is under way: {upload['id']}; take another name, or remove it with "
                f"`fusebox datasets abort {upload['id']}`"
            )
    return client.begin_upload(name, made_from, options, **size_and_sha256)  # it has ended meanwhile


def _send_parts(client: Client, upload_id: str, packed: Packed, show: Show) -> None:
    offset = client.dataset_upload(upload_id)["offset"]
    tries = 0
    with packed.path.open("rb") as file:
        while offset < packed.size_bytes:
            show("sending", offset, packed.size_bytes)
            file.seek(offset)
            try:
                offset = client.send_part(upload_id, offset, file.read(PART_BYTES))
                tries = 0
            except (UnreachableError, ApiProblem) as error:
                tries += 1
                if tries == TRIES or not _is_passing(error):
                    raise
                time.sleep(PAUSE_S * 2 ** (tries - 1))
                offset = _persistently(lambda: client.dataset_upload(upload_id))["offset"]


def _persistently(ask: Callable[[], Json]) -> Json:
    for tries in range(1, TRIES):
        try:
            return ask()
        except (UnreachableError, ApiProblem) as error:
            if not _is_passing(error):
                raise
            time.sleep(PAUSE_S * 2 ** (tries - 1))
    return ask()


def _is_passing(error: ClientError) -> bool:
    """Whether asking again may help: nobody answered, or another request was still at it."""
    if isinstance(error, ApiProblem):
        return error.status in (429, 502, 503, 504) or error.code in ("upload_busy", "upload_offset")
    return True


def _awaited(client: Client, upload_id: str, show: Show) -> Json:
    while (upload := _persistently(lambda: client.dataset_upload(upload_id)))["state"] == "checking":
        progress = upload["progress"] or {}
        show(progress.get("phase", "waiting for a worker"), progress.get("step", 0), progress.get("total"))
        time.sleep(LOOK_S)
    if upload["state"] != "ready":
        raise ClientError(with_unusable(upload["error"] or "the upload was refused", upload["unusable"]))
    return upload


def with_unusable(reason: str, unusable: Sequence[Json]) -> str:
    """Why data was refused, and which of its samples had to do with it."""
    lines = [
        f"  {each['count']:,} because {each['reason']}: {', '.join(each['ids'][:NAMED])}" for each in unusable
    ]
    return "\n".join([reason, *lines])


@contextmanager
def _bars() -> Iterator[Show]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        bar = progress.add_task("reading", total=None)
        yield lambda phase, step, total: progress.update(bar, description=phase, completed=step, total=total)
