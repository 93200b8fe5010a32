"""A scorer that was chosen by name as a step scorer of a search, with a sweep's verifier to sample."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence

from jprm.errors import UserError
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.lab import Lab
from jprm.pipeline.verifier import Verifier
from jprm.pipeline.votes import verifier_engine, verify_settings
from jprm.records import Problem, Rationale, ReadOut, Solution, stable_id
from jprm.score import Generator, Scorer, Setup, find_scorer
from jprm.search import ModelCost, StepRewards, StepScorer, VotedBranches, VotedScorer
from jprm.seeds import seed_of
from jprm.uses.config import UsesConfig
from jprm.uses.judges import model_cost
from jprm.verify import Execution, TextCodec


def of_style(config: SweepConfig, verifier: Verifier, style: str) -> Verifier:
    """The verifier of this run that is like another one but for its style."""
    own = {}
    if style == "direct" and isinstance(config, UsesConfig):
        own["learning_rate"] = config.learning_rate.direct
    return dataclasses.replace(verifier, style=style, **own)


def registered_scorer(lab: Lab, verifier: Verifier, name: str, votes: int) -> StepScorer:
    """Any scorer of `jprm.score`; those that write judge every beginning of solutions once.

    Raises UserError for an unknown name, and for a style that the sweep has no verifier of.
    """
    verify = lab.config.verify
    setup = Setup(
        model=None,
        mode=verify.mode,
        readout=verify.readout,
        seed=seed_of(verifier.seed, "search votes"),
        stop_early=False,
        generator=functools.partial(_generator, lab, verifier),
    )
    cls = find_scorer(name)
    scorer = cls(setup)
    cost = model_cost(lab, verifier.size) if cls.samples else None
    branches = scorer.branches(votes)
    if branches is None:
        return RegisteredScorer(scorer, votes, verify.readout, lab.tokenizer, cost)
    return VotedBranches(branches, verify.readout, lab.tokenizer, cost)


class RegisteredScorer(VotedScorer):
    """A scorer of `jprm.score` on whole solutions; one that it loses is answered by the reason."""

    def __init__(self, scorer: Scorer, votes: int, readout: ReadOut, codec: TextCodec, cost: ModelCost | None):
        super().__init__(self._ask, votes, readout, codec, cost)
        self._scorer = scorer
        self._lost: dict[str, str] = {}

    def score(self, items: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepRewards | Exception]:  # type: ignore[override]
        """As `StepScorer`."""
        self._lost.clear()
        replies = super().score(items)
        names = [stable_id("search", problem.id, *steps) for problem, steps in items]
        return [
            UserError(self._lost[name]) if name in self._lost else reply
            for name, reply in zip(names, replies, strict=True)
        ]

    def _ask(self, items: Sequence[tuple[Problem, Solution]], votes: Sequence[int]) -> Iterator[Rationale]:
        heard: list[Rationale] = []
        for ended in self._scorer.judge(items, votes, {}, heard.append):
            if ended.lost:
                self._lost[ended.solution_id] = ended.lost
        yield from heard


def _generator(lab: Lab, verifier: Verifier, style: str, execution: Execution) -> Generator:
    """The sweep's verifier of this style."""
    verifier = of_style(lab.config, verifier, style)
    if not lab.stage(verifier).done:
        raise UserError(f"the sweep has trained no verifier {verifier.label}; choose another scorer")
    settings = verify_settings(lab, style, execution, lab.config.verify.mode)
    return Generator(verifier_engine(lab, verifier), lab.pool, lab.tokenizer, settings)
