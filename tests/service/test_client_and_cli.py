"""`fusebox` as people meet it: a process with arguments, output, and an exit status."""

from __future__ import annotations

import http.server
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.access import auth
from service.cli import app, main
from service.client import ApiProblem, Client, ClientError, UnreachableError
from service.db import Sessions, is_migrated, make_engine, make_sessions, reading, transaction
from service.one_machine.api import environment
from service.one_machine.up import LocalService
from service.tables import ApiKey
from service.version import VERSION
from tests.service.one_machine.test_up import SMALL, local

pytestmark = pytest.mark.long  # each test starts a process or several
COMMANDS = [
    [], ["up"], ["serve"], ["worker"], ["migrate"], ["demo"], ["embed"],
    ["presets"], ["results"], ["replicate"], ["search"],
    ["replications"], ["replications", "list"], ["replications", "cancel"], ["replications", "retry"],
    ["jobs"], ["jobs", "submit"], ["jobs", "list"], ["jobs", "watch"], ["jobs", "cancel"], ["jobs", "retry"],
    ["jobs", "metrics"], ["jobs", "tag"],
    ["models"], ["models", "list"], ["models", "show"], ["models", "alias"],
    ["models", "heads"], ["models", "attach"], ["models", "detach"],
    ["keys"], ["keys", "create"], ["keys", "list"], ["keys", "revoke"],
    ["datasets"], ["datasets", "add"], ["datasets", "list"], ["datasets", "show"],
    ["datasets", "upload"], ["datasets", "abort"],
]  # fmt: skip


