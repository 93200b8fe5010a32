"""The verifier as a critic: turns of refinement after what it says about the first doubtful step.

Protocol of the reference (GenPRM, policy_refine.py): the first step whose reward lies below the
threshold is quoted, with the verifier's analysis of it, and the policy writes the solution anew. A
solution without such a step stays as it is. Turns repeat judging and rewriting.

MAgICoRe (arXiv 2409.12147) keeps old and new solutions together and asks first whether the problem
is hard enough to be worth it (`gate`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jprm.errors import UserError
from jprm.records import Problem
from jprm.search.base import Answer, Asking, Found, JudgedBranch, at_least, grow, judge, revise, strategy
from jprm.search.gate import Gate
from jprm.search.ports import ROOT, Branch, Grow, Revised, Revision, StepGenerator
from jprm.search.selection import aggregation
from jprm.ties import below, highest_first

# what the reference's policies are told, to the letter
PREFACE = "There might be some problem in this paragraph of your reasoning, please rethink and refine your answer:"


@strategy("critic")
@dataclass(frozen=True)
class Critic:
    """Draws `n` solutions and refines them in `turns` turns after what the verifier says.

    `Found.pools` are the solutions after each turn, `notes["refined"]` how many were rewritten in each.

    pool: "replace", a rewritten solution takes the place of the old one (the reference), or
        "union", old and new compete and the best `n` by `aggregation` stay (MAgICoRe).
    gate: refine only while the problem counts as hard; a table of its fields, or None for always.
    """

    n: int = 4
    turns: int = 1
    threshold: float = 0.5
    pool: Literal["replace", "union"] = "replace"
    aggregation: str = "min"
    gate: Gate | None = None

    def __post_init__(self):
        at_least(1, n=self.n, turns=self.turns)
        aggregation[self.aggregation]
        if self.pool not in ("replace", "union"):
            raise UserError(f"search: pool = {self.pool!r} must be 'replace' or 'union'")
        if isinstance(self.gate, Mapping):
            object.__setattr__(self, "gate", Gate(**self.gate))

    def search(self, problem: Problem, answer: Answer) -> Asking[Found]:
        """Draws solutions, then lets the critic and the policy take turns."""
        [drawn] = yield from grow([ROOT], n=self.n, steps=None)
        known: list[JudgedBranch] = yield from judge(drawn)
        pools, refined = [tuple(range(len(known)))], []
        for _ in range(self.turns):
            # 1. Stop where the gate finds the problem easy, or where no step is doubted.
            pool = pools[-1]
            if self.gate is not None:
                members = [known[i] for i in pool]
                if not self.gate.is_hard(members, [answer(j.branch.steps) for j in members]):
                    break
            doubted = {i: at for i in pool if (at := self._doubted(known[i])) >= 0}
            if not doubted:
                break
            # 2. Have the doubted solutions rewritten, and the new ones judged.
            branches = yield from revise([_revision(known[i], at) for i, at in doubted.items()])
            new = dict(zip(doubted, range(len(known), len(known) + len(branches)), strict=True))
            known += yield from judge(branches)
            # 3. Choose who goes on to the next turn.
            refined.append(len(new))
            pools.append(self._next(pool, new, known))
        # Turns that were not needed change nothing.
        pools += pools[-1:] * (self.turns + 1 - len(pools))
        refined += [0] * (self.turns - len(refined))
        return Found(tuple(known), tuple(pools), notes={"refined": refined})

    def _doubted(self, judged: JudgedBranch) -> int:
        """The first step that is called wrong, -1 for none. A step without a reward before it is passed over,
        because the critic says what it doubts and gives no verdict.
        """
        said = (t for t, r in enumerate(judged.rewards) if r is not None and below(r, self.threshold))
        return next(said, -1)

    def _next(self, pool: Sequence[int], new: Mapping[int, int], known: Sequence[JudgedBranch]) -> tuple[int, ...]:
        if self.pool == "replace":
            return tuple(new.get(i, i) for i in pool)
        both = [*pool, *new.values()]
        best = highest_first([known[i].score(self.aggregation) for i in both])[: self.n]
        return tuple(both[i] for i in best)


def feedback(step: str, analysis: str) -> str:
    """Writes the critic's message: the doubted step and the analysis, without its heading if it has one."""
    _, colon, rest = analysis.partition(":")
    return f"{PREFACE}\n>{step.strip()}\n\n{(rest if colon else analysis).strip()}"


def _revision(judged: JudgedBranch, at: int) -> Revision:
    steps, analyses = judged.branch.steps, judged.analyses
    said = feedback(steps[at], analyses[at] if at < len(analyses) else "")
    return Revision(steps, at, said, (*judged.branch.path, "revise"))


class Redraw:
    """A `Refiner` for policies that cannot read criticism. It draws the doubted step and all behind it
    anew, so it uses only the place of the fault.
    """

    def __init__(self, generator: StepGenerator):
        self.generator = generator

    def revise(self, items: Sequence[tuple[Problem, Revision]]) -> list[Revised | Exception]:
        """Returns the solutions with their ends drawn anew."""
        requests = [(problem, Grow((Branch(r.steps[: r.step], r.path),), steps=None)) for problem, r in items]
        return [
            grown if isinstance(grown, Exception) else Revised(grown.branches[0][0], grown.cost)
            for grown in self.generator.grow(requests)
        ]
