"""`fusebox keys`: who may come in. Works on the database itself, so it needs no running server and no key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from service.cli.terminal import err, out, print_table
from service.client import ClientError

if TYPE_CHECKING:
    from service.tables import ApiKey

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)
MAX_NAME = 100


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is; jobs record it.")],
    scope: Annotated[
        list[str], typer.Option(help="read, infer, submit or admin; may be given several times.")
    ],
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Valid for so long; default: until revoked.")
    ] = None,
) -> None:
    """Create a key and print it, this once."""
    from service.access import auth
    from service.cli.machine import database
    from service.db import transaction

    if not (0 < len(name) <= MAX_NAME and name.isprintable()):
        raise ClientError(f"a key's name is 1 to {MAX_NAME} printable characters")
    scopes = [known for known in auth.SCOPES if known in scope]
    unknown = set(scope) - set(scopes)
    if unknown:
        raise ClientError(
            f"no such scope: {', '.join(sorted(unknown))}; choose from {', '.join(auth.SCOPES)}"
        )
    with database() as sessions, transaction(sessions) as session:
        _, secret = auth.create_key(session, name, scopes, days)
    err.print("Keep this key; it cannot be shown again:")
    out.print(secret, highlight=False, soft_wrap=True)


@app.command(name="list")
def list_keys() -> None:
    """List keys, without their secrets."""
    from sqlalchemy import select

    from service.cli.machine import database
    from service.db import reading
    from service.tables import ApiKey

    with database() as sessions, reading(sessions) as session:
        keys = session.scalars(select(ApiKey).order_by(ApiKey.created_at)).all()
    if not keys:
        out.print("No keys. Create one: fusebox keys create NAME --scope read", highlight=False)
        return
    table = Table("id", "name", "scopes", "state", "created", "last used", box=None, pad_edge=False)
    for key in keys:
        used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
        table.add_row(
            key.id, escape(key.name), " ".join(key.scopes), _state(key), f"{key.created_at:%Y-%m-%d}", used
        )
    print_table(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="See `fusebox keys list`.")]) -> None:
    """Revoke a key. Servers that are running take it for up to FUSEBOX_API_KEY_CACHE_S longer, 5 seconds."""
    from service.access import auth
    from service.cli.machine import database
    from service.db import transaction

    with database() as sessions, transaction(sessions) as session:
        auth.revoke_key(session, key_id)
    out.print("revoked")


def _state(key: ApiKey) -> str:
    from service.tables import utc_now

    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= utc_now() else "valid"
