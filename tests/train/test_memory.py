"""The estimate against what XLA allocates, and what it says when a run does not fit."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jprm.errors import UserError
from jprm.mesh import make_mesh, sharding
from jprm.models import ModelConfig, bind
from jprm.train import TrainConfig, memory
from jprm.train.config import LoraSection
from jprm.train.loss import loss_and_weight
from jprm.train.memory import step_memory
from jprm.train.optimizer import make_optimizer
from jprm.train.step import init_state, make_step

CONFIG = ModelConfig(vocab_size=512, n_layers=2, embed=64, n_heads=4, n_kv_heads=2, head_dim=16, mlp=192)
TRAIN = TrainConfig(steps=2, batch_rows=8, row_tokens=128, optimizer="adamw")
FACTOR = 1.5  # of the module's docstring


def batch_spec(rows, tokens, where=None):
    kinds = dict(ids=jnp.int32, positions=jnp.int32, segments=jnp.int32, weights=jnp.float32)
    return {name: jax.ShapeDtypeStruct((rows, tokens), kind, sharding=where) for name, kind in kinds.items()}


def of_the_step(config, shape=CONFIG):
    """Estimated bytes, but for the program that the compiler knows nothing of."""
    estimated = step_memory(bind(shape), config, make_optimizer(config))
    return estimated.total - estimated.program


def allocated(config):
    """Bytes of one device that the compiled step takes: arguments and temporaries."""
    model, optimizer = bind(CONFIG), make_optimizer(config)
    state = init_state(model, model.init(0), optimizer, config.steps)
    where = sharding(model.rules("batch", None))
    batch = batch_spec(config.batch_rows, config.row_tokens, where)
    found = make_step(model, config, optimizer).lower(state, batch).compile().memory_analysis()
    return found.argument_size_in_bytes + found.temp_size_in_bytes


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"logits_mb": 1, "remat": "layers"},
        *(
            pytest.param(changes, marks=pytest.mark.slow)
            for changes in ({"remat": "dots"}, {"remat": "layers"}, {"microbatches": 4}, {"compute_dtype": "bfloat16"})
        ),
    ],
    ids=str,
)
def test_the_estimate_is_what_xla_allocates_within_its_factor(changes):
    config = TRAIN.model_copy(update=changes)
    assert 1 / FACTOR < of_the_step(config) / allocated(config) < FACTOR


# XLA's bytes of a step of `sizes` (layers, embed, heads, KV heads, mlp, vocabulary) on one row of 640 tokens, by
# `memory_analysis` of jax 0.10.2 on a CPU: compiling such models takes a minute.
MEASURED = [
    ((30, 576, 9, 3, 1536, 49_152), {}, 4.16e9),
    ((30, 576, 9, 3, 1536, 49_152), {"remat": "layers"}, 2.69e9),
    ((30, 576, 9, 3, 1536, 49_152), {"lora": LoraSection(rank=8)}, 2.43e9),
    ((12, 512, 8, 2, 1536, 32_768), {}, 1.68e9),
    ((12, 512, 8, 2, 1536, 32_768), {"remat": "layers"}, 1.08e9),
    ((12, 512, 8, 2, 1536, 32_768), {"remat": "dots"}, 1.21e9),
    ((12, 512, 8, 2, 1536, 32_768), {"lora": LoraSection(rank=8)}, 0.992e9),
    ((12, 512, 8, 2, 1536, 32_768), {"optimizer": "muon"}, 1.6e9),
    ((12, 512, 8, 2, 1536, 32_768), {"compute_dtype": "bfloat16"}, 2.0e9),
    ((8, 384, 6, 2, 1024, 16_384), {}, 0.758e9),
    ((8, 384, 6, 2, 1024, 16_384), {"remat": "layers"}, 0.414e9),
    ((8, 384, 6, 2, 1024, 16_384), {"lora": LoraSection(rank=8)}, 0.460e9),
]


@pytest.mark.parametrize(("sizes", "changes", "measured"), MEASURED, ids=str)
def test_larger_models_on_a_cpu_are_estimated_within_a_quarter(sizes, changes, measured):
    layers, embed, heads, kv_heads, mlp, vocab = sizes
    shape = ModelConfig(
        vocab_size=vocab,
        n_layers=layers,
        embed=embed,
        n_heads=heads,
        n_kv_heads=kv_heads,
        head_dim=embed // heads,
        mlp=mlp,
    )
    config = TRAIN.model_copy(update={"batch_rows": 1, "row_tokens": 640} | changes)
    assert 0.8 < of_the_step(config, shape) / measured < 1.25


@pytest.mark.slow
def test_on_a_mesh_the_estimate_is_that_of_one_device():
    with jax.set_mesh(make_mesh(data=1, fsdp=4, tensor=2)):
        estimated = of_the_step(TRAIN)
        assert 1 / FACTOR < estimated / allocated(TRAIN) < FACTOR
    assert estimated < of_the_step(TRAIN) / 4


def test_adapters_need_little_besides_the_frozen_weights():
    config = TRAIN.model_copy(update={"lora": LoraSection(rank=2)})
    adapted = step_memory(bind(CONFIG), config, make_optimizer(config))
    full = step_memory(bind(CONFIG), TRAIN, make_optimizer(TRAIN))
    assert adapted.optimizer < full.optimizer / 10 and adapted.gradients < full.gradients / 10
    assert full.weights < adapted.weights < 1.1 * full.weights


@pytest.mark.parametrize(
    ("vocab", "changes", "knob"),
    [
        (512, {"batch_rows": 512}, "train.remat"),
        (8192, {"remat": "layers", "logits_mb": 4096}, "train.logits_mb"),
        (512, {"batch_rows": 1, "row_tokens": 8}, "mesh.fsdp"),
    ],
)
def test_what_does_not_fit_names_its_knob(monkeypatch, vocab, changes, knob):
    monkeypatch.setattr(memory, "capacity_bytes", lambda: 1 << 20)
    config = TRAIN.model_copy(update=changes)
    model = bind(dataclasses.replace(CONFIG, vocab_size=vocab))
    estimated = step_memory(model, config, make_optimizer(config))
    with pytest.raises(UserError, match=knob):
        estimated.check()
    dataclasses.replace(estimated, capacity=estimated.total).check()
    dataclasses.replace(estimated, capacity=0).check()


def test_the_logits_of_a_large_vocabulary_never_exist_whole():
    """152k tokens, as in Qwen2.5: 1024 tokens would have 622 MB of f32 logits."""
    config = ModelConfig(vocab_size=151_936, n_layers=1, embed=8, n_heads=1, n_kv_heads=1, head_dim=8, mlp=8)
    model = bind(config)
    batch = batch_spec(2, 512)

    def temporaries(logits_mb):
        def loss(params, batch):
            return loss_and_weight(model, params, batch, TrainConfig(logits_mb=logits_mb))[0]

        compiled = jax.jit(jax.grad(loss)).lower(model.spec(), batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole = 2 * 512 * 151_936 * 4
    assert temporaries(64) < 0.5 * whole
    assert temporaries(4096) > whole  # the measure sees them where they are not cut
