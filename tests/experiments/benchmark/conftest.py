"""Every run makes an engine of its own from the same checkpoint: compiled once, not ten times."""

from tests.train.conftest import compilation_cache

__all__ = ["compilation_cache"]
