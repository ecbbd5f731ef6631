"""Who may come in. Every route names the scope it needs; a route that names none stops the server at start-up.

On loopback without keys, whoever reaches the port is the machine's own user and may do everything; the Host header is
still checked, so that a web page elsewhere cannot reach the service through a DNS trick. On any other address the
server refuses to start until a key exists.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.routing import RouteContext, iter_route_contexts
from sqlalchemy import event, func, select, update
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.db import Sessions, reading, transaction
from service.errors import ConflictError, ForbiddenError, MisdirectedError, NotFoundError, UnauthorizedError
from service.settings import Settings
from service.tables import ApiKey, utc_now

Scope = Literal["read", "infer", "submit", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "infer", "submit", "admin")
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]", "testserver"})
"""Nobody can make a browser send these to a server of another machine, so they are always good."""
PREFIX = "fbx"
COOKIE = "fusebox_key"
"""Where a browser keeps its key: HttpOnly and SameSite=Strict, set by the dashboard's login page."""
MOST_CHARS = 200
"""Of a key."""


@dataclass(frozen=True)
class Principal:
    """Who sent a request: the name that events record, and what they may do."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class Granted:
    """What a key that is good now opens, and until when."""

    principal: Principal
    expires_at: datetime | None


class _Revoked:
    """By this process."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def one_more(self, _: Session) -> None:
        with self._lock:
            self.count += 1


LOCAL = Principal("local", frozenset(SCOPES))
ANYBODY = Principal("anybody", frozenset())
_revoked = _Revoked()


class require:
    """A dependency that lets a request pass when its key has the scope; `public` lets everybody pass."""

    def __init__(self, scope: Scope | Literal["public"]) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Principal:
        """Only where a key has to be looked up, a thread is asked."""
        resources = request.app.state.resources
        _check_host(request, resources.settings)
        if self.scope == "public":
            return ANYBODY
        principal = await sender_of(request)
        if self.scope not in principal.scopes:
            raise ForbiddenError(
                "scope_missing", f"this key lacks the scope '{self.scope}'; ask for a key that has it"
            )
        return principal


async def sender_of(request: Request) -> Principal:
    """Whose key came along, or on loopback the machine's own user. Raises UnauthorizedError without a good key."""
    resources = request.app.state.resources
    if _is_local(request, resources.settings):
        return LOCAL
    key, keys = _sent(request), resources.keys
    sender: Principal = keys.remembered(key) or await run_in_threadpool(keys.principal_of, key)
    return sender


def assert_every_route_has_a_policy(app: FastAPI) -> None:
    """Raises RuntimeError naming the routes that nobody has decided about, mounted applications among them."""
    undecided = [route.path for route in iter_route_contexts(app.routes) if policy(route) is None]
    if undecided:
        raise RuntimeError(f"routes without an access policy: {undecided}")


def assert_may_listen(settings: Settings, sessions: Sessions) -> None:
    """Raises ConflictError when the server would be open to a network without any key."""
    if settings.listens_on_loopback:
        return
    with reading(sessions) as session:
        if not session.scalar(select(func.count()).select_from(ApiKey).where(ApiKey.revoked_at.is_(None))):
            raise ConflictError(
                "no_api_keys",
                f"refusing to listen on {settings.host} without API keys; make one with `fusebox keys create NAME "
                "--scope admin …`, or listen on 127.0.0.1",
            )


