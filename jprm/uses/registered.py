"""A scorer that was chosen by name as the reward model of a search, with a sweep's verifier to sample."""

from __future__ import annotations

import dataclasses
import functools

from jprm.errors import UserError
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.lab import Lab
from jprm.pipeline.verifier import Verifier
from jprm.pipeline.votes import verifier_engine, verify_settings
from jprm.score import Generator, Setup, find_scorer
from jprm.search import VoteRewards
from jprm.seeds import seed_of
from jprm.uses.config import UsesConfig
from jprm.uses.judges import model_cost
from jprm.verify import Execution


def of_style(config: SweepConfig, verifier: Verifier, style: str) -> Verifier:
    """The verifier of this run that is like another one but for its style."""
    own = {}
    if style == "direct" and isinstance(config, UsesConfig):
        own["learning_rate"] = config.learning_rate.direct
    return dataclasses.replace(verifier, style=style, **own)


def registered_scorer(lab: Lab, verifier: Verifier, name: str, votes: int) -> VoteRewards:
    """The rewards of any scorer of `jprm.score`.

    Raises UserError for an unknown name, and for a style that the sweep has no verifier of.
    """
    verify, cls = lab.config.verify, find_scorer(name)
    setup = Setup(
        model=None,
        mode=verify.mode,
        readout=verify.readout,
        seed=seed_of(verifier.seed, "search votes"),
        stop_early=False,
        generator=functools.partial(_generator, lab, verifier),
    )
    cost = model_cost(lab, verifier.size) if cls.samples else None
    return VoteRewards(cls(setup), votes, verify.readout, lab.tokenizer, cost)


def _generator(lab: Lab, verifier: Verifier, style: str, execution: Execution) -> Generator:
    """The sweep's verifier of this style."""
    verifier = of_style(lab.config, verifier, style)
    if not lab.stage(verifier).done:
        raise UserError(f"the sweep has trained no verifier {verifier.label}; choose another scorer")
    settings = verify_settings(lab, style, execution, lab.config.verify.mode)
    return Generator(verifier_engine(lab, verifier), lab.pool, lab.tokenizer, settings)
