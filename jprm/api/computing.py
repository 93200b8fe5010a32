"""Evaluations and sweeps as calls that return what they computed; both resume what is there, as the commands do."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jprm.api.quiet import heard
from jprm.api.runs import Run, open_run

if TYPE_CHECKING:
    from jprm.experiments.benchmark.report import Result
    from jprm.experiments.sweep.config import SweepConfig


def evaluate_checkpoint(
    model: str | Path | None, data: str | Path, n: int = 8, *, progress: bool = False, **options: Any
) -> Result:
    """Scores a benchmark's file with a checkpoint; stored votes are kept, and only missing ones sampled.

    model: a Hugging Face directory, or a name of the hub that is in the local cache; None for a scorer without one.
    data: the file of judged solutions. n: the votes on each step. options: all other options of `python -m jprm
    evaluate`, under the names of their keys (docs/configuration.md): out, layout, scorer, mode, limit, full, overrides,
    plugins, ... progress: whether it tells what it is doing.
    `result.overall.measures["f1"]` is an interval, `result.scores` has every group and every smaller number of votes.
    Raises UserError for what keeps it from running.
    """
    from jprm.compile_cache import use_compile_cache
    from jprm.config import checked
    from jprm.experiments.benchmark.config import BenchmarkConfig
    from jprm.experiments.benchmark.run import evaluate

    named = {"data": data, "n": n, **options} | ({} if model is None else {"model": model})
    with heard(progress):
        use_compile_cache()
        return evaluate(checked(BenchmarkConfig, named, "the arguments of evaluate_checkpoint"))


def sweep(
    config: str | Path | SweepConfig | None = None,
    *overrides: str,
    progress: bool = False,
    replace: bool = False,
    mix_versions: bool = False,
) -> Run:
    """Computes a sweep in its run directory, and opens it; what is there already is not computed again.

    config: a file, a name of configs/sweep/ such as "laws", or a configuration; by default the embedded sweep.
    overrides: key=value, as on the command line. progress: whether it prints what the command prints. replace: whether
    the table of another configuration in the same directory may be replaced. mix_versions: whether one table may hold
    results of different versions of packages. Cells that failed are in `run.failures`. Raises UserError for the user's
    mistakes, Preempted on SIGTERM.
    """
    from jprm.compile_cache import use_compile_cache
    from jprm.config import load, overridden
    from jprm.experiments.sweep.config import SweepConfig
    from jprm.experiments.sweep.run import run_sweep
    from jprm.paths import configuration_file

    if isinstance(config, SweepConfig):
        config, file = overridden(config, "the configuration", overrides), "CONFIG"
    else:
        file = None if config is None else configuration_file(config, "sweep")
        config = load(SweepConfig, file, overrides)
    words = shlex.join(["python", "experiments/sweep.py", *([] if file is None else [str(file)]), *overrides])
    with heard(progress):
        use_compile_cache()
        run_sweep(config, words, replace=replace, mix_versions=mix_versions)
    return open_run(config.path)
