"""How texts of others get into a conversation: quoted, so that none of them forges a turn or a tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jprm.verify.ports import TextCodec


@dataclass(frozen=True)
class Texts:
    """A codec as conversations use it.

    quote: of a problem, a step, an output. encode, decode: of texts with quoted parts.
    """

    quote: Callable[[str], str]
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]


def texts_of(codec: TextCodec, reference: bool = False) -> Texts:
    """The codec's own quoting (see `jprm.quoting`).

    With `reference`, and for a codec without control tokens, which has none, texts stay as they are:
    what spells a control token becomes it.
    """
    quote = getattr(codec, "quote", None)
    if reference or quote is None:
        return Texts(lambda text: text, codec.encode, codec.decode)
    return Texts(quote, codec.encode_quoted, codec.decode_quoted)  # type: ignore[attr-defined]
