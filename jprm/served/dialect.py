"""What a server can do, found out by a few short requests before anything depends on it.

Servers that speak "OpenAI's protocol" agree on little. One draws some tokens without any condition,
then again with a stop text that lies among them: what is left of that text shows whether the server
names the stop, keeps it, takes it away without a word, or knows no stops. Where a request with all
fields is refused, every field is tried alone, which no wording of a refusal can mislead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.http import Failed, Refused
from jprm.served.completions import BROKEN, TOP, Completion, Told

PROBE = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, "
PROBE_TOKENS = 16
LOGPROBS = (TOP, 5, 1, 0)  # OpenAI allows 5
PIECE_TOKENS = 64  # drawn at a time where the server cannot be told where to stop

# What a run is without where a server refuses a field; "" where that is nothing but a convenience.
FIELDS = {
    "top_p": "no nucleus",
    "top_k": "no top-k",
    "seed": "votes do not repeat",
    "stop": "",
    "stop_token_ids": "",
    "add_special_tokens": "",
    "skip_special_tokens": "",
    "spaces_between_special_tokens": "",
    "include_stop_str_in_output": "",
    "no_stop_trim": "",
    "logprobs": "",
    "logprob_token_ids": "",
    "return_token_ids": "",
    "return_tokens_as_token_ids": "",
}
STOPS = {
    "named": "names the stop text",
    "kept": "keeps the stop text",
    "removed": "removes the stop text without a word",
    "ignored": "ignores or refuses stop texts",
    "unknown": "drew nothing to try a stop text on",
}
TOLD = {"ids": "token ids", "texts": "texts of tokens", "text": "a text alone"}


@dataclass(frozen=True)
class Dialect:
    """How to ask a server, and what to expect of its answers.

    takes_ids: whether a prompt may be token ids. fields: the optional ones that it takes.
    logprobs: how many it gives per token. chosen: whether it gives those of tokens that are named.
    """

    takes_ids: bool = True
    fields: frozenset[str] = frozenset(FIELDS)
    logprobs: int = TOP
    chosen: bool = False
    told: Told = "ids"
    stops: Literal["named", "kept", "removed", "ignored", "unknown"] = "unknown"

    @property
    def stops_at_texts(self) -> bool:
        """Whether the server can be asked to stop at texts, because its answers show at which text it did."""
        return self.stops in ("named", "kept")

    @property
    def probabilities(self) -> bool:
        """Whether P(Yes) can be read: both words need a log-probability at the same token."""
        return self.told != "text" and (self.chosen or self.logprobs > 1)

    def body(self, full: dict[str, Any]) -> dict[str, Any]:
        """Returns the request without the fields that the server does not take."""
        return {k: v for k, v in full.items() if k not in FIELDS or k in self.fields}

    def __str__(self) -> str:
        parts = [
            "takes token ids"
            if self.takes_ids
            else "takes texts (a blank without width breaks what others spell of its control tokens)",
            f"answers with {TOLD[self.told]}" + ("" if self.told != "text" else " (tokenised again here)"),
            STOPS[self.stops] + ("" if self.stops_at_texts else f" (cut here, {PIECE_TOKENS} tokens at a time)"),
            "log-probabilities of named tokens"
            if self.chosen
            else f"{f'up to {self.logprobs}' if self.logprobs else 'no'} log-probabilities a token",
        ]
        if not self.probabilities:
            parts.append("verdicts are read without probabilities")
        if dropped := [name for name in FIELDS if name not in self.fields]:
            said = (f"{n} ({FIELDS[n]})" if FIELDS[n] else n for n in dropped)
            parts.append(f"refuses {', '.join(said)}")
        return "; ".join(parts)


Draw = Callable[[Dialect, int, Sequence[str]], Completion]


def probe(draw: Draw, codec: ChatCodec, with_stops: bool, url: str) -> Dialect:
    """Finds out what a server can do.

    draw: asks for so many tokens behind `PROBE`, greedily, with these stop texts; raises Refused
        and Failed. with_stops: whether any will be wanted.
    Raises Failed and Refused where nothing is to be had from the server, and UserError where it
    completes no text, not even with the fewest fields, or says the prompt again.
    """
    dialect = Dialect()
    try:
        first = draw(dialect, PROBE_TOKENS, ())
    except (Refused, Failed) as error:
        if _is_final(error):
            raise
        dialect = _by_trial(draw, url)
        first = draw(dialect, PROBE_TOKENS, ())
    if first.text.startswith(PROBE):
        raise UserError(f"{url}: says the prompt again before it goes on; serve it without echo")
    chosen = "logprob_token_ids" in dialect.fields and _is_chosen(first)
    logprobs = dialect.logprobs if chosen else min(dialect.logprobs, first.logprobs)
    dialect = replace(dialect, told=first.told, logprobs=logprobs, chosen=chosen)
    return replace(dialect, stops=_stops(draw, dialect, first, codec)) if with_stops else dialect


def _is_final(error: Refused | Failed) -> bool:
    """Whether leaving fields out of the request could not help."""
    return (
        isinstance(error, Refused)
        and error.status not in (400, 422)
        or (isinstance(error, Failed) and not error.answered)
    )


def _is_chosen(first: Completion) -> bool:
    return bool(first.watched.size) and not bool(np.isnan(first.watched).any())


def _by_trial(draw: Draw, url: str) -> Dialect:
    """Tries each optional field by itself, and returns the dialect with all that the server takes."""

    def refusal(dialect: Dialect) -> Refused | Failed | None:
        try:
            draw(dialect, 1, ("\n\n\n",) if "stop" in dialect.fields else ())
        except (Refused, Failed) as error:
            if _is_final(error):
                raise
            return error
        return None

    least = Dialect(takes_ids=False, fields=frozenset(), logprobs=0)
    ids = replace(least, takes_ids=True)
    takes_ids = refusal(ids) is None
    if takes_ids:
        least = ids
    elif (said := refusal(least)) is not None:
        raise UserError(
            f"{url}: completes no text, not even with model, prompt, max_tokens and temperature "
            f"alone ({said}); jprm needs /completions, chats alone do not do"
        )
    taken = {
        name
        for name in FIELDS
        if name not in ("logprobs", "logprob_token_ids") and refusal(replace(least, fields=frozenset([name]))) is None
    }
    logprobs = 0
    for number in LOGPROBS:
        if refusal(replace(least, fields=frozenset(["logprobs"]), logprobs=number)) is None:
            taken.add("logprobs")
            logprobs = number
            break
    both = frozenset(["logprobs", "logprob_token_ids"])
    if logprobs and refusal(replace(least, fields=both, logprobs=logprobs)) is None:
        taken |= both
    return replace(least, fields=frozenset(taken), logprobs=logprobs)


def _stops(
    draw: Draw, dialect: Dialect, first: Completion, codec: ChatCodec
) -> Literal["named", "kept", "removed", "ignored", "unknown"]:
    """What the server does with a stop text that lies in what it has just drawn."""
    if "stop" not in dialect.fields:
        return "ignored"
    text = codec.decode(first.tokens)
    third = len(text) // 3
    stop = text[third : third + min(3, third)]  # more has to follow it
    if not stop.strip() or BROKEN in stop:
        stop = next((c for c in text if not c.isspace() and c != BROKEN), "")
    if not stop:
        return "unknown"
    try:
        second = draw(dialect, PROBE_TOKENS, (stop,))
    except Refused as error:
        if _is_final(error):
            raise
        return "ignored"
    shown = codec.decode(second.tokens)
    if second.matched == stop:
        return "named"
    if second.finish == "length" or shown == text:  # which may have ended by itself
        return "ignored"
    return "kept" if stop in shown else "removed"
