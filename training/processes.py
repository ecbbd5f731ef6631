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

from training.runner import use_device
from training.spec import TrainSpec


class Processes:
    def __init__(self, spec: TrainSpec) -> None:
        """Starts the others, when the spec asks for more than one, and waits for them."""
        self._fabric = Fabric(
            accelerator=use_device(spec.device, tf32=spec.precision == "tf32"),
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
        gradients = [each.grad for each in network.parameters() if each.grad is not None]
        flat = torch.cat([each.flatten() for each in gradients])
        distributed.all_reduce(flat)
        for own, part in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
            own.copy_(part.view_as(own))  # into its place: a ResNet's is not in the order of indices

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process: what all of them must decide alike."""
        if self.count == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(votes)
        return bool(votes > 0)
