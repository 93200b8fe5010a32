import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.extend.core import jaxprs_in_params

from jprm.models import (
    PRESETS,
    ModelConfig,
    attention,
    bind,
    decode_flops,
    parameter_count,
    preset,
    segment_attention,
    train_flops,
)
from jprm.models.costs import forward_flops
from jprm.models.hf_config import read_config
from tests.models import tiny_hf

SMALL = ModelConfig(vocab_size=11, n_layers=2, embed=8, n_heads=4, n_kv_heads=2, head_dim=6, mlp=10, qk_norm=True)


@pytest.mark.parametrize("name", PRESETS)
def test_parameter_count_is_that_of_the_real_tree(name):
    config = preset(name, 1000)
    leaves = jax.tree.leaves(bind(config).spec())
    assert parameter_count(config) == sum(math.prod(leaf.shape) for leaf in leaves)


def test_parameter_count_of_the_published_models():
    # model cards of Qwen2.5: 0.49 B, 1.54 B, 7.61 B parameters
    assert parameter_count(preset("qwen2.5-0.5b", 151_936)) == 494_032_768
    assert parameter_count(preset("qwen2.5-1.5b", 151_936)) == 1_543_714_304
    assert parameter_count(preset("qwen2.5-7b", 152_064)) == 7_615_616_512


def dot_flops(jaxpr) -> int:
    """Two for each multiply-add of every dot_general, inner jaxprs included."""
    total = 0
    for equation in jaxpr.eqns:
        for inner in jaxprs_in_params(equation.params):
            total += dot_flops(inner)
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            out = equation.outvars[0].aval.shape
            total += 2 * math.prod(out) * math.prod(left[axis] for axis in contracted)
    return total


@pytest.mark.parametrize("tied", [True, False])
def test_forward_flops_are_the_dot_products_of_the_program(monkeypatch, tied):
    monkeypatch.setattr(attention, "BLOCKS", 1)  # the program then scores the whole square
    config = dataclasses.replace(SMALL, tied=tied)
    model, rows, tokens = bind(config), 3, 5
    ids = jnp.zeros((rows, tokens), jnp.int32)

    def forward(params):
        return model.logits(params, model.hidden(params, ids, ids, segment_attention(ids)))

    jaxpr = jax.make_jaxpr(forward)(model.spec()).jaxpr
    counted = forward_flops(config, rows * tokens, rows * tokens**2, rows * tokens)
    assert dot_flops(jaxpr) == counted


def prefill_flops(config, tokens):
    """Of reading a prompt, of which only the last position is read out."""
    return forward_flops(config, tokens, tokens * (tokens + 1) / 2, 1)


def test_flops_by_hand():
    # one layer: q 8x24, k and v 8x12, o 24x8, gate, up and down 8x10: 816 multiply-adds a token
    layers = 2 * 2 * 816
    pair = 2 * 2 * 2 * 24
    logits = 2 * 8 * 11
    assert prefill_flops(SMALL, 3) == 3 * layers + 6 * pair + logits
    assert decode_flops(SMALL, context=3, tokens=2) == 2 * layers + (4 + 5) * pair + 2 * logits
    assert train_flops(SMALL, 6, context=3) == 3 * (6 * layers + 12 * pair + 6 * logits)
    assert 2 * train_flops(SMALL, 3, context=3) == train_flops(SMALL, 6, context=3)


@pytest.fixture(params=tiny_hf.CASES)
def family(request, tmp_path):
    """(config of a published family at a tiny size, its tensors as the family stores them)."""
    fields = tiny_hf.CASES[request.param]
    (tmp_path / "config.json").write_text(json.dumps(fields))
    return read_config(tmp_path), tiny_hf.tensors(fields)


def test_parameters_are_those_that_a_family_stores(family):
    config, tensors = family
    assert parameter_count(config) == sum(tensor.size for tensor in tensors.values())


def test_flops_are_the_dot_products_of_every_family(family, monkeypatch):
    """Forward, and training as its gradient: twice as many products again."""
    monkeypatch.setattr(attention, "BLOCKS", 1)
    config, _ = family
    model, tokens = bind(config), 6
    ids = jnp.zeros((1, tokens), jnp.int32)

    def summed(params):
        h = model.hidden(params, ids, ids, segment_attention(ids))
        return model.logits(params, h).astype(jnp.float32).sum()

    forward = forward_flops(config, tokens, tokens**2, tokens)
    params = model.spec()
    assert dot_flops(jax.make_jaxpr(summed)(params).jaxpr) == forward
    assert dot_flops(jax.make_jaxpr(jax.grad(summed))(params).jaxpr) == 3 * forward


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_pairs_are_those_that_the_mask_of_a_packed_row_lets_through(lengths):
    segments = np.zeros(60, np.int32)  # one shape: each one more is compiled
    tokens = sum(lengths)
    segments[:tokens] = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    bias = np.asarray(attention._bias(jnp.asarray(segments[None]), 0, 60))[0, 0]
    pairs = int((bias[:tokens] == 0).sum())
    trained = sum(train_flops(SMALL, n, context=n) for n in lengths)
    assert trained == 3 * forward_flops(SMALL, tokens, pairs, tokens)


def test_decoding_token_by_token_reads_what_a_prefill_reads():
    """Each drawn token scores all before it and itself; a prefill reads only its last position out."""
    for n in (1, 2, 7):
        logits = 2 * SMALL.embed * SMALL.vocab_size
        assert decode_flops(SMALL, 0, n) == prefill_flops(SMALL, n) + (n - 1) * logits
        whole = sum(decode_flops(SMALL, 4 + t, 1) for t in range(n))
        assert decode_flops(SMALL, 4, n) == whole
