"""Programs compiled for slices of TPUs that are not here; the compiler itself is in the extra `tpu`."""

import dataclasses
import re
import sys

import jax
import pytest

from jprm.aot.decoding import decoding_programs, engine_config, sizes_of
from jprm.aot.hlo import copied
from jprm.aot.programs import compiled
from jprm.aot.slices import TPUS, Slice, open_slice
from jprm.aot.training import training_program
from jprm.errors import UserError
from jprm.train.config import RunConfig

TRAIN = {"model": {"preset": "tiny-0.5m"}, "data": {"path": "none.jsonl", "vocab_size": 512}}


def here(chip="v5e", count=8):
    """A slice of this machine's virtual devices, for what needs no compiler for TPU."""
    return Slice(f"{chip}:here", TPUS[chip], tuple(jax.devices()[:count]))


@pytest.mark.parametrize(
    "name, words",
    [
        ("4x4", "such as v5e:4x4"),
        ("v5e", "such as v5e:4x4"),
        ("v9:2x2", "chips: v4, v5e, v5p, v6e"),
        ("v5e:2x2x1", "a slice of v5e has 2 axes, such as v5e:2x2"),
        ("v5p:2x2", "a slice of v5p has 3 axes, such as v5p:2x2x2"),
    ],
)
def test_a_name_that_is_no_slice_is_answered(name, words):
    with pytest.raises(UserError, match=words):
        open_slice(name)


def test_without_the_compiler_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(UserError, match=r"compile needs libtpu, .* is not installed: pip install 'jprm\[tpu\]'"):
        open_slice("v5e:2x2")


def test_what_cannot_fit_is_refused_before_it_is_compiled():
    with pytest.raises(UserError, match="do not fit into the .* of a chip of v5e:here.*several devices with `tensor`"):
        decoding_programs(sizes_of("qwen2.5-32b"), engine_config(64, 4096, 0, 1), here())
    with pytest.raises(UserError, match="--tensor 16: v5e:here has 8 devices"):
        decoding_programs(sizes_of("qwen2.5-0.5b"), engine_config(64, 4096, 0, 16), here())
    with pytest.raises(UserError, match="--model nowhere"):
        sizes_of("nowhere")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"mesh": {"data": 2, "fsdp": 2, "tensor": 2}},
        {"train": {"lora": {"rank": 4}, "optimizer": "adamw", "microbatches": 2, "batch_rows": 16}},
        {"train": {"objective": "step_head", "batch_rows": 8}},
        {"mesh": {"fsdp": 1}},
    ],
    ids=["fsdp", "all axes", "adapters", "step head", "one device"],
)
def test_the_training_step_is_compiled_from_shapes_alone(more):
    found = compiled(training_program(RunConfig.model_validate(TRAIN | more), here()), here())
    figures = found.to_json()
    alone = "mesh" in more and more["mesh"]["fsdp"] == 1
    assert figures["devices"] == (1 if alone else 8) and figures["peak_bytes"] >= figures["argument_bytes"] > 0
    assert bool(figures["collectives"]) == (not alone) and figures["bound_s"] >= figures["products_s"] > 0


def test_decoding_is_compiled_from_shapes_alone():
    small = dataclasses.replace(sizes_of("tiny-0.5m"), vocab_size=512, n_kv_heads=2)
    for tensor, rows in ((1, 0), (2, 4)):
        decode, prefill = (
            compiled(program, here())
            for program in decoding_programs(small, engine_config(8, 256, rows, tensor), here())
        )
        assert decode.program.devices == tensor and decode.peak_bytes > 0 and prefill.peak_bytes > 0
        assert bool(decode.traffic.calls) == (tensor > 1)


def test_rows_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match="do not divide among data x fsdp"):
        training_program(RunConfig.model_validate(TRAIN | {"train": {"batch_rows": 4}}), here())


@pytest.fixture(scope="module")
def v5e():
    pytest.importorskip("libtpu", reason="libtpu, the compiler for TPU, is not installed (extra `tpu`)")
    return open_slice("v5e:2x2")


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, slots, tensor", [("qwen2.5-0.5b", 256, 1), ("qwen2.5-1.5b", 64, 1), ("qwen2.5-7b", 64, 4)]
)
def test_no_call_copies_a_cache_on_tpu(v5e, model, slots, tensor):
    sizes = dataclasses.replace(sizes_of(model), n_layers=2)
    config = engine_config(slots, 3072, 32, tensor)
    heads = sizes.n_kv_heads * sizes.head_dim // tensor
    decode, prefill = (compiled(program, v5e) for program in decoding_programs(sizes, config, v5e))
    own, rows = slots * config.slot_entries * heads, 32 * config.most_prompt_tokens * heads
    for found in (decode, prefill):
        assert copied(found.text, own) == [] and copied(found.text, rows) == []
    assert prefill.temporary_bytes < rows * 2 * 2 * 2 / 10


@pytest.mark.slow
def test_no_array_of_tokens_by_tokens_with_splash(v5e):
    def text(attention):
        train = {"row_tokens": 2048, "batch_rows": 4, "compute_dtype": "bfloat16", "attention": attention}
        return compiled(training_program(RunConfig.model_validate(TRAIN | {"train": train}), v5e), v5e).text

    squares = re.compile(r"\[[\d,]*(?:1024|2048),(?:1024|2048)\]")  # the einsum takes its queries in two blocks
    assert squares.search(text("einsum")) and not squares.search(text("auto"))
