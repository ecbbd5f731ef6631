"""One router per resource. A route parses, calls one function of `service`, and returns."""

from __future__ import annotations

from fastapi import APIRouter

from service.api import (
    assets,
    catalog,
    embeddings,
    heads,
    health,
    jobs,
    metrics,
    models,
    predictions,
    previews,
    replications,
    results,
    samples,
    uploads,
)

ROUTERS: tuple[APIRouter, ...] = (
    jobs.router,
    metrics.router,
    results.router,
    replications.router,
    uploads.router,  # before the catalog: an address of uploads also looks like a dataset of that name
    samples.router,
    previews.router,
    catalog.router,
    models.router,
    heads.router,
    assets.router,
    embeddings.router,
    predictions.router,
    health.router,
)
