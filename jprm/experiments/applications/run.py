"""Runs the applications: their tasks done, their rows, a table and a page."""

from collections.abc import Sequence
from typing import Any

from jprm.errors import INCOMPLETE, UserError
from jprm.experiments.applications.config import ApplicationsConfig
from jprm.experiments.applications.gates import gate_rows
from jprm.experiments.applications.grid import grid_rows
from jprm.experiments.applications.guided import Reference, guided_rows
from jprm.experiments.applications.judgements import Judgements, averaged, joined, scored, voted
from jprm.experiments.applications.passes import bidirectional_rows, delayed_evidence_rows, fast_slow_rows
from jprm.experiments.applications.pool import (
    CandidatePool,
    best_of_n_rows,
    choice_rows,
    equal_compute_rows,
    length_rows,
)
from jprm.experiments.applications.refined import matched_rows, refinement_rows
from jprm.experiments.applications.report import print_rows, write_applications_report
from jprm.experiments.applications.tasks import CONTROLS, STYLES, Applications
from jprm.experiments.sweep.machine_speed import stored_speed
from jprm.experiments.sweep.plan import MEASURED, UNMEASURED, print_cost, print_stages
from jprm.experiments.sweep.run import claim_config
from jprm.jobs import Failure, Graph, RunDirectory, Runner, StageFailed, Stages, Task, open_run, write_rows
from jprm.jobs.directory import check_writable
from jprm.search import Choosing
from jprm.tasks.benchmark import load_items, load_known
from jprm.tasks.resources import Resources, Speed
from jprm.tasks.scores import Scores
from jprm.terminal import say
from jprm.verify import ONE_VOTE

Rows = list[dict[str, Any]]


def plan_applications(config: ApplicationsConfig) -> None:
    """Prints the stages, which of them are done, and what the others take; starts and writes nothing.

    Raises UserError for a configuration that could not run.
    """
    check_writable(config.path)
    measured = stored_speed(config.path)
    graph, speed = Graph(Stages(config.path), asked_of(Applications(config))), measured or Speed()
    print_stages(graph, speed)
    print_cost(graph, speed, MEASURED if measured else UNMEASURED)


def asked_of(applications: Applications) -> list[Task]:
    """All tasks whose results the rows need."""
    return [*applications.judging(), *applications.searches()]


def run_applications(config: ApplicationsConfig, command: str, replace: bool = False) -> int:
    """Computes everything in the run directory, resuming what is there; returns 3 where stages failed, else 0.

    A failed stage keeps back those that need it, and no others. replace: the results of another configuration may be
    replaced. Raises UserError where nothing but the user's mistakes keep it from its table.
    """
    path, applications = config.path, Applications(config)
    asked = asked_of(applications)
    with RunDirectory(path) as directory, Resources() as resources:
        claim_config(config, replace)
        speed = stored_speed(path) or Speed()
        with open_run(path, asked, resources, speed=speed, directory=directory, mix_versions=True) as runner:
            n_stages = len(runner.graph.tasks)
            runner.progress.show(f"{n_stages} stages, run directory {path}", force=True)
            failures = [failure for task in runner.graph.unfinished() if (failure := _attempt(runner, task))]
            runner.progress.close()
            if failures:
                return tell_failures(failures, n_stages)
            runner.count_reused()
        rows = [*judged_rows(runner.stages, applications), *searched_rows(runner.stages, applications)]
        write_rows(path / "results.jsonl", rows)
        write_applications_report(config, rows, path, command)
        print_rows(rows)
        if config.verify.draws(2) == 1:
            print(f"verify.temperature = 0: {ONE_VOTE}")
        say(f"results: {path / 'results.jsonl'}   report: {path / 'report.html'}")
        print(f"computed {runner.computed}, reused {runner.reused}")
        return 0


