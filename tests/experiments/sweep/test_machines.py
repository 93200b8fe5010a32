"""Plans for machines that are not at hand: numbers by hand, and the names that are understood."""

import pytest

from jprm.errors import UserError
from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.machines import MACHINES, decoding_bytes, fits, machine_named, training_bytes
from jprm.models import parameter_count, preset
from jprm.train.config import LoraSection, TrainConfig

SEVEN = preset("qwen2.5-7b", 152_064)
RECIPE = TrainConfig(batch_rows=64, row_tokens=4096, microbatches=8, remat="layers", optimizer="adamw")


def test_names():
    assert machine_named("h100") == MACHINES["h100"] and machine_named("v5ex16").devices == 16
    for wrong in ("h100x0", "h100x", "abacus", "h100 x8", "x8"):
        with pytest.raises(UserError, match="no such machine"):
            machine_named(wrong)


def test_speed_is_bound_by_bandwidth_until_the_slots_are_many():
    h100 = machine_named("h100x8")
    few, many = h100.speed(8), h100.speed(100_000)
    assert few.train == many.train == pytest.approx(0.4 * 989e12 * 8)
    assert few.decode == pytest.approx(0.5 * 3.35e12 * 8 * 8)  # a FLOP a byte for each slot
    assert many.decode == pytest.approx(0.4 * 989e12 * 8)


def test_the_memory_of_seven_billion_parameters():
    """Weights, moments and gradients of 7.6e9 parameters take 20 bytes each: 152 GB, which only a pod holds."""
    n = parameter_count(SEVEN)
    alone, pod = training_bytes(SEVEN, RECIPE, 1), training_bytes(SEVEN, RECIPE, 16)
    assert n == pytest.approx(7.6e9, rel=0.01) and 20 * n < alone < 1.2 * 20 * n
    assert pod < 20e9
    adapters = RECIPE.model_copy(update={"lora": LoraSection(rank=16)})
    assert training_bytes(SEVEN, adapters, 1) < 2 * n + 20e9
    # 28 layers, 4 heads of 128, keys and values in two bytes: 57,344 bytes a token
    assert decoding_bytes(SEVEN, 64, 8192) - decoding_bytes(SEVEN, 0, 8192) == 64 * 8192 * 57_344


def test_what_does_not_fit_is_said():
    config = SweepConfig.model_validate({"train": {"batch_rows": 8}, "model": {"slots": 8}})
    [row] = fits(config, {"7b": SEVEN}, machine_named("v5e"))
    assert row["verdict"] == "does NOT fit" and row["model"] == "7b"
    [row] = fits(config, {"7b": SEVEN}, machine_named("h200x8"))
    assert row["verdict"] == "fits"
