"""As much of MLflow's REST API as its client needs to log a run: existing loggers send here with MLFLOW_TRACKING_URI.

Artifacts are not kept, and searches know no filter. MLFLOW_TRACKING_TOKEN is an API key with the scope `submit`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from service import mlflow
from service.access.auth import Principal, require
from service.deps import ReadSession, WriteSession
from service.errors import FuseboxError
from service.schemas.mlflow import (
    ExperimentAnswer,
    ExperimentMade,
    ExperimentsAnswer,
    LogBatch,
    LogMetric,
    LogParameter,
    NewExperiment,
    NewRun,
    RunAnswer,
    RunInfoAnswer,
    RunsAnswer,
    SearchExperiments,
    SearchRuns,
    SetTag,
    UpdateRun,
)
from service.web import problems

ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_ALREADY_EXISTS",
    422: "INVALID_PARAMETER_VALUE",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}


class MlflowRoute(APIRoute):
    """A route whose problems also say what MLflow's client looks for in an error: `error_code` and `message`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_with_codes(request: Request) -> Response:
            try:
                return await answer(request)
            except FuseboxError as error:
                return _problem(request, error)
            except RequestValidationError as error:
                if isinstance(error.body, bytes) and error.body:
                    raise
                return _problem(request, problems.invalid(error.errors(), error.body))

        return answer_with_codes


def _problem(request: Request, error: FuseboxError) -> Response:
    plain = problems.answer(request, error)
    codes = {"error_code": ERROR_CODES.get(error.status, "INTERNAL_ERROR"), "message": error.detail}
    body = {**json.loads(bytes(plain.body)), **codes}
    headers = {name: value for name, value in plain.headers.items() if name != "content-length"}
    return JSONResponse(body, error.status, headers, media_type=plain.media_type)


Submitter = Annotated[Principal, Depends(require("submit"))]
router = APIRouter(
    prefix="/api/2.0/mlflow",
    tags=["mlflow"],
    route_class=MlflowRoute,
    dependencies=[Depends(require("submit"))],
)


@router.post("/experiments/create")
def create_experiment(asked: NewExperiment, session: WriteSession, submitter: Submitter) -> ExperimentMade:
    return ExperimentMade(experiment_id=str(mlflow.create_experiment(session, asked.name, submitter.name)))


@router.get("/experiments/get-by-name")
def experiment_by_name(
    experiment_name: Annotated[str, Query(max_length=255)], session: ReadSession
) -> ExperimentAnswer:
    return ExperimentAnswer(
        experiment=mlflow.told_experiment(mlflow.experiment_named(session, experiment_name))
    )


@router.get("/experiments/get")
def experiment(
    experiment_id: Annotated[str, Query(pattern=r"^\d{1,9}$")], session: ReadSession
) -> ExperimentAnswer:
    return ExperimentAnswer(experiment=mlflow.told_experiment(mlflow.experiment(session, int(experiment_id))))


@router.post("/experiments/search")
def search_experiments(asked: SearchExperiments, session: ReadSession) -> ExperimentsAnswer:
    """All of them, by age."""
    found, cursor = mlflow.experiments(session, asked.page_token, asked.max_results)
    return ExperimentsAnswer(
        experiments=[mlflow.told_experiment(each) for each in found], next_page_token=cursor
    )


@router.post("/runs/create")
def create_run(asked: NewRun, session: WriteSession, submitter: Submitter) -> RunAnswer:
    """A run elsewhere that is logged here. It appears as a job of the kind `external`."""
    job = mlflow.create_run(session, asked, submitter.name)
    return RunAnswer(run=mlflow.told(session, [job])[0])


@router.post("/runs/update")
def update_run(asked: UpdateRun, session: WriteSession, submitter: Submitter) -> RunInfoAnswer:
    """How a run goes: it ends, or goes on, or gets another name."""
    job = mlflow.locked_run(session, asked.run_id)
    mlflow.update(session, job, asked, submitter.name)
    return RunInfoAnswer(run_info=mlflow.told(session, [job])[0].info)


@router.get("/runs/get")
def get_run(
    session: ReadSession,
    run_id: Annotated[str, Query(max_length=40)] = "",
    run_uuid: Annotated[str, Query(max_length=40)] = "",
) -> RunAnswer:
    return RunAnswer(run=mlflow.told(session, [mlflow.run(session, run_id or run_uuid)])[0])


@router.post("/runs/search")
def search_runs(asked: SearchRuns, session: ReadSession) -> RunsAnswer:
    """Runs of the experiments, newest first."""
    found, cursor = mlflow.search(session, asked)
    return RunsAnswer(runs=mlflow.told(session, found), next_page_token=cursor)


@router.post("/runs/log-metric")
def log_metric(asked: LogMetric, session: WriteSession) -> dict[str, Any]:
    mlflow.log(session, mlflow.locked_run(session, asked.run_id), values=[asked])
    return {}


@router.post("/runs/log-parameter")
def log_parameter(asked: LogParameter, session: WriteSession) -> dict[str, Any]:
    mlflow.log(session, mlflow.locked_run(session, asked.run_id), params=[asked])
    return {}


@router.post("/runs/set-tag")
def set_tag(asked: SetTag, session: WriteSession) -> dict[str, Any]:
    mlflow.log(session, mlflow.locked_run(session, asked.run_id), tags=[asked])
    return {}


@router.post("/runs/log-batch")
def log_batch(asked: LogBatch, session: WriteSession) -> dict[str, Any]:
    """Metrics, parameters and tags at once. Sent again, it changes nothing."""
    job = mlflow.locked_run(session, asked.run_id)
    mlflow.log(session, job, asked.metrics, asked.params, asked.tags)
    return {}
