"""A generative verifier as a step scorer: the mean of its votes on every step, with what they cost.

Whatever writes rationales will do, `jprm.verify.verify` foremost:

    VotedScorer(lambda items, votes: itertools.chain.from_iterable(
        verify(items, votes, sampler, executor, codec, settings, seed)), 8, "prob_raw", codec)

A solution is named by its text, so a branch is judged the same way whenever it is met. A longer one
is judged anew from its first step: its votes are other votes, each with a history of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from jprm.records import Problem, Rationale, ReadOut, Solution, stable_id
from jprm.search.budget import Cost, ModelCost
from jprm.search.ports import StepRewards
from jprm.verify import TextCodec, mean_reward

Items = Sequence[tuple[Problem, Solution]]
Judge = Callable[[Items, Sequence[int]], Iterable[Rationale]]


class VotedScorer:
    """A `StepScorer`: `votes` rationales for each step, read out as `readout` and averaged.

    A step on which no vote judged has the reward None. The analysis of a step is the text of the
    vote whose reward lies nearest to the mean: what the critic hands on should argue for the
    verdict that was reached. cost: the model's FLOPs; the votes share one reading of the problem.
    """

    def __init__(
        self,
        judge: Judge,
        votes: int,
        readout: ReadOut,
        codec: TextCodec,
        cost: ModelCost | None = None,
    ):
        self.judge, self.votes, self.codec = judge, range(votes), codec
        self.readout: ReadOut = readout
        self.cost = cost or ModelCost()

    def score(self, items: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepRewards]:
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

    def _reply(
        self, problem: Problem, steps: Sequence[str], heard: Sequence[Rationale]
    ) -> StepRewards:
        rewards, analyses = [], []
        for t in range(len(steps)):
            here = [(r.verdict.reward(self.readout), r.text) for r in heard if r.step == t]
            mean = mean_reward([reward for reward, _ in here])
            judged = [(reward, text) for reward, text in here if reward is not None]
            rewards.append(mean)
            nearest = min(judged, key=lambda pair: abs(pair[0] - (mean or 0.0)), default=(0, ""))
            analyses.append(nearest[1])
        return StepRewards(tuple(rewards), self._spent(problem, steps, heard), tuple(analyses))

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
