"""Training tests compile the same step many times over: a cache on disk makes it once."""

import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache


@pytest.fixture(scope="package", autouse=True)
def compilation_cache(tmp_path_factory):
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    reset_cache()
    yield settings["jax_compilation_cache_dir"]
    for name, value in before.items():
        jax.config.update(name, value)
    reset_cache()
