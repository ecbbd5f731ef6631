"""FastAPI with a plain function and the same sessions as the others, of one thread a run: its thread pool, no batches."""

from __future__ import annotations

import os
from typing import Any

import uvicorn
from fastapi import FastAPI

from tests.bench.serving.anchors.model import Model, answer

app = FastAPI()
model = Model()


@app.post("/embed")
def embed(body: dict[str, Any]) -> dict[str, Any]:
    return answer(list(model.run(model.prepared(body))))


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
