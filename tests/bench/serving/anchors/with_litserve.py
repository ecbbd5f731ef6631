"""LitServe: worker processes behind FastAPI, batches of what comes within a wait."""

from __future__ import annotations

import os
from typing import Any

import litserve

from tests.bench.serving.anchors.model import MAX_BATCH, WAIT_S, WORKERS, Model, answer


class Embed(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = Model()

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return self.model.prepared(request)

    def batch(self, inputs: list[Any]) -> Any:
        return inputs

    def predict(self, samples: list[Any]) -> Any:
        vectors = iter(self.model.run([each for one in samples for each in one]))
        return [[next(vectors) for _ in one] for one in samples]

    def unbatch(self, output: Any) -> Any:
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        return answer(output)


if __name__ == "__main__":
    api = Embed(max_batch_size=MAX_BATCH, batch_timeout=WAIT_S, api_path="/embed")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    server.run(
        port=int(os.environ["PORT"]), host="127.0.0.1", generate_client_file=False, log_level="warning"
    )