def create_key(
    session: Session, name: str, scopes: list[Scope], days: int | None = None
) -> tuple[ApiKey, str]:
    """The row and the secret, which nobody can show again: 256 random bits, so that a plain SHA-256 protects it."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = ApiKey(
        id=key_id,
        name=name,
        sha256=_sha256(secret),
        scopes=sorted(set(scopes)),
        expires_at=None if days is None else utc_now() + timedelta(days=days),
    )
    session.add(row)
    return row, f"{PREFIX}_{key_id}_{secret}"


def revoke_key(session: Session, key_id: str) -> None:
    row = session.get(ApiKey, key_id)
    if row is None:
        raise NotFoundError.of("api_key", key_id, "list them with `fusebox keys list`")
    row.revoked_at = row.revoked_at or utc_now()
    event.listen(session, "after_commit", _revoked.one_more, once=True)


def _is_local(request: Request, settings: Settings) -> bool:
    """Whether no key is needed: on loopback, where none is sent."""
    return settings.listens_on_loopback and "authorization" not in request.headers


def _sent(request: Request) -> str:
    """The key. Raises UnauthorizedError where there is none."""
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, key = header.partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        raise UnauthorizedError("no_api_key", "send an API key: 'Authorization: Bearer fbx_…'")
    # A browser sends the cookie along with whatever a page asks for, and says which page that was.
    if _changes(request) and not _same_origin(request):
        raise ForbiddenError("cross_origin", "a page of another site may not change anything here")
    return cookie


def principal_of(key: str, sessions: Sessions) -> Principal:
    """Raises UnauthorizedError unless `key` is a valid API key."""
    return granted(key, sessions).principal


def granted(key: str, sessions: Sessions) -> Granted:
    """The same, with the key's end."""
    parts = key.split("_", 2)
    if len(parts) != 3 or parts[0] != PREFIX or len(key) > MOST_CHARS:
        raise UnauthorizedError("bad_api_key", "not an API key of this service; keys look like 'fbx_…'")
    return _known(sessions, parts[1], parts[2])


def policy(route: RouteContext) -> Scope | Literal["public"] | None:
    """The scope that a route needs, or None when it names none."""
    dependant = getattr(route, "dependant", None)
    return _demanded(dependant) if dependant else None


def assert_same_origin(request: Request) -> None:
    """Raises ForbiddenError when a page of another site sent this."""
    if not _same_origin(request):
        raise ForbiddenError("cross_origin", "this form may only be sent by this site's own page")


def revocations() -> int:
    """How many keys this process has revoked, as far as that is committed."""
    return _revoked.count


def _known(sessions: Sessions, key_id: str, secret: str) -> Granted:
    now = utc_now()
    with reading(sessions) as session:
        row = session.get(ApiKey, key_id) if key_id.isalnum() and key_id.isascii() else None
    # An unknown id costs the same comparison as a wrong secret.
    same = hmac.compare_digest(row.sha256 if row else "0" * 64, _sha256(secret))
    if row is None or not same:
        raise UnauthorizedError("bad_api_key", "this API key is not known")
    if row.revoked_at or (row.expires_at and row.expires_at <= now):
        raise UnauthorizedError("api_key_ended", "this API key was revoked or has expired; ask for a new one")
    if row.last_used_at is None or now - row.last_used_at > timedelta(minutes=1):
        with transaction(sessions) as session:
            session.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=now))
    return Granted(Principal(f"key:{row.name}", frozenset(row.scopes)), row.expires_at)


def _check_host(request: Request, settings: Settings) -> None:
    host = request.headers.get("host", "").lower()
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    demanding = settings.listens_on_loopback or settings.allowed_hosts
    own = f"[{settings.host}]" if ":" in settings.host else settings.host
    if demanding and name not in LOOPBACK_HOSTS | set(map(str.lower, (own, *settings.allowed_hosts))):
        raise MisdirectedError("wrong_host", "this server does not answer to that host name")
    has_origin = "origin" in request.headers
    if settings.listens_on_loopback and _changes(request) and has_origin and not _same_origin(request):
        raise ForbiddenError("cross_origin", "a page of another site may not change anything here")


def _changes(request: Request) -> bool:
    return request.method not in ("GET", "HEAD", "OPTIONS")


def _same_origin(request: Request) -> bool:
    origin = request.headers.get("origin", "")
    return origin.rpartition("//")[2].lower() == request.headers.get("host", "").lower()


def _demanded(dependant: Any) -> Scope | Literal["public"] | None:
    for each in dependant.dependencies:
        scope = each.call.scope if isinstance(each.call, require) else _demanded(each)
        if scope:
            return scope
    return None


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


Dependency = Callable[..., Principal]
