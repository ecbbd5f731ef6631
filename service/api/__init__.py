"""One router per resource. A route parses, calls one function of `service`, and returns."""

from __future__ import annotations

from fastapi import APIRouter

from service.api import assets, catalog, embeddings, health, jobs, metrics, models, results, samples, uploads

ROUTERS: tuple[APIRouter, ...] = (
    jobs.router,
    metrics.router,
    results.router,
    uploads.router,  # before the catalog: an address of uploads also looks like a dataset of that name
    samples.router,
    catalog.router,
    models.router,
    assets.router,
    embeddings.router,
    health.router,
)
