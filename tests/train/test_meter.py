"""The numbers of a log line against hand counts, with a clock that is set."""

import functools
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from jprm.errors import UserError
from jprm.models import ModelConfig, attention, bind
from jprm.models.costs import train_flops
from jprm.train import TrainConfig, meter
from jprm.train.config import LoraSection
from jprm.train.log import TensorBoard
from jprm.train.meter import Meter, Peak, train_flops_of

MODEL = bind(ModelConfig(32, 1, 16, 4, 2, 4, 32))
TRAIN = TrainConfig(optimizer="adamw")
LENGTHS = [5, 7, 3]
PAIRS = sum(n * (n + 1) // 2 for n in LENGTHS)


@pytest.fixture
def clock(monkeypatch):
    """`clock.now` is the time; the peak is 1e6 FLOP/s."""
    clock = types.SimpleNamespace(now=10.0)
    monkeypatch.setattr(meter.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(meter, "peak", lambda devices: Peak(devices * 1e6, "made up"))
    return clock


def test_a_line_has_the_rates_since_the_last(clock):
    ours = Meter(MODEL, TRAIN)
    for _ in range(2):
        ours.add(tokens=15, pairs=PAIRS, trained=4)
    clock.now = 12.0
    line = ours.line(7, {"loss": 1.5})
    assert line["step"] == 7 and line["loss"] == 1.5 and line["attention"] == "einsum"
    assert (line["step_s"], line["tokens_per_s"], line["loss_tokens_per_s"]) == (1.0, 15.0, 4.0)
    flops = sum(train_flops(MODEL.config, n, context=n) for n in LENGTHS)
    assert line["mfu"] == pytest.approx(2 * flops / 2.0 / 1e6)
    assert line["memory_bytes"] > 1e7 and line["memory_of"] == "host"
    ours.add(15, PAIRS, 4)
    clock.now = 16.0
    assert ours.line(8, {})["step_s"] == 4.0


def test_a_restart_forgets(clock):
    ours = Meter(MODEL, TRAIN)
    ours.add(100, 100, 100)
    clock.now = 20.0
    ours.restart()
    ours.add(15, PAIRS, 4)
    clock.now = 21.0
    assert ours.line(1, {})["tokens_per_s"] == 15.0


def test_packing_counts_only_the_pairs_of_its_segments():
    whole = train_flops_of(MODEL, TRAIN, 15, 15 * 16 // 2)
    assert train_flops_of(MODEL, TRAIN, 15, PAIRS) < whole
    assert train_flops_of(MODEL, TRAIN, 15, PAIRS) == sum(train_flops(MODEL.config, n, context=n) for n in LENGTHS)


def test_what_is_not_computed_is_not_counted():
    full = train_flops_of(MODEL, TRAIN, 15, PAIRS)
    head = TRAIN.model_copy(update={"objective": "step_head"})
    assert full - train_flops_of(MODEL, head, 15, PAIRS) == 3 * 15 * 2 * 16 * 32
    adapters = TRAIN.model_copy(update={"lora": LoraSection(rank=2)})
    layer = 16 * 4 * (2 * 4 + 2 * 2) + 3 * 16 * 32  # attention's and the MLP's weights
    assert full - train_flops_of(MODEL, adapters, 15, PAIRS) == 2 * 15 * (layer + 16 * 32)


@pytest.mark.parametrize(
    ("kind", "flops"),
    [
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("TPU v4", 275e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
    ],
)
def test_known_devices_have_the_peak_of_their_data_sheets(monkeypatch, kind, flops):
    device = types.SimpleNamespace(device_kind=kind, platform="gpu")
    monkeypatch.setattr(jax, "devices", lambda: [device])
    found = meter.peak(4)
    assert found.flops_per_s == 4 * flops and kind in found.source


def test_the_peak_of_a_cpu_is_its_fastest_product_and_shared_by_its_devices(monkeypatch):
    for devices in (1, 8):
        ticks = iter([0, 3, 10, 12, 20, 23, 30, 33, 40, 43])  # five products of 3, 2, 3, 3, 3 s
        clock = types.SimpleNamespace(perf_counter=lambda ticks=ticks: next(ticks))
        monkeypatch.setattr(meter, "time", clock)  # not in the module itself, which JAX asks, too
        found = meter.peak(devices)
        assert "measured" in found.source
        assert found.flops_per_s == 2 * meter.MEASURED_SIDE**3 / 2


def test_kernels_that_cannot_run_are_refused_by_name(monkeypatch):
    named = functools.partial(attention.kernel_in_use, tokens=256)
    assert named("auto", jnp.bfloat16) == "einsum"
    with pytest.raises(UserError, match="NVIDIA.*train.attention"):
        named("cudnn", jnp.bfloat16)
    with pytest.raises(UserError, match="splash runs on TPUs.*train.attention"):
        named("splash", jnp.bfloat16)
    with pytest.raises(UserError, match="none of"):
        named("flash", jnp.bfloat16)
    monkeypatch.setattr(attention, "_device", lambda: ("gpu", "NVIDIA H200"))
    assert named("auto", jnp.bfloat16) == "cudnn"
    assert named("auto", jnp.float32) == "einsum"
    with pytest.raises(UserError, match="16-bit"):
        named("cudnn", jnp.float32)
    monkeypatch.setattr(attention, "_device", lambda: ("tpu", "TPU v5 lite"))
    assert named("auto", jnp.bfloat16) == named("splash", jnp.float32) == "splash"
    assert named("auto", jnp.bfloat16, tokens=200) == "einsum"
    with pytest.raises(UserError, match="multiple of 128 tokens, not of 200; set train.row_tokens"):
        named("splash", jnp.bfloat16, tokens=200)


def test_tensorboard_gets_the_numbers_and_its_absence_is_named(monkeypatch, tmp_path):
    written = []

    class SummaryWriter:
        def __init__(self, directory):
            assert directory == str(tmp_path)

        def add_scalar(self, *scalar):
            written.append(scalar)

        def flush(self):
            pass

        close = flush

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    board = TensorBoard(tmp_path)
    board.write({"step": 3, "loss": 0.5, "attention": "einsum"})
    board.close()
    assert written == [("loss", 0.5, 3)]
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match="pip install"):
        TensorBoard(tmp_path)
