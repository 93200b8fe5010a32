"""`python -m jprm search`: one strategy on a finished sweep's policy and verifier."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from jprm.config import settings_of
from jprm.errors import INCOMPLETE, UserError
from jprm.evaluate import Interval, Missing, check_missing
from jprm.experiments.applications.config import ApplicationsConfig
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.finished import read_sweep_config, trained_policy, trained_verifier
from jprm.experiments.sweep.table import MISSING_AS
from jprm.jobs import RunDirectory, Stages, Worker, open_run, write_atomic
from jprm.registry import load_plugins
from jprm.score import find_scorer
from jprm.search import Choosing, make_strategy, summary
from jprm.search import aggregation as aggregations
from jprm.search import choice as choices
from jprm.tasks.resources import Resources, Speed
from jprm.tasks.search import ROWS, Search
from jprm.terminal import say
from jprm.verify import ONE_VOTE
from jprm.worlds.base import Split


def print_search(
    run: Path,
    strategy: str,
    words: Sequence[str] = (),
    *,
    scorer: str = "genprm",
    votes: int = 2,
    problems: int = 100,
    split: Split = "dev",
    aggregation: str = "min",
    choice: str = "argmax",
    missing: Missing = "wrong",
    plugins: Sequence[Path] = (),
    out: Path | None = None,
) -> int:
    """Searches what has no row yet, prints accuracy, cost and losses, and returns the exit code.

    words: key=value of the strategy. The rows are kept in a stage of the run, and copied to `out` where that is given.
    Raises UserError for unknown names and settings, and where the sweep is not finished.
    """
    # 1. A wrong name is answered before anything is loaded.
    load_plugins(plugins)
    find_scorer(scorer)
    aggregations[aggregation]
    choices[choice]
    check_missing(missing)
    if split not in get_args(Split):
        raise UserError(f"--split {split}: must be train, dev or test")
    config = run_config(run)
    settings = settings_of(words)
    make_strategy(strategy, **settings)
    # 2. The search is a task of the run.
    sweep, stages, drawn = Sweep(config), Stages(run), config.verify.draws(votes)
    trained_verifier(run, sweep, stages)
    search = Search(
        strategy,
        json.dumps(settings, sort_keys=True),
        trained_policy(run, sweep, stages),
        sweep.main.sampling,
        drawn,
        problems,
        split,
        scorer=scorer,
        direct_learning_rate=config.learning_rate.direct if isinstance(config, ApplicationsConfig) else None,
    )
    with (
        RunDirectory(run, shared=True, other="give another --run") as directory,  # with other searches
        Resources() as resources,
        open_run(run, [search], resources, speed=Speed(), mix_versions=True, directory=directory) as runner,
    ):
        Worker(runner).work()
    if failure := runner.failure_below(search):
        raise UserError(failure.reason)
    rows, stored = search.rows(runner.stages), runner.stages[search].file(ROWS)
    if out is not None:
        with contextlib.suppress(OSError):  # then it cannot be written, and that is told
            out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, stored.read_bytes())
    # 3. The table is a function of the rows.
    found = summary(rows, Choosing(aggregation, choice, missing=missing))
    at = Interval(found["accuracy"], found["low"], found["high"])
    print(
        f"{strategy}, {choice} by {aggregation}: accuracy {at}, {found['n_problems']} problems; without a judged "
        f"candidate {found['missing_share']:.1%}, {MISSING_AS[missing]}"
    )
    print(
        f"a problem: {found['generator_tokens']:.0f} tokens of the policy, {found['verifier_tokens']:.0f} of the "
        f"scorer, {found['flops']:.3g} FLOPs"
    )
    if drawn < votes:
        print(f"verify.temperature = 0: {ONE_VOTE}")
    for reason, n in found["lost"].items():
        say(f"lost: {n} of {len(rows)} problems: {reason}")
    say(f"rows: {out or stored}")
    return INCOMPLETE if found["lost"] else 0


def run_config(run: Path) -> SweepConfig:
    """The configuration of a finished sweep, or of a run of `experiments/uses.py`. Raises UserError."""
    path = run / "config.json"
    of_applications = path.is_file() and '"fast_slow"' in path.read_text(encoding="utf-8")
    return read_sweep_config(run, ApplicationsConfig if of_applications else SweepConfig)
