"""A run that is killed again and again, while it saves and between, ends in the bits of one that was not."""

import random
import resource
import signal
import time

import pytest

from tests.train import launch


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return launch.write_config(tmp_path_factory.mktemp("kills"), checkpoint_every=2, steps=24)


@pytest.fixture(scope="module")
def whole(config, compilation_cache):
    launch.run_to_end(config, compilation_cache, "name=whole")
    return config.parent / "whole"


def assert_survives(kills, name, config, cache, whole):
    rng = random.Random(0)
    run = config.parent / name
    for number in range(kills):
        [process] = launch.start(config, cache, f"name={name}")
        if number % 2:  # while a checkpoint is written
            ready = lambda: any(p.name.endswith("-tmp") for p in run.glob("checkpoints/*"))  # noqa: E731
        else:
            before = len(launch.log(run))
            ready = lambda: 0 < len(launch.log(run)) != before  # noqa: B023, E731
        launch.until(ready, [process])
        time.sleep(rng.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        assert launch.wait([process]) == [-signal.SIGKILL]
    launch.run_to_end(config, cache, f"name={name}")
    assert launch.losses(run) == launch.losses(whole)
    assert launch.weights(run) == launch.weights(whole)


@pytest.mark.slow
def test_killed_again_and_again(config, whole, compilation_cache):
    assert_survives(4, "killed", config, compilation_cache, whole)


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_a_line_and_the_same_command_goes_on(config, compilation_cache, whole):
    """A limit on the size of files stands for the full disk: Orbax meets both in the same threads."""
    [process] = launch.start(config, compilation_cache, "name=full")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    assert launch.wait([process]) == [2]
    said = config.with_name("stderr-0").read_text()
    assert "Traceback" not in said and said.splitlines()[-1].startswith("error: ")
    launch.run_to_end(config, compilation_cache, "name=full")
    assert launch.weights(config.parent / "full") == launch.weights(whole)