def fusebox(*arguments: str, given: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    return subprocess.run(
        [str(Path(sys.executable).parent / "fusebox"), *arguments],
        env={**clean, "COLUMNS": "200", **environ}, input=given, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def refusal(*arguments: str, given: str = "", **environ: str) -> str:
    """The one line that the command ends with. Called in this process, for a Python takes a second to start."""
    shown, complained = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(shown), redirect_stderr(complained):
        patch.setattr(sys, "argv", ["fusebox", *arguments])
        patch.setattr(sys, "stdin", io.StringIO(given))
        for name, value in environ.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
    return one_line(shown.getvalue(), complained.getvalue(), ended.value.code, 1)


def one_line(shown: str, complained: str, status: object, expected: int) -> str:
    assert (status, shown) == (expected, ""), complained
    assert complained.startswith("error: ")
    assert complained.count("\n") == 1
    return complained.removeprefix("error: ").strip()


@pytest.fixture
def database(database_url: str) -> dict[str, str]:
    return {"FUSEBOX_DATABASE_URL": database_url}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A whole service."""
    with LocalService(local(tmp_path_factory.mktemp("cli"))) as service:
        yield service.url


# ------------------------------------------------------------------------------------------- no server needed


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    answer = CliRunner().invoke(app, [*command, "--help"])
    assert answer.exit_code == 0
    assert re.search(r"Usage:[^\n]*\n\s*\n\s*(\S[^\n]{10,})", answer.output), "it says nothing about itself"


@pytest.mark.parametrize("command", [[], ["up"], ["jobs", "submit"]], ids=" ".join)
def test_the_installed_command_explains_itself(command: list[str]) -> None:
    for flag in ("--help", "-h"):
        answer = fusebox(*command, flag)
        assert (answer.returncode, answer.stderr) == (0, "")
        assert f"Usage: {' '.join(['fusebox', *command])}" in answer.stdout


def test_the_list_of_commands_is_complete() -> None:
    top = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    nested = {
        f"{group.name} {each.name or each.callback.__name__}"
        for group in app.registered_groups if group.typer_instance
        for each in group.typer_instance.registered_commands if each.callback
    }  # fmt: skip
    assert top | nested == {" ".join(each) for each in COMMANDS if each} - {
        "jobs",
        "models",
        "keys",
        "datasets",
        "replications",
    }


def test_the_version_is_that_of_the_package() -> None:
    assert fusebox("--version").stdout.strip() == VERSION


def test_migrate_makes_the_tables_and_may_be_repeated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'fusebox.db'}"
    for _ in range(2):
        answer = fusebox("migrate", FUSEBOX_DATABASE_URL=url)
        assert (answer.returncode, answer.stderr) == (0, "")
    engine = make_engine(url)
    assert is_migrated(engine)
    engine.dispose()


def test_a_key_is_shown_once_listed_and_revoked(database: dict[str, str], sessions: Sessions) -> None:
    made = fusebox("keys", "create", "ada", "--scope", "read", "--scope", "infer", "--days", "30", **database)
    assert made.returncode == 0
    key = made.stdout.strip()
    assert re.fullmatch(r"fbx_[0-9a-f]{12}_[\w-]{43}", key)
    assert "cannot be shown again" in made.stderr
    assert auth.principal_of(key, sessions) == auth.Principal("key:ada", frozenset({"read", "infer"}))

    listed = fusebox("keys", "list", **database).stdout
    key_id, secret = key.split("_", 2)[1:]
    assert all(word in listed for word in (key_id, "ada", "infer read", "valid"))
    assert secret not in listed

    assert fusebox("keys", "revoke", key_id, **database).stdout == "revoked\n"
    assert "revoked" in fusebox("keys", "list", **database).stdout
    with reading(sessions) as session:
        assert session.get_one(ApiKey, key_id).revoked_at is not None


def test_keys_are_listed_when_there_are_none(database: dict[str, str]) -> None:
    assert "fusebox keys create" in fusebox("keys", "list", **database).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["create", "x", "--scope", "everything"],
            "no such scope: everything; choose from read, infer, submit, admin",
        ),
        (["create", "", "--scope", "read"], "1 to 100 printable characters"),
        (["create", "x" * 101, "--scope", "read"], "1 to 100 printable characters"),
        (["create", "a\nb", "--scope", "read"], "1 to 100 printable characters"),
        (["create", os.fsdecode(b"\xff"), "--scope", "read"], "1 to 100 printable characters"),
        (["revoke", "nothing"], "there is no api_key 'nothing'; list them with `fusebox keys list`"),
        (["revoke", "x" * 300], "there is no api_key"),
    ],
)
def test_a_mistake_with_keys_is_one_line(database: dict[str, str], arguments: list[str], words: str) -> None:
    assert words in refusal("keys", *arguments, **database)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("FUSEBOX_PORT", "many", "the setting FUSEBOX_PORT is not valid"),
        ("FUSEBOX_QUEUES", "gpux", "the setting FUSEBOX_QUEUES is not valid"),
        (
            "FUSEBOX_DATABASE_URL",
            "nonsense",
            "the setting FUSEBOX_DATABASE_URL is not valid: not a database URL",
        ),
        ("DATABASE_URL", "mysql://u:secret@h/n", "is not valid: only sqlite and postgresql"),
        ("FUSEBOX_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/n", "the database does not answer"),
    ],
)
def test_a_wrong_setting_is_one_line_without_the_secret_in_it(setting: str, value: str, words: str) -> None:
    line = refusal("keys", "list", **{setting: value})
    assert words in line
    assert "secret" not in line


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_process_refuses_to_start_on_a_database_without_tables(
    command: str, empty_database: str, redis_url: str
) -> None:
    ended = fusebox(command, FUSEBOX_DATABASE_URL=empty_database, FUSEBOX_REDIS_URL=redis_url)
    assert "run `fusebox migrate`" in one_line(ended.stdout, ended.stderr, ended.returncode, 78)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    from tests.conftest import new_postgres_database

    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        with new_postgres_database(request.getfixturevalue("postgres"), template="template0") as url:
            yield url


def test_a_worker_without_redis_refuses_to_start(database: dict[str, str]) -> None:
    ended = fusebox("worker", **database)
    assert "FUSEBOX_REDIS_URL" in one_line(ended.stdout, ended.stderr, ended.returncode, 78)


# --------------------------------------------------------------------------------------- servers that do not answer


def nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    "arguments", [["jobs", "list"], ["models", "list"], ["jobs", "watch", "job_x"], ["embed", "--model", "m", "--text", "t"]]
)  # fmt: skip
def test_a_server_that_is_not_there_is_one_line_with_the_remedy(arguments: list[str]) -> None:
    there = nowhere()
    line = refusal(*arguments, FUSEBOX_SERVER=there)
    assert line.startswith(f"no answer from {there}")
    assert "start it with `fusebox up`" in line


@pytest.mark.parametrize(
    "server", ["http://[", "ftp://127.0.0.1", "127.0.0.1:8000", "http://x:99999", "", "http://\n"]
)
def test_what_is_no_address_of_a_server_is_one_line(server: str) -> None:
    refusal("jobs", "list", "--server", server)


@pytest.mark.parametrize("key", ["fbx_é", "fbx_a\nb"])
def test_what_is_no_key_is_not_sent(key: str) -> None:
    with pytest.raises(ClientError, match="not an API key"):
        Client(nowhere(), key)


@pytest.fixture
def another_program() -> Iterator[str]:
    """A web server, but not ours: every answer is a page."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = 502 if "models" in self.path else 200
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_of_another_program_is_told_as_such(another_program: str) -> None:
    assert "is not a Fusebox server" in refusal("jobs", "list", FUSEBOX_SERVER=another_program)
    assert "HTTP 502" in refusal("models", "list", FUSEBOX_SERVER=another_program)


def test_a_name_from_outside_stays_one_part_of_the_address() -> None:
    with Client(nowhere()) as client:
        for call in (client.job, client.cancel, client.retry, client.model):
            with pytest.raises(UnreachableError) as refused:
                call("../../livez?x#y")
            request = refused.value.__cause__.request  # type: ignore[union-attr]
            assert "..%2F..%2Flivez%3Fx%23y" in str(request.url)


# ---------------------------------------------------------------------------------------------- with a server


def test_a_job_is_submitted_watched_and_listed(server: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(SMALL))
    watched = fusebox(
        "jobs", "submit", str(spec), "--name", "first", "--tag", "t", "--watch", FUSEBOX_SERVER=server
    )
    assert watched.returncode == 0, watched.stderr
    job_id = watched.stdout.split()[0]
    assert "succeeded" in watched.stdout
    listed = fusebox("jobs", "list", "--tag", "t", FUSEBOX_SERVER=server, COLUMNS="60").stdout
    assert job_id in listed
    assert "2/2" in listed
    tagged = fusebox("jobs", "tag", job_id, "--add", "[red]", "--remove", "t", FUSEBOX_SERVER=server)
    assert tagged.stdout == f"{job_id}: [red]\n"
    assert "--add TAG or --remove TAG" in refusal("jobs", "tag", job_id, FUSEBOX_SERVER=server)
    assert fusebox("jobs", "watch", job_id, FUSEBOX_SERVER=server).returncode == 0


def test_a_dry_run_shows_what_would_run_and_runs_nothing(server: str) -> None:
    answer = fusebox(
        "jobs",
        "submit",
        "-",
        "--dry-run",
        "--tag",
        "dry",
        given='{"dataset": "digits"}',
        FUSEBOX_SERVER=server,
    )
    assert json.loads(answer.stdout)["spec"]["method"]["name"] == "infmasking"
    with Client(server) as client:
        assert client.jobs(dataset="digits", method="infmasking", tag="dry")["data"] == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("not json", "- is not JSON"),
        ("[1]", "must hold one JSON object"),
        ('{"dataset": "digitz"}', "there is no dataset 'digitz'"),
        ('{"dataset": "digits", "epoch": 1}', "no such field; remove it or correct its name at /spec/epoch"),
    ],
)
def test_a_spec_that_is_wrong_is_told_where(server: str, given: str, words: str) -> None:
    assert words in refusal("jobs", "submit", "-", given=given, FUSEBOX_SERVER=server)


