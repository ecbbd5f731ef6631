"""mosec: worker processes behind a server in Rust, batches of what comes within a wait."""

from __future__ import annotations

from typing import Any

from mosec import Server, Worker

from tests.bench.serving.anchors.model import MAX_BATCH, WAIT_S, WORKERS, Model, answer


class Embed(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        samples = [self.model.prepared(body) for body in data]
        vectors = iter(self.model.run([each for one in samples for each in one]))
        return [answer([next(vectors) for _ in one]) for one in samples]


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Embed, num=WORKERS, max_batch_size=MAX_BATCH, max_wait_time=int(WAIT_S * 1000), route="/embed"
    )
    server.run()
