"""Every setting, with its default and meaning. Read from the environment (prefix FUSEBOX_) once, at start-up."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="FUSEBOX_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    data_dir: Path = Path("var")
    """Where runs, models, assets and the embedded database live."""
    database_url: str = Field("", validation_alias=AliasChoices("FUSEBOX_DATABASE_URL", "DATABASE_URL"))
    """SQLAlchemy URL; empty: SQLite in `data_dir`. PostgreSQL: postgresql+psycopg://user:password@host/name."""
    redis_url: str = Field("", validation_alias=AliasChoices("FUSEBOX_REDIS_URL", "REDIS_URL"))
    """Empty: `fusebox up` starts a private Redis server and tells its children."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    """0 takes a free port."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names under which a server that is not on loopback may be addressed; empty: any."""

    worker_name: str = ""
    """Empty: host name and process id."""
    queues: tuple[str, ...] = ("cpu", "gpu")
    """What this worker takes: training goes to `gpu`, probes and exports to `cpu`."""
    heartbeat_s: float = Field(5, gt=0)
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

    max_body_bytes: int = Field(64 * 2**20, gt=0)
    max_image_bytes: int = Field(20 * 2**20, gt=0)
    max_image_pixels: int = Field(50_000_000, gt=0)
    max_image_side: int = Field(16_384, gt=0)
    max_text_chars: int = Field(8_192, gt=0)
    max_inputs: int = Field(256, gt=0)
    """Inputs in one embedding request."""
    inference_threads: int = Field(0, ge=0)
    """Embedding batches computed at once; 0: one per available CPU."""
    inference_queue: int = Field(1024, gt=0)
    """Inputs that may wait; further ones are answered 429."""

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
    def listens_on_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
