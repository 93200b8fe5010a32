"""Adapters: nothing at first, merged they are the same function, and PEFT finds its names."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jprm.errors import UserError
from jprm.mesh import make_mesh
from jprm.models import ModelConfig, bind, segment_attention
from jprm.models.hf_export import to_hf
from jprm.train import TrainConfig
from jprm.train.config import LoraSection
from jprm.train.lora import attach, init_adapters, load_peft, merge, save_peft
from jprm.train.optimizer import make_optimizer
from jprm.train.step import init_state, make_step

CONFIG = ModelConfig(vocab_size=32, n_layers=2, embed=16, n_heads=4, n_kv_heads=2, head_dim=8, mlp=24)
LORA = LoraSection(rank=3, alpha=6.0)
IDS = np.random.default_rng(0).integers(0, 32, (4, 12)).astype(np.int32)
BATCH = {
    "ids": IDS,
    "positions": np.tile(np.arange(12, dtype=np.int32), (4, 1)),
    "segments": np.ones_like(IDS),
    "weights": np.ones((4, 12), np.float32),
}
TRAIN = TrainConfig(
    steps=3, batch_rows=4, row_tokens=12, warmup_steps=0, optimizer="adamw", learning_rate=0.01, lora=LORA
)  # fmt: skip


def drawn(adapters, seed=1):
    """Adapters that change something: B is no longer zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32) * 0.1, adapters)


@jax.jit
def logits(params):
    model = bind(CONFIG)
    hidden = model.hidden(params, IDS, BATCH["positions"], segment_attention(jnp.asarray(BATCH["segments"])))
    return model.logits(params, hidden)


@pytest.fixture(scope="module")
def parts():
    model = bind(CONFIG)
    return model, model.init(0), init_adapters(model, LORA, seed=0)


def test_fresh_adapters_change_nothing(parts):
    model, params, adapters = parts
    assert set(adapters) == {"q", "k", "v", "o", "gate", "up", "down"}
    np.testing.assert_array_equal(logits(attach(params, adapters, LORA)), logits(params))
    for adapter in adapters.values():  # variance 1 / inputs
        assert adapter["a"].std() * adapter["a"].shape[1] ** 0.5 == pytest.approx(1, abs=0.25)


def test_merged_weights_compute_what_adapters_do(parts):
    model, params, adapters = parts
    adapters = drawn(adapters)
    adapted = logits(attach(params, adapters, LORA))
    assert np.abs(adapted - logits(params)).max() > 0.01
    limit = 1e-6 * np.abs(adapted).max()  # f32 holds 6e-8 of a number
    np.testing.assert_allclose(logits(merge(params, adapters, LORA)), adapted, rtol=0, atol=limit)


def run(model, params, adapters, config=TRAIN):
    optimizer = make_optimizer(config)
    state = init_state(model, {"lora": adapters}, optimizer, config.steps)
    step = make_step(model, config, optimizer, frozen=params)
    losses = []
    for _ in range(config.steps):
        state, metrics = step(state, jax.device_put(BATCH))
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state)


@pytest.fixture(scope="module")
def alone(parts):
    """The weights before it, and the losses and the state of a run on one device."""
    model, params, adapters = parts
    before = jax.tree.map(np.array, params)
    return before, *run(model, params, adapters)


def test_only_adapters_are_trained_and_kept(parts, alone):
    _, params, adapters = parts
    before, losses, state = alone
    assert losses[2] < losses[0]
    assert set(state.params) == {"lora"}
    kept = sum(np.size(x) for x in jax.tree.leaves(state.optimizer))
    assert kept < 3 * sum(x.size for x in jax.tree.leaves(adapters))
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, params))


@pytest.mark.slow  # whole weights on a mesh are fast (test_step.py, test_loop.py)
def test_a_mesh_trains_the_same_adapters(parts, alone):
    _, params, adapters = parts
    _, losses, single = alone
    with jax.set_mesh(make_mesh(2, 2, 2)):
        split = bind(CONFIG)
        placed = jax.tree.map(lambda x, s: jax.device_put(x, s.sharding), params, split.spec())
        got, state = run(split, placed, adapters)
        whole = jax.device_get(merge(placed, single.params["lora"], LORA))
    np.testing.assert_allclose(got, losses, rtol=1e-5)
    assert jax.tree.structure(state.params) == jax.tree.structure(single.params)
    expected = merge(params, single.params["lora"], LORA)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole, expected)


def test_peft_names_and_shapes_and_back(parts, tmp_path):
    model, _, adapters = parts
    adapters = drawn({name: adapters[name] for name in ("q", "o", "down")})
    config = LORA.model_copy(update={"targets": ("q", "o", "down")})
    save_peft(tmp_path, adapters, config, base="Qwen/Qwen2.5-0.5B")
    about = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (about["r"], about["lora_alpha"], about["peft_type"]) == (3, 6.0, "LORA")
    assert about["target_modules"] == ["down_proj", "o_proj", "q_proj"]
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    prefix = "base_model.model.model.layers.1."
    assert len(tensors) == 2 * 3 * 2
    assert tensors[prefix + "self_attn.q_proj.lora_A.weight"].shape == (3, 16)
    assert tensors[prefix + "self_attn.q_proj.lora_B.weight"].shape == (32, 3)
    assert tensors[prefix + "self_attn.o_proj.lora_A.weight"].shape == (3, 32)
    assert tensors[prefix + "mlp.down_proj.lora_B.weight"].shape == (16, 3)
    loaded, again = load_peft(tmp_path, model)
    assert (again.rank, again.alpha, set(again.targets)) == (3, 6.0, set(config.targets))
    jax.tree.map(np.testing.assert_array_equal, loaded, adapters)


