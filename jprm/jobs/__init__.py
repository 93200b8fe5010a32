"""A small job engine: tasks that are computed once each, in a directory, by one process or by many.

A `Task` is a frozen value. It says what its result depends on (`inputs`, `parents`) and how the result is computed
(`compute`). Its key is a fingerprint over all of that: two equal tasks are one, and a changed setting is another task.
The result lies in a `Stage`, the folder `<run>/stages/<kind>-<key>/`, and is never computed again. A process that dies
in the middle leaves files from which the next attempt goes on.

    @dataclass(frozen=True, eq=False)
    class Squares(Task):
        kind = "squares"
        n: int

        def inputs(self):
            return {"n": self.n}

        def compute(self, stage, context):
            append_jsonl(stage.file("rows.jsonl"), ({"square": i * i} for i in range(self.n)))
            return {"rows": self.n}          # the summary, in JSON; other tasks read it

    with open_run(path, [Squares(3)], resources=None) as runner:
        stage = runner.ensure(Squares(3))    # computes it, and what it builds on, unless that is done

    task        Task, its key, and the graph of what is asked for with everything below it
    stage       the folder of a task: unfinished, failed or done, and what computed it
    directory   a run directory, which one process holds alone or several share, and whose results it has
    runner      computes tasks one after another; `open_run` makes one
    worker      several processes do the tasks of one directory under `leases`
    launch      starts workers here, on Slurm or on Ray (`launchers`), each a `trial`
    progress    one line on how far the work is;  `preemption` stops it at a safe point

This room knows nothing of models or of mathematics. A task's `context` carries what an experiment wants to hand to its
tasks in `context.resources`.
"""

from jprm.jobs.directory import HeldDirectory, RunDirectory, claim_directory, differing_keys, flattened, read_identity
from jprm.jobs.launch import run_workers
from jprm.jobs.leases import doing, holders, work_folder
from jprm.jobs.preemption import stop_on_sigterm
from jprm.jobs.progress import Progress, clock
from jprm.jobs.runner import Failure, Runner, StageFailed, open_run
from jprm.jobs.stage import Stage, provenance, unique_suffix, write_atomic, write_rows
from jprm.jobs.task import Context, Graph, Stages, Task, inputs_without
from jprm.jobs.worker import Worker
