import numpy as np
import pytest

from jprm.mesh import Rules
from jprm.models import bind
from tests.sample.tiny import QWEN2


@pytest.fixture(scope="module")
def qwen2():
    model = bind(QWEN2, Rules())
    # Biases start at zero; give them values, or nothing here would see them.
    noise = lambda x: x + 0.3 * np.random.default_rng(x.size).standard_normal(x.shape, np.float32)  # noqa: E731
    params = model.init(3)
    layers = {name: noise(x) if name.endswith("bias") else x for name, x in params["layers"].items()}
    return model, params | {"layers": layers}
