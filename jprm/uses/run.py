"""The job of `experiments/uses.py`: its tasks done, their rows, a table and a page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from jprm.errors import INCOMPLETE, UserError
from jprm.pipeline.benchmark import load_items
from jprm.pipeline.lab import Failure, Lab, StageFailed, Task
from jprm.progress import Progress
from jprm.runs import RunDirectory, write_atomic
from jprm.search import Choosing
from jprm.terminal import say
from jprm.uses.config import UsesConfig
from jprm.uses.gates import gate_rows
from jprm.uses.grid import grid_rows
from jprm.uses.guided import Reference, guided, guided_rows, references
from jprm.uses.judges import Judge, averaged, scored, voted
from jprm.uses.passes import bidirectional_rows, fast_slow_rows, hindsight_rows
from jprm.uses.pool import Pool, best_of_n_rows, choice_rows, equal_compute_rows, tier_rows
from jprm.uses.refined import METHODS, critic, dev_critic, matched_rows, refinement_rows
from jprm.uses.report import print_rows, write_uses_report
from jprm.uses.scores import Scores
from jprm.uses.searched import load_rows
from jprm.uses.tasks import STYLES, Uses, with_parents
from jprm.verify import ONE_VOTE

Row = dict[str, Any]


def run_uses(config: UsesConfig, command: str) -> int:
    """Computes everything in the run directory, resuming what is there; 3 where stages failed, else 0.

    A failed stage keeps back those that need it, and no others. Raises UserError where nothing but the user's mistakes
    keep it from its table.
    """
    path, uses = config.directory / config.name, Uses.of(config)
    with RunDirectory(path) as run:
        write_atomic(path / "config.json", config.model_dump_json(indent=1))
        with Lab(config, run) as lab:
            tasks = with_parents(lab, [*uses.judging(), *uses.searches()])
            missing = [task for task in tasks if not lab.stage(task).done]
            lab.progress = Progress(sum(task.work(lab) for task in missing))
            lab.progress.show(f"{len(tasks)} stages, run directory {path}", force=True)
            failures = [failure for task in missing if (failure := attempt(lab, task))]
            lab.progress.close()
            if failures:
                return tell_failures(failures, len(tasks))
            lab.count_reused([(lab, task) for task in tasks])
            rows = [*judged_rows(lab, uses), *searched_rows(lab, uses)]
            text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
            write_atomic(path / "results.jsonl", text)
            write_uses_report(config, rows, path, command)
            print_rows(rows)
            if config.verify.draws(2) == 1:
                print(f"verify.temperature = 0: {ONE_VOTE}")
            say(f"results: {path / 'results.jsonl'}   report: {path / 'report.html'}")
            print(f"computed {run.computed}, reused {run.reused}")
            return 0


def attempt(lab: Lab, task: Task) -> Failure | None:
    """Computes a task; returns the reason if that fails."""
    try:
        lab.ensure(task)
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


def judges(lab: Lab, uses: Uses) -> list[Judge]:
    """All verifiers of the grid, with all their votes; GenPRM first."""
    return [
        *(joined(voted_on(lab, uses, style), STYLES[style]) for style in STYLES),
        *(scored(lab, name, uses.scores(baseline)) for name, baseline in uses.heads()),
    ]


def voted_on(lab: Lab, uses: Uses, style: str) -> list[Judge]:
    """A generative verifier on each of the two sets, which have different numbers of votes."""
    return [voted(lab, STYLES[style], [votes], votes.n_votes) for votes in uses.votes(style)]


def joined(parts: Sequence[Judge], name: str) -> Judge:
    """One judge of all sets."""
    rewards = {key: reply for part in parts for key, reply in part.rewards.items()}
    return dataclasses.replace(parts[0], name=name, rewards=rewards)


def judged_rows(lab: Lab, uses: Uses) -> list[Row]:
    """The grid, best-of-N, equal compute, passes: from stored judgements."""
    first, second = (load_items(lab.stage(benchmark)) for benchmark in uses.sets)
    every, pool = judges(lab, uses), Pool.of(lab, uses.sets[1])
    known = [item for item in first if item.solution.first_error is not None]
    rows = grid_rows(lab, every, known, second)
    best, chosen = best_of_n_rows(pool, every)
    rows += best
    for made in (choice_rows, equal_compute_rows, tier_rows):
        rows += made(pool, every, chosen)
    if passes := uses.passes():
        rows += bidirectional_rows(directions(lab, passes), known, second)
    if passes := uses.hindsight_passes():
        whole, cut = (load_items(lab.stage(of)) for of in uses.hindsight_sets)
        rows += hindsight_rows(directions(lab, passes), whole, cut)
    fast, slow = uses.votes("direct")[0], uses.votes("full")[0]
    return rows + fast_slow_rows(lab, fast, slow, slow.n_votes, uses.config.fast_slow.bands, known)


def directions(lab: Lab, passes: Sequence[Sequence[Scores]]) -> list[Judge]:
    """The judges of the passes, but for the last one; BiPRM; and its control, two forward passes."""
    names = "forward", "both ways, forward", "both ways, backward", "forward again"
    forward, there, back, again = (scored(lab, name, scores) for name, scores in zip(names, passes, strict=True))
    bi = averaged("BiPRM", [there, back])
    return [forward, there, back, bi, averaged("two forward passes", [forward, again])]


def searched_rows(lab: Lab, uses: Uses) -> list[Row]:
    """Refinement, what a gate keeps of it, and guided search."""
    config, main = uses.config, uses.main
    refined = {name: load_rows(lab.stage(critic(config, main, control))) for name, control in METHODS.items()}
    pool, draws = Pool.of(lab, uses.sets[1]), config.verify.draws
    candidates = Reference.stored(pool, uses.stored(lab, "genprm", draws(config.refine.votes)))
    missing = config.evaluate.missing
    rows = refinement_rows(refined, missing) + matched_rows(refined, candidates, missing)
    if config.refine.gate_problems:
        dev = load_rows(lab.stage(dev_critic(config, main)))
        rows += gate_rows(refined["critic"], dev)
    asked = uses.scorers()
    others = references(config, asked)
    known = {
        name: Reference.searched(load_rows(lab.stage(others[name])), config.evaluate.candidates, missing)
        if name in others
        else Reference.stored(pool, uses.stored(lab, name, draws(config.search.votes)))
        for name in asked
    }
    found = [(name, task, load_rows(lab.stage(task))) for name, task in guided(config, asked)]
    return rows + guided_rows(found, known, Choosing(missing=missing))
