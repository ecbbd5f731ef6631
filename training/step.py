"""The loss of a whole batch and its gradients, computed in one piece or in parts: one after the other, or by processes.

Parts do not make the batch smaller for a contrastive loss. Between a method's `features` and its `loss` all parts are put
together, the loss is that of all samples and all their negatives, and what it asks of each part's features is sent back
into that part (gradient caching, arXiv:2101.06983). Equal, to rounding, to one piece; only the batch-norms of an encoder
see their part alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from training.losses import Loss
from training.methods import Batch, Features, Method, When
from training.processes import Processes


def loss_and_gradients(method: Method, parts: Sequence[Batch], when: When, processes: Processes) -> Loss:
    """Gives the parameters, which must have none, the gradients of the whole batch's loss.

    parts: this process's share of the batch.
    """
    if len(parts) == 1 and processes.count == 1:
        with processes.autocast():
            loss: Loss = method(parts[0], when)
        loss.loss.backward()
        return loss
    loss = _in_parts(method, parts, when, processes)
    processes.sum_gradients(method)
    return loss


def _in_parts(method: Method, parts: Sequence[Batch], when: When, processes: Processes) -> Loss:
    single = (
        len(parts) == 1
    )  # then its features keep their graph; else each part's are computed again, for theirs
    states, computed = [], []
    for part in parts:
        states.append(_random_state(processes.device))
        with nullcontext() if single else torch.no_grad(), processes.autocast():
            computed.append(method.features(part, when))
    own = {name: torch.cat([each[name] for each in computed], dim=-2) for name in computed[0]}
    whole = {name: processes.gathered(each.detach(), dim=-2).requires_grad_() for name, each in own.items()}
    labels = {
        task: processes.gathered(torch.cat([part.labels[task] for part in parts]), dim=0)
        for task in parts[0].labels
    }
    with processes.autocast():
        loss = method.loss(whole, labels, when)
    # Each process has computed all of this loss; their sum must be one of it.
    (loss.loss / processes.count).backward()

    asked = {
        name: processes.own_share(each.grad, dim=-2) * processes.count
        for name, each in whole.items()
        if each.grad is not None
    }
    sizes = [next(iter(each.values())).shape[-2] for each in computed]
    shares = {name: gradient.split(sizes, dim=-2) for name, gradient in asked.items()}
    for i, part in enumerate(parts):
        with nullcontext() if single else _as_before(method, states[i], processes):
            features = computed[i] if single else method.features(part, when)
        _send_back(features, {name: share[i] for name, share in shares.items()})
    return loss


def _send_back(features: Features, gradients: Mapping[str, Tensor]) -> None:
    learning = [name for name in gradients if features[name].requires_grad]
    if learning:
        torch.autograd.backward(
            [features[name] for name in learning],
            [gradients[name].to(features[name].dtype) for name in learning],
        )


@contextmanager
def _as_before(method: Method, state: tuple[Tensor, Tensor | None], processes: Processes) -> Iterator[None]:
    """The same masks and dropouts as at `state`; running statistics, which have seen the part already, stay."""
    norms = [each for each in method.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    on_gpu = processes.device.type == "cuda"
    with torch.random.fork_rng([processes.device] if on_gpu else []), processes.autocast():
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], processes.device)
        for norm in norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in norms:
                norm.track_running_stats = True


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None
