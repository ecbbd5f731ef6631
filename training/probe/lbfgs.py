"""L-BFGS for many problems at once, each as `torch.optim.LBFGS` would solve it alone.

P problems of K unknowns; A of them are not solved yet, m steps are remembered. What costs time is done for all of them
together: one evaluation of every problem that is left, one direction for all that have found their step. Each has its
own line search, counts its own iterations and leaves when it is done, so the work shrinks.

The arithmetic is the textbook's two-loop recursion. Its two loops are triangular solves: with steps s and changes of the
gradient y as rows of S and Y, and R the upper triangle of S Yᵀ, the first loop solves R a = -S g, the second
Rᵀ c = diag(R) a - Y r, for r = γ (-g - Yᵀ a); the direction is r + Sᵀ c.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import solve_triangular

from training.probe.line_search import Found, Seen, Try, strong_wolfe

MAX_ITERATIONS = 100
"""No more than are remembered: no step is ever forgotten."""
MAX_EVALUATIONS = 125
LEAST_CURVATURE = 1e-10

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Points (A, K) of the problems (A,) → losses (A,) and gradients (A, K)."""


class Tolerance(NamedTuple):
    """When a problem is solved: that little is left of the gradient's largest element, or of what a step changes, or of
    what it gains."""

    gradient: float
    change: float


AS_TORCH = Tolerance(gradient=1e-7, change=1e-9)


def minimise(objective: Objective, start: Tensor, tolerance: Tolerance = AS_TORCH) -> Tensor:
    """Where each problem's way down from its row of `start` (P, K) ends, (P, K)."""
    ends = start.clone()
    problems = torch.arange(len(start), device=start.device)
    losses, gradient = objective(ends, problems)
    largest = gradient.abs().amax(1).tolist()
    descents = [Descent(*each, tolerance) for each in zip(losses.tolist(), largest, strict=True)]
    front = _Front(problems, ends.clone(), gradient)
    tries = _set_out(front, descents, [True] * len(descents))
    while descents := _without_ended(front, descents, tries, ends):
        tries = _round(front, descents, objective, [each for each in tries if each])
    return ends


class Heading(NamedTuple):
    """What is to be known of a new direction."""

    slope: float
    """Of the loss along it."""
    reach: float
    """Its largest absolute element."""
    total: float
    """Sum of the gradient's absolute elements."""


class Descent:
    """The decisions on one problem's way down: how far to go, and when to stop."""

    def __init__(self, loss: float, largest: float, tolerance: Tolerance) -> None:
        self._loss, self._largest, self._tolerance = loss, largest, tolerance
        self.iterations, self._evaluations = 0, 1
        self._heading = Heading(0.0, 0.0, 0.0)
        self._search: Generator[Try, Seen, Found]

    def set_out(self, heading: Heading) -> Try | None:
        """The first try along a new direction; none at the end of the way."""
        self.iterations += 1
        at_start = self.iterations == 1
        if at_start and self._largest <= self._tolerance.gradient:
            return None
        if not heading.slope <= -self._tolerance.change:
            return None
        self._heading = heading
        first = min(1.0, 1.0 / heading.total) if at_start else 1.0
        here = Seen(self._loss, heading.slope, self._largest)
        self._search = strong_wolfe(here, first, heading.reach, MAX_EVALUATIONS - self._evaluations)
        return next(self._search)

    def see(self, seen: Seen) -> Try | Found:
        """What to do after a try."""
        try:
            return self._search.send(seen)
        except StopIteration as stop:
            found: Found = stop.value
            return found

    def arrive(self, found: Found) -> bool:
        """Whether the way goes on from there."""
        self._evaluations += found.tries
        gain = abs(found.seen.loss - self._loss)
        self._loss, self._largest = found.seen.loss, found.seen.largest
        return (
            self.iterations < MAX_ITERATIONS
            and self._evaluations < MAX_EVALUATIONS
            and self._largest > self._tolerance.gradient
            and abs(found.step) * self._heading.reach > self._tolerance.change
            and gain >= self._tolerance.change
        )


