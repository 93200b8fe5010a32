"""What is read from the text of a compiled program: loops, kinds of collectives, and copies."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jprm.aot.hlo import copied, shape_bytes, traffic

TEXT = """HloModule step

%inner (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %all-gather.1 = f32[8]{0} all-gather(%p), replica_groups=[2,4]<=[8], dimensions={0}
}

%body (t: (s32[], f32[8])) -> (s32[], f32[8]) {
  %t = (s32[], f32[8]) parameter(0)
  %c = f32[8]{0} call(%x), to_apply=%inner
  %start = (f32[8]{0}, f32[8]{0}) collective-permute-start(%x), source_target_pairs={{0,1},{1,0}}
  %done = f32[8]{0} collective-permute-done(%start)
  %copy.2 = bf16[4,2]{1,0} copy(%x)
}

%condition (t: (s32[], f32[8])) -> pred[] {
  %t = (s32[], f32[8]) parameter(0)
  %limit = s32[]{:T(128)} constant(5)
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}

%fused (p: bf16[4,2]) -> bf16[2,4] {
  ROOT %transpose.9 = bf16[2,4]{1,0} transpose(%p), dimensions={1,0}
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %w = (s32[], f32[8]) while(%t), condition=%condition, body=%body
  %r = f32[8]{0} reduce-scatter(%a), replica_groups=mesh['x'=2,'y'=4] {'x','y'}, to_apply=%add
  %f = bf16[2,4]{1,0} fusion(%x), kind=kLoop, calls=%fused
  %sum = (f32[2]{0}, bf16[2]{0}) all-reduce(%a, %b), replica_groups={{0,1,2},{3,4,5}}, to_apply=%add
}
"""


def test_loops_are_counted_as_often_as_they_turn():
    found = traffic(TEXT)
    assert found.calls == {"all-gather": 5, "collective-permute": 5, "all-reduce": 1, "reduce-scatter": 1}
    assert found.bytes["all-gather"] == 5 * 32 * 3 / 4
    assert found.bytes["collective-permute"] == 5 * 32
    assert found.bytes["all-reduce"] == round(2 * (8 + 4) * 2 / 3)
    assert found.bytes["reduce-scatter"] == 32 * 7
    assert found.total_bytes == sum(found.bytes.values())


def test_copies_inside_of_fused_loops_move_nothing():
    assert copied(TEXT, 8) == ["bf16[4,2]{1,0}"]
    assert copied(TEXT, 7) == []


@pytest.mark.parametrize(
    "text, size",
    [("bf16[2,3]{1,0:T(8,128)(2,1)}", 12), ("(f32[4]{0}, s8[3]{0}, pred[])", 20), ("f32[]", 4), ("token[]", 0)],
)
def test_bytes_of_shapes(text, size):
    assert shape_bytes(text) == size


@pytest.mark.parametrize("turns", [1, 2, 7])
def test_a_program_compiled_here_sends_what_the_formula_says(turns):
    mesh = Mesh(np.array(jax.devices()[:4]), ("x",), axis_types=(AxisType.Auto,))
    rows, columns = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((None, "x"), ("x", None)))

    @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec()))
    def summed(a, b):
        return jax.lax.scan(lambda total, scale: (total + jnp.sin((a * scale) @ b), None), jnp.zeros((16, 8)), scales)[
            0
        ]

    scales = np.arange(1.0, turns + 1, dtype=np.float32)
    a = jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=rows)
    b = jax.ShapeDtypeStruct((32, 8), jnp.float32, sharding=columns)
    found = traffic(summed.lower(a, b).compile().as_text())
    assert found.calls == {"all-reduce": turns}
    assert found.bytes == {"all-reduce": turns * 2 * 16 * 8 * 4 * 3 // 4}
