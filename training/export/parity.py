"""How far ONNX Runtime and torch are apart, in whatever a served model may be asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from models_store.manifest import Input, Parity
from training.data import Data
from training.errors import ParityError
from training.export.graphs import FUSED, PRESENT
from training.export.inputs import Subset, first, shortened, subsets
from training.export.network import Network, session
from training.methods import Method
from training.runner import Run

BATCH_SIZES = (1, 2, 17)


def compare(
    run: Run,
    method: Method,
    described: tuple[Input, ...],
    data: Data,
    whole: Path,
    parts: Network,
    tolerance: float,
) -> Parity:
    """The largest difference of the whole graph and of its parts to torch. Raises ParityError beyond the tolerance."""
    in_one = session(whole)
    names = [modality.name for modality in method.modalities]
    largest = 0.0
    for done, size in enumerate(BATCH_SIZES):
        run.heed_stop(done)
        for inputs in shortened(first(data, method, size), described):
            found = [difference(method, in_one, parts, inputs, each) for each in subsets(names)]
            largest = float(np.max([largest, *found]))  # NaN is greater than all
        run.progress("comparing", done + 1, len(BATCH_SIZES))
    if not largest <= tolerance:
        raise ParityError(
            f"ONNX Runtime and torch differ by {largest:.3g}, more than the tolerance {tolerance:g}; the model is not "
            "published. If that is acceptable for its use, export again with a larger tolerance"
        )
    return Parity(
        max_abs_diff=largest, tolerance=tolerance, batch_sizes=BATCH_SIZES, subsets=tuple(subsets(names))
    )


@torch.no_grad()
def difference(
    method: Method,
    whole: onnxruntime.InferenceSession,
    parts: Network,
    inputs: Mapping[str, Tensor],
    subset: Subset,
) -> float:
    """Largest absolute difference in one batch. NaN, should either side give one, compares as too large."""
    size = len(next(iter(inputs.values())))
    present = torch.tensor([[name in subset for name in inputs]] * size)
    ours = method.embed(inputs, present).numpy()
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    in_one = whole.run([FUSED], {**arrays, PRESENT: present.numpy()})[0]
    in_parts = parts.vectors(arrays, [subset])[0]
    return float(np.abs(np.stack([in_one, in_parts]) - ours).max())
