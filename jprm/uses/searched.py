"""A search over problems as a task: a strategy, the policy that writes, the verifier that scores.

Its rows are written problem by problem, so a killed one goes on, and a problem on which the
strategy or the scorer raises is a row with the reason.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jprm.pipeline.benchmark import Benchmark
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.policy import policy_base, policy_engine
from jprm.pipeline.verifier import Verifier
from jprm.pipeline.votes import Votes, verifier_engine, verify_settings
from jprm.records import Problem, read_jsonl
from jprm.runs import Stage
from jprm.score import SharedBeginnings
from jprm.search import (
    ROW,
    Layout,
    Redraw,
    RewardModel,
    SampledSteps,
    StepRewards,
    Steps,
    VoteRewards,
    boundary_ids,
    make_strategy,
    run_search,
)
from jprm.seeds import seed_of
from jprm.uses.baseline import Baseline
from jprm.uses.controls import Changed, blind, shuffled
from jprm.uses.judges import model_cost, voted
from jprm.uses.registered import registered_scorer
from jprm.uses.scores import HeadRewards
from jprm.verify import Branches
from jprm.worlds.base import Split

TOKENS_PER_PROBLEM = 1500  # that the verifier writes; only the plan and the ETA use it
Control = Literal["none", "place", "score"]  # what a search is denied
RUN_CODE = ("full", "code")  # styles


@dataclass(frozen=True)
class Searched:
    """Problems searched by a strategy; `load_rows(stage)` reads them. The problems are the candidates'.

    settings: of the strategy, as JSON. votes: of the verifier on every step. head: a baseline that
    scores instead of the verifier; scorer: a registered one that does; plugin: the digest of the file
    that either of them, or the strategy, comes from.

    control: "place", each solution's rewards are put in another order, which keeps the scores of
        most aggregations and loses the place of a fault; "score", they are drawn from those of other
        solutions, which loses all but how often the verifier doubts.
    """

    kind: ClassVar[str] = "searched"
    version: ClassVar[int] = 2  # votes are drawn, and counted, by beginnings of solutions
    strategy: str
    settings: str
    verifier: Verifier
    votes: int
    problems: int
    split: str
    control: Control = "none"
    head: Baseline | None = None
    scorer: str = ""
    plugin: str = ""

    @property
    def label(self) -> str:
        """How the progress line calls it."""
        by = self.scorer or (self.head or self.verifier).label
        without = "" if self.control == "none" else f" without the {self.control}"
        return f"{self.strategy} {self.settings} by {by}{without}, {self.split}"

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """The policy and the verifier, and its rewards where others take their place."""
        asked = policy_base(lab, self.verifier.seed), self.head or self.verifier
        return asked if self.control != "score" else (*asked, self._others(lab))

    def _others(self, lab: Lab) -> Votes:
        """What the verifier said of the candidates."""
        candidates = Benchmark("candidates", self.verifier.seed)
        mode = "executed" if self.verifier.style in RUN_CODE else "none"
        n = lab.config.verify.draws(lab.config.evaluate.candidate_votes)
        return Votes(self.verifier, candidates, mode, lab.config.verify.mode, n)

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """What decides the draws and the votes."""
        return {
            "strategy": self.strategy,
            "settings": json.loads(self.settings),
            "votes": self.votes,
            "problems": self.problems,
            "split": self.split,
            "control": self.control,
            "scorer": self.scorer,
            "plugin": self.plugin,
            **sampling_inputs(lab),
        }

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Searches what has no row yet."""
        seed = self.verifier.seed
        problems = search_problems(lab, self.split, self.problems, seed)
        scorer = self._scorer(lab)
        if self.control == "place":
            scorer = Changed(scorer, shuffled(seed))
        elif self.control == "score":
            judged = voted(lab, self.verifier.label, [self._others(lab)], self.votes)
            every = [r for reply in judged.rewards.values() for r in reply.rewards]
            scorer = Changed(scorer, blind(every, seed))
        rows = search(
            lab,
            problems,
            self.strategy,
            json.loads(self.settings),
            scorer,
            stage.file("rows.jsonl"),
            seed=seed,
            inputs={"stage": stage.key},
            progress=lambda text: lab.progress.show(f"{self.label}: {text}"),
        )
        return {"problems": len(rows), "lost": sum(bool(row["error"]) for row in rows)}

    def _scorer(self, lab: Lab) -> RewardModel:
        if self.scorer:
            return whole_steps(lab, self.verifier, registered_scorer(lab, self.verifier, self.scorer, self.votes))
        if self.head is not None:
            return whole_steps(lab, self.verifier, HeadRewards(lab, self.head))
        return verifier_scorer(lab, self.verifier, self.votes)

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs, most of them the verifier's."""
        tokens = self.problems * self.votes * TOKENS_PER_PROBLEM
        return lab.decode_flops(self.verifier.size, lab.config.verify.context_tokens, tokens)

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 10 + self.flops(lab) / lab.rates.decode


