"""One turn of a conversation: completions of a server, cut where `jprm.sample.Engine` would stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.seeds import seed_of
from jprm.served.completions import (
    Completion,
    Sampling,
    context_error,
    read_completion,
    request_body,
)
from jprm.served.endpoint import Call, Cancelled, Endpoint, Refused

SEED_BITS = 31  # what every server takes

StopWhen = Callable[[list[int]], bool]


@dataclass(slots=True)
class Stats:
    """Counts since the sampler was made.

    requests: that were answered. prompt_tokens: in them; `cached_tokens` of these the server says it
    had read before. generated: tokens in events. discarded: tokens drawn behind a stop.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated: int = 0
    discarded: int = 0

    def add(self, other: Stats) -> None:
        """Count what another has counted."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(frozen=True, slots=True)
class Request:
    """What holds for a conversation from its beginning to its end."""

    sample_id: int
    stops: frozenset[int]
    watch: tuple[int, ...]
    stop_when: StopWhen | None


@dataclass(eq=False)
class Turn:
    """All between two events of a conversation.

    ids: the tokens before it. tokens, watched, finish: what came of it; or an error.
    """

    handle: int
    request: Request
    ids: list[int]
    max_tokens: int
    call: Call = field(default_factory=Call)
    tokens: list[int] = field(default_factory=list)
    watched: list[np.ndarray] = field(default_factory=list)
    finish: str = ""
    counts: Stats = field(default_factory=Stats)
    error: Exception | None = None


class Drawer:
    """Takes turns at a served model; any number of threads may use it at once.

    model, context_tokens: as the server lists them. as_text: whether it takes no token ids.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        codec: ChatCodec,
        sampling: Sampling,
        model: str,
        seed: int,
        stop_texts: Sequence[str],
        triggers: Iterable[int],
    ):
        """Asks the server for its models. Raises UserError where it does not serve this one."""
        self.endpoint = endpoint
        self.url = endpoint.url
        self.as_text = False
        self._codec, self._sampling, self._seed = codec, sampling, seed
        self._stop_texts, self._triggers = tuple(stop_texts), frozenset(triggers)
        self.model, self.context_tokens = self._served(model)

    def take(self, turn: Turn) -> None:
        """Draw until the turn stops, by as many requests as that takes. Raises UserError, Cancelled."""
        drawn, counts = turn.tokens, turn.counts
        while True:
            if turn.call.cancelled.is_set():
                raise Cancelled
            done = self._complete(turn)
            counts.requests += 1
            counts.prompt_tokens += done.prompt_tokens
            counts.cached_tokens += done.cached_tokens
            for n, token in enumerate(done.tokens):
                drawn.append(token)
                turn.watched.append(done.watched[n])
                stop = self._is_stop(turn.request, drawn)
                if stop or len(drawn) == turn.max_tokens:
                    turn.finish = "stop" if stop else "length"
                    counts.generated += len(drawn)
                    counts.discarded += len(done.tokens) - n - 1
                    return
            if done.finish == "stop" and not self._at_text(done, drawn):
                turn.finish = "stop"  # an end of text that is none of the request's stops
                counts.generated += len(drawn)
                return
            if not done.tokens:
                raise UserError(
                    f"{self.url}: draws nothing behind {len(turn.ids) + len(drawn)} tokens; its "
                    "context may be full"
                )

    def _is_stop(self, asked: Request, drawn: list[int]) -> bool:
        """As `jprm.sample.schedule.Schedule`: a stop token, or `stop_when` at a trigger."""
        if drawn[-1] in asked.stops:
            return True
        if asked.stop_when is None or (self._triggers and drawn[-1] not in self._triggers):
            return False
        return asked.stop_when(drawn)

    def _at_text(self, done: Completion, drawn: list[int]) -> bool:
        """Whether the server stopped at a text, which alone is no stop here."""
        if done.matched is not None:
            return isinstance(done.matched, str)
        text = self._codec.decode(drawn)
        return any(stop in text for stop in self._stop_texts)

    def _complete(self, turn: Turn) -> Completion:
        """One request. Raises UserError, or Cancelled."""
        asked = turn.request
        ids = turn.ids + turn.tokens
        seed = seed_of(self._seed, asked.sample_id, len(ids)) % (1 << SEED_BITS)

        def ask(prompt: list[int] | str) -> Completion:
            body = request_body(
                self.model,
                prompt,
                turn.max_tokens - len(turn.tokens),
                self._sampling,
                seed,
                sorted(asked.stops),
                self._stop_texts,
                asked.watch,
            )
            return self.endpoint.ask(
                "/completions",
                body,
                lambda answer: read_completion(answer, self._codec, asked.watch),
                turn.call,
            )

        as_text = self.as_text
        try:
            return ask(self._codec.spell(ids) if as_text else ids)
        except Refused as refusal:
            if error := context_error(self.url, str(refusal)):
                raise error from None
            said = UserError(f"{self.url}: the request is refused: {refusal}")
        if as_text:
            raise said
        try:
            completion = ask(self._codec.spell(ids))
        except Refused:
            raise said from None
        self.as_text = True
        return completion

    def _served(self, model: str) -> tuple[str, int | None]:
        """The model's name and context, from the server's list."""
        try:
            cards: dict[str, Any] = self.endpoint.ask(
                "/models",
                None,
                lambda answer: {card["id"]: card for card in answer["data"]},
                Call(),
                tries=2,  # a wrong URL should be said soon
            )
        except Refused as refusal:
            raise UserError(f"{self.url}/models: refused: {refusal}") from None
        names = ", ".join(cards) or "nothing"
        if not model and len(cards) != 1:
            raise UserError(f"{self.url} serves {names}; name one model")
        model = model or next(iter(cards))
        if model not in cards:
            raise UserError(f"{self.url} does not serve {model!r}; it serves {names}")
        longest = cards[model].get("max_model_len")
        return model, int(longest) if longest else None
