"""`fusebox jobs`: submit, list, watch, tag, cancel and retry over HTTP."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from service.cli import curves
from service.cli.changes import changed
from service.cli.following import assert_succeeded, follow, span
from service.cli.terminal import ApiKey, Server, connect, out, print_table
from service.client import DEFAULT_SERVER, ClientError, Json

app = typer.Typer(help="Submit, list and watch jobs.", no_args_is_help=True)
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}


@app.command()
def submit(
    spec: Annotated[
        str | None,
        typer.Argument(metavar="[SPEC.json|-]", help="A file with the spec, or - for standard input."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A published run to start from; `fusebox presets` lists them.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PATH=VALUE", help="E.g. seed=43 or optim.lr=1e-3. May be given several times."
        ),
    ] = None,
    kind: Annotated[str, typer.Option(help="train, probe, export or embed.")] = "train",
    name: Annotated[str, typer.Option(help="For people; need not be unique.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="JOB", help="Start once that job has succeeded.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show its progress until it ends.")] = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Submit a job. SPEC.json is the spec itself, e.g. {"method": "infmasking", "dataset": "digits", "epochs": 8}; with a
    preset, what shall differ from it."""
    if spec is None and preset is None and not change:
        raise ClientError("give a file with a spec, or --preset NAME, or --set dataset=digits")
    asked = changed(_read_spec(spec) if spec is not None else {}, change or [])
    with connect(server, api_key) as client:
        asked_besides = {"preset": preset, "after": after}
        rest = {name: value for name, value in asked_besides.items() if value is not None}
        answer = client.submit(kind, asked, dry_run=dry_run, name=name, tags=tag or [], **rest)
        if dry_run:
            out.print_json(data=answer)
            return
        out.print(answer["id"], highlight=False)
        if watch:
            assert_succeeded(*follow(client, [answer]))


@app.command(name="list")
def list_jobs(
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed …")] = None,
    kind: Annotated[str | None, typer.Option(help="train, probe, export or embed.")] = None,
    method: Annotated[str | None, typer.Option()] = None,
    dataset: Annotated[str | None, typer.Option()] = None,
    tag: Annotated[str | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """List jobs, newest first."""
    filters = {"state": state, "kind": kind, "method": method, "dataset": dataset, "tag": tag}
    with connect(server, api_key) as client:
        page = client.jobs(limit=limit, **{k: v for k, v in filters.items() if v is not None})
    if not page["data"]:
        out.print("No such jobs. Submit one: fusebox jobs submit SPEC.json", highlight=False)
        return
    ids = Column("job", no_wrap=True, min_width=26)  # an id that is cut off is no use
    table = Table(
        ids, "kind", "state", "method", "dataset", "seed", "progress", "age", box=None, pad_edge=False
    )
    for job in page["data"]:
        state_text = f"[{COLOURS.get(job['state'], 'white')}]{job['state']}[/]"
        cells = (job["method"] or "", job["dataset"] or "", "" if job["seed"] is None else str(job["seed"]))
        table.add_row(
            job["id"], job["kind"], state_text, *map(escape, cells), _share(job), _age(job["created_at"])
        )
    print_table(table)
    if page["has_more"]:
        out.print(f"… and older ones; --limit shows up to 200 (now {limit})", style="dim", highlight=False)


@app.command()
def watch(job: JobId, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Show a job's progress until it ends. The exit status is 1 unless it succeeded."""
    with connect(server, api_key) as client:
        assert_succeeded(*follow(client, [client.job(job)]))


@app.command()
def cancel(job: JobId, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Ask a job to stop. It keeps its last checkpoint."""
    with connect(server, api_key) as client:
        out.print(client.cancel(job)["state"])


@app.command()
def retry(job: JobId, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    with connect(server, api_key) as client:
        out.print(client.retry(job)["state"])


@app.command()
def tag(
    job: Annotated[list[str], typer.Argument(metavar="JOB…", help="Ids of jobs.")],
    add: Annotated[list[str] | None, typer.Option(metavar="TAG", help="May be given several times.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="May be given several times.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Add tags to jobs, or remove them, and show which each has then. `fusebox jobs list --tag TAG` finds them."""
    if not (add or remove):
        raise ClientError("give --add TAG or --remove TAG")
    with connect(server, api_key) as client:
        for each in job:
            changed_job = client.change_job(each, add_tags=add or [], remove_tags=remove or [])
            out.print(f"{each}: {', '.join(changed_job['tags']) or 'no tags'}", highlight=False, markup=False)


app.command(name="metrics")(curves.metrics)


def _read_spec(source: str) -> Json:
    try:
        spec = json.loads(sys.stdin.read() if source == "-" else Path(source).read_text("utf-8"))
    except ValueError as error:
        raise ClientError(f"{source} is not JSON: {error}") from None
    if not isinstance(spec, dict):
        raise ClientError(f"{source} must hold one JSON object, the spec")
    return spec


def _share(job: Json) -> str:
    at = job["progress"] or {}
    return f"{at['step']}/{at['total']}" if at.get("total") else ""


def _age(moment: str) -> str:
    return span((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
