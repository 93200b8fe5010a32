"""Two processes over gloo: the losses of one, and what happens when one of them is told to go, or is killed."""

import shutil
import signal
import time

import numpy as np
import pytest

from jprm.config import load
from jprm.train.config import RunConfig
from jprm.train.run import run_training
from tests.train import launch

MESH = "mesh.fsdp=2"
NOTICED_S = 2.5  # JAX looks once a second whether SIGTERM came; the steps left here take less


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return launch.write_config(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def whole(config, compilation_cache):
    """An uninterrupted run of two processes."""
    launch.run_to_end(config, compilation_cache, "name=whole", MESH, processes=2)
    return config.parent / "whole"


@pytest.fixture(scope="module")
def alone(config):
    """An uninterrupted run of this process on one device."""
    assert run_training(load(RunConfig, config, ["name=alone", "mesh.fsdp=1"])) == 0
    return config.parent / "alone"


def interrupted(config, cache, name, number, victim, step=7):
    """Exit codes of a run of two processes, one of which gets a signal after `step`.

    The other is held until the signal was noticed: a step needs both, so the run stands still meanwhile.
    """
    started = launch.start(config, cache, f"name={name}", MESH, processes=2)
    run = config.parent / name
    launch.until(lambda: len(launch.log(run)) >= step, started)
    started[1 - victim].send_signal(signal.SIGSTOP)
    started[victim].send_signal(number)
    time.sleep(NOTICED_S)
    started[1 - victim].send_signal(signal.SIGCONT)
    return launch.wait(started), run


@pytest.mark.slow
def test_sigterm_to_one_of_two_saves_both_at_one_step_and_one_process_goes_on(alone, config, compilation_cache):
    codes, run = interrupted(config, compilation_cache, "preempted", signal.SIGTERM, victim=1)
    assert codes == [75, 75]
    saved = max(int(p.name) for p in (run / "checkpoints").iterdir())
    assert saved == len(launch.log(run)) < 16
    assert run_training(load(RunConfig, config, ["name=preempted", "mesh.fsdp=1"])) == 0
    for key, limit in (("loss", 1e-6), ("grad_norm", 1e-5)):
        got, expected = ([row[key] for row in launch.log(r)] for r in (run, alone))
        np.testing.assert_allclose(got, expected, rtol=limit)
    for key in ("step", "tokens", "loss_tokens"):
        assert [row[key] for row in launch.log(run)] == [row[key] for row in launch.log(alone)]


@pytest.mark.slow
def test_after_sigterm_two_processes_end_in_the_bits_of_two(whole, config, compilation_cache):
    codes, run = interrupted(config, compilation_cache, "resumed", signal.SIGTERM, victim=0)
    assert codes == [75, 75]
    launch.run_to_end(config, compilation_cache, "name=resumed", MESH, processes=2)
    assert launch.losses(run) == launch.losses(whole)
    assert launch.weights(run) == launch.weights(whole)


@pytest.mark.slow
def test_sigkill_of_one_loses_no_more_than_the_steps_since_the_last_commit(whole, config, compilation_cache):
    codes, run = interrupted(config, compilation_cache, "killed", signal.SIGKILL, victim=1)
    assert codes == [-signal.SIGABRT, -signal.SIGKILL]  # of the heartbeat, which ends the survivor
    committed = [int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit()]
    assert max(committed, default=0) >= 3  # saves wait for the one before: at most one was under way
    shutil.copytree(run, config.parent / "alone-after")
    launch.run_to_end(config, compilation_cache, "name=killed", MESH, processes=2)
    assert launch.losses(run) == launch.losses(whole)
    assert launch.weights(run) == launch.weights(whole)

    launch.run_to_end(config, compilation_cache, "name=alone-after", "mesh.fsdp=1")
    after = launch.losses(config.parent / "alone-after")
    np.testing.assert_allclose(after, launch.losses(whole), rtol=1e-6)
