"""The policy: the base model of the size named by `model.policy`, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence

from jprm.label import Rollout
from jprm.label import sample_solutions as sample
from jprm.pipeline.base import Base
from jprm.pipeline.lab import Lab
from jprm.records import Problem
from jprm.seeds import seed_of


def policy_base(lab: Lab, seed: int) -> Base:
    """The task that trains the policy of a seed."""
    return Base(lab.config.model.policy, seed, "policy")


def policy_engine(lab: Lab, seed: int):
    """An engine that writes solutions at the temperature of `labels`."""
    from jprm.train import load_params

    params, _ = load_params(lab.stage(policy_base(lab, seed)).file("weights"))
    labels = lab.config.labels
    return lab.engine(lab.config.model.policy, params, labels.temperature, labels.context_tokens)


def sample_solutions(
    lab: Lab, problems: Sequence[Problem], n: int, seed: int, purpose: str
) -> list[tuple[Rollout, ...]]:
    """`n` samples of each problem, in the order of the problems."""
    chunks = sample(
        problems,
        n,
        lab.world,
        policy_engine(lab, seed),
        lab.tokenizer,
        seed=seed_of(seed, purpose),
        max_tokens=lab.config.labels.max_tokens,
        chunk_problems=512,
    )
    return [record.samples for chunk in chunks for record in chunk]
