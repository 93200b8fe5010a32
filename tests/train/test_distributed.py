"""Processes of a run: how they are told apart, and the memory that they keep."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from jprm.errors import UserError
from jprm.train.distributed import Processes, launched_by


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({}, None),
        ({"SLURM_NTASKS": "4"}, None),  # of sbatch; the script itself is one process
        ({"SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "Slurm"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "MPI"),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "TPU pod"),
    ],
)
def test_launchers_are_known_by_their_variables(environment, launcher):
    assert launched_by(environment) == launcher


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((2, None, "host:1"), "--processes 2: give --process-id and --coordinator"),
        ((2, 0, None), "give --process-id and --coordinator"),
        ((2, 2, "host:1"), "--process-id 2: must be one of 0 to 1"),
        ((1, -1, None), "--process-id -1"),
    ],
)
def test_processes_that_do_not_fit_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        Processes(*given)


PROGRAM = """
import resource, sys
import numpy as np
from jprm.train.distributed import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 24)  # 128 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults()
print(faults())
"""


def second_time(how):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_what_is_taken_again_is_not_asked_of_the_system():
    assert second_time("keep") < 10
    assert second_time("plain") > 50  # of 2 MiB each at least
