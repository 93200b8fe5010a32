"""A world that is loaded, with what decides its texts and with its vocabulary."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jprm.tasks.settings import WorldSection
from jprm.worlds import load_world

if TYPE_CHECKING:  # loads tokenizers
    from jprm.tokenizer import Tokenizer


class OpenWorld:
    """A loaded world, what decides its texts, and its vocabulary, which is made once."""

    def __init__(self, section: WorldSection, root: Path | None = None):
        """Loads the world; `root` is the folder of the files of a world that reads some. Raises UserError."""
        files = {"root": root} if section.kind == "gsm8k" else {}
        self.kind = section.kind
        self.world = load_world(section.kind, **section.settings, **files)
        self.identity: dict[str, Any] = {
            "kind": section.kind,
            "settings": section.settings,
            "version": self.world.version,
            "data": self.world.digest,
        }

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The world's vocabulary."""
        return self.world.tokenizer()
