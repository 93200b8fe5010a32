"""Plans for machines that are not at hand: numbers by hand, and the names that are understood."""

import pytest

from jprm.errors import UserError
from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.machines import MACHINES, decoding, machine_named, plan_for, training_bytes
from jprm.models import parameter_count, preset
from jprm.train.config import LoraSection, TrainConfig

SEVEN = preset("qwen2.5-7b", 152_064)
RECIPE = TrainConfig(batch_rows=64, row_tokens=4096, microbatches=8, remat="layers", optimizer="adamw")


def test_names():
    assert machine_named("h100") == MACHINES["h100"] and machine_named("v5ex16").devices == 16
    for wrong in ("h100x0", "h100x", "abacus", "h100 x8", "x8"):
        with pytest.raises(UserError, match="no such machine"):
            machine_named(wrong)


def test_decoding_is_bound_by_what_a_step_reads():
    """By hand: 7.6e9 weights of two bytes, and half of 8192 tokens of 57,344 bytes for every slot."""
    h100, weights, context = machine_named("h100"), 2 * parameter_count(SEVEN), 8192 * 57_344
    found = decoding(SEVEN, 64, 8192, h100)
    assert found is not None and found.ways == 1 and found.slots == 64
    assert found.device_bytes == weights + 64 * context < 0.85 * 80e9
    step_s = (weights + 64 * context / 2) / (0.5 * 3.35e12)
    assert found.flops == pytest.approx(weights * 64 / step_s)
    eight = decoding(SEVEN, 64, 8192, machine_named("h100x8"))
    assert eight is not None and eight.flops == pytest.approx(8 * found.flops)


def test_slots_and_devices_follow_the_memory():
    fewer = decoding(SEVEN, 1024, 8192, machine_named("h100"))
    assert fewer is not None and fewer.ways == 1 and 64 < fewer.slots < 1024
    shared = decoding(SEVEN, 64, 8192, machine_named("v5ex8"))  # 15 GB of weights do not leave room on 16
    assert shared is not None and shared.ways == 2 and shared.device_bytes < 0.85 * 16e9 and shared.slots >= 8
    assert decoding(SEVEN, 64, 8192, machine_named("v5e")) is None


def test_the_memory_of_training_seven_billion_parameters():
    """Weights, moments and gradients of 7.6e9 parameters take 20 bytes each: 152 GB, which only a pod holds."""
    n = parameter_count(SEVEN)
    alone, pod = training_bytes(SEVEN, RECIPE, 1), training_bytes(SEVEN, RECIPE, 16)
    assert n == pytest.approx(7.6e9, rel=0.01) and 20 * n < alone < 1.2 * 20 * n
    assert pod < 20e9
    adapters = RECIPE.model_copy(update={"lora": LoraSection(rank=16)})
    assert training_bytes(SEVEN, adapters, 1) < 2 * n + 20e9


def test_what_does_not_fit_is_said():
    config = SweepConfig.model_validate({"train": {"batch_rows": 8}, "model": {"slots": 8}})
    with pytest.raises(UserError, match="1 x v5e do not hold it"):
        plan_for(config, {"7b": SEVEN}, machine_named("v5e"))
    small = preset("qwen2.5-0.5b", 152_064)
    planned = plan_for(config, {"7b": SEVEN, "0.5b": small}, machine_named("h100"))
    assert [row["verdict"][:4] for row in planned.rows] == ["trai", "fits"]
    assert planned.speed.train == pytest.approx(0.4 * 989.4e12)
    alone = [decoding(m, 8, config.verify.context_tokens, machine_named("h100")) for m in (SEVEN, small)]
    assert planned.speed.decode == min(found.flops for found in alone if found), "the slowest decides"
