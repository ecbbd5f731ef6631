"""docker-compose.yml read as Docker reads it, and its services as plain processes on this machine.

There is no Docker where tests run. So the commands, environments, files and healthchecks are taken from the file as
they stand; only what a container network provides is replaced: host names, ports and volumes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from service.one_machine import child

ROOT = Path(__file__).parents[2]
API = "127.0.0.1:8000"
"""Where the file has the API, seen from its own container."""
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<rest>[^}]*))?\}")


class UnsetError(Exception):
    """What `docker compose` says and stops with when a variable that it must have is not set."""


def read_compose(variables: Mapping[str, str]) -> Any:
    """The file with its variables put in. Raises UnsetError."""

    def value(found: re.Match[str]) -> str:
        given = variables.get(found["name"], "")
        if found["kind"] == "?" and not given:
            raise UnsetError(f"{found['name']}: {found['rest']}")
        return given or (found["rest"] if found["kind"] == "-" else "")

    def put_in(node: Any) -> Any:
        if isinstance(node, str):
            return VARIABLE.sub(value, node)
        if isinstance(node, dict):
            return {name: put_in(each) for name, each in node.items()}
        return [put_in(each) for each in node] if isinstance(node, list) else node

    return put_in(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


@dataclass
class Stand:
    """The services on this machine. `replaced`: text of the file → what stands for it here."""

    compose: Any
    folder: Path
    replaced: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _held: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @property
    def url(self) -> str:
        return f"http://{self.replaced[API]}"

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def start(self, service: str, executables: Mapping[str, Path] | None = None, **environ: str) -> None:
        """Starts the service's command in the background, until the end of the test."""
        argv = self._argv(self.compose["services"][service]["command"], executables or {})
        env = {**self.environment(service), **environ}
        process = child.start(argv, env=env, log=self.folder / f"{service}.log")
        self.processes[service] = process
        self._held.callback(child.stop, process, 30)

    def run(
        self, service: str, command: Sequence[str] | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs the service's command, or another in its place, to its end: `docker compose run --rm`."""
        argv = self._argv(command or self.compose["services"][service]["command"], {})
        env = {**self.environment(service), **environ}
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)

    def is_healthy(self, service: str) -> bool:
        kind, *command = self.compose["services"][service]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(service, command).returncode == 0

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text()

    def environment(self, service: str) -> dict[str, str]:
        """What a container would have, and nothing of the tests' own."""
        given = self.compose["services"][service]["environment"]
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            **{name: self._here(value) for name, value in given.items()},
        }

    def config(self, name: str) -> Path:
        """A file that the compose file itself holds."""
        path = self.folder / f"{name}.conf"
        path.write_text(self._here(self.compose["configs"][name]["content"]))
        return path

    def _argv(self, command: Sequence[str], executables: Mapping[str, Path]) -> list[str]:
        program, *rest = map(self._here, command)
        return [str(executables.get(program, program)), *rest]

    def _here(self, text: str) -> str:
        theirs = "|".join(map(re.escape, self.replaced))
        return re.sub(theirs, lambda found: self.replaced[found[0]], text)