def test_a_preset_is_listed_and_submitted_with_changes(server: str) -> None:
    name = "trifeatures-synergy-infmasking"
    assert name in fusebox("presets", FUSEBOX_SERVER=server).stdout
    assert json.loads(fusebox("presets", name, FUSEBOX_SERVER=server).stdout)["method"] == "infmasking"
    changes = ["--set", "seed=43", "--set", "method.n_masks=64", "--set", "protocol=strict"]
    answer = fusebox("jobs", "submit", "--preset", name, *changes, "--dry-run", FUSEBOX_SERVER=server)
    spec = json.loads(answer.stdout)["spec"]
    assert (spec["seed"], spec["method"]["n_masks"], spec["protocol"]) == (43, 64, "strict")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a file with a spec, or --preset NAME"),
        (["--preset", "nothing"], "there is no preset 'nothing'"),
        (["--set", "seed"], "give PATH=VALUE"),
        (["--set", "seed=1", "--set", "seed.x=1"], "seed is a plain value"),
    ],
)
def test_what_cannot_be_submitted_is_told(server: str, arguments: list[str], words: str) -> None:
    assert words in refusal("jobs", "submit", *arguments, FUSEBOX_SERVER=server)


def test_files_that_cannot_be_read_are_named(server: str, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, words in (
        (tmp_path / "nothing", "No such file"),
        (tmp_path, "Is a directory"),
        (binary, "is not JSON"),
    ):
        line = refusal("jobs", "submit", str(path), FUSEBOX_SERVER=server)
        assert str(path) in line
        assert words in line
    assert "No such file" in refusal(
        "embed", "--model", "m", "--image", str(tmp_path / "no.png"), FUSEBOX_SERVER=server
    )


@pytest.mark.parametrize("verb", ["watch", "cancel", "retry"])
def test_a_job_that_is_not_there_is_one_line(server: str, verb: str) -> None:
    assert "there is no job 'job_x'" in refusal("jobs", verb, "job_x", FUSEBOX_SERVER=server)


def test_a_cancelled_job_ends_the_watch_with_status_1(server: str) -> None:
    with Client(server) as client:
        job_id = client.submit("train", {**SMALL, "epochs": 10_000})["id"]
        watch = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "jobs", "watch", job_id],
            env={**os.environ, "FUSEBOX_SERVER": server}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert fusebox("jobs", "cancel", job_id, FUSEBOX_SERVER=server).stdout.strip() in (
            "cancelled",
            "cancelling",
        )
        _, errors = watch.communicate(timeout=60)
        assert watch.returncode == 1
        assert "the job cancelled" in errors
        assert client.retry(job_id)["state"] == "queued"
        client.cancel(job_id)
        with pytest.raises(ApiProblem, match="'nothing'") as refused:
            client.job("nothing")
        assert refused.value.status == 404


def test_a_server_that_wants_a_key_says_how_to_send_one(tmp_path: Path) -> None:
    settings = local(tmp_path).model_copy(update={"host": "0.0.0.0"})
    fusebox("migrate", **{k: v for k, v in environment(settings).items() if k.startswith("FUSEBOX_")})
    engine = make_engine(settings.effective_database_url)
    with transaction(make_sessions(engine)) as session:
        _, key = auth.create_key(session, "n", ["read"])
    engine.dispose()
    with LocalService(settings, workers=0) as service:
        assert "set FUSEBOX_API_KEY" in refusal("jobs", "list", FUSEBOX_SERVER=service.url)
        assert fusebox("jobs", "list", FUSEBOX_SERVER=service.url, FUSEBOX_API_KEY=key).returncode == 0
        line = refusal("jobs", "submit", "-", given="{}", FUSEBOX_SERVER=service.url, FUSEBOX_API_KEY=key)
        assert "lacks the scope 'submit'" in line
