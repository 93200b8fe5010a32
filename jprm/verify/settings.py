"""How to verify: everything about a run of the driver but its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from jprm.errors import UserError
from jprm.records import ReadOut
from jprm.verify.genprm import GenPRM
from jprm.verify.history import Overflow
from jprm.verify.template import EMBEDDED, Budget, Execution, Template
from jprm.verify.think import ThinkPRM

Mode = Literal["chain", "fork"]
ONE_VOTE = "all votes would be the same, so one is drawn for each step"


def votes_drawn(asked: int, temperature: float, top_k: int = 0) -> int:
    """The votes worth their price: one where sampling is greedy, since it leaves nothing to chance."""
    return 1 if temperature == 0 or top_k == 1 else asked


@dataclass(frozen=True)
class Settings:
    """Options of `verify`. Raises UserError for an unknown mode or sizes below 1.

    context_tokens: longest conversation that the sampler holds, in tokens.
    temperature: at which the sampler draws; only needed for the tempered readout.
    max_in_flight: conversations at a time; a few more than the sampler's lanes keep a queue ready.
    readout: reward by which `stop_early` judges a step.
    budget: None is the template's.
    overflow: what becomes of a conversation that outgrows the context; see `history`.
    """

    context_tokens: int
    mode: Mode = "chain"
    style: str = "full"
    execute: Execution = "executed"
    temperature: float = 1.0
    max_in_flight: int = 128
    readout: ReadOut = "vote"
    budget: Budget | None = None
    template: Template | GenPRM | ThinkPRM = EMBEDDED
    overflow: Overflow = "give_up"

    def __post_init__(self):
        """Check what no later use would name clearly; style and execute are the dialogue's."""
        for name, value, kind in (
            ("mode", self.mode, Mode),
            ("readout", self.readout, ReadOut),
            ("overflow", self.overflow, Overflow),
        ):
            if value not in get_args(kind):
                raise UserError(f"{name} {value!r} is unknown; known: {', '.join(get_args(kind))}")
        for name in ("context_tokens", "max_in_flight"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)} must be at least 1")
