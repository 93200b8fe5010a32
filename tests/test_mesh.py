import jax
import pytest
from jax.sharding import PartitionSpec as P

from jprm.errors import UserError
from jprm.mesh import DECODE_RULES, TRAIN_RULES, Rules, make_mesh, reshard, sharding


def test_rules_name_mesh_axes_only_where_there_is_a_mesh():
    assert TRAIN_RULES("batch", None, "heads") is None
    assert sharding(TRAIN_RULES("batch")) is None
    with jax.set_mesh(make_mesh(2, 2, 2)):
        assert TRAIN_RULES("batch", None, "heads") == P(("data", "fsdp"), None, "tensor")
        assert TRAIN_RULES("embed", "mlp") == P("fsdp", "tensor")
        assert DECODE_RULES("embed", "mlp") == P(None, "tensor")
        assert sharding(TRAIN_RULES("batch")).spec == P(("data", "fsdp"))


def test_two_axes_on_one_mesh_axis_collide():
    with pytest.raises(ValueError, match="collide"):
        TRAIN_RULES.spec("batch", "embed")
    with pytest.raises(ValueError, match="collide"):
        TRAIN_RULES.spec("heads", "mlp")
    assert Rules(mlp=None).spec("heads", "mlp") == P("tensor", None)


def test_sizes_that_do_not_divide_are_named():
    sizes = {"heads": 4, "kv_heads": 3}
    TRAIN_RULES.check(sizes, "model")  # no mesh, nothing to divide among
    with jax.set_mesh(make_mesh(tensor=2)):
        TRAIN_RULES.check({"heads": 4}, "model")
        with pytest.raises(UserError, match="kv_heads = 3 does not divide among 2 devices"):
            TRAIN_RULES.check(sizes, "model")


def test_too_few_devices_is_a_user_error():
    with pytest.raises(UserError, match="needs 4096 devices"):
        make_mesh(16, 16, 16)


def test_reshard_moves_only_with_a_mesh():
    x = jax.numpy.arange(8.0)
    assert reshard(x, None) is x
    with jax.set_mesh(make_mesh(fsdp=8)):
        moved = jax.jit(lambda x: reshard(x, P("fsdp")))(x)
        assert {s.data.shape for s in moved.addressable_shards} == {(1,)}
        assert moved.tolist() == x.tolist()
