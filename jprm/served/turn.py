"""One turn of a conversation: completions of a server, cut where `jprm.sample.Engine` would stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from jprm.chat import ChatCodec
from jprm.http import Call, Cancelled, Client, Failed, Refused
from jprm.seeds import seed_of
from jprm.served.completions import Completion, Sampling, read_completion, request_body
from jprm.served.dialect import PIECE_TOKENS, PROBE, Dialect, probe
from jprm.served.listing import find_model, in_words, is_of_context

SEED_BITS = 31  # what every server takes
PROBE_TRIES = 2  # a wrong URL should be said soon
ALIVE_S = 30.0
OF_REQUESTS = (400, 413, 422)  # statuses that may be the fault of what was asked
LETTER_TOKENS = 3  # that may be missing of a letter, where tokens are told by their texts

StopWhen = Callable[[list[int]], bool]


@dataclass(frozen=True)
class _Greedy:
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0


GREEDY = _Greedy()


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
    """One turn of a conversation: everything that is drawn between two events.

    ids: the tokens before it. tokens, watched, finish: what came of it; or an error, of which
    nothing more can come; or the `fault` with which this conversation alone is lost.
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
    fault: str = ""


class Drawer:
    """Takes turns at a served model; any number of threads may use it at once.

    model, context_tokens: as the server lists them. dialect: what it can do.
    """

    def __init__(
        self,
        client: Client,
        codec: ChatCodec,
        sampling: Sampling,
        model: str,
        seed: int,
        stop_texts: Sequence[str],
        triggers: Iterable[int],
    ):
        """Asks the server which models it has and what it can do.

        Raises UserError where it does not serve this model, or cannot be used.
        """
        self._client, self.url = client, client.url
        self._codec, self._sampling, self._seed = codec, sampling, seed
        self._stop_texts, self._triggers = tuple(stop_texts), frozenset(triggers)
        try:
            self.model, self.context_tokens = find_model(client, model)
            self.dialect = probe(self._draw_probe, codec, bool(stop_texts), self.url)
        except (Failed, Refused) as error:
            raise in_words(error, self.url) from None

    def take(self, turn: Turn) -> None:
        """Draw until the turn stops, by as many requests as that takes, or name the turn's fault.

        Raises Cancelled, and UserError where the server is gone or not set up for this.
        """
        drawn, counts = turn.tokens, turn.counts
        while True:
            if turn.call.cancelled.is_set():
                raise Cancelled
            try:
                done = self._complete(turn)
            except (Failed, Refused) as error:
                turn.finish, turn.fault = "lost", self._fault(error, turn.call)
                return
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
                at = len(turn.ids) + len(drawn)
                turn.finish = "lost"
                turn.fault = f"the server draws nothing behind {at} tokens; its context may be full"
                return

    def _is_stop(self, asked: Request, drawn: list[int]) -> bool:
        """As `jprm.sample.schedule.Schedule`: a stop token, or `stop_when` at a trigger."""
        if drawn[-1] in asked.stops:
            return True
        if asked.stop_when is None or (self._triggers and drawn[-1] not in self._triggers):
            return False
        return asked.stop_when(drawn)

    def _at_text(self, done: Completion, drawn: list[int]) -> bool:
        """Whether the server stopped at a text, which alone is no stop here."""
        if not self.dialect.stops_at_texts:
            return False  # it was not told any
        if done.matched is not None:
            return isinstance(done.matched, str)
        text = self._codec.decode(drawn)
        return any(stop in text for stop in self._stop_texts)

    def _complete(self, turn: Turn) -> Completion:
        """Sends one request for more tokens of a turn. Raises Failed, Refused, Cancelled."""
        asked, dialect = turn.request, self.dialect
        ids = turn.ids + turn.tokens
        max_tokens = turn.max_tokens - len(turn.tokens)
        if asked.stop_when is not None and not dialect.stops_at_texts:
            max_tokens = min(max_tokens, PIECE_TOKENS)
        if dialect.told != "ids":
            max_tokens += LETTER_TOKENS
        return self._ask(
            dialect,
            ids,
            max_tokens,
            turn.call,
            sampling=self._sampling,
            seed=seed_of(self._seed, asked.sample_id, len(ids)) % (1 << SEED_BITS),
            stop_ids=sorted(asked.stops),
            stop_texts=self._stop_texts if dialect.stops_at_texts else (),
            watch=asked.watch if dialect.probabilities else (),
        )

    def _ask(
        self,
        dialect: Dialect,
        ids: Sequence[int],
        max_tokens: int,
        call: Call,
        *,
        sampling: Sampling = GREEDY,
        seed: int = 0,
        stop_ids: Sequence[int] = (),
        stop_texts: Sequence[str] = (),
        watch: Sequence[int] = (),
        **patience: Any,
    ) -> Completion:
        # One candidate a token, where its id or text would not be told without.
        least = 0 if dialect.told == "text" or not dialect.logprobs else 1
        full = request_body(
            self.model,
            ids if dialect.takes_ids else self._codec.spell(ids),
            max_tokens,
            sampling,
            seed,
            stop_ids,
            stop_texts,
            watch,
            dialect.logprobs if watch else least,
        )
        return self._client.ask(
            "/completions",
            dialect.body(full),
            lambda answer: read_completion(answer, self._codec, watch),
            call,
            **patience,
        )

    def _draw_probe(self, dialect: Dialect, max_tokens: int, stop_texts: Sequence[str]) -> Completion:
        size = self._codec.vocab_size
        return self._ask(
            dialect,
            self._codec.encode(PROBE),
            max_tokens,
            Call(),
            sampling=replace(GREEDY, top_k=self._sampling.top_k, top_p=self._sampling.top_p),
            stop_ids=(self._codec.eos_id,),
            stop_texts=stop_texts,
            watch=range(0, size, size // 4 or 1),  # not all of them are ever probable
            tries=PROBE_TRIES,
        )

    def _fault(self, error: Failed | Refused, call: Call) -> str:
        """Says why a conversation is lost. Raises UserError if the server refuses other conversations as well."""
        if isinstance(error, Refused) and (error.status not in OF_REQUESTS or is_of_context(error)):
            raise in_words(error, self.url) from None
        try:
            self._ask(
                replace(self.dialect, logprobs=0),
                self._codec.encode(PROBE),
                1,
                call,
                tries=1,
                total_s=min(ALIVE_S, self._client.total_s),
            )
        except (Failed, Refused):  # nobody gets an answer
            raise in_words(error, self.url) from None
        return str(error)
