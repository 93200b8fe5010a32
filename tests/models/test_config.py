import pytest

from jprm.errors import UserError
from jprm.models import ModelConfig, preset


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match="nearest is 'tiny-0.5m'"):
        preset("tiny-0.6m", 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_kv_heads": 3}, "n_kv_heads = 3"),
        ({"head_dim": 7}, "head_dim = 7 is odd"),
        ({"qkv_bias": False, "induction_init": True}, "qkv_bias"),
    ],
)
def test_shapes_that_cannot_be_built_are_refused(change, message):
    shapes = dict(vocab_size=8, n_layers=1, embed=8, n_heads=4, n_kv_heads=2, head_dim=4, mlp=8)
    ModelConfig(**shapes)
    with pytest.raises(UserError, match=message):
        ModelConfig(**(shapes | change))
