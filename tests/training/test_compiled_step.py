"""A step is one graph, whose length no device need be asked for, and whose constants need not be copied to it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.methods.batches import START, batch, built, tiny
from training.losses import infmasking
from training.methods.infmasking import InfMasking


@pytest.mark.parametrize("name", ["infmasking", "comm"])
@pytest.mark.parametrize("form", ["captions", "triples"])
def test_the_step_of_a_fused_method_is_one_graph(name: str, form: str) -> None:
    spec = tiny(name, form)
    method = built(spec)
    found = torch._dynamo.explain(method)(batch(method, spec, 6), START)
    torch._dynamo.reset()
    assert found.graph_count == 1, [str(each.reason) for each in found.break_reasons]


class OnCPU(TorchDispatchMode):
    """Which operations gave a tensor on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.device.type == "cpu":
            self.operations.append(str(func))
        return out


def test_nothing_is_copied_to_the_device_for_the_views_and_the_loss() -> None:
    """On the device `meta`, which computes nothing. What is built on the CPU would be waited for on a GPU."""
    method = built(tiny("infmasking"))
    assert isinstance(method, InfMasking)
    with OnCPU() as seen:
        method.clean_views([torch.empty(4, length, 16, device="meta") for length in (3, 5)])
        z1, z2 = ([torch.empty(4, 16, device="meta") for _ in range(3)] for _ in range(2))
        masked1, masked2 = (torch.empty(2, 4, 16, device="meta") for _ in range(2))
        weights = (1.0, 2.0, 3.0, 4.0, 5.0)
        infmasking(
            z1, z2, masked1, masked2, temperature=0.1, mask_lambda=1, epoch=0, max_epochs=2, weights=weights
        )
    assert seen.operations == []
