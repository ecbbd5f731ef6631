"""Every setting, with its default and meaning. Read from the environment (prefix FUSEBOX_) once, at start-up."""

from __future__ import annotations

import ipaddress
import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from service.origins import listed


def _listed(value: Any) -> Any:
    """`a,b` and `["a", "b"]` alike."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("write a list as `a,b`") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def _database(url: str) -> str:
    """Names our driver where the URL names none, as the ones that hosting platforms give out."""
    if not url:
        return url
    try:
        parts = make_url(url)
    except ArgumentError:
        raise ValueError("not a database URL; write postgresql+psycopg://user:password@host/name") from None
    if parts.drivername in ("postgres", "postgresql"):
        parts = parts.set(drivername="postgresql+psycopg")
    if parts.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError("only sqlite and postgresql+psycopg are supported")
    if parts.drivername == "sqlite" and parts.database in (None, "", ":memory:"):
        raise ValueError("SQLite needs a file that all processes share: sqlite:////folder/fusebox.db")
    return parts.render_as_string(hide_password=False)


def _hosts(entries: tuple[str, ...]) -> tuple[str, ...]:
    for entry in entries:
        listed(entry)
    return entries


def _networks(entries: tuple[str, ...]) -> tuple[str, ...]:
    for entry in entries:
        ipaddress.ip_network(entry)
    return entries


def _redis(url: str) -> str:
    if url and not url.startswith(("redis://", "rediss://")):
        raise ValueError("not a Redis URL; write redis://:password@host:6379/0")
    return url


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="FUSEBOX_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    data_dir: Path = Path("var")
    """Where runs, models, assets and the embedded database live."""
    database_url: Annotated[str, AfterValidator(_database)] = Field(
        "", validation_alias=AliasChoices("FUSEBOX_DATABASE_URL", "DATABASE_URL")
    )
    """SQLAlchemy URL; empty: SQLite in `data_dir`. PostgreSQL: postgresql+psycopg://user:password@host/name."""
    redis_url: Annotated[str, AfterValidator(_redis)] = Field(
        "", validation_alias=AliasChoices("FUSEBOX_REDIS_URL", "REDIS_URL")
    )
    """Empty: `fusebox up` starts a private Redis server and tells its children."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback, API keys are required."""
    port: int = Field(8000, ge=0, le=65535)
    """0 takes a free port."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Host names under which a server that is not on loopback may be addressed, besides loopback's; empty: any."""

    api_processes: int = Field(1, ge=1, le=64)
    """That answer at this address. Together they use the CPUs and the memory for what is remembered that one would; each loads the models that it is asked for."""
    api_key_cache_s: float = Field(5, ge=0, le=60)
    """For how long an API key that was good is taken for good without another look: so long does a revoked one work on."""

    worker_name: str = ""
    """Empty: host name and process id."""
    queues: Annotated[tuple[Literal["cpu", "gpu"], ...], NoDecode, BeforeValidator(_listed)] = Field(
        ("cpu", "gpu"), min_length=1
    )
    """What this worker takes: probes, exports and trainings with `device: cpu` wait in `cpu`, other trainings in `gpu`."""
    heartbeat_s: float = Field(5, gt=0)
    """Between a worker's renewals of its lease."""
    lease_s: float = Field(30, gt=0)
    """A job whose worker has not renewed its lease for this long is given to another."""
    reconcile_s: float = Field(5, gt=0)
    """Between looks for forgotten jobs and dead workers."""
    ring_again_s: float = Field(15, gt=0)
    """A queued job that nobody has claimed for this long gets a new message."""
    cancel_grace_s: float = Field(15, gt=0)
    """From asking a runner to stop until it is killed."""
    stall_s: float = Field(900, gt=0)
    """A runner that says nothing for this long is taken for hung and killed."""
    runner_nice: int = Field(0, ge=0, le=19)
    """By how much runners give way to what else computes on their machine, such as serving; 0: not at all. Beside much else that never rests, runners of 10 hardly go on."""
    quiet_s: float = Field(60, ge=0)
    """A worker that has had no job for this long makes the previews of the datasets that are always there."""

    max_body_bytes: int = Field(64 * 2**20, gt=0)
    """Of one request; a longer one is answered 413."""
    max_image_bytes: int = Field(20 * 2**20, gt=0)
    """Of one image file as it is sent."""
    max_image_pixels: int = Field(50_000_000, gt=0)
    """Of one image when decoded."""
    max_image_side: int = Field(16_384, gt=0)
    """Width or height of an image in pixels."""
    image_url_hosts: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_hosts)
    ] = ()
    """Hosts that images are fetched from: `images.example.com`, `images.example.com:8443`, `http://store.internal`. Empty: none."""
    image_url_networks: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_networks)
    ] = ()
    """Networks besides the public internet that those hosts may be in, as `10.1.0.0/16`."""
    image_url_s: float = Field(10, gt=0)
    """From asking such a host until the image is there; then it is given up."""
    max_upload_bytes: int = Field(20 * 2**30, gt=0)
    """Of the files of one dataset that is uploaded."""
    max_uploads: int = Field(16, gt=0)
    """Uploads under way at once; further ones are answered 429."""
    max_text_chars: int = Field(8_192, gt=0)
    """Of one text input."""
    max_inputs: int = Field(256, gt=0, le=10_000)
    """Inputs in one embedding request."""
    inference_threads: int = Field(0, ge=0)
    """Embedding batches that CPUs compute at once; 0: one per available CPU. A GPU computes two."""
    inference_threads_alone: int = Field(0, ge=0)
    """CPUs for one batch that is alone and takes 8 ms or more; 0: as many as for batches at once, at most 8. More than 1 hold each model's weights twice."""
    inference_queue: int = Field(1024, gt=0)
    """Inputs that may wait in each API process; further ones are answered 429."""
    inference_queue_per_model: int = Field(768, gt=0)
    """Inputs for one model that may wait, so that those of others find room."""
    inference_max_wait_s: float = Field(1, gt=0)
    """How long inputs may be expected to wait for those before them; more are answered 429. For one model's, three quarters."""
    inference_deadline_s: float = Field(30, gt=0)
    """From a request's coming to its vectors; one that takes longer is answered 504, and its rest is not computed."""
    inference_stall_s: float = Field(60, gt=0)
    """Without one batch done, though there is work, until the service calls itself failed."""
    inference_cache_bytes: int = Field(256 * 2**20, ge=0)
    """Memory for vectors that were computed lately; 0 remembers none."""
    inference_token_cache_bytes: int = Field(128 * 2**20, ge=0)
    """Memory for what images were encoded to, so that one image with many texts is encoded once; 0 remembers nothing."""
    inference_cache_redis_s: int = Field(0, ge=0)
    """For how long vectors are kept in Redis as well, for all API processes; 0 keeps none there."""
    search_bytes: int = Field(2 * 2**30, gt=0)
    """Memory for embeddings that were searched in lately; of more, the least recently used are read again when asked for."""
    max_models: int = Field(8, gt=0)
    """Models in memory at once, in each API process; of more, the least recently used is loaded again when asked for."""

    @field_validator("lease_s")
    @classmethod
    def _lease_outlasts_heartbeat(cls, lease_s: float, info: ValidationInfo) -> float:
        heartbeat_s = info.data.get("heartbeat_s", 0)
        if lease_s <= heartbeat_s:
            raise ValueError(f"a lease must last longer than the {heartbeat_s:g} s between its renewals")
        return lease_s

    @property
    def effective_database_url(self) -> str:
        return self.database_url or f"sqlite:///{(self.data_dir / 'fusebox.db').resolve()}"

    @property
    def runs_dir(self) -> Path:
        return self.data_dir / "runs"

    @property
    def models_url(self) -> str:
        return str((self.data_dir / "models").resolve())

    @property
    def assets_dir(self) -> Path:
        return self.data_dir / "assets"

    @property
    def datasets_dir(self) -> Path:
        return self.data_dir / "datasets"

    @property
    def uploads_dir(self) -> Path:
        return self.data_dir / "uploads"

    @property
    def listens_on_loopback(self) -> bool:
        return _is_loopback(self.host)


@lru_cache  # every request asks
def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
