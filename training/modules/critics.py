"""Critics: networks that score how well two vectors belong together, for bounds of mutual information."""

from __future__ import annotations

from torch import Tensor, nn


class ConcatCritic(nn.Module):
    """f(x, y): an MLP with two hidden layers over both vectors side by side, for all pairs of a batch at once."""

    def __init__(self, x_dim: int, y_dim: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(x_dim + y_dim, hidden)
        # No bias in the end: what is added to all scores alike changes no bound.
        last = nn.Linear(hidden, 1, bias=False)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last)
        self.x_dim = x_dim

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, B) from x (B, x_dim) and y (B, y_dim): entry (i, j) is f(x_j, y_i).

        The first layer is linear in x and in y, so it is computed for B vectors of each and not for B² pairs.
        """
        of_x = x @ self.first.weight[:, : self.x_dim].T
        of_y = y @ self.first.weight[:, self.x_dim :].T + self.first.bias
        scores: Tensor = self.rest(of_x[None, :] + of_y[:, None]).squeeze(-1)
        return scores
