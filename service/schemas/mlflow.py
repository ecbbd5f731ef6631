"""What MLflow's own client sends and expects, as far as a run is logged here. Fields that we do not know are let pass.

A number of 64 bits may come as text, and one that is not finite comes as its name, as Protocol Buffers write them in JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat

Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
Milliseconds = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
"""Since 1970, to the end of the year 9999."""
Key = Annotated[str, Field(min_length=1, max_length=200)]
RunId = Annotated[str, Field(max_length=40, validation_alias=AliasChoices("run_id", "run_uuid"))]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="ignore")


class KeyValue(_Sent):
    key: Key
    value: Annotated[str, Field(max_length=8000)] = ""


class MetricSent(_Sent):
    key: Key
    value: FiniteFloat | Literal["NaN", "Infinity", "-Infinity"]
    timestamp: Milliseconds
    step: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0


class NewExperiment(_Sent):
    name: Annotated[str, Field(min_length=1, max_length=255)]


class SearchExperiments(_Sent):
    max_results: Annotated[int, Field(ge=1, le=1000)] = 1000
    page_token: Annotated[str, Field(max_length=800)] | None = None


class NewRun(_Sent):
    experiment_id: Annotated[str, Field(pattern=r"^\d{1,9}$")] = "0"
    run_name: Annotated[str, Field(max_length=255)] = ""
    start_time: Milliseconds | None = None
    tags: Annotated[list[KeyValue], Field(max_length=100)] = []


class UpdateRun(_Sent):
    run_id: RunId
    status: Status | None = None
    end_time: Milliseconds | None = None
    run_name: Annotated[str, Field(max_length=255)] | None = None


class LogMetric(MetricSent):
    run_id: RunId


class LogParameter(KeyValue):
    run_id: RunId


class SetTag(KeyValue):
    run_id: RunId


class LogBatch(_Sent):
    run_id: RunId
    metrics: Annotated[list[MetricSent], Field(max_length=1000)] = []
    params: Annotated[list[KeyValue], Field(max_length=100)] = []
    tags: Annotated[list[KeyValue], Field(max_length=100)] = []


class SearchRuns(_Sent):
    experiment_ids: Annotated[list[Annotated[str, Field(pattern=r"^\d{1,9}$")]], Field(max_length=100)] = []
    filter: Annotated[str, Field(max_length=0)] = ""
    """Not understood here; filter what you get."""
    max_results: Annotated[int, Field(ge=1, le=1000)] = 1000
    page_token: Annotated[str, Field(max_length=800)] | None = None


class ExperimentOut(BaseModel):
    experiment_id: str
    name: str
    artifact_location: str = ""
    lifecycle_stage: Literal["active"] = "active"
    creation_time: int
    last_update_time: int
    tags: list[KeyValue] = []


class ExperimentAnswer(BaseModel):
    experiment: ExperimentOut


class ExperimentsAnswer(BaseModel):
    experiments: list[ExperimentOut]
    next_page_token: str | None = None


class ExperimentMade(BaseModel):
    experiment_id: str


class MetricLogged(BaseModel):
    key: str
    value: float | Literal["NaN", "Infinity", "-Infinity"]
    timestamp: int
    step: int


class RunInfo(BaseModel):
    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: Status
    start_time: int | None
    end_time: int | None
    artifact_uri: str = ""
    lifecycle_stage: Literal["active"] = "active"


class RunData(BaseModel):
    metrics: list[MetricLogged]
    params: list[KeyValue]
    tags: list[KeyValue]

    @classmethod
    def of(cls, spec: dict[str, Any], metrics: list[MetricLogged]) -> Self:
        params, tags = (
            [KeyValue(key=key, value=value) for key, value in spec.get(part, {}).items()]
            for part in ("params", "tags")
        )
        return cls(metrics=metrics, params=params, tags=tags)


class RunOut(BaseModel):
    info: RunInfo
    data: RunData


class RunAnswer(BaseModel):
    run: RunOut


class RunInfoAnswer(BaseModel):
    run_info: RunInfo


class RunsAnswer(BaseModel):
    runs: list[RunOut]
    next_page_token: str | None = None
