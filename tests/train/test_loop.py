import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jprm.data import Document
from jprm.errors import UserError
from jprm.mesh import make_mesh
from jprm.models import ModelConfig, bind, preset
from jprm.models.costs import train_flops
from jprm.train import TrainConfig, fit
from jprm.train.checkpoint import Checkpoints
from jprm.train.optimizer import make_optimizer
from jprm.train.step import init_state

MODEL = ModelConfig(vocab_size=16, n_layers=1, embed=16, n_heads=2, n_kv_heads=2, head_dim=8, mlp=16)
TRAIN = TrainConfig(steps=8, batch_rows=8, row_tokens=32, checkpoint_every=3, warmup_steps=2, optimizer="adamw")


def copy_documents(n):
    """A random text, then the same again, which is what is trained."""
    rng = np.random.default_rng(0)
    weights = np.repeat([0, 1], [9, 7]).astype(np.float32)
    return [Document(np.tile(rng.permutation(16)[:8], 2).astype(np.int32), weights) for _ in range(n)]


DOCUMENTS = copy_documents(100)


def run(directory, config=TRAIN, seed=3, **options):
    model = bind(MODEL)
    return fit(model, model.init(0), DOCUMENTS, config, seed, directory, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    seen = []
    directory = tmp_path_factory.mktemp("whole")
    result = run(directory, on_step=lambda step, metrics: seen.append((step, metrics["loss"])))
    return result, seen, directory


def assert_same_bits(got, expected):
    for a, b in zip(*map(jax.tree.leaves, (got.params, expected.params)), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(got.losses, expected.losses)
    assert (got.tokens, got.flops) == (expected.tokens, expected.flops)


def test_every_step_is_reported_once_and_counted(whole):
    result, seen, _ = whole
    assert [step for step, _ in seen] == list(range(1, 9))
    np.testing.assert_allclose([loss for _, loss in seen], result.losses)
    assert result.tokens == 8 * 8 * 32 and result.fill == 1  # two documents of 16 fill a row
    documents_trained = result.tokens // 16
    assert result.flops == documents_trained * train_flops(MODEL, 16, context=16)
    assert result.seconds > 0 and result.too_long == ()


@pytest.mark.slow
def test_copying_is_learnt(tmp_path):
    model = bind(dataclasses.replace(preset("tiny-0.1m", 16), n_layers=2))
    config = TRAIN.model_copy(update={"steps": 60, "optimizer": "muon"})
    losses = fit(model, model.init(0), DOCUMENTS, config, 0, tmp_path).losses
    assert losses[0] > 2.5  # log 16 is 2.77
    assert losses[-10:].mean() < 0.3


def test_a_stopped_run_ends_in_the_same_bits(whole, tmp_path):
    class Stop(Exception):
        pass

    def stop(step, metrics):
        if step == 5:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path, on_step=stop)
    seen = []
    result = run(tmp_path, on_step=lambda step, metrics: seen.append(step))
    assert seen == [4, 5, 6, 7, 8]  # from the checkpoint after step 3
    assert_same_bits(result, whole[0])


def test_a_finished_run_is_only_read(whole):
    result, _, directory = whole
    seen = []
    assert_same_bits(run(directory, on_step=lambda *step: seen.append(step)), result)
    assert seen == []


KILLED = """
import os, signal, sys
from tests.train import test_loop

def kill(step, metrics):
    if step == 7:  # the save after step 6 is under way
        os.kill(os.getpid(), signal.SIGKILL)

test_loop.run(sys.argv[1], on_step=kill)
"""


def test_a_run_killed_while_it_saves_ends_in_the_same_bits(whole, tmp_path, compilation_cache):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": compilation_cache}
    killed = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    seen = []
    result = run(tmp_path, on_step=lambda step, metrics: seen.append(step))
    assert seen in ([4, 5, 6, 7, 8], [7, 8])  # whether the save was done or not
    assert_same_bits(result, whole[0])


def test_a_run_resumes_on_a_mesh(whole, tmp_path):
    first = TRAIN.model_copy(update={"checkpoint_every": 4})

    def stop(step, metrics):
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, first, on_step=stop)
    seen = []
    with jax.set_mesh(make_mesh(2, 2, 2)):
        result = run(tmp_path, first, on_step=lambda step, metrics: seen.append(step))
        gate = result.params["layers"]["gate"]
        assert {s.data.shape for s in gate.addressable_shards} == {(1, 8, 8)}
    assert seen == [5, 6, 7, 8]
    np.testing.assert_allclose(result.losses, whole[0].losses, rtol=1e-4)


def test_checkpoints_of_another_run_are_refused_by_name(whole):
    _, _, directory = whole
    other = TRAIN.model_copy(update={"learning_rate": 0.01})
    with pytest.raises(UserError, match=r"train.learning_rate \(there 0.02, here 0.01\)"):
        run(directory, other)
    with pytest.raises(UserError, match="seed"):
        run(directory, seed=4)


def test_a_loss_that_is_no_number_names_its_step(tmp_path):
    model = bind(MODEL)
    params = model.init(0)
    params["embed"] = params["embed"] * np.float32("inf")
    with pytest.raises(UserError, match="step 1 gave .*nan"):
        fit(model, params, DOCUMENTS, TRAIN, 0, tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.name.isdigit()]
    folder = tmp_path / "not-finite-1"
    about = json.loads((folder / "step.json").read_text())
    state = init_state(model, model.init(1), make_optimizer(TRAIN), TRAIN.steps)
    identity = {"step": 1, "metrics": about["metrics"]}
    with Checkpoints(folder, identity) as kept:
        tree, _ = kept.restore(vars(state)) or ({}, {})
    jax.tree.map(np.testing.assert_array_equal, tree["params"], params)
    segments = np.load(folder / "batch.npz")["segments"]
    assert segments.shape == (8, 32) and len(about["rows"]) == 8


def test_a_batch_without_a_token_to_train_on_is_refused(tmp_path):
    model = bind(MODEL)
    mute = [Document(d.ids, np.zeros_like(d.weights)) for d in DOCUMENTS]
    with pytest.raises(UserError, match=r"batch of step 1 has no token to train on \(rows \d+, "):
        fit(model, model.init(0), mute, TRAIN, 0, tmp_path)


def test_documents_too_long_for_a_row_are_returned(tmp_path):
    model = bind(MODEL)
    long = Document(np.zeros(33, np.int32), np.ones(33, np.float32))
    result = fit(model, model.init(0), [*DOCUMENTS, long], TRAIN, 0, tmp_path)
    assert result.too_long == (100,)
