"""The house keeps its own rules: imports go one way, and the service can start without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_go_one_way() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


def test_the_api_starts_where_torch_cannot_be_imported() -> None:
    program = (
        "import sys\n"
        "sys.modules['torch'] = None\n"  # any import of it now raises
        "from service.app import create_app\n"
        "import service.cli, service.worker.celery_app\n"
        "assert not {'torch', 'sklearn', 'lightning_fabric'} & {n for n, m in sys.modules.items() if m is not None}\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_command_that_asks_a_server_waits_for_nothing_that_only_a_server_needs() -> None:
    program = (
        "import sys, service.cli\n"
        "heavy = {'sqlalchemy', 'alembic', 'fastapi', 'celery', 'redis', 'numpy', 'onnxruntime'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_no_file_has_a_name_that_says_nothing() -> None:
    nothing = {"utils.py", "helpers.py", "common.py", "misc.py", "manager.py"}
    rooms = ("service", "training", "models_store", "migrations")
    assert not [path for room in rooms for path in (ROOT / room).rglob("*.py") if path.name in nothing]
