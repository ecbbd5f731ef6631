"""Settings come from the environment once, and a wrong one stops the process with its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.one_machine.api import environment
from service.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FUSEBOX_{name.upper()}", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)


def test_without_settings_everything_is_on_this_machine() -> None:
    settings = Settings()
    assert settings.listens_on_loopback
    assert settings.effective_database_url == f"sqlite:///{Path('var/fusebox.db').resolve()}"
    assert settings.redis_url == ""


@pytest.mark.parametrize("given", ["gpu,cpu", "gpu, cpu", '["gpu", "cpu"]'])
def test_a_list_may_be_written_with_commas_or_as_json(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("FUSEBOX_QUEUES", given)
    assert Settings().queues == ("gpu", "cpu")


@pytest.mark.parametrize(
    ("scheme", "meant"),
    [("postgres", "postgresql+psycopg"), ("postgresql", "postgresql+psycopg"), ("postgresql+psycopg",) * 2],
)
def test_a_platforms_database_url_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, scheme: str, meant: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://user:p%40ss@db:5432/fusebox?sslmode=require")
    assert Settings().database_url == f"{meant}://user:p%40ss@db:5432/fusebox?sslmode=require"


def test_our_own_name_of_a_setting_wins_over_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://theirs:6379/0")
    monkeypatch.setenv("FUSEBOX_REDIS_URL", "redis://ours:6379/0")
    assert Settings().redis_url == "redis://ours:6379/0"


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("FUSEBOX_QUEUES", "gpux", "'cpu' or 'gpu'"),
        ("FUSEBOX_QUEUES", "", "at least 1 item"),
        ("FUSEBOX_QUEUES", '["gpu"', "write a list as `a,b`"),
        ("FUSEBOX_PORT", "65536", "less than or equal to 65535"),
        ("FUSEBOX_MAX_INPUTS", "0", "greater than 0"),
        ("FUSEBOX_LEASE_S", "5", "longer than the 5 s between its renewals"),
        ("FUSEBOX_DATABASE_URL", "fusebox.db", "not a database URL"),
        ("FUSEBOX_DATABASE_URL", "mysql://host/name", "only sqlite and postgresql"),
        ("FUSEBOX_DATABASE_URL", "sqlite://", "a file that all processes share"),
        ("FUSEBOX_DATABASE_URL", "sqlite:///:memory:", "a file that all processes share"),
        ("FUSEBOX_REDIS_URL", "localhost:6379", "not a Redis URL"),
        ("FUSEBOX_IMAGE_URL_HOSTS", "https://images.test/folder", "is no host; write images.example.com"),
        ("FUSEBOX_IMAGE_URL_HOSTS", "*", "is no host"),
        ("FUSEBOX_IMAGE_URL_HOSTS", "*.example.com", "is no host"),
        ("FUSEBOX_IMAGE_URL_HOSTS", "user@images.test", "is no host"),
        ("FUSEBOX_IMAGE_URL_HOSTS", "ftp://images.test", "is no host"),
        ("FUSEBOX_IMAGE_URL_NETWORKS", "10.1.0.1/16", "has host bits set"),
        ("FUSEBOX_IMAGE_URL_NETWORKS", "inside", "does not appear to be an IPv4 or IPv6 network"),
        ("FUSEBOX_API_KEY_CACHE_S", "61", "less than or equal to 60"),
    ],
)
def test_a_wrong_setting_says_what_is_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=remedy):
        Settings()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.8.9.10", True),
     ("0.0.0.0", False), ("::", False), ("", False), ("10.0.0.1", False), ("localhost.example", False)],
)  # fmt: skip
def test_only_the_machines_own_addresses_are_loopback(host: str, loopback: bool) -> None:
    assert Settings(host=host).listens_on_loopback is loopback


def test_a_child_process_reads_what_its_parent_has_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://u:p@h/theirs")
    parent = Settings(
        data_dir=tmp_path,
        port=8123,
        lease_s=7.5,
        allowed_hosts=("fusebox.example", "10.1.2.3"),
        queues=("gpu",),
        FUSEBOX_REDIS_URL="redis://:secret@h:1/0",  # type: ignore[call-arg]
    )
    for name, value in environment(parent).items():
        monkeypatch.setenv(name, value)
    assert Settings() == parent


def test_settings_do_not_change_while_the_process_runs() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1
