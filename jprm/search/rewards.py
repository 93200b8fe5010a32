"""Reward models for searches: a scorer's votes as rewards with what they cost, and two models in one.

    VoteRewards(scorer, 8, "prob_raw", codec)

asks any `jprm.score.Scorer`. A solution is named by its text, so it is judged the same way whenever it is
met. A generative verifier judges by beginnings: branches that begin alike have the same rewards, and a
longer one costs its new steps. Other scorers judge every solution as a whole.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from jprm.errors import UserError
from jprm.quoting import TextCodec
from jprm.records import Problem, Rationale, ReadOut, Solution, as_judged, stable_id
from jprm.score import Scorer
from jprm.search.budget import Cost, ModelCost
from jprm.search.ports import RewardModel, StepRewards, Steps
from jprm.ties import mean, places
from jprm.verify import mean_reward


class VoteRewards(RewardModel):
    """The mean of `votes` votes of a scorer on every step, each read out as `readout`.

    A step on which no vote judged has the reward None. The analysis of a step is the text of the vote whose
    reward lies nearest to the mean: what the critic hands on should argue for the verdict that was reached.
    An item that the scorer loses is answered by a UserError with the reason.

    cost: the model's FLOPs. A solution that is judged as a whole costs all of it, each time. Of one that is
    judged by beginnings, those count that the search of this problem has not met before. The sampler keeps
    nothing between steps: each vote reads its whole history again before it judges another step, which
    counts (`Cost.reread_tokens`; less these, a history is counted once). The votes on a first step share one
    reading of the problem, those on any step in fork mode one of the history. Lengths are those of the
    texts in full, also where `VerifySettings.overflow` shortened them.

    Rewards stay known when a search ends, so that searches that ask the same object judge what they have in
    common once; what a search costs never depends on the others.
    """

    def __init__(self, scorer: Scorer, votes: int, readout: ReadOut, codec: TextCodec, cost: ModelCost | None = None):
        self.scorer, self.votes, self.codec = scorer.for_search(votes), range(votes), codec
        self.readout: ReadOut = readout
        self.cost = cost or ModelCost()
        self._known: dict[tuple[str, Steps], StepRewards] = {}  # by problem and `_parts`
        self._paid: dict[str, set[Steps]] = {}  # parts that the running search has met, by problem

    def score(self, items: Sequence[tuple[Problem, Steps]]) -> list[StepRewards | Exception]:
        """Judges together what is not known yet; equal items are judged once."""
        names = [stable_id("search", problem.id, *steps) for problem, steps in items]
        new = {
            name: (problem, steps)
            for name, (problem, steps) in zip(names, items, strict=True)
            if any((problem.id, part) not in self._known for part in self._parts(steps))
        }
        heard: dict[str, list[Rationale]] = {name: [] for name in new}
        asked = [
            (problem, Solution(name, problem.id, as_judged(steps), "search")) for name, (problem, steps) in new.items()
        ]
        ended = self.scorer.judge(asked, self.votes, {}, lambda r: heard[r.solution_id].append(r)) if asked else ()
        lost = {end.solution_id: end.lost for end in ended if end.lost}
        for name, (problem, steps) in new.items():
            for part in self._parts(steps):
                if name not in lost and (problem.id, part) not in self._known:
                    self._known[problem.id, part] = self._judged(problem, part, heard[name])
        return [
            UserError(lost[name]) if name in lost else self._reply(*item)
            for name, item in zip(names, items, strict=True)
        ]

    def forget(self, problem: Problem) -> None:
        """Ends the search of this problem; another search of it pays for itself."""
        self._paid.pop(problem.id, None)
        self.scorer.forget(problem)

    def _parts(self, steps: Steps) -> list[Steps]:
        """What is judged once and kept: every beginning, or the solution as a whole; nothing without steps."""
        if self.scorer.by_beginnings:
            return [steps[:end] for end in range(1, len(steps) + 1)]
        return [steps] if steps else []

    def _reply(self, problem: Problem, steps: Steps) -> StepRewards:
        parts = self._parts(steps)
        known = [self._known[problem.id, part] for part in parts]
        paid = self._paid.setdefault(problem.id, set())
        cost = sum((k.cost for part, k in zip(parts, known, strict=True) if part not in paid), Cost())
        if self.scorer.by_beginnings:
            paid.update(parts)
        return StepRewards(
            tuple(itertools.chain.from_iterable(k.rewards for k in known)),
            cost,
            tuple(itertools.chain.from_iterable(k.analyses for k in known)),
        )

    def _judged(self, problem: Problem, steps: Steps, heard: Sequence[Rationale]) -> StepRewards:
        """Makes the rewards of a part: of its last step where beginnings are parts, else of all its steps."""
        first = len(steps) - 1 if self.scorer.by_beginnings else 0
        said = [read_votes([r for r in heard if r.step == t], self.readout) for t in range(first, len(steps))]
        spent = self._spent_on_last if self.scorer.by_beginnings else self._spent_on_whole
        rewards, analyses = zip(*said, strict=True)
        return StepRewards(rewards, spent(problem, steps, heard), analyses)

    def _spent_on_whole(self, problem: Problem, steps: Steps, heard: Sequence[Rationale]) -> Cost:
        """Counts the problem once, then for each vote the steps, what was forced and what it wrote."""
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

    def _spent_on_last(self, problem: Problem, steps: Steps, heard: Sequence[Rationale]) -> Cost:
        """Counts the votes on the last step, each behind the history of its own or, in fork mode, of vote 0."""
        last = len(steps) - 1
        here = [r for r in heard if r.step == last]
        # 1. The tokens of each vote's history.
        lengths = [len(self.codec.encode(step)) for step in steps]
        behind = dict.fromkeys((r.vote for r in here), len(self.codec.encode(problem.text)))
        for r in heard:
            if r.step < last:
                behind[r.vote] += lengths[r.step] + r.forced_tokens + r.generated_tokens
        past = {r.vote: 0 if r.mode == "fork" else r.vote for r in here}
        # 2. Histories are read: the problem once for all, or each history that is gone on from.
        if last == 0:
            total = self.cost.cost(0, behind[here[0].vote])
        else:
            total = sum((self.cost.reread(behind[vote]) for vote in sorted(set(past.values()))), Cost())
        # 3. Each vote reads the step and writes.
        for r in here:
            total += self.cost.cost(behind[past[r.vote]], lengths[-1] + r.forced_tokens, r.generated_tokens)
        return total


def read_votes(votes: Sequence[Rationale], readout: ReadOut) -> tuple[float | None, str]:
    """Returns the mean reward of the votes on one step, and the text of the vote nearest to it."""
    judged = [(reward, r.text) for r in votes if (reward := r.verdict.reward(readout)) is not None]
    at = mean_reward([reward for reward, _ in judged])
    if at is None:
        return None, ""
    nearest = places([-abs(reward - at) for reward, _ in judged]).index(0)
    return at, judged[nearest][1]


@dataclass(frozen=True)
class Cascade(RewardModel):
    """Rewards of `fast`; those in [low, high], and the missing ones, are replaced by rewards of `slow`.

    The idea is DyVe's (arXiv 2502.11157): a single token settles most steps. Here any two reward models make
    a cascade, and what it saves is seen in its tokens, beside those of always asking the slow one. With the
    band [0, 1] the slow one judges everything, and with low > high only what `fast` could not judge.
    """

    fast: RewardModel
    slow: RewardModel
    low: float = 0.2
    high: float = 0.8

    def __post_init__(self):
        if not (0.0 <= self.low <= 1.0 and 0.0 <= self.high <= 1.0):
            raise UserError(f"cascade: the band [{self.low}, {self.high}] must lie in [0, 1]")

    def score(self, items: Sequence[tuple[Problem, Steps]]) -> list[StepRewards | Exception]:
        """Asks the fast model about everything and the slow one where that is unsure; a reply costs what both did."""
        # 1. The fast model judges everything.
        replies = list(self.fast.score(items))
        # 2. The slow one reads a solution up to its last unsure step, and only if it has one.
        unsure: dict[int, StepRewards] = {}
        asked: list[tuple[Problem, Steps]] = []
        for i, (reply, (problem, steps)) in enumerate(zip(replies, items, strict=True)):
            if not isinstance(reply, Exception) and (at := self._unsure(reply)):
                unsure[i] = reply
                asked.append((problem, steps[: at[-1] + 1]))
        # 3. Its rewards take the place of the unsure ones.
        slow = self.slow.score(asked) if asked else []
        for (i, first), second in zip(unsure.items(), slow, strict=True):
            replies[i] = second if isinstance(second, Exception) else self._merged(first, second)
        return replies

    def forget(self, problem: Problem) -> None:
        """Tells both models that the search of this problem is over."""
        self.fast.forget(problem)
        self.slow.forget(problem)

    def _unsure(self, reply: StepRewards) -> list[int]:
        return [t for t, r in enumerate(reply.rewards) if r is None or self.low <= r <= self.high]

    def _merged(self, fast: StepRewards, slow: StepRewards) -> StepRewards:
        rewards, analyses = list(fast.rewards), list(fast.analyses or [""] * len(fast.rewards))
        for t in self._unsure(fast):
            rewards[t] = slow.rewards[t]
            if slow.analyses:
                analyses[t] = slow.analyses[t]
        return StepRewards(tuple(rewards), fast.cost + slow.cost, tuple(analyses))


def mean_rewards(replies: Sequence[StepRewards]) -> StepRewards:
    """Averages several replies to one item step by step, such as those of two passes (BiPRM, arXiv 2508.01682).

    A None of one leaves the step to the others. The costs add up; the analyses are those of the first.
    """
    judged = [[r for r in step if r is not None] for step in zip(*(reply.rewards for reply in replies), strict=True)]
    return StepRewards(
        tuple(mean(rewards) if rewards else None for rewards in judged),
        sum((reply.cost for reply in replies), Cost()),
        replies[0].analyses,
    )
