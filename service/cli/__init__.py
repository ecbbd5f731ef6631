"""`fusebox`, the command line: runs the service's processes, and talks to a running one over HTTP.

Every error ends as one readable line with its remedy and exit status 1, or 78 where a process refuses to start. What takes
long to import is imported by the commands that need it, so that the others answer at once.
"""

from __future__ import annotations

import sys

import typer

from service.cli import datasets, jobs, keys, models, presets, processes, replicate, results, search
from service.cli.terminal import complain
from service.version import VERSION

app = typer.Typer(
    name="fusebox",
    help="Train, probe and serve fused multimodal embeddings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
processes.add_to(app)
app.add_typer(jobs.app, name="jobs")
app.command()(presets.presets)
app.command()(results.results)
app.command()(replicate.replicate)
app.add_typer(replicate.app, name="replications")
app.add_typer(datasets.app, name="datasets")
app.add_typer(models.app, name="models")
app.command()(models.embed)
app.command()(search.search)
app.add_typer(keys.app, name="keys")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit()


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


def main() -> None:
    try:
        app()
    except Exception as error:  # noqa: BLE001  what is no complaint is raised again
        sys.exit(complain(error))
