"""BentoML: worker processes, batches by its adaptive dispatcher."""

from __future__ import annotations

from typing import Any

import bentoml

from tests.bench.serving.anchors.model import MAX_BATCH, WORKERS, Model, answer


@bentoml.service(workers=WORKERS, logging={"access": {"enabled": False}})
class Embed:
    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, route="/embed")
    def embed(self, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
        samples = [self.model.prepared(body) for body in bodies]
        vectors = iter(self.model.run([each for one in samples for each in one]))
        return [answer([next(vectors) for _ in one]) for one in samples]
