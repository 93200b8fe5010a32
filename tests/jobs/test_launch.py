"""Trials end, whatever is taken from under them: here, as Slurm jobs, on the nodes of a Ray cluster."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from jprm.errors import Preempted, UserError
from jprm.jobs.launch import run_all
from jprm.jobs.launchers import Launcher, open_launcher
from jprm.jobs.trial import LOST, Trial, reason_of

ROOT = Path(__file__).resolve().parents[2]
# Counts to ten into a file, from where it was left; SIGTERM, or the end of its launcher, stops it.
COUNTS = """
import sys, time
from pathlib import Path
from jprm.cli import guarded
from jprm.jobs import stop_on_sigterm
from jprm.jobs import Progress
def count():
    path, pid = Path(sys.argv[1]), Path(sys.argv[1] + ".pid")
    progress = Progress(10)
    with stop_on_sigterm(progress):
        import os
        pid.write_text(str(os.getpid()))
        while (n := len(path.read_text()) if path.exists() else 0) < 10:
            with open(path, "a") as file:
                file.write(".")
            time.sleep(float(sys.argv[2]))
            progress.show(f"{n} of 10")
sys.exit(guarded(count))
"""


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def trials_of(tmp_path, n, pause_s):
    return [
        Trial(
            f"t{i}",
            (sys.executable, "-c", COUNTS, str(tmp_path / f"count-{i}"), str(pause_s)),
            tmp_path / "workers" / f"t{i}",
            tmp_path,
        )
        for i in range(n)
    ]


def counted(tmp_path, i=0):
    path = tmp_path / f"count-{i}"
    return len(path.read_text()) if path.exists() else 0


def left(trial):
    return json.loads((trial.folder / "exit.json").read_text())


def signal_once(tmp_path, number, after=3):
    """A look of `run_all` that signals the first trial's own process when it has counted to `after`."""
    sent = []

    def look():
        if not sent and counted(tmp_path) >= after:
            sent.append(time.monotonic())
            os.kill(int((tmp_path / "count-0.pid").read_text()), number)

    return look


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_local_trial_that_is_stopped_or_killed_goes_on(tmp_path, number):
    trials = trials_of(tmp_path, 2, 0.15)
    codes = run_all(open_launcher("local", {}, tmp_path), trials, signal_once(tmp_path, number))
    assert codes == {"t0": 0, "t1": 0}
    assert [counted(tmp_path, i) for i in range(2)] == [10, 10]
    assert left(trials[0])["reason"] == "finished"
    log = (trials[0].folder / "log.txt").read_text()
    assert ("stopped (SIGTERM)" in log) == (number == signal.SIGTERM)
    command = (trials[0].folder / "command.txt").read_text()
    assert str(tmp_path / "count-0") in command


def test_a_trial_that_fails_says_why_and_one_that_always_dies_is_given_up(tmp_path):
    commands = {"fails": "import sys; sys.exit(3)", "dies": "import os; os.kill(os.getpid(), 9)"}
    trials = [Trial(name, (sys.executable, "-c", code), tmp_path / name, tmp_path) for name, code in commands.items()]
    assert run_all(open_launcher("local", {}, tmp_path), trials) == {"fails": 3, "dies": -9}
    assert left(trials[0])["reason"] == "ended with failures"
    assert reason_of(7) == "crashed with code 7"
    assert left(trials[1])["reason"] == "killed by SIGKILL"
    assert reason_of(75) == "preempted" and reason_of(LOST) == "lost with its machine"


def test_what_stops_the_launcher_stops_its_trials(tmp_path):
    [trial] = trials_of(tmp_path, 1, 0.2)

    def look():
        if counted(tmp_path) >= 2:
            raise Preempted("SIGTERM")

    with pytest.raises(Preempted):
        run_all(open_launcher("local", {}, tmp_path), [trial], look)
    assert left(trial)["reason"] == "preempted" and counted(tmp_path) < 10


def test_slurm_a_trial_sent_sigterm_resumes(tmp_path):
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    settings = {"cluster": "local", "timeout_min": 5}
    launcher = open_launcher("slurm", settings, tmp_path / "submitit")
    trials = trials_of(tmp_path, 2, 0.3)
    codes = run_all(launcher, trials, signal_once(tmp_path, signal.SIGTERM))
    assert codes == {"t0": 0, "t1": 0} and counted(tmp_path) == counted(tmp_path, 1) == 10
    assert "stopped (SIGTERM)" in (trials[0].folder / "log.txt").read_text()
    assert len(list((tmp_path / "submitit").glob("*_submitted.pkl"))) == 3, "one was submitted anew"


@pytest.mark.slow
def test_ray_a_node_is_killed_and_all_trials_end(tmp_path):
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own start
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        node = cluster.add_node(num_cpus=2)
        try:
            launcher = open_launcher("ray", {"address": cluster.address}, tmp_path)
            trials = trials_of(tmp_path, 3, 0.5)
            gone = []

            def look():
                if not gone and all(counted(tmp_path, i) >= 2 for i in (0, 1, 2)):
                    gone.append(node)
                    cluster.remove_node(node, allow_graceful=False)

            codes = run_all(launcher, trials, look)
        finally:
            ray.shutdown()
            cluster.shutdown()
    assert gone and codes == {"t0": 0, "t1": 0, "t2": 0}
    assert [counted(tmp_path, i) for i in range(3)] == [10, 10, 10]


@pytest.mark.parametrize(("name", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_package_is_named_with_its_fix(name, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs {package}, which is not installed: pip install 'jprm\[{name}\]'"):
        open_launcher(name, {}, tmp_path)


def test_no_slurm_here_is_a_clear_error(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="--launcher slurm: "):
        open_launcher("slurm", {}, tmp_path)
    with pytest.raises(UserError, match="unknown_setting"):
        open_launcher("slurm", {"cluster": "local", "unknown_setting": 1}, tmp_path)


class Refusing(Launcher):
    """Starts one trial, which runs until it is stopped, and no other."""

    def __init__(self):
        self.events = []

    def start(self, trial):
        if self.events:
            raise UserError("no room for more")
        self.events.append("start")
        return trial.name

    def poll(self, handle):
        return 75 if "stop" in self.events else None

    def stop(self, handle):
        self.events.append("stop")

    def close(self):
        self.events.append("close")


def test_a_trial_that_cannot_be_started_stops_those_that_were(tmp_path):
    launcher = Refusing()
    with pytest.raises(UserError, match="no room"):
        run_all(launcher, trials_of(tmp_path, 2, 0.1))
    assert launcher.events == ["start", "stop", "close"]


def test_slurm_a_job_that_is_not_taken_is_the_users_mistake(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    launcher = open_launcher("slurm", {"cluster": "local"}, tmp_path / "submitit")

    def refuse(self, *_args, **_kwargs):
        raise submitit.core.utils.FailedSubmissionError("sbatch: error:\n invalid partition")

    monkeypatch.setattr(submitit.AutoExecutor, "submit", refuse)
    with pytest.raises(UserError, match=r"not taken \(sbatch: error: invalid partition\); see \[launch.slurm\]"):
        launcher.start(trials_of(tmp_path, 1, 0.1)[0])
