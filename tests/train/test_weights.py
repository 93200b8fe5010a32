import jax
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.models import bind, preset
from jprm.train import load_params, save_params


def test_weights_come_back_bit_for_bit_with_their_description(tmp_path):
    params = bind(preset("tiny-0.1m", 30)).init(0)
    about = {"preset": "tiny-0.1m", "losses": [1.5, 0.25], "tokens": 7}
    path = save_params(tmp_path / "run", params, about)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    loaded, metadata = load_params(tmp_path / "run")
    assert metadata == about
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (params, loaded)), strict=True))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(loaded))


def test_absent_and_damaged_files_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="no weights"):
        load_params(tmp_path)
    path = save_params(tmp_path, {"a": np.ones(3)}, {})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match="damaged"):
        load_params(tmp_path)
