"""A world that is loaded, with what decides its texts and with its vocabulary."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jprm.tasks.settings import WorldSection
from jprm.worlds import load_world, reads_root, world

if TYPE_CHECKING:  # loads tokenizers
    from jprm.tokenizer import Tokenizer


class OpenWorld:
    """A loaded world, what decides its texts, and its vocabulary, which is made once."""

    def __init__(self, section: WorldSection, root: Path | None = None):
        """Loads the world; `root` is the folder of its files where its settings name none. Raises UserError."""
        files = {"root": root} if reads_root(section.kind) else {}
        self.kind = section.kind
        self.world = load_world(section.kind, **files | section.settings)
        self.identity: dict[str, Any] = {
            "kind": section.kind,
            "settings": {k: v for k, v in section.settings.items() if k not in self.world.path_settings},
            "version": self.world.version,
            "data": self.world.digest,
        }
        if plugin := world.digest(section.kind):
            self.identity["plugin"] = plugin

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The world's vocabulary."""
        return self.world.tokenizer()
