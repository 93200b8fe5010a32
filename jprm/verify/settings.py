"""How to verify: everything about a run of the driver but its inputs."""

from typing import Literal

from pydantic import Field, InstanceOf

from jprm.config import Config
from jprm.errors import UserError
from jprm.quoting import TextCodec
from jprm.records import ReadOut
from jprm.verify.chat_dialogue import ChatDialogue
from jprm.verify.compact import EMBEDDED, CompactDialogue, Template
from jprm.verify.conversation import Overflow
from jprm.verify.critique import Critique, CritiqueDialogue
from jprm.verify.genprm import GenPRM
from jprm.verify.protocol import Dialogue, Execution, RationaleFormat
from jprm.verify.teacher import Teacher, TeacherDialogue
from jprm.verify.think import ThinkDialogue, ThinkPRM

Mode = Literal["chain", "fork"]
CheckpointProtocol = GenPRM | ThinkPRM | Critique  # the protocols that checkpoints are judged with
DIALOGUES: dict[type, type[Dialogue]] = {
    Template: CompactDialogue,
    GenPRM: ChatDialogue,
    ThinkPRM: ThinkDialogue,
    Critique: CritiqueDialogue,
    Teacher: TeacherDialogue,
}


class VerifySettings(Config):
    """The options of `verify`."""

    context_tokens: int = Field(ge=1)
    """Tokens of the longest conversation that the sampler holds."""
    mode: Mode = "chain"
    """Whether each vote continues its own rationales, or all votes those of vote 0 (see `jprm.verify.driver`)."""
    style: str = "full"
    """Which sections a rationale has: full, code, analysis or direct."""
    execute: Execution = "executed"
    """Whether code is executed, its output is invented by the model, or there is none."""
    temperature: float = 1.0
    """The temperature at which the sampler draws; only the tempered readout needs it."""
    max_in_flight: int = Field(default=128, ge=1)
    """Conversations at a time; a few more than the sampler's slots keep a queue ready."""
    readout: ReadOut = "vote"
    """The reward by which `stop_early` judges a step."""
    template: InstanceOf[RationaleFormat] = EMBEDDED
    """The rationale protocol."""
    overflow: Overflow = "give_up"
    """What becomes of a conversation that outgrows the context (see `jprm.verify.conversation`)."""

    def dialogue(self, codec: TextCodec, step: int) -> Dialogue:
        """Begins the rationale of a 0-based step. Raises UserError for a style that does not exist."""
        return begin_dialogue(self.template, codec, step, self.style, self.execute)


def begin_dialogue(format: RationaleFormat, codec: TextCodec, step: int, style: str, execute: Execution) -> Dialogue:
    """Begins the rationale of a 0-based step in a protocol. Raises UserError for a style that does not exist."""
    return dialogue_of(format)(format, codec, step, style, execute)


def dialogue_of(format: RationaleFormat) -> type[Dialogue]:
    """Returns the state machine that plays a protocol. Raises UserError for one of a plugin that names none."""
    known = (DIALOGUES[kind] for kind in type(format).__mro__ if kind in DIALOGUES)
    if (found := format.dialogue or next(known, None)) is None:
        name = type(format).__name__
        raise UserError(
            f"the protocol {name} does not say how it is played: set its class variable `dialogue` to a Dialogue"
        )
    return found
