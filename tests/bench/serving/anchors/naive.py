"""FastAPI as one would begin: the whole graph in a session of ONNX Runtime's own choosing, in FastAPI's thread pool of 40, with
neither batches nor a bound."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI

from models_store.store import ModelStore
from service.inference.finish import finish
from service.inference.graphs import WholeGraph
from tests.bench.serving.anchors.model import Model, answer

app = FastAPI()
model = Model()
content = ModelStore(os.environ["BENCH_STORE"]).read(os.environ["BENCH_DIGEST"], "model.onnx")
graph = WholeGraph(
    model.served.manifest, onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
)


@app.post("/embed")
def embed(body: dict[str, Any]) -> dict[str, Any]:
    vectors = [graph.fuse([sample.arrays]) for sample in model.prepared(body)]
    return answer(list(finish(np.concatenate(vectors), None, True)))


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
