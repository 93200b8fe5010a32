import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.mesh import make_mesh
from jprm.models import parameter_count, segment_attention, split_layers
from jprm.models.hf_weights import from_hf
from tests.models import tiny_hf
from tests.models.tiny_hf import CASES, GOLDEN, make, tensors, write

INDEX = "model.safetensors.index.json"


def logits(model, params):
    ids = jnp.asarray(tiny_hf.token_ids(), jnp.int32)
    positions = jnp.arange(ids.shape[1])[None]

    @jax.jit
    def forward(params):
        h = model.hidden(params, ids, positions, segment_attention(jnp.ones_like(ids)))
        return model.logits(params, h)[0]

    return np.asarray(forward(params))


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(tmp_path, case):
    model, params = from_hf(make(tmp_path / "x", case, shards=2))
    golden = np.load(GOLDEN)[case]
    assert np.abs(golden).max() > 1
    np.testing.assert_allclose(logits(model, params), golden, rtol=0, atol=1e-4)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameter_count(model.config)


def test_one_file_and_many_shards_give_the_same_parameters(tmp_path):
    _, one = from_hf(make(tmp_path / "one", "qwen3"))
    _, many = from_hf(make(tmp_path / "many", "qwen3", shards=7))
    assert jax.tree.structure(one) == jax.tree.structure(many)
    assert all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(many)))


def test_layers_that_are_loaded_one_by_one_are_the_stacked_ones(tmp_path):
    directory = make(tmp_path / "x", "qwen3", shards=2)
    stacked, split = (from_hf(directory, stacked=stacked)[1] for stacked in (True, False))
    assert isinstance(split["layers"], list)
    wanted = split_layers(stacked)
    assert jax.tree.structure(split) == jax.tree.structure(wanted)
    assert all(map(np.array_equal, jax.tree.leaves(split), jax.tree.leaves(wanted)))


@pytest.mark.parametrize("case", ["qwen2-untied", "llama3"])
def test_each_device_gets_its_part(tmp_path, case):
    config = CASES[case] | {"vocab_size": 68}  # divides among the devices
    directory = write(tmp_path / "x", config, tensors(config), shards=2)
    _, whole = from_hf(directory)
    with jax.set_mesh(make_mesh(data=2, fsdp=2, tensor=2)):
        model, sharded = from_hf(directory)
        for leaf, about in zip(*map(jax.tree.leaves, (sharded, model.spec())), strict=True):
            assert leaf.sharding == about.sharding and leaf.shape == about.shape
    assert sharded["layers"]["q"].addressable_shards[0].data.shape == (3, 16, 2, 8)
    assert all(map(np.array_equal, jax.tree.leaves(whole), jax.tree.leaves(sharded)))


def test_the_type_is_that_of_the_files_or_the_one_asked_for(tmp_path):
    config = CASES["qwen2-tied"]
    low = {name: x.astype(ml_dtypes.bfloat16) for name, x in tensors(config).items()}
    directory = write(tmp_path / "x", config, low)
    assert {leaf.dtype for leaf in jax.tree.leaves(from_hf(directory)[1])} == {jnp.bfloat16.dtype}
    params = from_hf(directory, jnp.float32)[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    embed = low["model.embed_tokens.weight"].astype(np.float32)
    assert np.array_equal(params["embed"], embed)


def test_mixed_types_want_a_decision(tmp_path):
    weights = tensors(CASES["qwen3"])
    weights["model.norm.weight"] = weights["model.norm.weight"].astype(np.float16)
    directory = write(tmp_path / "x", CASES["qwen3"], weights)
    with pytest.raises(UserError, match="model.norm.weight is float16, but .* say which dtype"):
        from_hf(directory)
    assert from_hf(directory, np.float32)[1]["norm"].dtype == np.float32


def test_a_tied_head_may_be_stored_but_not_differ(tmp_path):
    weights = tensors(CASES["llama-tied"])
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].copy()
    directory = write(tmp_path / "same", CASES["llama-tied"], weights, shards=2)
    assert "head" not in from_hf(directory)[1]
    weights["lm_head.weight"][3, 4] += 1
    directory = write(tmp_path / "other", CASES["llama-tied"], weights, shards=2)
    with pytest.raises(UserError, match="lm_head.weight differs from model.embed_tokens.weight"):
        from_hf(directory)


def refused(directory, message):
    with pytest.raises(UserError, match=message) as caught:
        from_hf(directory)
    assert "\n" not in str(caught.value) and str(directory) in str(caught.value)