class _Front:
    """Where the problems that are left stand, row by row, and what they remember of their ways."""

    def __init__(self, problems: Tensor, x: Tensor, gradient: Tensor) -> None:
        count, width = x.shape
        self.problems, self.x, self.gradient = problems, x, gradient
        self.kept = gradient  # of the point a line search may come back to
        self.tried = gradient  # at the last try
        self.direction = -gradient
        self.steps = x.new_zeros(count, 0, width)  # (A, m, K), rows of zeros where a problem remembers fewer
        self.changes = x.new_zeros(count, 0, width)
        self.products = x.new_zeros(count, 0, 0)  # R, with ones on the diagonal of what is not remembered
        self.remembered = torch.zeros(count, dtype=torch.long, device=x.device)
        self.scale = x.new_ones(count, 1)

    def narrow(self, rows: Sequence[int]) -> None:
        chosen = torch.tensor(rows, dtype=torch.long, device=self.x.device)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[chosen])

    def turn(self, step: Tensor, gradient: Tensor, turning: Tensor, turns: int) -> None:
        """Remembers the steps (A, K) just made to points with these gradients (A, K), and heads anew, where a problem
        turns (A, 1). No problem has made more than `turns` steps."""
        self._make_room(turns)
        change = gradient - self.gradient
        curvature = (step * change).sum(1, keepdim=True)
        worth = turning & (curvature > LEAST_CURVATURE)  # (A, 1)
        self.gradient = torch.where(turning, gradient, self.gradient)
        self.kept = torch.where(turning, gradient, self.kept)
        self.scale = torch.where(worth, curvature / change.square().sum(1, keepdim=True), self.scale)
        steps, changes = self.steps[:, :turns], self.changes[:, :turns]
        products = self.products[:, :turns, :turns]
        here = (torch.arange(len(step), device=step.device), self.remembered)
        for memory, new in ((steps, step), (changes, change)):
            memory[here] = torch.where(worth, new, memory[here])
        column, slopes = _along(steps, change, self.gradient)
        columns = products.mT
        columns[here] = torch.where(worth, column, columns[here])
        self.remembered = self.remembered + worth[:, 0]
        self.direction = torch.where(
            turning, self._two_loops(steps, changes, products, slopes), self.direction
        )

    def _two_loops(self, steps: Tensor, changes: Tensor, products: Tensor, slopes: Tensor) -> Tensor:
        """The two-loop recursion, (A, K). `slopes` S g (A, m)."""
        first = solve_triangular(products, -slopes[..., None], upper=True)  # (A, m, 1)
        newton = (self.gradient + torch.bmm(first.mT, changes)[:, 0]) * -self.scale
        along, _ = _along(changes, newton, newton)
        rest = products.diagonal(dim1=1, dim2=2) * first[..., 0] - along
        second = solve_triangular(products.mT, rest[..., None], upper=False)
        return newton + torch.bmm(second.mT, steps)[:, 0]

    def _make_room(self, turns: int) -> None:
        """For so many steps: the room doubles when it is full, as most problems are done before all of it is needed."""
        room = self.steps.shape[1]
        if turns <= room:
            return
        more = min(max(8, room), MAX_ITERATIONS - room)
        blank = self.steps.new_zeros(len(self.x), more, self.x.shape[1])
        self.steps, self.changes = torch.cat([self.steps, blank], 1), torch.cat([self.changes, blank], 1)
        self.products = torch.nn.functional.pad(self.products, (0, more, 0, more))
        self.products.diagonal(dim1=1, dim2=2)[:, room:] = 1


def _along(memory: Tensor, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Products of what is remembered (A, m, K) with two vectors (A, K), (A, m) each.

    Two at a time, even if they are the same: a CPU's batched product takes several times as long for one.
    """
    both = torch.bmm(torch.stack([one, other], dim=1), memory.mT)
    return both[:, 0], both[:, 1]


def _round(
    front: _Front, descents: list[Descent], objective: Objective, tries: list[Try]
) -> list[Try | None]:
    """One try of every problem that is left; what each tries next, or none where its way has ended."""
    keep = front.x.new_tensor([[each.keep] for each in tries]).bool()
    front.kept = torch.where(keep, front.tried, front.kept)
    steps = front.x.new_tensor([[each.step] for each in tries])
    losses, front.tried = objective(torch.addcmul(front.x, front.direction, steps), front.problems)
    slopes = (front.tried * front.direction).sum(1)
    largest = front.tried.abs().amax(1)
    figures = torch.stack([each.double() for each in (losses, slopes, largest)], dim=1).tolist()
    answers = [each.see(Seen(*seen)) for each, seen in zip(descents, figures, strict=True)]
    if all(isinstance(each, Try) for each in answers):
        return [each for each in answers if isinstance(each, Try)]
    return _move(front, descents, answers)


def _move(front: _Front, descents: list[Descent], answers: list[Try | Found]) -> list[Try | None]:
    """Goes the steps that were found, and sets out anew from there."""
    found = [each if isinstance(each, Found) else None for each in answers]
    goes_on = [bool(each and descent.arrive(each)) for each, descent in zip(found, descents, strict=True)]
    figures = [[1.0, each.step, float(each.kept)] if each else [0.0, 0.0, 0.0] for each in found]
    moved, steps, kept = front.x.new_tensor(figures).split(1, dim=1)  # (A, 1) each
    step = front.direction * steps
    front.x = torch.where(moved.bool(), torch.addcmul(front.x, front.direction, steps), front.x)
    if any(goes_on):
        turning = front.x.new_tensor(goes_on).bool()[:, None]
        turns = max(each.iterations for each in descents)
        front.turn(step, torch.where(kept.bool(), front.kept, front.tried), turning, turns)
    onward = iter(_set_out(front, descents, goes_on))
    return [
        next_try if isinstance(answer, Found) else answer
        for answer, next_try in zip(answers, onward, strict=True)
    ]


def _set_out(front: _Front, descents: list[Descent], turning: Sequence[bool]) -> list[Try | None]:
    if not any(turning):
        return [None] * len(descents)
    slopes = (front.gradient * front.direction).sum(1)
    figures = torch.stack(
        [slopes, front.direction.abs().amax(1), front.gradient.abs().sum(1)], dim=1
    ).tolist()
    return [
        descent.set_out(Heading(*heading)) if turns else None
        for descent, heading, turns in zip(descents, figures, turning, strict=True)
    ]


def _without_ended(
    front: _Front, descents: list[Descent], tries: list[Try | None], ends: Tensor
) -> list[Descent]:
    """Those that are left, after writing down where the others have arrived."""
    left = [row for row, each in enumerate(tries) if each is not None]
    if len(left) < len(descents):
        ends[front.problems] = front.x
        front.narrow(left)
    return [descents[row] for row in left]
