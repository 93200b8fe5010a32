"""The rationale protocol in which rows were written, and which a model that was trained on them remembers.

A row of conversations tells it under the key `protocol`: `{"name": "genprm", "chat": "template", "style": "full",
"overrides": ["budget.max_tokens=512"]}`. A trained model keeps the same table in `jprm.json`, beside its weights.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from jprm.config import Config, checked
from jprm.errors import UserError
from jprm.registry import added
from jprm.strict_json import read_object

PROTOCOL_FILE = "jprm.json"
KEY = "protocol"
PUBLISHED = ("genprm", "thinkprm", "tags")


class ProtocolChoice(Config):
    """Which rationale protocol, and what of it is chosen."""

    name: str
    """The protocol: genprm or thinkprm, the published ones, tags, the compact one, or one of a plugin."""
    chat: Literal["published", "template"] = "published"
    """Whose turns a GenPRM conversation has: the published chat's, or those of the checkpoint's own template."""
    style: Literal["full", "code", "analysis", "direct"] = "full"
    """What a rationale consists of."""
    overrides: tuple[str, ...] = ()
    """`key=value` of the protocol's file."""

    @field_validator("name")
    @classmethod
    def _a_protocol(cls, name: str) -> str:
        known = (*PUBLISHED, *sorted(added("protocol")))
        if name not in known:
            raise ValueError(f"no protocol of that name; known: {', '.join(known)}, and those of plugins once loaded")
        return name

    @field_validator("overrides")
    @classmethod
    def _are_overrides(cls, overrides: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [text for text in overrides if not text.partition("=")[1]]:
            raise ValueError(f"{wrong[0]!r} is not key=value")
        return overrides

    def __str__(self) -> str:
        return ", ".join([self.name, f"chat {self.chat}", f"style {self.style}", *self.overrides])


def protocol_of(row: Mapping[str, Any]) -> ProtocolChoice | None:
    """Returns the protocol of a row; None where it does not say one. Raises UserError for another form."""
    table = row.get(KEY)
    if table is None:
        return None
    if not isinstance(table, dict):
        raise UserError(f"'{KEY}' must be an object with name, chat and style, it is {table!r:.40}")
    try:
        return checked(ProtocolChoice, table, f"'{KEY}'")
    except UserError as error:
        raise UserError(f"'{KEY}': {error}") from None


def protocol_json(choice: ProtocolChoice) -> str:
    """Returns the content of the file `jprm.json` of a model that was trained in this protocol."""
    return json.dumps({KEY: choice.model_dump(mode="json")}, indent=1) + "\n"


def read_protocol(directory: Path) -> ProtocolChoice | None:
    """Returns the protocol in which the model of a directory was trained; None where it does not say.

    Raises UserError for a damaged file.
    """
    path = Path(directory) / PROTOCOL_FILE
    if not path.exists():
        return None
    try:
        return protocol_of(read_object(path, "delete it, or export the model again"))
    except UserError as error:
        where = "" if str(error).startswith(str(path)) else f"{path}: "
        raise UserError(f"{where}{error}") from None
