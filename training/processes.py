"""The processes that train one network together, each on its share of every batch. With one, nothing is sent anywhere.

Process 0 is the one that was started: it alone writes events and checkpoints and hears signals. It starts the others by
its own command; they live no longer than it does.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn

from training.spec import TrainSpec


class Processes:
    def __init__(self, spec: TrainSpec) -> None:
        """Starts the others, when the spec asks for more than one, and waits for them."""
        accelerator = (
            ("cuda" if torch.cuda.is_available() else "cpu") if spec.device == "auto" else spec.device
        )
        if accelerator == "cuda":
            torch.set_float32_matmul_precision("high" if spec.precision == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = spec.precision == "tf32"
        self._fabric = Fabric(
            accelerator=accelerator,
            devices=spec.processes,
            strategy="ddp" if spec.processes > 1 else "auto",
            precision="bf16-mixed" if spec.precision == "bf16" else "32-true",
        )
        self._fabric.launch()
        self.count = spec.processes
        self.rank = self._fabric.global_rank
        self.device: torch.device = self._fabric.device

    def autocast(self) -> AbstractContextManager[None]:
        return cast(AbstractContextManager[None], self._fabric.autocast())

    def share(self, rows: Tensor) -> Tensor:
        """This process's rows of a batch. A remainder that cannot be shared evenly is left out."""
        return self.own_share(rows[: len(rows) // self.count * self.count], dim=0)

    def own_share(self, x: Tensor, dim: int) -> Tensor:
        return x.chunk(self.count, dim)[self.rank] if self.count > 1 else x

    def gathered(self, x: Tensor, dim: int) -> Tensor:
        """All processes' x, equal in shape, side by side."""
        if self.count == 1:
            return x
        every = [torch.empty_like(x) for _ in range(self.count)]
        distributed.all_gather(every, x.contiguous())
        return torch.cat(every, dim)

    def sum_gradients(self, network: nn.Module) -> None:
        """Each parameter's gradient becomes the sum of all processes', so that all take the same step."""
        if self.count == 1:
            return
        learning = [each for each in network.parameters() if each.grad is not None]
        flat = torch.cat([each.grad.flatten() for each in learning if each.grad is not None])
        distributed.all_reduce(flat)
        for parameter, part in zip(learning, flat.split([each.numel() for each in learning]), strict=True):
            parameter.grad = part.view_as(parameter)

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process: what all of them must decide alike."""
        if self.count == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(votes)
        return bool(votes > 0)
