"""The documentation says what is so: settings, commands, links and paths are held against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.cli import app
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], key=lambda path: path.relative_to(ROOT).as_posix()
)


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    expected = [
        f"| `FUSEBOX_{name.upper()}` | {shown(field.default)} | {' '.join((field.description or '').split())} |"
        for name, field in Settings.model_fields.items()
    ]
    assert [line for line in page.splitlines() if line.startswith("| `FUSEBOX_")] == expected


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def shown(default: object) -> str:
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return f"`{text}`" if text else "empty"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        link = "".join(target)
        if not re.match(r"https?:|mailto:", link):
            place, _, anchor = link.partition("#")
            there = (page.parent / place) if place else page
            assert there.exists(), f"{page.name} links to {link}"
            if anchor:
                assert anchor in anchors(there), f"{page.name} links to {link}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_paths_and_commands_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    commands |= {str(group.name) for group in app.registered_groups}
    for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.MULTILINE):
        assert "".join(target) in targets, f"{page.name}: make {target}"
    for command in re.findall(r"(?:`|^|\bapi )fusebox ([a-z]+)", text, re.MULTILINE):
        assert command in commands, f"{page.name}: fusebox {command}"
    for path in re.findall(r"`((?:service|training|models_store|migrations|tests|docs)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_decisions_are_numbered_and_listed() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    listed = (ROOT / "docs" / "architecture.md").read_text()
    assert [page.name for page in pages if f"decisions/{page.name}" not in listed] == []
    for page in pages:
        for heading in ("## Context", "## Decision", "## Consequences", "## Alternatives"):
            assert heading in page.read_text(), f"{page.name} lacks '{heading}'"
