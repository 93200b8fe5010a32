"""Generative verification: what a verifier says about each step of a solution, vote by vote.

Enter by `verify` (the driver: many solutions and votes over one sampler and one code executor), by
`Branches` (the same for the branches of searches, each beginning judged once), by a protocol alone
(`CompactDialogue`, `ChatDialogue`: text in, actions out), or by the votes:
`mean_reward`, `first_error`. `protocol` knows the protocols by name, and registers those of one's
own. It samples with any `jprm.sampling.Sampler` and imports no JAX.
"""

from jprm.verify.branches import Branches
from jprm.verify.by_name import OURS, make_protocol, protocol
from jprm.verify.chat_dialogue import ChatDialogue
from jprm.verify.compact import EMBEDDED, CompactDialogue, Template
from jprm.verify.conversation import Overflow
from jprm.verify.critique import Critique, in_paragraphs, paragraph_verdicts
from jprm.verify.driver import verify
from jprm.verify.genprm import GenPRM
from jprm.verify.pieces import Run, conversation_pieces, play
from jprm.verify.protocol import Budget, Dialogue, Done, Execute, Execution, Generate, Pieces, RationaleFormat
from jprm.verify.published import protocol_for, published
from jprm.verify.settings import CheckpointProtocol, Mode, VerifySettings
from jprm.verify.snippets import CodeSettings
from jprm.verify.table import LOST
from jprm.verify.teacher import Teacher, as_paragraphs
from jprm.verify.texts import trigger_ids
from jprm.verify.think import ThinkPRM, step_verdicts, whole
from jprm.verify.votes import ONE_VOTE, first_error, mean_reward, votes_drawn
