"""What a checkpoint remembers of its training: it is judged in the protocol that it was trained in, unless one asks."""

import sys
from pathlib import Path
from typing import Any, TypeVar

from jprm.errors import UserError
from jprm.experiments.benchmark.config import JudgeConfig
from jprm.formats.protocols import PROTOCOL_FILE, ProtocolChoice, read_protocol
from jprm.jobs import differing_keys, flattened
from jprm.models.locate import find_checkpoint
from jprm.score import find_scorer
from jprm.terminal import say
from jprm.verify import CheckpointProtocol, GenPRM, ThinkPRM, published

J = TypeVar("J", bound=JudgeConfig)
KINDS: dict[str, type[CheckpointProtocol]] = {"genprm": GenPRM, "thinkprm": ThinkPRM}
SCORERS = {
    **{("genprm", "full"): "genprm", ("genprm", "code"): "genprm-code", ("genprm", "analysis"): "genprm-analysis"},
    **{("genprm", "direct"): "direct", ("thinkprm", "analysis"): "thinkprm"},
}
# What is asked of a rationale, not how it is written: it may differ between training and use.
FREE = ("budget.", "sampling.", "code.")


def as_trained(config: J) -> J:
    """Lays what the checkpoint was trained in under what the user asks, and says so in one line.

    The line also says in what they differ, where the user asks for something else. A checkpoint that does not remember
    its training, such as a published one, is judged as ever. Raises UserError for a file of it that is damaged.
    """
    asked = "scorer" in config.model_fields_set
    if config.model is None:
        return config
    if asked and not find_scorer(config.scorer).samples:
        return config
    found = _found(config.model)
    if found is None:
        return config
    path, trained = found
    # 1. The scorer that judges in this protocol and style, where the user names none.
    own = SCORERS.get((trained.name, trained.style))
    if own and not asked:
        config = config.model_copy(update={"scorer": own})
    scorer = find_scorer(config.scorer)
    if scorer.protocol is not KINDS.get(trained.name) or getattr(scorer, "style", "") != trained.style:
        differs = [f"the scorer {config.scorer} judges in another protocol or style"]
    else:
        # 2. Its chat and its overrides, unless the user gives a file.
        as_it_was = _texts(path, scorer.protocol, trained)
        if config.protocol is None:
            chat, overrides = config.chat or trained.chat, (*trained.overrides, *config.overrides)
            config = config.model_copy(update={"chat": chat, "overrides": overrides})
        differs = differing_keys(as_it_was, _texts_of(config.read_protocol(scorer.protocol)))
    where = f"{path}: the model was trained in {trained}"
    say(f"{where}; it is asked otherwise: {'; '.join(differs)}" if differs else f"{where}; it is asked so", sys.stderr)
    return config


def _found(model: Path) -> tuple[Path, ProtocolChoice] | None:
    """Returns what was trained last, an adapter or its base, and remembers it; None where nothing does."""
    checkpoint = find_checkpoint(model, "--model", weights=False)
    for directory in (*reversed(checkpoint.adapters), checkpoint.directory):
        if trained := read_protocol(directory):
            return directory / PROTOCOL_FILE, trained
    return None


def _texts(path: Path, kind: type[CheckpointProtocol], trained: ProtocolChoice) -> dict[str, Any]:
    chat = (f"chat.turns={trained.chat}",) if kind is GenPRM else ()
    try:
        return _texts_of(published(kind, (*chat, *trained.overrides)))
    except UserError as error:
        raise UserError(f"{path}: {error}; correct it, or delete the file") from None


def _texts_of(protocol: CheckpointProtocol) -> dict[str, Any]:
    """Returns those settings of a protocol that decide the texts a model is trained on."""
    settings = flattened(protocol.model_dump(mode="json"))
    return {key: value for key, value in settings.items() if not key.startswith(FREE)}
