"""Requests to embed image-text pairs, images, texts, a mixture, and batches, each with the right vectors."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.bench.serving.anchors.model import Model

COUNT, BATCH = 256, 32
"""Different requests of each kind: more than any server's tricks with equal ones would need. Samples in a batch."""
JPEG_SIZE, SEED = 224, 0
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white", "grey", "brown")
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "arrow", "moon", "leaf")


def write(model: Model, name: str, path: Path) -> None:
    """{kind: [{body, vectors}]} as JSON. `name`: the model's in the requests."""
    rng = np.random.default_rng(SEED)
    pairs = [{"image": picture(rng), "text": sentence(rng)} for _ in range(COUNT)]
    images = [{"image": each["image"]} for each in pairs]
    texts = [{"text": each["text"]} for each in pairs]
    kinds = {
        "pair": [[each] for each in pairs],
        "image": [[each] for each in images],
        "text": [[each] for each in texts],
        "mixed": [[(pairs, images, texts)[turn % 3][turn]] for turn in range(COUNT)],
        "batch": [pairs[at : at + BATCH] for at in range(0, COUNT, BATCH)],
    }
    found = {kind: [request(model, name, each) for each in requests] for kind, requests in kinds.items()}
    path.write_text(json.dumps(found))


def request(model: Model, name: str, inputs: list[dict[str, str]]) -> dict[str, Any]:
    body = {"model": name, "inputs": inputs, "encoding_format": "base64", "precision": model.served.precision}
    return {"body": body, "vectors": model.run(model.prepared(body)).tolist()}


def picture(rng: np.random.Generator) -> str:
    """A JPEG with structure at every scale, in base64: as large as a photograph of its size, and as slow to decode."""
    layers = (rng.uniform(0, 255, (side, side, 3)).astype(np.uint8) for side in (4, 16, 64))
    scaled = [np.asarray(Image.fromarray(each).resize((JPEG_SIZE, JPEG_SIZE)), np.float32) for each in layers]
    file = io.BytesIO()
    Image.fromarray(np.average(scaled, axis=0, weights=(4, 2, 1)).astype(np.uint8)).save(
        file, "JPEG", quality=85
    )
    return base64.b64encode(file.getvalue()).decode()


def sentence(rng: np.random.Generator) -> str:
    return (
        f"a small {rng.choice(COLOURS)} {rng.choice(SHAPES)} left of {rng.integers(2, 99)} large "
        f"{rng.choice(COLOURS)} {rng.choice(SHAPES)}s"
    )
