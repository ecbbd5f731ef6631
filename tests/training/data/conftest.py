"""Registered datasets, as the tests of registration make them."""

from tests.training.registration.conftest import shelf

__all__ = ["shelf"]
