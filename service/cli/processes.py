"""Commands that run the service: `up` for one machine, `serve`, `worker` and `migrate` for many, `demo` to see it work."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from service.cli.terminal import out
from service.errors import FuseboxError

if TYPE_CHECKING:
    from service.settings import Settings
    from service.siblings import Place

Host = Annotated[
    str | None, typer.Option(help="Address to listen on. Beyond loopback, API keys are required.")
]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free port.")]
ApiProcesses = Annotated[
    int | None,
    typer.Option(min=1, max=64, help="Processes that answer at the address; for many CPUs, or a GPU."),
]


def add_to(app: typer.Typer) -> None:
    for command in (up, serve, worker, migrate_database, demo):
        app.command(name="migrate" if command is migrate_database else None)(command)


def up(
    host: Host = None,
    port: Port = None,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Jobs that may run at once.")] = 1,
    api_processes: ApiProcesses = None,
) -> None:
    """Run everything on this machine: API, dashboard, workers and a private Redis.

    Ctrl-C stops it in order; jobs that were running go on when it is started again.
    """
    from service.cli.machine import refuse
    from service.one_machine.up import LocalService

    settings = _settings(host, port, api_processes)
    _log("%(asctime)s %(message)s")
    stop = _stop_signal()
    try:
        service = LocalService(settings, workers).start()
    except FuseboxError as error:
        raise refuse(error) from None
    try:
        out.print(
            f"[bold]Fusebox[/] is up.\n  dashboard  {service.url}/\n  API        {service.url}/docs\n"
            f"  data       {escape(str(settings.data_dir.resolve()))} (logs in logs/)\nCtrl-C stops it.",
            highlight=False,
        )
        while not stop.wait(0.2):
            service.wait(timeout_s=0)
        out.print("Stopping; running jobs save their state first.")
    finally:
        service.stop()


def serve(
    host: Host = None,
    port: Port = None,
    api_processes: ApiProcesses = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="An open listening socket.")] = None,
    place: Annotated[int, typer.Option(hidden=True, help="Among those that share it.")] = 1,
    told_in: Annotated[Path | None, typer.Option(hidden=True, help="Where they tell of themselves.")] = None,
    beside_workers: Annotated[bool, typer.Option(hidden=True, help="Which want the same CPUs.")] = False,
) -> None:
    """Run the API and the dashboard alone. Needs a migrated database; takes no jobs itself."""
    settings = _settings(host, port, api_processes)
    _log()
    _refuse_unready(settings, listens=True)
    if fd is None and settings.api_processes > 1:
        from service.one_machine.api import serve_together

        serve_together(settings, _stop_signal())
    else:
        from service.siblings import Place

        among = Place(told_in, place, settings.api_processes) if told_in else None
        _serve(settings, fd, among, beside_workers=beside_workers)


def _serve(settings: Settings, fd: int | None, place: Place | None, *, beside_workers: bool) -> None:
    import uvicorn

    from service.app import create_app
    from service.bell import CeleryBell
    from service.web.server import Server, interrupt_nobody
    from service.worker.reconcile import Reconciler

    bell = CeleryBell(settings.redis_url)
    app = create_app(settings, bell, place)
    server = Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws="none",
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=64 * 1024,
        ),
        app.state.resources.leaving,
    )
    reconciler = Reconciler(app.state.resources.sessions, bell, settings)
    reconciler.start()
    gc.collect()
    gc.freeze()  # what is here by now stays: looking through it again made one answer in twenty take twice as long
    if not beside_workers:
        interrupt_nobody()
    try:
        server.run(sockets=None if fd is None else [socket.socket(fileno=fd)])
    finally:
        reconciler.stop()
    if not server.started:
        raise typer.Exit(1)


def worker() -> None:
    """Run a worker: takes jobs from FUSEBOX_QUEUES, one at a time. SIGTERM saves the job's state and ends."""
    from service.worker.celery_app import run_worker

    settings = _settings()
    _log()
    _refuse_unready(settings, listens=False)
    raise typer.Exit(run_worker(settings))


def migrate_database() -> None:
    """Bring the database to this version's tables. Safe to repeat."""
    from service.db import migrate

    settings = _settings()
    migrate(settings.effective_database_url)
    out.print("The database is up to date.")


def demo(
    exit_at_end: Annotated[bool, typer.Option("--exit", help="End after the last step.")] = False,
) -> None:
    """Train, probe, export and serve small models on this machine, from start to embedding."""
    from service.demo import run

    run(exit_at_end=exit_at_end)


def _log(layout: str = "%(asctime)s %(levelname)s %(name)s: %(message)s") -> None:
    logging.basicConfig(level=logging.INFO, format=layout)
    for chatty in ("alembic", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _settings(host: str | None = None, port: int | None = None, api_processes: int | None = None) -> Settings:
    from service.settings import Settings

    given = {"host": host, "port": port, "api_processes": api_processes}
    return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _refuse_unready(settings: Settings, *, listens: bool) -> None:
    from service.access import auth
    from service.cli.machine import refuse
    from service.db import assert_migrated, make_engine, make_sessions

    engine = make_engine(settings.effective_database_url)
    try:
        assert_migrated(engine)
        if listens:
            auth.assert_may_listen(settings, make_sessions(engine))
    except FuseboxError as error:
        raise refuse(error) from None
    finally:
        engine.dispose()


def _stop_signal() -> threading.Event:
    """Set when someone asks this process to end."""
    stop = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return stop
