"""All alphas from one eigendecomposition are scikit-learn's ridge regressions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from tests.training.probe.features import power_law
from training.probe.ridge import fit_ridge
from training.probe.search import COSTS


@pytest.mark.parametrize(("n", "width"), [(200, 12), (20, 50)])
def test_every_alpha_gives_scikit_learn_s_weights(n: int, width: int) -> None:
    x, _, _ = power_law(n=n, width=width, power=0.5)
    random = torch.Generator().manual_seed(0)
    y = torch.randn(n, 3, generator=random, dtype=torch.float64) + x[:, :3] + 5
    for alpha, probe in zip(COSTS, fit_ridge(x, y, COSTS), strict=True):
        theirs = Ridge(alpha=alpha, solver="svd").fit(x.numpy(), y.numpy())
        assert probe.strength == alpha
        assert np.allclose(probe.weight.T.numpy(), theirs.coef_, rtol=1e-5, atol=1e-6)
        assert np.allclose(probe(x).numpy(), theirs.predict(x.numpy()), rtol=1e-6, atol=1e-6)


def test_float32_features_far_from_zero_lose_no_precision() -> None:
    x, _, _ = power_law(n=300, width=8, power=0.3)
    y = x[:, :1] * 2
    (probe,) = fit_ridge((x + 1000).float(), y.float(), [1e-6])
    assert torch.allclose(probe((x + 1000).float()), y.float(), atol=1e-2)