def test_adapters_that_do_not_fit_are_refused(parts, tmp_path):
    model, _, adapters = parts
    save_peft(tmp_path, adapters, LORA)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    key = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    save_file(tensors | {key: np.zeros((3, 5), np.float32)}, path)
    with pytest.raises(UserError, match=r"up_proj.lora_A.weight has shape \(3, 5\), the model wants \(3, 16\)"):
        load_peft(tmp_path, model)
    del tensors[key]
    save_file(tensors, path)
    with pytest.raises(UserError, match="layers.0.mlp.up_proj.lora_A.weight is missing"):
        load_peft(tmp_path, model)
    with pytest.raises(UserError, match="no adapters there"):
        load_peft(tmp_path / "elsewhere", model)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha_pattern", {"q_proj": 32}),
        ("rank_pattern", {"model.layers.0.self_attn.q_proj": 4}),
        ("modules_to_save", ["lm_head"]),
        ("layers_to_transform", [0]),
        ("layers_to_transform", 0),
        ("layer_replication", [[0, 1], [0, 1]]),
        ("use_dora", True),
        ("bias", "all"),
        ("lora_bias", True),
        ("fan_in_fan_out", True),
        ("trainable_token_indices", [1, 2]),
        ("target_parameters", ["mlp.experts"]),
        ("peft_type", "LOHA"),
        ("init_lora_weights", "pissa_niter_4"),
        ("target_modules", ["q_proj", "lm_head"]),
        ("target_modules", "all-linear"),
        ("target_modules", []),
        ("r", 0),
        ("r", "eight"),
        ("lora_alpha", None),
        ("a_field_of_next_year", {"q_proj": 2}),
    ],
)
def test_what_would_change_the_product_is_refused_by_its_name(parts, tmp_path, field, value):
    model, _, adapters = parts
    save_peft(tmp_path, adapters, LORA)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(UserError, match=rf"adapter_config\.json: .*\b{field}\b"):
        load_peft(tmp_path, model)


def test_the_fields_that_peft_writes_of_plain_lora_are_read(parts, tmp_path):
    """Those of PEFT 0.17, as far as they are not in what `save_peft` writes."""
    model, _, adapters = parts
    save_peft(tmp_path, adapters, LORA)
    path = tmp_path / "adapter_config.json"
    empty = ("alpha_pattern", "rank_pattern", "loftq_config")
    none = (
        "corda_config",
        "eva_config",
        "exclude_modules",
        "layer_replication",
        "layers_pattern",
        "layers_to_transform",
    )
    none += (
        "megatron_config",
        "modules_to_save",
        "revision",
        "target_parameters",
        "trainable_token_indices",
        "auto_mapping",
    )
    more = (
        dict.fromkeys(empty, {}) | dict.fromkeys(none) | dict.fromkeys(("lora_bias", "use_dora", "use_qalora"), False)
    )
    more |= {"init_lora_weights": "gaussian", "megatron_core": "megatron.core", "qalora_group_size": 16}
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    loaded, section = load_peft(tmp_path, model)
    assert section == LORA.model_copy(update={"targets": section.targets})
    jax.tree.map(np.testing.assert_array_equal, loaded, adapters)


def test_rank_stabilised_adapters_have_another_scale(parts, tmp_path):
    """rsLoRA (Kalajdzievski 2023): alpha / sqrt(rank)."""
    model, _, adapters = parts
    save_peft(tmp_path, adapters, LORA)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_rslora": True}))
    _, section = load_peft(tmp_path, model)
    assert section.alpha / section.rank == pytest.approx(LORA.alpha / LORA.rank**0.5)


def test_a_tensor_without_a_place_is_refused(parts, tmp_path):
    model, _, adapters = parts
    save_peft(tmp_path, adapters, LORA)
    path = tmp_path / "adapter_model.safetensors"
    save_file(load_file(path) | {"base_model.model.lm_head.weight": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(UserError, match=r"no place in plain LoRA, such as base_model\.model\.lm_head"):
        load_peft(tmp_path, model)


def test_adapters_without_frozen_weights_are_refused(parts):
    with pytest.raises(UserError, match="frozen"):
        make_step(parts[0], TRAIN, make_optimizer(TRAIN))


def test_muon_does_not_train_adapters():
    with pytest.raises(ValueError, match="adamw"):
        TrainConfig(lora=LORA)


def test_peft_reads_them(parts, tmp_path):
    peft = pytest.importorskip("peft")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model, params, adapters = parts
    adapters = drawn(adapters)
    to_hf(tmp_path / "base", model, params)
    save_peft(tmp_path / "adapter", adapters, LORA)
    base = transformers.Qwen2ForCausalLM.from_pretrained(tmp_path / "base")
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        theirs = adapted(torch.from_numpy(IDS).long()).logits.numpy()
    np.testing.assert_allclose(logits(attach(params, adapters, LORA)), theirs, atol=1e-4)
