"""A search over problems: a strategy, the policy that writes steps, the reward model that scores them.

Its rows are written problem by problem, so a killed search goes on, and a problem on which the strategy or the scorer
raises is a row with the reason.
"""

import functools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from jprm.errors import UserError
from jprm.jobs import Stage, Stages, Task, inputs_without
from jprm.jobs.leases import holder
from jprm.records import Problem, read_jsonl
from jprm.score import scorer
from jprm.search import (
    ROW,
    Layout,
    Redraw,
    RewardModel,
    SampledSteps,
    aggregation,
    boundary_ids,
    choice,
    make_strategy,
    run_search,
    strategy,
)
from jprm.seeds import seed_of
from jprm.tasks.baseline import Baseline
from jprm.tasks.benchmark import load_items
from jprm.tasks.policy import Policy
from jprm.tasks.pretrained import model_digest
from jprm.tasks.resources import Speed, TaskContext
from jprm.tasks.reward_models import (
    Changed,
    blind,
    model_cost,
    registered_rewards,
    shuffled,
    stored_rewards,
    verifier_rewards,
    whole_steps,
)
from jprm.tasks.scores import HeadRewards
from jprm.tasks.verifier import TrainedVerifier, protocol_inputs
from jprm.tasks.votes import VerifierSampling, Votes
from jprm.verify.texts import stop_when
from jprm.worlds.base import Split

ROWS = "rows.jsonl"
# Settings of the verifier that decide no row, or stand among the inputs in another form.
NO_INPUTS = ("n_votes", "workers", "place", "protocol", "chat", "overrides")
FREE = ("problems",)  # how many are searched decides no row
RATIONALES_PER_PROBLEM = 50  # of one vote; only the plan and the ETA use it
Control = Literal["none", "place", "score"]  # what a search is denied


