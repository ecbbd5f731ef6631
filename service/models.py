"""Published models: versions under a name, and aliases that move from one version to another.

The store holds the files and is enough to serve from; the rows here say who published what, from which training, and
when. Both change together: pointers of the store move just before the session commits, and are the same again when
the work is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from models_store.store import ModelStore, StoreError, UnknownModelError
from service.db import take_turns
from service.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from service.paging import paged, place_of
from service.schemas.heads import HeadOut
from service.schemas.models import AliasOut, ModelOut
from service.tables import Alias, Model, ModelHead, utc_now


def publish(
    session: Session, store: ModelStore, folder: Path, *, job_id: str, train_job_id: str | None
) -> Model:
    """Stores the bundle as the next version of its name; the same bundle again is the version that it was.

    Raises StoreError when the bundle is not whole, ConflictError when the name is an alias by now.
    """
    digest = store.publish(folder)
    manifest = store.manifest(digest)
    take_turns(session, "model name", manifest.name)
    known = session.get(Model, digest)
    if known is not None:
        return known
    if session.get(Alias, manifest.name) is not None:
        raise _taken(manifest.name, "an alias")
    model = Model(
        digest=digest,
        name=manifest.name,
        version=_version(session, store, manifest.name, digest),
        job_id=job_id,
        train_job_id=train_job_id,
        manifest=manifest.model_dump(mode="json"),
    )
    session.add(model)
    session.flush()
    store.name_version(model.name, model.version, digest)
    return model


def get(session: Session, store: ModelStore, reference: str) -> Model:
    """`reference`: digest, alias, name@version, or a name for its newest version. Raises NotFoundError."""
    try:
        digest = store.resolve(reference)
    except UnknownModelError as error:
        raise NotFoundError("model_not_found", str(error)) from None
    except StoreError:
        raise UnavailableError(
            "model_damaged",
            f"what the store holds for {reference[:100]!r} is damaged; publish the model again",
        ) from None
    model = session.get(Model, digest)
    if model is None:
        raise NotFoundError.of(
            "model", reference[:100], "it can be served, but this database did not publish it"
        )
    return model


def page(
    session: Session, name: str | None, cursor: str | None, limit: int
) -> tuple[list[Model], str | None]:
    """By name, of each the newest version first. Returns the models and the next page's cursor."""
    query = select(Model).order_by(Model.name, Model.version.desc()).limit(limit + 1)
    if name is not None:
        query = query.where(Model.name == name)
    if cursor is not None:
        last, version = place_of(cursor, str, int)
        query = query.where(or_(Model.name > last, and_(Model.name == last, Model.version < version)))
    return paged(session.scalars(query).all(), limit, lambda model: (model.name, model.version))


def told(session: Session, models: Sequence[Model]) -> list[ModelOut]:
    """As clients see them."""
    names: dict[str, list[str]] = {model.digest: [] for model in models}
    for alias in session.scalars(select(Alias).where(Alias.digest.in_(list(names))).order_by(Alias.alias)):
        names[alias.digest].append(alias.alias)
    heads: dict[str, list[HeadOut]] = {model.digest: [] for model in models}
    for head in session.scalars(
        select(ModelHead).where(ModelHead.digest.in_(list(heads))).order_by(ModelHead.task)
    ):
        heads[head.digest].append(HeadOut.of(head))
    return [ModelOut.of(model, names[model.digest], heads[model.digest]) for model in models]


def aliases(session: Session) -> list[AliasOut]:
    rows = session.execute(
        select(Alias, Model).join(Model, Model.digest == Alias.digest).order_by(Alias.alias)
    )
    return [AliasOut.of(alias, model) for alias, model in rows]


def set_alias(session: Session, store: ModelStore, alias: str, reference: str, actor: str) -> AliasOut:
    """Lets the alias mean a model from now on.

    Raises InvalidError when there is no such model, ConflictError when a model is called like the alias.
    """
    take_turns(session, "model name", alias)
    if session.scalar(select(Model.digest).where(Model.name == alias).limit(1)) is not None:
        raise _taken(alias, "a model")
    try:
        model = get(session, store, reference)
    except NotFoundError as error:
        raise InvalidError.at("/model", error.code, error.detail) from None
    row = session.get(Alias, alias) or Alias(alias=alias)
    row.digest, row.updated_by, row.updated_at = model.digest, actor, utc_now()
    session.add(row)
    session.flush()
    store.set_alias(alias, model.digest)
    return AliasOut.of(row, model)


def _version(session: Session, store: ModelStore, name: str, digest: str) -> int:
    """One more than any that was given away, also when the database has forgotten it."""
    stored = store.versions(name)
    again = next((version for version, each in stored.items() if each == digest), None)
    newest = session.scalar(select(func.max(Model.version)).where(Model.name == name)) or 0
    return again or max(newest, *stored, 0) + 1


def _taken(name: str, what: str) -> ConflictError:
    return ConflictError("name_taken", f"{name!r} is the name of {what} already; choose another")
