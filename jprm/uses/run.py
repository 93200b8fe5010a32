"""The job of `experiments/uses.py`: verifiers, what they judged, rows, a table and a page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jprm.pipeline.benchmark import Benchmark, load_items
from jprm.pipeline.cells import grid_cells
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.verifier import Verifier
from jprm.pipeline.votes import Votes
from jprm.progress import Progress
from jprm.runs import RunDirectory, write_atomic
from jprm.uses.baseline import Baseline, Target
from jprm.uses.config import UsesConfig
from jprm.uses.gates import gate_rows
from jprm.uses.grid import grid_rows
from jprm.uses.guided import Reference, guided, guided_rows, references
from jprm.uses.hindsight import HindsightSet
from jprm.uses.judges import Judge, averaged, scored, voted
from jprm.uses.passes import bidirectional_rows, fast_slow_rows, hindsight_rows
from jprm.uses.pool import Pool, best_of_n_rows, choice_rows, equal_compute_rows, tier_rows
from jprm.uses.refined import METHODS, critic, dev_critic, matched_rows, refinement_rows
from jprm.uses.registered import of_style
from jprm.uses.report import print_rows, write_uses_report
from jprm.uses.scores import Scores
from jprm.uses.searched import Searched, load_rows

# How the generative verifiers are called; the first is what all others are compared with.
STYLES = {"full": "GenPRM", "analysis": "GenPRM without code", "direct": "direct generative PRM"}
HEADS = {
    "steps": "discriminative PRM",
    "outcome": "discriminative ORM",
    "verdict": "generative ORM",
}
STYLE_OF = {"genprm": "full", "direct": "direct"}  # of the scorers that a verifier of the grid is
Row = dict[str, Any]


@dataclass(frozen=True)
class Uses:
    """All tasks of a run: what judges the solutions and what searches for them."""

    config: UsesConfig
    main: Verifier

    @classmethod
    def of(cls, config: UsesConfig) -> Uses:
        """With the main verifier of the configured grid."""
        return cls(config, grid_cells(config)[0].votes.verifier)

    @property
    def sets(self) -> tuple[Benchmark, Benchmark]:
        """The balanced solutions for F1, and the candidates."""
        return Benchmark(self.config.evaluate.benchmarks[0], self.main.seed), Benchmark(
            "candidates", self.main.seed
        )

    def votes(self, style: str) -> tuple[Votes, Votes]:
        """Of the verifier of a style, on both sets."""
        verifier = of_style(self.config, self.main, style)
        execution = "executed" if style in ("full", "code") else "none"
        counts = self.config.verify.n_votes, self.config.evaluate.candidate_votes
        first, second = (
            Votes(verifier, of, execution, self.config.verify.mode, n)
            for of, n in zip(self.sets, counts, strict=True)
        )
        return first, second

    def scores(self, baseline: Baseline, backward: bool = False) -> tuple[Scores, Scores]:
        """Of a baseline, on both sets."""
        first, second = (Scores(baseline, of, backward) for of in self.sets)
        return first, second

    def heads(self) -> list[tuple[str, Baseline]]:
        """The baselines by name."""
        targets: tuple[Any, ...] = tuple(HEADS)
        return [(HEADS[target], self.baseline(target)) for target in targets]

    def baseline(self, target: Target, **other: Any) -> Baseline:
        """One that learns what the main verifier learns from."""
        rate = getattr(self.config.learning_rate, target)
        return Baseline(self.main, target, learning_rate=rate, **other)

    def passes(self) -> list[tuple[Scores, ...]]:
        """Forward, both ways of one that learnt both, forward again, on both sets: for BiPRM."""
        return self._passes(self.sets) if self.config.bidirectional else []

    @property
    def hindsight_sets(self) -> tuple[HindsightSet, HindsightSet]:
        """Whole solutions, and the same ones up to the judged step."""
        split, n = self.config.evaluate.split, self.config.hindsight.problems
        whole = HindsightSet(split, n, self.main.seed)
        return whole, dataclasses.replace(whole, cut=True)

    def hindsight_passes(self) -> list[tuple[Scores, ...]]:
        """As `passes`, of heads that were taught by faults which show later and at once."""
        config = self.config
        if not (config.bidirectional and config.hindsight.problems):
            return []
        taught = HindsightSet("train", config.hindsight.train_problems, self.main.seed)
        return self._passes(self.hindsight_sets, taught)

    def _passes(
        self, sets: Sequence[Benchmark | HindsightSet], taught: HindsightSet | None = None
    ) -> list[tuple[Scores, ...]]:
        forward = self.baseline("steps", taught=taught)
        both = dataclasses.replace(forward, both_ways=True)
        again = dataclasses.replace(forward, replica=1)
        ways = (forward, False), (both, False), (both, True), (again, False)
        return [tuple(Scores(head, of, backward) for of in sets) for head, backward in ways]

    def judging(self) -> list[Task]:
        """Everything that judges stored solutions."""
        tasks: list[Task] = [v for style in STYLES for v in self.votes(style)]
        tasks += [s for _, baseline in self.heads() for s in self.scores(baseline)]
        return tasks + [s for way in self.passes() + self.hindsight_passes() for s in way]

    def searches(self) -> list[Searched]:
        """Everything that searches."""
        config, main = self.config, self.main
        gate = [dev_critic(config, main)] if config.refine.gate_problems else []
        critics = [critic(config, main, control) for control in METHODS.values()]
        asked = self.scorers()
        own = [task for _, task in guided(config, asked)]
        return [*gate, *critics, *own, *references(config, asked).values()]

    def scorers(self) -> dict[str, dict[str, Any]]:
        """Who a scorer of `search.scorers` is: a verifier of the grid, or a registered one."""
        asked: dict[str, dict[str, Any]] = {}
        for name in self.config.search.scorers:
            style = STYLE_OF.get(name)
            verifier = self.votes(style)[0].verifier if style else self.main
            head = self.baseline("steps") if name == "head" else None
            own = "" if style or head else name
            asked[name] = {"verifier": verifier, "head": head, "scorer": own}
        return asked

    def stored(self, lab: Lab, name: str, n_votes: int) -> Judge:
        """What such a verifier of the grid said of the candidates, in its first votes."""
        if name == "head":
            return scored(lab, name, self.scores(self.baseline("steps"))[1:])
        votes = self.votes(STYLE_OF[name])[1]
        return voted(lab, name, [votes], n_votes)


def run_uses(config: UsesConfig, command: str) -> None:
    """Computes everything in the run directory, resuming what is there. Raises UserError."""
    path, uses = config.directory / config.name, Uses.of(config)
    with RunDirectory(path) as run:
        write_atomic(path / "config.json", config.model_dump_json(indent=1))
        with Lab(config, run) as lab:
            tasks = _with_parents(lab, [*uses.judging(), *uses.searches()])
            missing = [task for task in tasks if not lab.stage(task).done]
            lab.progress = Progress(sum(task.work(lab) for task in missing))
            lab.progress.show(f"{len(tasks)} stages, run directory {path}", force=True)
            for task in missing:
                lab.ensure(task)
            lab.count_reused([(lab, task) for task in tasks])
            rows = [*judged_rows(lab, uses), *searched_rows(lab, uses)]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            write_atomic(path / "results.jsonl", text)
            write_uses_report(config, rows, path, command)
            print_rows(rows)
            print(f"results: {path / 'results.jsonl'}   report: {path / 'report.html'}")
            print(f"computed {run.computed}, reused {run.reused}")


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
    bands, votes = uses.config.fast_slow.bands, uses.config.verify.n_votes
    return rows + fast_slow_rows(lab, fast, slow, votes, bands, known)


def directions(lab: Lab, passes: Sequence[Sequence[Scores]]) -> list[Judge]:
    """The judges of the passes, but for the last one; BiPRM; and its control, two forward passes."""
    names = "forward", "both ways, forward", "both ways, backward", "forward again"
    forward, there, back, again = (
        scored(lab, name, scores) for name, scores in zip(names, passes, strict=True)
    )
    bi = averaged("BiPRM", [there, back])
    return [forward, there, back, bi, averaged("two forward passes", [forward, again])]


def searched_rows(lab: Lab, uses: Uses) -> list[Row]:
    """Refinement, what a gate keeps of it, and guided search."""
    config, main = uses.config, uses.main
    refined = {
        name: load_rows(lab.stage(critic(config, main, control)))
        for name, control in METHODS.items()
    }
    pool = Pool.of(lab, uses.sets[1])
    candidates = Reference.stored(pool, uses.stored(lab, "genprm", config.refine.votes))
    rows = refinement_rows(refined) + matched_rows(refined, candidates)
    if config.refine.gate_problems:
        dev = load_rows(lab.stage(dev_critic(config, main)))
        rows += gate_rows(refined["critic"], dev)
    asked = uses.scorers()
    others = references(config, asked)
    known = {
        name: Reference.searched(load_rows(lab.stage(others[name])), config.evaluate.candidates)
        if name in others
        else Reference.stored(pool, uses.stored(lab, name, config.search.votes))
        for name in asked
    }
    found = [(name, task, load_rows(lab.stage(task))) for name, task in guided(config, asked)]
    return rows + guided_rows(found, known)


def _with_parents(lab: Lab, tasks: Sequence[Task]) -> list[Task]:
    """All tasks that these need, parents first, each once."""
    seen: dict[Task, None] = {}

    def visit(task: Task) -> None:
        if task not in seen:
            for parent in task.parents(lab):
                visit(parent)
            seen.setdefault(task)

    for task in tasks:
        visit(task)
    return list(seen)
