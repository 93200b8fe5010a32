"""Experiments sample on one device, as on a CPU: an engine compiles its programs anew for each more of the eight."""

import contextlib

import jax
import pytest


@contextlib.contextmanager
def one_device():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda *_, **__: jax.devices()[:1])
        yield


@pytest.fixture(autouse=True, scope="module")
def _one_device():
    with one_device():
        yield
