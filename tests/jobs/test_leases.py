"""A stage is finished once, by one worker, whoever dies or sleeps in between."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.jobs import leases
from jprm.jobs.leases import LeaseLost, Leases, adopt, doing, holder, remove_stale

ROOT = Path(__file__).resolve().parents[1]
OTHER_MACHINE = {"host": "elsewhere", "boot": "b", "namespace": "n", "pid": 1, "started": "1"}


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def home(tmp_path):
    return tmp_path / "stages" / "votes-abc"


def finish(lease):
    (lease.path / "DONE").write_text("{}")
    lease.publish()


def held_elsewhere(lease):
    """Makes a lease look like one of another machine, which never beats again."""
    lease._end()
    (lease.path / "owner.json").write_text(json.dumps(OTHER_MACHINE))


def test_one_of_two_workers_gets_a_stage_and_finishes_it(home):
    first, second = Leases(60), Leases(60)
    lease = first.claim(home)
    assert lease is not None and lease.path.parent == home.parent and not home.exists()
    assert second.claim(home) is None and first.claim(home) is None
    (lease.path / "rows.jsonl").write_text("1\n")
    finish(lease)
    assert (home / "rows.jsonl").read_text() == "1\n"
    assert second.claim(home) is None and holder(home) is None


def test_a_silent_worker_of_another_machine_is_given_up_by_the_watchers_own_clock(home, clock):
    lease = Leases(60).claim(home)
    held_elsewhere(lease)
    os.utime(lease.path / "owner.json", (0, 0))  # the file server's clock says nothing
    watcher = Leases(60)
    assert watcher.claim(home) is None, "the first look only starts the watch"
    clock[0] += 59
    assert watcher.claim(home) is None
    (lease.path / "owner.json").write_text(json.dumps(OTHER_MACHINE | {"beats": 1}))
    clock[0] += 59
    assert watcher.claim(home) is None, "it gave a sign"
    clock[0] += 61
    assert watcher.claim(home) is not None


def test_who_was_given_up_can_neither_write_nor_publish(home, clock):
    lease = Leases(60).claim(home)
    (lease.path / "rows.jsonl").write_text("of the first\n")
    held_elsewhere(lease)
    watcher = Leases(60)
    watcher.claim(home)
    clock[0] += 61
    taken = watcher.claim(home)
    assert (taken.path / "rows.jsonl").read_text() == "of the first\n", "work goes with the folder"
    with pytest.raises(LeaseLost):
        lease.check()
    with pytest.raises(FileNotFoundError):
        (lease.path / "rows.jsonl").write_text("late")
    with pytest.raises(LeaseLost):
        lease.publish()
    finish(taken)
    assert (home / "rows.jsonl").read_text() == "of the first\n"


def test_a_ghost_that_a_late_writer_brings_back_changes_nothing(home, clock):
    lease = Leases(60).claim(home)
    held_elsewhere(lease)
    watcher = Leases(60)
    watcher.claim(home)
    clock[0] += 61
    taken = watcher.claim(home)
    (lease.path / "checkpoints").mkdir(parents=True)  # some libraries make all parents
    assert holder(home) == taken.path and Leases(60).claim(home) is None
    finish(taken)
    assert Leases(60).claim(home) is None
    remove_stale(home)
    assert [path.name for path in home.parent.iterdir()] == [home.name]


def test_a_stage_that_was_left_is_free_at_once_with_its_work(home):
    lease = Leases(1e6).claim(home)
    (lease.path / "rows.jsonl").write_text("1\n")
    lease.release()
    assert doing(home) is None
    again = Leases(1e6).claim(home)
    assert again is not None and (again.path / "rows.jsonl").exists()
    again.release()
    adopt(home)
    assert (home / "rows.jsonl").exists() and holder(home) is None
    unfinished = Leases(1e6).claim(home)
    assert unfinished is not None and (unfinished.path / "rows.jsonl").exists()
    unfinished.discard()


def test_beats_keep_a_lease_and_tell_what_is_done(home):
    lease = Leases(0.3, lambda: "step 7").claim(home)
    owner = json.loads((lease.path / "owner.json").read_text())
    (lease.path / "owner.json").write_text(json.dumps(owner | {"host": "elsewhere"}))
    watcher, end = Leases(0.3), time.monotonic() + 1.5
    while time.monotonic() < end:
        assert watcher.claim(home) is None
        time.sleep(0.02)
    assert doing(home)["doing"] == "step 7" and not lease.lost
    lease.discard()
    assert not lease.path.exists()


DIES = """
import os, signal, sys
from pathlib import Path
from jprm.jobs.leases import Leases
assert Leases(1e6).claim(Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_that_died_on_this_machine_is_seen_at_once(home):
    done = subprocess.run([sys.executable, "-c", DIES, str(home)], env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL and holder(home) is not None
    lease = Leases(1e6).claim(home)
    assert lease is not None
    owner = json.loads((lease.path / "owner.json").read_text())
    held_elsewhere(lease)  # nothing of this one's is left but the file
    (lease.path / "owner.json").write_text(json.dumps(owner | {"started": "1"}))
    assert Leases(1e6).claim(home) is not None, "the process id is another process's now"


def interleaved(k, work, act, invariant=lambda: None):
    """What `work` gives when `act` happens before its k-th line of jprm/jobs/leases.py, and whether it did.

    Before each line after that, `invariant` is asked.
    """
    lines, before = [], sys.gettrace()

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.endswith("leases.py"):
            return None
        if event == "line":
            sys.settrace(None)
            lines.append(frame.f_lineno)
            if len(lines) == k:
                act()
            elif len(lines) > k:
                invariant()
            sys.settrace(trace)
        return trace

    sys.settrace(trace)
    try:
        return work(), len(lines) >= k
    finally:
        sys.settrace(before)


def every_interleaving(tmp_path):
    """A stage for each line of a claim, until a test says that the claim was over before it."""
    for k in range(1, 1000):
        yield k, tmp_path / str(k) / "votes"
    raise AssertionError("a claim never ended")


def ended(lease):
    """The lease without its beats, which nothing here waits for."""
    if lease is not None:
        lease._end()
    return lease


def left_unfinished(home):
    """What a process alone left of a stage: under the stage's own name."""
    (home / "checkpoints").mkdir(parents=True)
    (home / "checkpoints" / "1").write_text("one")
    (home / "rows.jsonl").write_text("1\n")


def is_whole(folder):
    return (folder / "rows.jsonl").exists() and (folder / "checkpoints" / "1").exists()


def test_a_stage_that_is_finished_during_a_claim_is_never_out_of_place(tmp_path):
    for k, home in every_interleaving(tmp_path):
        holding = ended(Leases(60).claim(home))

        def stays(home=home):
            assert (home / "DONE").exists()

        def claim(home=home):
            return ended(Leases(60).claim(home))

        lease, happened = interleaved(k, claim, lambda it=holding: finish(it), stays)
        assert lease is None, k
        if not happened:
            return
        assert [path.name for path in home.parent.iterdir()] == [home.name], k


@pytest.mark.parametrize("finishes", [True, False])
def test_who_is_given_up_during_a_claim_moves_nothing_of_its_successors(tmp_path, finishes):
    """The first claims what a process alone has left; the second thinks it dead, takes over, and may finish."""
    for k, home in every_interleaving(tmp_path):
        left_unfinished(home)
        taken = []

        def take_over(home=home, taken=taken):
            if (held := holder(home)) is not None:
                (held / "owner.json").write_text('{"free": true}')
            if (lease := ended(Leases(60).claim(home))) is not None:
                taken.append(lease)
                if finishes:
                    finish(lease)

        def stays(home=home, taken=taken):
            assert not (finishes and taken) or (home / "DONE").exists()

        def claim(home=home):
            return ended(Leases(60).claim(home))

        lease, happened = interleaved(k, claim, take_over, stays)
        if not happened:
            assert is_whole(lease.path)
            return
        assert len(taken) == 1 and is_whole(home if finishes else taken[0].path), k
        if lease is not None:
            with pytest.raises(LeaseLost):
                lease.check()


def test_what_a_holder_had_begun_to_move_in_when_it_died_is_moved_on(home, monkeypatch):
    left_unfinished(home)
    real = os.rename

    def dies(source, target):
        real(source, target)
        if Path(target).name == "left":
            raise KeyboardInterrupt

    monkeypatch.setattr(leases.os, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        Leases(60).claim(home)
    monkeypatch.undo()
    (holder(home) / "owner.json").write_text('{"free": true}')
    lease = ended(Leases(60).claim(home))
    names = {path.name for path in lease.path.iterdir()}
    assert is_whole(lease.path) and names == {"checkpoints", "rows.jsonl", "owner.json"}


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


CROWD = """
import random, sys, time
from pathlib import Path
from jprm.jobs.leases import LeaseLost, Leases
stages, me = Path(sys.argv[1]), sys.argv[2]
rng, leases = random.Random(me), Leases(0.6)
homes = [stages / f"s{i}" for i in range(8)]
while todo := [home for home in homes if not (home / "DONE").exists()]:
    rng.shuffle(todo)
    for home in todo:
        if lease := leases.claim(home):
            try:
                with open(lease.path / "log", "a") as log:
                    log.write(me + "\\n")
                time.sleep(rng.random() * 0.05)
                if rng.random() < 0.2:
                    lease.release()
                    continue
                (lease.path / "DONE").write_text(me)
                lease.publish()
                with open(stages.parent / f"published-{me}", "a") as file:
                    file.write(home.name + "\\n")
            except (LeaseLost, OSError):
                pass
    time.sleep(0.01)
"""


def test_a_crowd_of_which_some_are_killed_finishes_each_stage_once(tmp_path):
    stages = tmp_path / "stages"
    for i in range(4):
        left_unfinished(stages / f"s{i}")
    crowd = [subprocess.Popen([sys.executable, "-c", CROWD, str(stages), str(i)], env=environment()) for i in range(5)]
    while not any(stages.glob("*/DONE")):
        time.sleep(0.002)
    for process in crowd[:2]:
        process.kill()
        process.wait()
    finished = set()
    while any(process.poll() is None for process in crowd[2:]):
        assert all((home / "DONE").exists() for home in finished), "never away, whoever claims it"
        finished |= {home for home in stages.glob("s?") if (home / "DONE").exists()}
    assert [process.wait(timeout=60) for process in crowd[2:]] == [0, 0, 0]
    published = [
        name
        for file in tmp_path.glob("published-*")
        for name in file.read_text().split()
        if file.name not in ("published-0", "published-1")
    ]
    assert len(published) == len(set(published))
    done = sorted(path.name for path in stages.iterdir() if "@" not in path.name)
    assert done == [f"s{i}" for i in range(8)]
    assert all((stages / name / "DONE").exists() for name in done)
    assert all(is_whole(stages / f"s{i}") for i in range(4))


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("claim finish leave die sleep".split()))))
def test_whatever_happens_in_whatever_order_one_finishes_it(actions):
    import tempfile

    now = [0.0]
    real, leases.time.monotonic = leases.time.monotonic, lambda: now[0]
    try:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "stages" / "s"
            workers = [Leases(10) for _ in range(3)]
            held, finished = {}, 0
            for who, what in actions:
                lease = held.get(who)
                if what == "sleep":
                    now[0] += 11
                elif what == "claim":
                    if (new := workers[who].claim(home)) is not None:
                        new._end()
                        held[who] = new
                elif lease is not None:
                    del held[who]
                    try:
                        if what == "finish":
                            finish(lease)
                            finished += 1
                        elif what == "leave":
                            lease.release()
                        else:
                            held_elsewhere(lease)
                    except (LeaseLost, FileNotFoundError):
                        pass
            assert finished <= 1 and finished == (home / "DONE").exists()
            last = Leases(10)
            for _ in range(2):
                if not (home / "DONE").exists() and (lease := last.claim(home)):
                    finish(lease)
                now[0] += 11
            assert (home / "DONE").exists()
    finally:
        leases.time.monotonic = real
