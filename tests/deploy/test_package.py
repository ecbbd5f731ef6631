"""What is installed from a wheel has every file that the checkout has: pages, pictures, templates."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("models_store", "training", "service", "migrations")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in our wheel, built of what the images' build is given."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in given_to_the_build():
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    build = [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (made,) = target.iterdir()
    with zipfile.ZipFile(made) as archive:
        return set(archive.namelist())


def given_to_the_build() -> list[str]:
    """The entries of .dockerignore that let something in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def test_the_images_get_the_rooms_and_what_the_build_reads_and_nothing_else() -> None:
    assert set(given_to_the_build()) == {*ROOMS, "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}


def test_every_file_of_the_rooms_is_in_the_wheel(wheel: set[str]) -> None:
    files = {
        str(path.relative_to(ROOT))
        for room in ROOMS for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    assert files - wheel == set()


def test_the_wheel_brings_nothing_but_the_rooms(wheel: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)