Q = "model.layers.1.self_attn.q_proj.weight"


def test_names_shapes_and_types_that_do_not_fit(tmp_path):
    def changed(name, **change):
        weights = tensors(CASES["qwen2-tied"])
        for key, value in change.items():
            weights[key.replace("__", ".")] = value
        return write(tmp_path / name, CASES["qwen2-tied"], weights)

    extra = {"model__layers__1__self_attn__o_proj__bias": np.ones(32, np.float32)}
    refused(changed("extra", **extra), "safetensors: tensor .*o_proj.bias has no place")
    key = Q.replace(".", "__")
    transposed = np.ones((32, 33), np.float32)
    refused(changed("shape", **{key: transposed}), rf"{Q} has shape \(32, 33\), .* \(32, 32\)")
    refused(changed("type", **{key: np.ones((32, 32), np.int8)}), f"{Q} has type I8; supported")
    weights = tensors(CASES["qwen2-tied"])
    del weights[Q]
    refused(write(tmp_path / "less", CASES["qwen2-tied"], weights), f"safetensors: tensor {Q} is missing")


def test_a_missing_layer_is_named(tmp_path):
    config = CASES["qwen3"]
    directory = write(tmp_path / "x", config | {"num_hidden_layers": 4}, tensors(config))
    refused(directory, r"tensor model\.layers\.3\.\S+ is missing")


def test_a_missing_truncated_or_damaged_shard_is_named(tmp_path):
    shard = "model-00002-of-00003.safetensors"
    directory = make(tmp_path / "missing", "llama3", shards=3)
    (directory / shard).unlink()
    refused(directory, rf"{shard}: no such file; .*index\.json lists it for \d+ tensors, model\.")
    directory = make(tmp_path / "short", "llama3", shards=3)
    data = (directory / shard).read_bytes()
    for length in (0, 4, 100, len(data) - 1):
        (directory / shard).write_bytes(data[:length])
        refused(directory, f"{shard}: truncated or damaged")
    (directory / shard).write_bytes(b"<!DOCTYPE html>" + data[15:])
    refused(directory, f"{shard}: truncated or damaged")


def test_an_index_that_disagrees_with_its_shards_is_named(tmp_path):
    directory = make(tmp_path / "x", "qwen3", shards=2)
    index = json.loads((directory / INDEX).read_text())
    places = index["weight_map"]

    def with_places(places):
        (directory / INDEX).write_text(json.dumps({"weight_map": places}))
        return directory

    other = "model-00001-of-00002.safetensors"
    name = next(n for n in places if places[n] != other)
    refused(with_places(places | {name: other}), f"tensor {name} is listed there but not in it")
    without = {n: place for n, place in places.items() if n != name}
    refused(with_places(without), f"tensor {name} is not listed there")
    refused(with_places(places | {name: "../x.safetensors"}), "not the name of a file in this")
    refused(with_places([]), "'weight_map' must map tensor names")
    refused(with_places(places | {name: 3}), "'weight_map' must map tensor names")


def test_a_directory_without_safetensors_is_named(tmp_path):
    directory = make(tmp_path / "x", "qwen3")
    (directory / "model.safetensors").unlink()
    refused(directory, "neither model.safetensors nor")


# What the programs that fill the leaves take, whatever the size: 37 MB beside shards of 20, 49 and 380 MB.
COMPILED_BYTES = 48_000_000
# Not ru_maxrss: a process inherits that from the one that started it.
MEMORY = """
import sys
import jax
from jprm.models.hf_weights import from_hf
def memory_bytes(what):
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))
from_hf(sys.argv[1])  # so that what follows is the load alone
before = memory_bytes("VmRSS")
model, params = from_hf(sys.argv[2])
print(memory_bytes("VmHWM") - before, sum(leaf.nbytes for leaf in jax.tree.leaves(params)))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak")
def test_the_host_never_holds_the_model_twice(tmp_path):
    config = CASES["llama3"] | {
        "vocab_size": 512, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 10
    }  # fmt: skip
    small = make(tmp_path / "small", "llama3")
    large = write(tmp_path / "large", config, tensors(config), shards=8)
    largest = max(path.stat().st_size for path in large.glob("*.safetensors"))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(small), str(large)],
        env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},  # to keep a program takes memory, too
        capture_output=True,
        text=True,
        check=True,
    )
    grown, target = map(int, done.stdout.split())
    assert target > 1.3 * largest + COMPILED_BYTES  # or holding the model twice would pass
    assert target < grown < target + 1.3 * largest + COMPILED_BYTES
