"""Stops that are texts and not tokens: found across token boundaries, by token ids alone.

A sampler knows no text. It is given the token ids at which a stop can end (`trigger_ids`) and a
question to ask there (`stop_when`); the answer may be a false alarm, never a miss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jprm.verify.ports import TextCodec


def ends_of_text(codec: TextCodec) -> tuple[int, ...]:
    """All tokens with which a model ends its text; a codec that knows several has `eos_ids`."""
    return getattr(codec, "eos_ids", (codec.eos_id,))


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the first stop in `text` ends; None if there is none."""
    return min((at + len(s) for s in stops if (at := text.find(s)) >= 0), default=None)


def may_stop(text: str, stops: Sequence[str]) -> bool:
    """Whether a stop lies in `text` or might, begun in what came before, end with it."""
    return bool(text) and any(stop in text or stop.endswith(text) for stop in stops)


def stop_when(codec: TextCodec, stops: Sequence[str]) -> Callable[[list[int]], bool]:
    """Whether what was drawn since the last event ends in, or just behind, one of the stops.

    Only the newest tokens are read: as many as can share a stop, or the end of the text.
    """
    window = 2 * max(map(len, stops))
    return lambda drawn: may_stop(codec.decode(drawn[-window:]), stops)


def trigger_ids(codec: TextCodec, vocab_size: int, stops: Sequence[str]) -> list[int]:
    """The tokens with which a stop can end: they hold it, or begin with an end of it."""
    ends = tuple({stop[at:] for stop in stops for at in range(len(stop))})
    texts = ((i, codec.decode([i])) for i in range(vocab_size))
    return [i for i, t in texts if t.startswith(ends) or any(stop in t for stop in stops)]
