"""Our own way of asking, which every dialect is held against."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from httpx import Response
from numpy.typing import NDArray

from tests.service.pictures import base64_png

TEXT = "a handwritten three"
URI = f"data:image/png;base64,{base64_png()}"


def ours(client: TestClient, *inputs: Any, model: str = "captions", **rest: Any) -> NDArray[np.float32]:
    answer = client.post("/v1/embeddings", json={"model": model, "inputs": inputs, **rest})
    assert answer.status_code == 200, answer.text
    return np.array([each["embedding"] for each in answer.json()["data"]], dtype=np.float32)


def faults(answer: Response) -> list[tuple[str, str]]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return [(each["pointer"], each["code"]) for each in answer.json()["errors"]]


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}
