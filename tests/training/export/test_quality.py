"""What is said of embeddings is counted on vectors of which one knows the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models_store.manifest import Closeness, Score, ScoreChange
from training.export.held_out import HeldOut, cosines, golden_tolerance, spread
from training.export.network import Vectors
from training.export.quality import Probes, closeness, quality, targets, too_far
from training.probe.logistic import Linear
from training.spec import Task

TASK = Task(name="side", family="redundancy", classes=2)
TRUTH = torch.tensor([0, 0, 1, 1])
FULL = np.array([[3.0, 1.0], [2.0, 0.0], [0.0, 2.0], [1.0, 3.0]], dtype=np.float32)
LARGER = Probes((TASK,), {"side": Linear(torch.eye(2), torch.zeros(2), 1.0)}, n=10)
"""Says of each vector which of its two numbers is the larger one."""


def held(labels: dict[str, Tensor] | None = None) -> HeldOut:
    return HeldOut({}, {"side": TRUTH} if labels is None else labels, [("image",), ("image", "text")])


def test_a_subset_is_told_by_its_cosines_to_the_full_embedding_and_by_the_probe_of_the_full_one() -> None:
    turned = FULL.copy()
    turned[0] = [-1.0, 3.0]  # at a right angle to what it was, and taken for the other side
    found = quality(np.stack([turned, FULL]), held(), LARGER)
    assert (found.samples, found.fitted_on) == (4, 10)
    part, whole = found.subsets
    assert (part.modalities, whole.modalities) == (("image",), ("image", "text"))
    assert (part.mean_cosine, part.min_cosine) == pytest.approx((0.75, 0))
    assert part.scores == {"side": Score(metric="macro_accuracy", value=0.75)}
    assert whole.scores == {"side": Score(metric="macro_accuracy", value=1)}


def test_a_precision_is_told_by_its_worst_vector_of_any_subset() -> None:
    fp32 = np.stack([FULL, FULL])
    here = fp32.copy()
    here[0, 2] = [0.0, 2.5]
    here[1, 0] = [1.0, 3.0]
    found = closeness(fp32, here, held(), LARGER)
    assert found is not None
    assert (found.max_abs_diff, found.min_cosine, found.samples) == pytest.approx((2.0, 0.6, 4))
    assert (found.scores["side"].fp32, found.scores["side"].here) == (1, 0.75)


def test_a_precision_that_overflows_is_near_to_nothing() -> None:
    here = np.stack([FULL, FULL])
    here[0, 1, 0] = np.inf
    assert closeness(np.stack([FULL, FULL]), here, held(), LARGER) is None


def near(cosine: float = 0.99996, **scores: tuple[float, float]) -> Closeness:
    """`scores`: by task, in fp32 and here."""
    changes = {
        task: ScoreChange(metric="macro_accuracy", fp32=fp32, here=here)
        for task, (fp32, here) in scores.items()
    }
    return Closeness(max_abs_diff=0.1, min_cosine=cosine, samples=4, scores=changes)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (near(digit=(0.80, 0.66)), "macro_accuracy for the task 'digit' falls from 0.800 in fp32 to 0.660, by more than 0.02"),
        (near(parity=(0.9, 0.8), digit=(0.80, 0.66)), "'digit'"),
        (near(digit=(0.5, 0.479)), "larger max_score_drop"),
        (near(0.98, digit=(0.8, 0.8)), "cosine of 0.9800"),
        (None, "not finite"),
        (near(digit=(0.80, 0.78)), None),
        (near(digit=(0.66, 0.80)), None),
        (near(size=(-0.5, -9.0)), None),
        (near(), None),
    ],
)  # fmt: skip
def test_a_precision_is_too_far_by_its_cosines_or_by_what_a_probe_loses(
    found: Closeness | None, words: str | None
) -> None:
    """Cosines near 1 say little where all vectors point nearly the same way."""
    reason = too_far(found, 0.99, 0.02)
    assert (reason is None) is (words is None)
    assert (words or "") in (reason or "")


def test_a_task_whose_held_out_samples_do_not_differ_has_no_score() -> None:
    numbers = Task(name="side", family="other", classes=1, type="regression")
    probes = Probes((numbers,), {"side": Linear(torch.ones(2, 1), torch.zeros(1), 1.0)}, n=10)
    same = held({"side": torch.ones(4, 1)})
    assert quality(np.stack([FULL, FULL]), same, probes).subsets[0].scores == {}


@pytest.mark.parametrize(
    ("task", "truth", "wanted"),
    [
        (TASK, torch.tensor([1, 0]), [[-1, 1], [1, -1]]),
        (Task(name="a", family="other", classes=2, type="multilabel"), torch.tensor([[1.0, 0.0]]), [[1, -1]]),
        (Task(name="a", family="other", classes=1, type="regression"), torch.tensor([[2.5]]), [[2.5]]),
    ],
)
def test_a_regression_is_fitted_to_signs_or_to_the_numbers(
    task: Task, truth: Tensor, wanted: Vectors
) -> None:
    assert targets(task, truth).tolist() == wanted


def test_the_same_rows_are_drawn_each_time_from_everywhere() -> None:
    rows = spread(1000, 50)
    assert torch.equal(rows, spread(1000, 50))
    assert len(set(rows.tolist())) == 50
    assert rows.min() < 200
    assert rows.max() > 800
    assert spread(3, 3).tolist() == [0, 1, 2]


def test_golden_vectors_may_differ_by_some_times_what_rounding_costs() -> None:
    assert golden_tolerance(FULL, FULL) == 1e-3
    assert golden_tolerance(FULL, FULL * np.float32(1.01)) == pytest.approx(0.04, rel=1e-3)
    assert cosines(FULL, np.zeros_like(FULL)).tolist() == [0, 0, 0, 0]
