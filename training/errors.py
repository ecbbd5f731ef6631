"""What can go wrong in a run, with the code that its last event carries.

A RunError ends the run as failed: the same run would fail again. Anything else that escapes is a defect of ours.
"""

from __future__ import annotations

from training.events import FailureCode


class RunError(Exception):
    code: FailureCode = "internal"


class DataError(RunError):
    code: FailureCode = "data_error"


class NonFiniteLossError(RunError):
    code: FailureCode = "non_finite_loss"

    def __init__(self, step: int, loss: float, terms: dict[str, float]) -> None:
        parts = ", ".join(f"{name} {value:g}" for name, value in terms.items())
        super().__init__(
            f"the loss became {loss} at step {step} ({parts}); the weights are as they were before this step. "
            "Try a smaller optim.lr, a larger method.temperature, or optim.clip_norm"
        )


class ParityError(RunError):
    code: FailureCode = "parity"


class CheckpointError(RunError):
    code: FailureCode = "data_error"


class Interrupted(Exception):
    """A signal asked for the end, and the state up to `step` is saved."""

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step
