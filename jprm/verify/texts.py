"""Texts of others enter a conversation quoted, so that none of them can forge a turn or a tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jprm.quoting import marked
from jprm.verify.ports import TextCodec


@dataclass(frozen=True)
class Texts:
    """A codec as conversations use it.

    quote: of a problem, a step, an output. encode, decode: of texts with quoted parts. knows_marks:
        whether these read what is marked.
    """

    quote: Callable[[str], str]
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    knows_marks: bool

    def quote_output(self, output: str, tags: Sequence[str]) -> str:
        """Quotes what code printed, so that it cannot open or close a section of the rationale either."""
        quoted = self.quote(output)
        return marked(quoted, tags) if self.knows_marks else quoted


def texts_of(codec: TextCodec, reference: bool = False) -> Texts:
    """Returns how conversations use a codec: with its own quoting (see `jprm.quoting`).

    With `reference`, and for a codec without control tokens, which has none, texts stay as they are:
    what spells a control token becomes it.
    """
    quote = getattr(codec, "quote", None)
    if reference or quote is None:
        return Texts(lambda text: text, codec.encode, codec.decode, False)
    return Texts(quote, codec.encode_quoted, codec.decode_quoted, True)  # type: ignore[attr-defined]