def sampling_inputs(lab: Lab) -> dict[str, Any]:
    """What decides the policy's steps and the verifier's votes, but for their weights."""
    labels, verify = lab.config.labels, lab.config.verify
    return {
        "world": lab.world_identity,
        "temperature": labels.temperature,
        "max_tokens": labels.max_tokens,
        "policy_context_tokens": labels.context_tokens,
        "verify": verify.model_dump(mode="json", exclude={"n_votes", "workers", "place"}),
        "lanes": lab.config.model.lanes,
    }


def search_problems(lab: Lab, split: str, n: int, seed: int) -> list[Problem]:
    """The first `n` problems of a split that candidates are drawn for, too."""
    wanted: Split = split  # type: ignore[assignment]
    return lab.world.problems(wanted, n, seed_of(seed, "benchmark", "candidates"))


def search(
    lab: Lab,
    problems: Sequence[Problem],
    strategy: str,
    settings: dict[str, Any],
    scorer: RewardModel,
    store: Any,
    *,
    seed: int,
    inputs: dict[str, Any],
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """`run_search` with the sweep's policy, which also redraws the steps that a critic doubts."""
    generator = policy_steps(lab, seed)
    return run_search(
        problems,
        make_strategy(strategy, **settings),
        generator,
        scorer,
        lab.world,
        store,
        refiner=Redraw(generator),
        inputs=inputs,
        in_flight=getattr(lab.config, "in_flight", 128),
        progress=progress,
    )


def load_rows(stage: Stage) -> list[dict[str, Any]]:
    """The rows of a finished search, in the order of their problems' ids."""
    return sorted(read_jsonl(stage.file("rows.jsonl"), ROW), key=lambda row: row["problem_id"])


def policy_steps(lab: Lab, seed: int) -> SampledSteps:
    """The policy as a generator of steps."""
    tokenizer, world = lab.tokenizer, lab.world
    layout = Layout(
        boundary_ids(tokenizer, tokenizer.vocab_size),
        world.split_steps,
        lab.config.labels.max_tokens,
        is_final=lambda steps: world.answer(steps) is not None,
    )
    cost = model_cost(lab, lab.config.model.policy)
    return SampledSteps(_policy(lab, seed), tokenizer, layout, seed_of(seed, "search"), cost=cost)


@functools.lru_cache(maxsize=2)  # an engine takes seconds to compile
def _policy(lab: Lab, seed: int):
    return policy_engine(lab, seed)


@functools.lru_cache(maxsize=2)
def verifier_scorer(lab: Lab, verifier: Verifier, votes: int) -> WholeSteps:
    """A generative verifier as a reward model; what searches of this process have in common it judges once."""
    mode = "executed" if verifier.style in RUN_CODE else "none"
    settings = verify_settings(lab, verifier.style, mode, lab.config.verify.mode)
    engine, seed = verifier_engine(lab, verifier), seed_of(verifier.seed, "search votes")
    scorer = SharedBeginnings(Branches(votes, engine, lab.pool, lab.tokenizer, settings, seed))
    cost = model_cost(lab, verifier.size)
    return whole_steps(lab, verifier, VoteRewards(scorer, votes, lab.config.verify.readout, lab.tokenizer, cost))


def whole_steps(lab: Lab, verifier: Verifier, model: RewardModel) -> WholeSteps:
    """A reward model that is asked only about what this verifier could read."""
    opening = lab.template.openings[verifier.style]
    return WholeSteps(model, lambda step: lab.tokenizer.accepts(step + opening))


class WholeSteps(RewardModel):
    """Asks another reward model only about solutions in whole steps; others, which were cut off or cannot be
    read again, have no rewards. Sets of candidates leave them out as well.
    """

    def __init__(self, model: RewardModel, accepts: Callable[[str], bool]):
        self.model, self.accepts = model, accepts

    def score(self, items: Sequence[tuple[Problem, Steps]]) -> list[StepRewards | Exception]:
        """The rewards of the other model, and None for every step of what it is not asked about."""
        whole = [all(s.endswith("\n") and self.accepts(s) for s in steps) for _, steps in items]
        asked = [item for item, judged in zip(items, whole, strict=True) if judged]
        replies = iter(self.model.score(asked) if asked else [])
        return [
            next(replies) if judged else StepRewards((None,) * len(steps), analyses=("",) * len(steps))
            for (_, steps), judged in zip(items, whole, strict=True)
        ]

    def forget(self, problem: Problem) -> None:
        """Tells the other model that the search of this problem is over."""
        self.model.forget(problem)
