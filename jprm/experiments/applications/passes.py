"""More than one pass over a solution: backwards and forwards (BiPRM), and fast before slow."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jprm.evaluate import Missing, auc_difference, auc_interval, interval_row
from jprm.experiments.applications.grid import by_problem, f1_row, step_auc
from jprm.experiments.applications.judgements import Judgements
from jprm.jobs import Stages
from jprm.search import Cascade, StepRewards
from jprm.tasks.benchmark import Item
from jprm.tasks.delayed_evidence import KINDS, judged_steps, kinds
from jprm.tasks.reward_models import stored_rewards
from jprm.tasks.votes import Votes

Rows = list[dict[str, Any]]
COSTS = ("tokens", "generated_tokens", "flops")


def bidirectional_rows(judges: Sequence[Judgements], items: Sequence[Item], candidates: Sequence[Item]) -> Rows:
    """F1 and step AUC of forward, BiPRM and two forward passes, also by the kind of the error.

    Gains are over the last judge, the control.
    """
    kinds = sorted({i.solution.error_kind for i in candidates if i.solution.error_kind})
    rows = []
    for judge in judges:
        row = {"figure": "bidirectional", "verifier": judge.name} | f1_row(judge, judges[-1], items)
        row |= interval_row("step_auc", step_auc(judge, candidates))
        for kind in kinds:
            of_kind = step_auc(judge, candidates, lambda i, kind=kind: i.solution.error_kind == kind)
            row |= interval_row(f"step_auc {kind}", of_kind)
        rows.append(row)
    return rows


def delayed_evidence_rows(judges: Sequence[Judgements], wholes: Sequence[Item], cut: Sequence[Item]) -> Rows:
    """Step AUC at the judged step of each problem: by what was read, and by how the fault shows.

    Gains are over the last judge, the control, and over the first, one forward pass. On "prefix",
    the solutions that end with the judged step, a right and a wrong one whose fault shows later are
    the same text: there any scorer has 1/2 and a gain of 0.
    """
    at, shown_by, rows = judged_steps(wholes), kinds(wholes), []
    for read, items in (("whole", wholes), ("prefix", cut)):
        for kind in KINDS:
            members = [item for item in items if shown_by[item.problem.id] == kind]
            right = [item.solution.first_error == -1 for item in members]
            resamples = by_problem(members)
            forward, control = (_at_step(j, members, right, at) for j in (judges[0], judges[-1]))
            for judge in judges:
                scores = _at_step(judge, members, right, at)
                rows.append(
                    {"figure": "delayed_evidence", "read": read, "shows": kind, "verifier": judge.name}
                    | interval_row("step_auc", auc_interval(right, scores, resamples))
                    | interval_row("gain", auc_difference(right, control, scores, resamples))
                    | interval_row("over_forward", auc_difference(right, forward, scores, resamples))
                    | {"n_problems": resamples.weights.shape[1], "n_items": len(members)}
                )
    return rows


def _at_step(judge: Judgements, items: Sequence[Item], right: Sequence[bool], at: Mapping[str, int]) -> list[float]:
    """The reward of the judged step of each; without one the wrong end, or 1/2 where that is excluded
    (a difference of areas is paired, so nothing can be left out).
    """
    rewards = (judge.rewards[i.solution.id].rewards[at[i.problem.id]] for i in items)
    ends = (-1.0, 2.0) if judge.missing == "wrong" else (0.5, 0.5)
    return [ends[not x] if r is None else r for r, x in zip(rewards, right, strict=True)]


def fast_slow_rows(
    stages: Stages,
    fast: Votes,
    slow: Votes,
    bands: Sequence[tuple[float, float]],
    items: Sequence[Item],
    missing: Missing,
) -> Rows:
    """F1 against tokens of a cascade over stored votes: never slow, each band, always slow.

    The fast judge has one vote, the slow one all of its votes. Gains are over always slow.
    """
    scorers = stored_rewards(stages, [fast], 1), stored_rewards(stages, [slow], slow.n_votes)
    asked = [(item.problem, item.solution.steps) for item in items]
    never, always = (scorer.score(asked) for scorer in scorers)
    replies = {"never slow": never}
    replies |= {f"slow in [{low}, {high}]": Cascade(*scorers, low, high).score(asked) for low, high in bands}
    replies["always slow"] = always
    judges = {name: _judge(name, fast, items, said, missing) for name, said in replies.items()}
    rows = []
    for name, said in replies.items():
        costs = [reply.cost for reply in said if isinstance(reply, StepRewards)]
        means = {of: float(np.mean([getattr(cost, of) for cost in costs])) for of in COSTS}
        row = {"figure": "fast_slow", "method": name, "votes": slow.n_votes}
        rows.append(row | f1_row(judges[name], judges["always slow"], items) | means)
    return rows


def _judge(
    name: str, votes: Votes, items: Sequence[Item], said: Sequence[StepRewards | Exception], missing: Missing
) -> Judgements:
    pairs = zip(items, said, strict=True)
    rewards = {i.solution.id: r for i, r in pairs if isinstance(r, StepRewards)}
    return Judgements(name, True, rewards, votes.sampling.parents()[0], missing)
