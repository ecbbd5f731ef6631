"""Where the golden numbers are: beside the project when its shared folder is there, else the copy in this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared" / "golden"


def golden(name: str) -> list[dict[str, Any]]:
    folder = SHARED if (SHARED / name).exists() else HERE / "golden"
    cases: list[dict[str, Any]] = json.loads((folder / name).read_text())
    return cases