@dataclass(frozen=True, eq=False)
class Search(Task):
    """Problems searched by a strategy; `rows` reads them. The problems are those of candidates.

    settings: of the strategy, as JSON. votes: of the verifier on every step. head: a baseline that scores instead of
    the verifier; scorer: a registered one that does, by the checkpoint in scorer_model where it has one.
    candidates: the verifier's votes on candidates, whose rewards the control "score" draws.
    direct_learning_rate: of the verifier that a scorer without rationales samples, where it is not the recipe's.
    in_flight: the problems that are searched side by side.

    control: "place", each solution's rewards are put in another order, which keeps the scores of most aggregations and
        loses the place of a fault; "score", they are drawn from those of other solutions, which loses all but how often
        the verifier doubts.
    """

    kind: ClassVar[str] = "search"
    version: ClassVar[int] = 2  # votes are drawn, and counted, by beginnings of solutions
    strategy: str
    settings: str
    policy: Policy
    sampling: VerifierSampling
    votes: int
    problems: int
    split: Split
    control: Control = "none"
    head: Baseline | None = None
    scorer: str = ""
    scorer_model: Path | None = None
    candidates: Votes | None = None
    direct_learning_rate: float | None = None
    in_flight: int = 128

    @property
    def seed(self) -> int:
        """The seed of the policy and the verifier."""
        return self.sampling.verifier.seed

    @property
    def label(self) -> str:
        by = self.scorer or (self.head or self.sampling.verifier).label
        without = "" if self.control == "none" else f" without the {self.control}"
        return f"{self.strategy} {self.settings} by {by}{without}, {self.split}"

    @property
    def plugin(self) -> str:
        """The digests of the files outside of this package that define what is named here; "" where none does."""
        words = [value for value in json.loads(self.settings).values() if isinstance(value, str)]
        named = [(strategy, self.strategy), (scorer, self.scorer)]
        named += [(kind, word) for kind in (aggregation, choice) for word in words]
        found = (registry.digest(name) for registry, name in named if name in registry.names())
        return "+".join(dict.fromkeys(filter(None, found)))

    def parents(self) -> tuple[Task, ...]:
        """The policy and the verifier, and its rewards where others take their place."""
        asked = self.policy.model, self.head or self.sampling.verifier
        return (*asked, self.candidates) if self.candidates and self.control == "score" else asked

    def inputs(self) -> dict[str, Any]:
        verify = self.sampling.verify.model_dump(
            mode="json", exclude={"n_votes", "workers", "place", "protocol", "chat", "overrides"}
        )
        return {
            "strategy": self.strategy,
            "settings": json.loads(self.settings),
            "votes": self.votes,
            "problems": self.problems,
            "split": self.split,
            "control": self.control,
            "scorer": self.scorer,
            "plugin": self.plugin,
            "world": self.policy.world.identity,
            "temperature": self.policy.temperature,
            "max_tokens": self.policy.max_tokens,
            "policy_context_tokens": self.policy.context_tokens,
            **self.policy.inputs(),
            "verify": verify,
            "slots": self.sampling.slots,
            **protocol_inputs(self.sampling.verifier.verify, self.sampling.verifier.template),
            **({"direct": self._styled("direct").key} if self.scorer else {}),
            **({"scorer_model": model_digest(self.scorer_model)} if self.scorer_model else {}),
        }

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Searches what has no row yet, in this stage or in one of more or fewer problems."""
        path, world = stage.file(ROWS), self.policy.world
        if not path.exists():
            alike = (other.path for other in context.stages.alike(self, FREE))
            others = (folder / ROWS for path in alike for folder in (path, holder(path)) if folder)
            if found := next((rows for rows in others if rows.exists()), None):
                shutil.copy(found, path)
        generator = policy_steps(context.stages, self.policy)
        rows = run_search(
            self.drawn_problems(),
            make_strategy(self.strategy, **json.loads(self.settings)),
            generator,
            self._reward_model(context),
            world.world,
            path,
            refiner=Redraw(generator),
            inputs=inputs_without(self.all_inputs, FREE),
            in_flight=self.in_flight,
            progress=lambda text: context.progress.show(f"{self.label}: {text}"),
        )
        return {"problems": len(rows), "lost": sum(bool(row["error"]) for row in rows)}

    def drawn_problems(self) -> list[Problem]:
        """The problems: the first of a split for which candidates are drawn, too."""
        seed = seed_of(self.seed, "benchmark", "candidates")
        return self.policy.world.world.problems(self.split, self.problems, seed)

    def rows(self, stages: Stages) -> list[dict[str, Any]]:
        """The rows of the finished search, in the order of their problems' ids."""
        ids = {problem.id for problem in self.drawn_problems()}
        found = read_jsonl(stages[self].file(ROWS), ROW)  # perhaps with more that were taken over
        return sorted((row for row in found if row["problem_id"] in ids), key=lambda row: row["problem_id"])

    def flops(self) -> float:
        """The expected FLOPs, most of them the verifier's."""
        return self.sampling.decode_flops(self.problems * self.votes * RATIONALES_PER_PROBLEM)

    def seconds(self, speed: Speed) -> float:
        return 10 + self.flops() / speed.decode

    def _reward_model(self, context: TaskContext) -> RewardModel:
        if self.scorer:
            return registered_rewards(context, self.sampling, self.scorer, self.votes, self._styled, self.scorer_model)
        if self.head is not None:
            return whole_steps(self.sampling, HeadRewards(context.stages, self.head))
        model = _verifier(context, self.sampling, self.votes)
        if self.control == "place":
            return Changed(model, shuffled(self.seed))
        if self.control == "score":
            assert self.candidates is not None, "the control draws the rewards of candidates"
            items = load_items(context.stages[self.candidates.benchmark])
            stored = stored_rewards(context.stages, [self.candidates], self.votes)
            replies = stored.score([(item.problem, item.solution.steps) for item in items])
            return Changed(model, blind([r for reply in replies for r in reply.rewards], self.seed))  # type: ignore[union-attr]
        return model

    def _styled(self, style: str) -> TrainedVerifier:
        return self.sampling.verifier.of_style(style, self.direct_learning_rate if style == "direct" else None)


def policy_steps(stages: Stages, policy: Policy) -> SampledSteps:
    """The policy as a generator of steps."""
    world, tokenizer = policy.world.world, policy.model.tokenizer
    ends: tuple[str, ...] = ()
    if policy.asking is not None:  # a step may end in the midst of a token, or with several
        if not world.step_end:
            raise UserError(
                "world.settings.steps_pattern: a search grows steps one by one, and cannot tell where a pattern will "
                'end one; take world.settings.steps = "paragraphs" or "lines"'
            )
        ends = (world.step_end,)
    layout = Layout(
        () if ends else boundary_ids(tokenizer, tokenizer.vocab_size),
        world.split_steps,
        policy.max_tokens,
        is_final=lambda steps: world.answer(steps) is not None,
        stop_when=stop_when(tokenizer, ends) if ends else None,
    )
    return SampledSteps(
        _sampler(stages, policy, ends),
        tokenizer,
        layout,
        seed_of(policy.seed, "search"),
        prompt=policy.prompt,
        cost=model_cost(policy.model),
    )


# Searches of one process share engines, which take seconds to compile, and what the verifier said of beginnings.


@functools.lru_cache(maxsize=2)
def _sampler(stages: Stages, policy: Policy, stop_texts: tuple[str, ...]):
    return policy.sampler(stages, stop_texts)


@functools.lru_cache(maxsize=2)
def _verifier(context: TaskContext, sampling: VerifierSampling, votes: int) -> RewardModel:
    return verifier_rewards(context, sampling, votes)
