"""Texts and tokens: how texts of others are quoted, and how stops that are texts are found.

Texts of others enter a conversation quoted, so that none of them can forge a turn or a tag.

A sampler knows no text. It is given the token ids at which a stop can end (`trigger_ids`) and a
question to ask there (`stop_when`); the answer may be a false alarm, never a miss.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jprm.quoting import TextCodec, marked
from jprm.sampling import StopWhen


@dataclass(frozen=True)
class Texts:
    """A codec as conversations use it.

    quote: quotes a problem, a step or an output. encode, decode: of texts with quoted parts.
    knows_marks: whether these two read what is marked.
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


def ends_of_text(codec: TextCodec) -> tuple[int, ...]:
    """Returns all tokens with which a model ends its text; a codec that knows several has `eos_ids`."""
    return getattr(codec, "eos_ids", (codec.eos_id,))


def end_of_turn_id(codec: TextCodec, end_of_turn: str) -> int:
    """Returns the token that stands for a format's end of turn: its own where the codec ends texts with that one."""
    ids = codec.encode(end_of_turn) if codec.accepts(end_of_turn) else []
    return ids[0] if len(ids) == 1 and ids[0] in ends_of_text(codec) else codec.eos_id


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Returns where the first stop in `text` ends; None if there is none."""
    return min((at + len(s) for s in stops if (at := text.find(s)) >= 0), default=None)


def may_stop(text: str, stops: Sequence[str]) -> bool:
    """Says whether a stop lies in `text` or might, begun in what came before, end with it."""
    return bool(text) and any(stop in text or stop.endswith(text) for stop in stops)


def stop_when(codec: TextCodec, stops: Sequence[str]) -> StopWhen:
    """Returns the question whether what was drawn since the last event ends in, or just behind, a stop.

    Only the newest tokens are read: as many as can share a stop, or the end of the text.
    """
    window = 2 * max(map(len, stops))
    return lambda drawn: may_stop(codec.decode(drawn[-window:]), stops)


def trigger_ids(codec: TextCodec, vocab_size: int, stops: Sequence[str]) -> list[int]:
    """Returns the tokens with which a stop can end: they hold it, or begin with an end of it."""
    ends = tuple({stop[at:] for stop in stops for at in range(len(stop))})
    texts = ((i, codec.decode([i])) for i in range(vocab_size))
    return [i for i, t in texts if t.startswith(ends) or any(stop in t for stop in stops)]
