"""Generative verification: what a verifier says about each step of a solution, vote by vote.

Enter by `verify` (the driver: many solutions and votes over one sampler and one code executor), by
`Branches` (the same for the branches of searches, each beginning judged once), by
`Dialogue` (the rationale protocol alone: text in, actions out), or by the votes: `mean_reward`,
`majority`, `first_error`. The room declares the sampler and the executor that it needs as protocols
(`ports`) and imports neither them nor JAX.
"""

from jprm.verify.branches import Branches
from jprm.verify.chat_dialogue import ChatDialogue
from jprm.verify.driver import verify
from jprm.verify.genprm import GenPRM
from jprm.verify.history import Overflow
from jprm.verify.ports import CodeSession, Event, Executor, Sampler, TextCodec
from jprm.verify.protocol import Dialogue, Done, Execute, Generate
from jprm.verify.readout import probability_yes, verdict_position
from jprm.verify.settings import ONE_VOTE, Mode, Settings, votes_drawn
from jprm.verify.stops import trigger_ids
from jprm.verify.template import EMBEDDED, Budget, Execution, Template
from jprm.verify.think import ThinkPRM, process_filter, step_verdicts, whole
from jprm.verify.votes import first_error, majority, mean_reward

__all__ = [
    "EMBEDDED",
    "ONE_VOTE",
    "Branches",
    "Budget",
    "ChatDialogue",
    "CodeSession",
    "Dialogue",
    "Done",
    "Event",
    "Execute",
    "Execution",
    "Executor",
    "GenPRM",
    "Generate",
    "Mode",
    "Overflow",
    "Sampler",
    "Settings",
    "Template",
    "TextCodec",
    "ThinkPRM",
    "first_error",
    "majority",
    "mean_reward",
    "probability_yes",
    "process_filter",
    "step_verdicts",
    "trigger_ids",
    "verdict_position",
    "verify",
    "votes_drawn",
    "whole",
]
