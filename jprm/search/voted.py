"""A generative verifier as a step scorer: the mean of its votes on every step, with what they cost.

Whatever writes rationales about whole solutions will do:

    VotedScorer(judge, 8, "prob_raw", codec)

A solution is named by its text, so it is judged the same way whenever it is met; a longer one is
judged anew from its first step, by votes of its own. For searches over steps there is

    VotedBranches(Branches(8, sampler, executor, codec, settings, seed), "prob_raw", codec)

with `jprm.verify.Branches`: branches that begin alike have the same rewards there, and a longer one
costs its new steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from jprm.records import Problem, Rationale, ReadOut, Solution, stable_id
from jprm.search.budget import Cost, ModelCost
from jprm.search.ports import StepRewards
from jprm.ties import places
from jprm.verify import TextCodec, mean_reward

Items = Sequence[tuple[Problem, Solution]]
Judge = Callable[[Items, Sequence[int]], Iterable[Rationale]]
Steps = tuple[str, ...]
Branch = tuple[Problem, Steps]


class VotedScorer:
    """A `StepScorer`: `votes` rationales for each step, read out as `readout` and averaged.

    A step on which no vote judged has the reward None. The analysis of a step is the text of the
    vote whose reward lies nearest to the mean: what the critic hands on should argue for the
    verdict that was reached. cost: the model's FLOPs; the votes share one reading of the problem.
    """

    def __init__(self, judge: Judge, votes: int, readout: ReadOut, codec: TextCodec, cost: ModelCost | None = None):
        self.judge, self.votes, self.codec = judge, range(votes), codec
        self.readout: ReadOut = readout
        self.cost = cost or ModelCost()

    def score(self, items: Sequence[Branch]) -> list[StepRewards]:
        """As `StepScorer`, all in one go."""
        names = [stable_id("search", problem.id, *steps) for problem, steps in items]
        solutions = {
            name: (problem, Solution(name, problem.id, steps, "search"))
            for name, (problem, steps) in zip(names, items, strict=True)
        }
        heard: dict[str, list[Rationale]] = {name: [] for name in solutions}
        for rationale in self.judge(list(solutions.values()), self.votes):
            heard[rationale.solution_id].append(rationale)
        pairs = zip(names, items, strict=True)
        return [self._reply(problem, steps, heard[name]) for name, (problem, steps) in pairs]

    def _reply(self, problem: Problem, steps: Sequence[str], heard: Sequence[Rationale]) -> StepRewards:
        said = [_read([r for r in heard if r.step == t], self.readout) for t in range(len(steps))]
        return StepRewards(
            tuple(reward for reward, _ in said),
            self._spent(problem, steps, heard),
            tuple(analysis for _, analysis in said),
        )

    def _spent(self, problem: Problem, steps: Sequence[str], heard: Sequence[Rationale]) -> Cost:
        """The problem once, then for each vote its steps, what was forced and what it wrote."""
        start = len(self.codec.encode(problem.text))
        lengths = [len(self.codec.encode(step)) for step in steps]
        total = self.cost.cost(0, start)
        for vote in self.votes:
            context = start
            for r in sorted((r for r in heard if r.vote == vote), key=lambda r: r.step):
                read = lengths[r.step] + r.forced_tokens
                total += self.cost.cost(context, read, r.generated_tokens)
                context += read + r.generated_tokens
        return total


class BranchJudge(Protocol):
    """Judges branches step by step; `jprm.verify.Branches`."""

    def judge(self, items: Sequence[Branch]) -> Sequence[Sequence[Rationale]]:
        """The rationales on all steps of each branch, the same for beginnings that are the same."""
        ...

    def forget(self, problem: Problem) -> None:
        """Give up whatever is held for this problem."""
        ...


class _Node(NamedTuple):
    """What the votes said about the last step of a beginning, and what that cost."""

    reward: float | None
    analysis: str
    cost: Cost


class VotedBranches:
    """A `StepScorer` as `VotedScorer`, of rewards that belong to beginnings.

    cost: of every beginning that the search of this problem has not met before. `Branches` keeps
    nothing in the engine between steps: each vote reads its whole history again before it judges
    another step, which counts (`Cost.reread_tokens`; less these, a history is counted once). The
    votes on a first step share one reading of the problem, those on any step in fork mode one of the
    history. Lengths are those of the texts in full, also where `Settings.overflow` shortened them.

    Rewards stay known when a search ends, so that the searches of one sitting judge what they have
    in common once; what a search costs never depends on the others.
    """

    def __init__(self, branches: BranchJudge, readout: ReadOut, codec: TextCodec, cost: ModelCost | None = None):
        self.branches, self.codec = branches, codec
        self.readout: ReadOut = readout
        self.cost = cost or ModelCost()
        self._known: dict[tuple[str, Steps], _Node] = {}
        self._met: dict[str, set[Steps]] = {}

    def score(self, items: Sequence[Branch]) -> list[StepRewards]:
        """As `StepScorer`, all in one go."""
        new = [(problem, steps) for problem, steps in items if (problem.id, steps) not in self._known]
        for (problem, steps), heard in zip(new, self.branches.judge(new), strict=True):
            for end in range(1, len(steps) + 1):
                if (problem.id, steps[:end]) not in self._known:
                    upto = [r for r in heard if r.step < end]
                    self._known[problem.id, steps[:end]] = self._node(problem, steps[:end], upto)
        return [self._reply(problem, steps) for problem, steps in items]

    def forget(self, problem: Problem) -> None:
        """The search of this problem is over; another one pays for itself."""
        self._met.pop(problem.id, None)
        self.branches.forget(problem)

    def _reply(self, problem: Problem, steps: Steps) -> StepRewards:
        beginnings = [steps[:end] for end in range(1, len(steps) + 1)]
        nodes = [self._known[problem.id, beginning] for beginning in beginnings]
        met = self._met.setdefault(problem.id, set())
        pairs = zip(beginnings, nodes, strict=True)
        cost = sum((node.cost for beginning, node in pairs if beginning not in met), Cost())
        met.update(beginnings)
        rewards = tuple(node.reward for node in nodes)
        return StepRewards(rewards, cost, tuple(node.analysis for node in nodes))

    def _node(self, problem: Problem, steps: Steps, heard: Sequence[Rationale]) -> _Node:
        last = len(steps) - 1
        here = [r for r in heard if r.step == last]
        return _Node(*_read(here, self.readout), self._spent(problem, steps, heard, here))

    def _spent(self, problem: Problem, steps: Steps, heard: Sequence[Rationale], here: Sequence[Rationale]) -> Cost:
        """Of the votes on the last step, each behind the history of its own or of vote 0."""
        lengths = [len(self.codec.encode(step)) for step in steps]
        behind = dict.fromkeys((r.vote for r in here), len(self.codec.encode(problem.text)))
        for r in heard:
            if r.step < len(steps) - 1:
                behind[r.vote] += lengths[r.step] + r.forced_tokens + r.generated_tokens
        past = {r.vote: 0 if r.mode == "fork" else r.vote for r in here}
        if len(steps) == 1:
            total = self.cost.cost(0, behind[here[0].vote])
        else:
            read = (self.cost.reread(behind[vote]) for vote in sorted(set(past.values())))
            total = sum(read, Cost())
        for r in here:
            asked = lengths[-1] + r.forced_tokens
            total += self.cost.cost(behind[past[r.vote]], asked, r.generated_tokens)
        return total


def _read(here: Sequence[Rationale], readout: ReadOut) -> tuple[float | None, str]:
    """The mean reward of the votes on one step, and the text of the vote nearest to it."""
    rewards = [(r.verdict.reward(readout), r.text) for r in here]
    mean = mean_reward([reward for reward, _ in rewards])
    judged = [(reward, text) for reward, text in rewards if reward is not None]
    if mean is None:
        return None, ""
    nearest = places([-abs(reward - mean) for reward, _ in judged]).index(0)
    return mean, judged[nearest][1]
