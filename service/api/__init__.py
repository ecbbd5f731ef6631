"""One router per resource. A route parses, calls one function of `service`, and returns."""

from __future__ import annotations

from fastapi import APIRouter

from service.api import (
    assets,
    catalog,
    dialects,
    embeddings,
    heads,
    health,
    jobs,
    metrics,
    mlflow,
    models,
    open_inference,
    predictions,
    previews,
    replications,
    results,
    samples,
    search,
    specs,
    uploads,
    workers,
)

ROUTERS: tuple[APIRouter, ...] = (
    embeddings.router,  # an address is looked up in this order, and these are asked for most often
    predictions.router,
    jobs.router,
    metrics.router,
    mlflow.router,
    results.router,
    workers.router,
    replications.router,
    uploads.router,  # before the catalog: an address of uploads also looks like a dataset of that name
    samples.router,
    previews.router,
    catalog.router,
    specs.router,
    models.router,
    heads.router,
    assets.router,
    dialects.router,
    open_inference.router,
    search.router,
    health.router,
)
