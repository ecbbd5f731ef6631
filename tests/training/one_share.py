"""One of several processes that compute the gradients of one batch: `python -m tests.training.one_share FILE`.

Which one, and of how many, stands in the environment as Fabric reads it. The first writes all gradients, in float64.
"""

from __future__ import annotations

import sys

from safetensors.torch import save_file

from tests.training.methods.batches import START, batch, built, tiny
from training.methods import Batch, Method
from training.processes import Processes
from training.spec import METHODS, TrainSpec
from training.step import loss_and_gradients

SIZE = 64
SHARED = [name for name in METHODS if name != "mae"]
"""Not MAE, which draws what it hides by a sample's place in its part; it has no negatives to share."""


def case(name: str) -> tuple[TrainSpec, Method, Batch]:
    spec = tiny(name, **({"mask_ratio": 0.0} if name == "infmasking" else {}))
    method = built(spec)
    return spec, method, batch(method, spec, SIZE)


def share_of(whole: Batch, processes: Processes) -> Batch:
    views = [{name: processes.share(each) for name, each in view.items()} for view in whole.views]
    return Batch(views, {task: processes.share(each) for task, each in whole.labels.items()})


def main(path: str) -> None:
    found = {}
    for name in SHARED:
        spec, method, whole = case(name)
        processes = Processes(spec.model_copy(update={"processes": 2, "device": "cpu"}))
        for turn in range(method.turns):
            method.zero_grad()
            loss_and_gradients(method, [share_of(whole, processes)], START._replace(turn=turn), processes)
            found |= {
                f"{name}.{turn}/{each}": parameter.grad
                for each, parameter in method.named_parameters()
                if parameter.grad is not None
            }
    if processes.rank == 0:
        save_file(found, path)


if __name__ == "__main__":
    main(sys.argv[1])
