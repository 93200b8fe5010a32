"""What a server has and can do, found out by a few short requests before anything depends on it.

Servers that speak "OpenAI's protocol" agree on little. One draws some tokens without any condition,
then again with a stop text that lies among them: what is left of that text shows whether the server
names the stop, keeps it, takes it away without a word, or knows no stops. Where a request with all
fields is refused, every field is tried alone, which no wording of a refusal can mislead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveInt, TypeAdapter

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.http import Call, Client, Failed, Refused, parse
from jprm.openai.completions import BROKEN, Completion, Told

PROBE = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, "
PROBE_TOKENS = 16
TRIES = 2  # a wrong URL should be said soon
MOST_LOGPROBS = 20  # what vLLM gives per token by default
LOGPROBS = (MOST_LOGPROBS, 5, 1, 0)  # OpenAI allows 5
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
TOLD = {"ids": "token ids", "texts": "texts of tokens", "text": "a text alone"}
STOPS = {
    "named": "names the stop text",
    "kept": "keeps the stop text",
    "removed": "removes the stop text without a word",
    "ignored": "ignores or refuses stop texts",
    "unknown": "drew nothing to try a stop text on",
}
Stops = Literal["named", "kept", "removed", "ignored", "unknown"]


@dataclass(frozen=True)
class Dialect:
    """How to ask a server, and what to expect of its answers."""

    takes_ids: bool = True  # whether a prompt may be token ids
    fields: frozenset[str] = frozenset(FIELDS)  # the optional ones that it takes
    logprobs: int = MOST_LOGPROBS  # how many it gives per token
    chosen: bool = False  # whether it gives those of tokens that are named
    told: Told = "ids"
    stops: Stops = "unknown"

    @property
    def stops_at_texts(self) -> bool:
        """Whether the server can be asked to stop at texts, because its answers show at which text it did."""
        return self.stops in ("named", "kept")

    @property
    def probabilities(self) -> bool:
        """Whether P(Yes) can be read: both words need a log-probability at the same token."""
        return self.told != "text" and (self.chosen or self.logprobs > 1)

    def body(self, full: dict[str, Any]) -> dict[str, Any]:
        """A request without the fields that the server does not take."""
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


class _Card(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str
    max_model_len: PositiveInt | None = None


class _Cards(BaseModel):
    data: list[_Card]


_CARDS = TypeAdapter(_Cards)


def find_model(client: Client, model: str) -> tuple[str, int | None]:
    """The name of a model on the server, and its context in tokens (None if the server does not say).

    An empty name stands for the only model that the server has. Raises Failed and Refused, and
    UserError where the model is not among those that the server lists.
    """
    try:
        cards = client.ask("/models", None, lambda data: parse(_CARDS, data), Call(), tries=TRIES)
    except Refused as refusal:
        if model and refusal.status in (404, 405, 501):  # it has no list
            return model, None  # the probe shows whether it has the model
        raise
    longest = {card.id: card.max_model_len for card in cards.data}
    names = client.safe(", ".join(longest)) or "nothing"
    if not model and len(longest) != 1:
        raise UserError(f"{client.url} serves {names}; name one model")
    model = model or next(iter(longest))
    if model not in longest:
        raise UserError(f"{client.url} does not serve {model!r}; it serves {names}")
    return model, longest[model]


Draw = Callable[[Dialect, int, Sequence[str]], Completion]


def probe(draw: Draw, codec: ChatCodec, with_stops: bool, url: str) -> Dialect:
    """Find out what a server can do.

    draw: asks for so many tokens behind `PROBE`, greedily, with these stop texts; raises Refused
        and Failed. with_stops: whether any will be wanted.
    Raises Failed and Refused where nothing is to be had from the server, and UserError where it
    completes no text, not even with the fewest fields, or says the prompt again.
    """
    # 1. Ask with all fields; where that is refused, find out which ones the server takes.
    dialect = Dialect()
    try:
        first = draw(dialect, PROBE_TOKENS, ())
    except (Refused, Failed) as error:
        _raise_if_final(error)
        dialect = _by_trial(draw, url)
        first = draw(dialect, PROBE_TOKENS, ())
    if first.text.startswith(PROBE):
        raise UserError(f"{url}: says the prompt again before it goes on; serve it without echo")
    # 2. See what the answer tells of tokens and log-probabilities.
    all_told = bool(first.logprobs.size) and not bool(np.isnan(first.logprobs).any())
    chosen = "logprob_token_ids" in dialect.fields and all_told
    logprobs = dialect.logprobs if chosen else min(dialect.logprobs, first.most_logprobs)
    dialect = replace(dialect, told=first.told, logprobs=logprobs, chosen=chosen)
    # 3. See what becomes of a stop text that lies in what was drawn.
    return replace(dialect, stops=_stops(draw, dialect, first, codec)) if with_stops else dialect


def _raise_if_final(error: Refused | Failed) -> None:
    """Raise an error again which leaving fields out of the request could not help."""
    if error.status not in (400, 422) if isinstance(error, Refused) else not error.answered:
        raise error


def _by_trial(draw: Draw, url: str) -> Dialect:
    """The dialect with all optional fields that the server takes, each tried by itself."""

    def refusal(dialect: Dialect) -> Refused | Failed | None:
        try:
            draw(dialect, 1, ("\n\n\n",) if "stop" in dialect.fields else ())
        except (Refused, Failed) as error:
            _raise_if_final(error)
            return error
        return None

    least = Dialect(takes_ids=False, fields=frozenset(), logprobs=0)
    ids = replace(least, takes_ids=True)
    if refusal(ids) is None:
        least = ids
    elif (said := refusal(least)) is not None:
        raise UserError(
            f"{url}: completes no text, not even with model, prompt, max_tokens and temperature "
            f"alone ({said}); jprm needs /completions, chats alone do not do"
        )

    def takes(*names: str, logprobs: int = 0) -> bool:
        return refusal(replace(least, fields=frozenset(names), logprobs=logprobs)) is None

    taken = {name for name in FIELDS if name not in ("logprobs", "logprob_token_ids") and takes(name)}
    logprobs = next((number for number in LOGPROBS if takes("logprobs", logprobs=number)), None)
    if logprobs is not None:
        taken.add("logprobs")
    if logprobs and takes("logprobs", "logprob_token_ids", logprobs=logprobs):
        taken.add("logprob_token_ids")
    return replace(least, fields=frozenset(taken), logprobs=logprobs or 0)


def _stops(draw: Draw, dialect: Dialect, first: Completion, codec: ChatCodec) -> Stops:
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
        _raise_if_final(error)
        return "ignored"
    shown = codec.decode(second.tokens)
    if second.matched == stop:
        return "named"
    if second.finish == "length" or shown == text:  # which may have ended by itself
        return "ignored"
    return "kept" if stop in shown else "removed"
