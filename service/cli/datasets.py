"""`fusebox datasets`: register the files of a dataset on this machine or on a server, and look at what is registered.

Registering on this machine works on the data folder and the database themselves, so it needs no running server and no key. The files
are read by a process of its own, whose memory and time are bounded and which cannot harm this one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from service.cli import uploading
from service.cli.terminal import ApiKey, Server, connect, out, print_table
from service.client import DEFAULT_SERVER, ClientError, Json
from training.events import Done, Event, Unusable
from training.events import Progress as Step
from training.spec.registration import (
    ABOUT,
    OWN_FORMATS,
    Options,
    read_registered,
)

app = typer.Typer(help="Register or upload datasets, list and show them.", no_args_is_help=True)
FORMATS = "\n\n".join(f"`{name}`: {about}" for name, about in ABOUT.items())
OWN = "\n\n".join(f"`{name}`: {ABOUT[name]}" for name in OWN_FORMATS)
PATIENCE_S = 60
BROKE = "reading the files broke off by a mistake of ours; please report what is printed above"
KILLED = (
    "the files were not read to their end: they take more time or memory than files of their size can need"
)


Describe = Annotated[
    Path | None,
    typer.Option(
        "--describe",
        metavar="FILE",
        help="JSON that says what one's own data is, before its own dataset.json.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option("--image-size", help="Pixels along an image's side; default: what is usual for the format."),
]


@app.command(help=f"Register a dataset from its files on this machine. FORMAT is one of:\n\n{FORMATS}")
def add(
    made_from: Annotated[str, typer.Argument(metavar="FORMAT", help="One of those above.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file or folder as it was downloaded.")],
    name: Annotated[
        str | None,
        typer.Option(help="What specs call it; by default the format's name, of one's own data the file's."),
    ] = None,
    image_size: ImageSize = None,
    describe: Describe = None,
) -> None:
    from service.cli.machine import database
    from service.data import datasets
    from service.db import transaction
    from service.settings import Settings

    if made_from not in ABOUT:
        raise ClientError(f"there is no format {made_from!r}; choose one of {', '.join(ABOUT)}")
    usual = _name_of(path) if made_from in OWN_FORMATS else made_from
    name = usual if name is None else name
    datasets.assert_nameable(name)
    options = _options(image_size, describe)
    folder = Settings().datasets_dir
    with database() as sessions:
        sha256 = _registered(made_from, path, folder, options)
        manifest, report = read_registered(folder, sha256)
        with transaction(sessions) as session:
            datasets.add(session, name, sha256, manifest, report, actor="local")
    _print_report(name, sha256, report.model_dump(mode="json"))
    out.print(f'Train on it with {{"dataset": "{name}"}}', highlight=False, markup=False)


@app.command(help=f"Send one's own data to a server, which makes a dataset of it. FORMAT is one of:\n\n{OWN}")
def upload(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What specs call it.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file or folder.")],
    made_from: Annotated[str, typer.Option("--format", metavar="FORMAT", help="One of those above.")],
    image_size: ImageSize = None,
    describe: Describe = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    options = _options(image_size, describe).model_dump(mode="json", exclude_unset=True)
    with connect(server, api_key) as client:
        ready = uploading.send(client, name, made_from, path, options)
    _print_report(name, ready["dataset_sha256"], ready["report"])
    out.print(f'Train on it with {{"dataset": "{name}"}}', highlight=False, markup=False)


@app.command()
def abort(
    upload_id: Annotated[str, typer.Argument(metavar="UPLOAD", help="As it was told: upload_…")],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Break an upload off, and remove what has arrived of it."""
    with connect(server, api_key) as client:
        client.remove_upload(upload_id)
    out.print(f"{upload_id} is removed.", highlight=False, markup=False)


