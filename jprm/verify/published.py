"""Protocols by name: the published ones from their files, and any of them as a checkpoint is to be asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from jprm.config import load
from jprm.errors import UserError
from jprm.paths import shipped_files
from jprm.quoting import TextCodec
from jprm.verify.compact import EMBEDDED, Template
from jprm.verify.critique import Critique
from jprm.verify.genprm import GenPRM
from jprm.verify.think import ThinkPRM

FOLDER = "verify"  # of configs/
P = TypeVar("P", bound=GenPRM | ThinkPRM | Critique)


def published(kind: type[P], overrides: Sequence[str] = (), file: Path | None = None) -> P:
    """Reads the published protocol of this kind, or the one in `file`, and lays `key=value` overrides over it.

    Raises UserError for a mistake in either.
    """
    return load(kind, file or shipped_files(FOLDER)[kind.__name__.lower()], overrides)


def protocol_for(name: str, chat: str, codec: TextCodec, overrides: Sequence[str] = ()) -> GenPRM | ThinkPRM | Template:
    """Returns a rationale protocol as a model with this tokenizer is to be trained or asked in it.

    name: "genprm", "thinkprm", or "tags" for the compact one. chat: "published", or (of "genprm") "template" for the
    checkpoint's own. overrides: `key=value` of the protocol's file; "tags" has none, its budget is replaced.

    Raises UserError for names that do not exist or do not go together, and for a tokenizer that does not fit.
    """
    if chat not in ("published", "template"):
        raise UserError(f"chat = {chat!r}: known: published, template")
    if name == "genprm":
        return published(GenPRM, (*overrides, f"chat.turns={chat}")).for_codec(codec)
    if chat == "template":
        raise UserError(f"chat = 'template': only genprm is laid out in a checkpoint's own chat, not {name}")
    if name == "thinkprm":
        return published(ThinkPRM, overrides)
    if name != "tags":
        raise UserError(f"no protocol {name!r}; known: genprm, thinkprm, tags")
    if overrides:
        raise UserError(f"{overrides[0]!r}: the protocol tags is no file that could be overridden")
    try:
        EMBEDDED.stop_ids(codec)
    except UserError as error:
        raise UserError(f"the protocol tags needs tags that are tokens of the vocabulary ({error})") from None
    return EMBEDDED
