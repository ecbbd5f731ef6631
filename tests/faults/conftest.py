from __future__ import annotations

import pytest

from tests.faults.history import undisturbed


@pytest.fixture(scope="session")
def expected_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sha256 of the weights in which a training ends that nothing happens to."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))