def _attempt(runner: Runner, task: Task) -> Failure | None:
    """Computes a task; returns the reason if that fails."""
    try:
        runner.ensure(task)
    except StageFailed as error:
        return error.failure
    return None


def tell_failures(failures: Sequence[Failure], n_stages: int) -> int:
    """Prints each reason once and returns the exit code. Raises UserError if all are mistakes of the user."""
    reasons = dict.fromkeys((failure.status, failure.reason) for failure in failures)
    if all(failure.user_error for failure in failures):
        raise UserError("; ".join(reason for _, reason in reasons))
    for status, reason in reasons:
        say(f"{status}: {reason}")
    print(f"no table: {len(failures)} of {n_stages} stages failed; the same command tries them again")
    return INCOMPLETE


def judged_rows(stages: Stages, applications: Applications) -> Rows:
    """The rows of the grid, of best-of-N, of equal compute and of several passes, from stored judgements."""
    config = applications.config
    missing = config.evaluate.missing
    balanced, candidates = applications.sets
    (known, _), second = load_known(stages[balanced]), load_items(stages[candidates])
    # 1. All verifiers of the grid with all their votes, GenPRM first.
    every = [
        joined(name, [voted(stages, name, [v], v.n_votes, missing) for v in applications.votes(style)])
        for style, name in STYLES.items()
    ]
    heads = applications.heads()
    every += [scored(stages, name, applications.scores(baseline), missing) for name, baseline in heads]
    rows = grid_rows(stages, every, known, second)
    # 2. Choosing among candidates.
    pool = CandidatePool.of(stages, applications)
    best, chosen = best_of_n_rows(pool, every)
    rows += best
    for made in (choice_rows, equal_compute_rows, length_rows):
        rows += made(pool, every, chosen)
    # 3. Several passes over a solution.
    if passes := applications.passes():
        rows += bidirectional_rows(_directions(stages, passes, applications), known, second)
    if passes := applications.delayed_evidence_passes():
        whole, cut = (load_items(stages[of]) for of in applications.delayed_evidence_sets)
        rows += delayed_evidence_rows(_directions(stages, passes, applications), whole, cut)
    fast, slow = applications.votes("direct")[0], applications.votes("full")[0]
    return rows + fast_slow_rows(stages, fast, slow, config.fast_slow.bands, known, missing)


def _directions(stages: Stages, passes: Sequence[Sequence[Scores]], applications: Applications) -> list[Judgements]:
    """The judgements of the passes, but for the last one; BiPRM; and its control, two forward passes."""
    names = ("forward", "both ways, forward", "both ways, backward", "forward again")
    missing = applications.config.evaluate.missing
    forward, there, back, again = (
        scored(stages, name, scores, missing) for name, scores in zip(names, passes, strict=True)
    )
    bi = averaged("BiPRM", [there, back])
    return [forward, there, back, bi, averaged("two forward passes", [forward, again])]


def searched_rows(stages: Stages, applications: Applications) -> Rows:
    """The rows of refinement, of what a gate keeps of it, and of guided search."""
    config = applications.config
    missing, draws = config.evaluate.missing, config.verify.draws
    refined = {name: applications.critic(control).rows(stages) for name, control in CONTROLS.items()}
    pool = CandidatePool.of(stages, applications)
    candidates = Reference.stored(pool, applications.stored(stages, "genprm", draws(config.refine.votes)))
    rows = refinement_rows(refined, missing) + matched_rows(refined, candidates, missing)
    if config.refine.gate_problems:
        rows += gate_rows(refined["critic"], applications.critic(split="dev").rows(stages))
    others = applications.references()
    known = {
        name: Reference.searched(others[name].rows(stages), config.evaluate.candidates, missing)
        if name in others
        else Reference.stored(pool, applications.stored(stages, name, draws(config.search.votes)))
        for name in config.search.scorers
    }
    found = [(name, task, task.rows(stages)) for name, task in applications.guided()]
    return rows + guided_rows(found, known, Choosing(missing=missing))
