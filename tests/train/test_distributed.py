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