@app.command(name="list")
def list_datasets(server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """List the datasets that a server can train on."""
    with connect(server, api_key) as client:
        found = client.datasets()["data"]
    table = Table(
        "dataset",
        "modalities",
        "tasks",
        "train",
        "val",
        "test",
        "warnings",
        "sha256",
        box=None,
        pad_edge=False,
    )
    for each in found:
        usual, registered = each["forms"][0], each["registered"] or {}
        samples = registered.get("samples", {}).get("strict", {})
        table.add_row(
            escape(each["name"]),
            _listed(modality["name"] for modality in usual["modalities"]),
            _listed(task["name"] for task in usual["tasks"]),
            *(f"{samples[split]:,}" if split in samples else "" for split in ("train", "val", "test")),
            str(len(registered["warnings"])) if registered else "",
            registered.get("sha256", "")[:12],
        )
    print_table(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="See `fusebox datasets list`.")],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Show what a dataset consists of and what registering it found."""
    with connect(server, api_key) as client:
        found = client.dataset(name)
    out.print(found["about"], highlight=False, markup=False)
    table = Table("form", "modality", "kind", "shape", "usual encoder", box=None, pad_edge=False)
    for form in found["forms"]:
        for place, modality in enumerate(form["modalities"]):
            encoder = (modality["encoder"] or {}).get("name", "")
            table.add_row(
                "" if place else escape(form["form"]),
                escape(modality["name"]),
                modality["kind"],
                _shape(modality),
                encoder,
            )
    print_table(table)
    if found["report"] is not None:
        _print_report(name, found["registered"]["sha256"], found["report"])


def _name_of(path: Path) -> str:
    stem = path.resolve().name.partition(".")[0].lower()
    return re.sub(r"[^a-z0-9._-]", "-", stem)


def _options(image_size: int | None, describe: Path | None) -> Options:
    """Raises ClientError, or OSError when the description cannot be read."""
    try:
        said = {} if describe is None else json.loads(describe.read_text("utf-8"))
        return Options.model_validate(said if image_size is None else {**said, "image_size": image_size})
    except ValidationError as error:
        first = error.errors()[0]
        raise ClientError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, TypeError, RecursionError):
        raise ClientError(f"{describe} is not a JSON object in UTF-8") from None


def _registered(made_from: str, path: Path, folder: Path, options: Options) -> str:
    """Reads the files in a process of its own and returns the dataset's sha256. Raises ClientError."""
    from service.data.registration import Registration

    done: Done | None = None
    unusable: list[Json] = []
    with Registration(made_from, path, folder, options) as registration:
        for event in _shown(registration.events(PATIENCE_S)):
            if isinstance(event, Unusable):
                unusable.append(event.model_dump())
            done = event if isinstance(event, Done) else done
        status = registration.exit_code()
    if done is None:
        raise ClientError(KILLED if status < 0 else BROKE)
    if done.outcome != "succeeded":
        raise ClientError(uploading.with_unusable(done.text, unusable))
    return done.text


def _shown(events: Iterator[Event | None]) -> Iterator[Event | None]:
    """Draws them as they come."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        bar = progress.add_task("reading", total=None)
        for event in events:
            if isinstance(event, Step):
                progress.update(bar, description=event.phase, completed=event.step, total=event.total)
            yield event


def _print_report(name: str, sha256: str, report: Json) -> None:
    files = "1 file" if report["n_files"] == 1 else f"{report['n_files']:,} files"
    found = f"{name} ({report['format']}) is {sha256[:12]}, of {files} with {report['n_bytes']:,} bytes"
    out.print(found, highlight=False, markup=False)
    table = Table("split", *report["samples"], "labels", box=None, pad_edge=False)
    for split in report["samples"]["strict"]:
        sizes = [f"{of_protocol.get(split, 0):,}" for of_protocol in report["samples"].values()]
        table.add_row(split, *sizes, escape(_labels(report["labels"], split)))
    print_table(table)
    for each in report["dropped"]:
        ids = ", ".join(each["ids"][:3]) + (", …" if each["count"] > 3 else "")
        _line("dropped", f"{each['count']:,} because {each['reason']}: {ids}")
    for note in report["notes"]:
        _line("changed", note)
    for warning in report["warnings"]:
        _line("warning", warning, style="yellow")


def _line(what: str, text: str, style: str = "default") -> None:
    out.print(f"[{style}]{what}[/]  {escape(text)}", highlight=False, soft_wrap=True)


def _labels(labels: Json, split: str) -> str:
    """Of the first task; of more there is too much to say in a line."""
    if not labels:
        return ""
    task, counts = next(iter(labels.items()))
    told = ", ".join(f"{label} {count:,g}" for label, count in counts[split].items() if count)
    more = f" … and {len(labels) - 1} more tasks" if len(labels) > 1 else ""
    return f"{task}: {told}{more}"


def _shape(modality: Json) -> str:
    match modality["kind"]:
        case "image":
            return f"{modality['channels']} × {modality['size']} × {modality['size']}"
        case "text":
            return f"{modality['max_tokens']} tokens"
        case "sequence":
            return f"{modality['length']} × {modality['features']}"
        case _:
            return f"{modality['features']}"


def _listed(names: Iterator[str], shown: int = 4) -> str:
    all_of_them = list(names)
    more = f" … ({len(all_of_them)})" if len(all_of_them) > shown else ""
    return escape(", ".join(all_of_them[:shown]) + more)
