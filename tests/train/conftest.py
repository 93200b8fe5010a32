"""Runs of training in processes of their own find the programs that were compiled before."""

import os

import pytest


@pytest.fixture(scope="session")
def compilation_cache():
    """The folder of compiled programs of all tests."""
    return os.environ["JAX_COMPILATION_CACHE_DIR"]
