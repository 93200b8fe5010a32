"""One conversation of the driver, and the tokens of its text."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from jprm.verify.format import Format, Machine
from jprm.verify.history import History
from jprm.verify.ports import CodeSession, TextCodec
from jprm.verify.settings import Settings
from jprm.verify.table import Table
from jprm.verify.texts import texts_of


@dataclass(eq=False)
class Lane:
    """One conversation: a vote on all steps from `step` on (chain) or on this one only (fork)."""

    table: Table
    vote: int
    step: int
    dialogue: Machine
    session: CodeSession | None
    history: History  # the conversation up to this step's rationale
    held: str  # all of it, as the sampler holds it
    ids: list[int]  # and its tokens
    handle: int = -1
    turn: list[int] = field(default_factory=list)  # generated since something was forced
    watched: list[Any] = field(default_factory=list)  # log-probabilities of yes and no for it
    heard: int = 0  # tokens of `turn` that the dialogue has been fed
    exact: bool = True  # whether `ids` are the tokens of `held`
    restarts: int = 0  # times that the conversation was submitted anew


class Tokens:
    """What a conversation's text is in tokens, and how it is made to fit into the context."""

    def __init__(self, format: Format, codec: TextCodec, settings: Settings):
        self._retokenize, self._settings = format.retokenize, settings
        self._encode_anew = texts_of(codec, format.reference).encode
        # The same few texts are forced over and over: every vote is given the same steps.
        self._encode = functools.lru_cache(maxsize=4096)(lambda text: tuple(self._encode_anew(text)))

    def of(self, whole: str, held: Lane | None) -> list[int]:
        """The tokens of a text; those that a conversation holds are kept where the format says so.

        A text that is the same to the letter is never tokenised again.
        """
        if held is not None and held.exact and whole.startswith(held.held):
            rest = whole[len(held.held) :]
            if not (rest and self._retokenize):
                return [*held.ids, *self._encode(rest)]
        return list(self._encode_anew(whole))

    def make_room(
        self, history: History, said: str, max_tokens: int, held: Lane | None
    ) -> tuple[History, list[int], bool]:
        """The history, shortened as far as need be, all tokens with what was said, and if they fit."""
        room = self._settings.context_tokens - max_tokens
        ids, shorter = self.of(history.text + said, held), history
        while len(ids) > room:
            shorter = shorter.shorter(self._settings.overflow)
            if shorter is None:
                return history, ids, False
            ids = list(self._encode_anew(shorter.text + said))
        return shorter, ids, True
