"""One turn of a conversation: completions of a server, cut where `jprm.sample.Engine` would stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.http import Call, Cancelled, Client, Failed, Refused
from jprm.openai.completions import Completion, CompletionRequest, read_completion
from jprm.openai.dialect import PIECE_TOKENS, PROBE, TRIES, Dialect, find_model, probe
from jprm.sampling import SamplingParams, StopWhen
from jprm.seeds import seed_of

SEED_BITS = 31  # what every server takes
ALIVE_S = 30.0
OF_REQUESTS = (400, 413, 422)  # statuses that may be the fault of what was asked
LETTER_TOKENS = 3  # that may be missing of a letter, where tokens are told by their texts
HINTS = {
    401: "; give the key of the server",
    403: "; give the key of the server",
    404: "; check the URL (it ends with /v1) and the name of the model",
}
OF_CONTEXT = ("context length", "context_length", "max_model_len")


@dataclass(slots=True)
class ServerStats:
    """Counts since the sampler was made."""

    requests: int = 0  # that were answered
    prompt_tokens: int = 0  # in them
    cached_tokens: int = 0  # of these, which the server says it had read before
    generated: int = 0  # tokens in events
    discarded: int = 0  # tokens drawn behind a stop

    def add(self, other: ServerStats) -> None:
        """Add the counts of another."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(eq=False)
class ServerConversation:
    """What a handle stands for. `ids` are its tokens before `turn`, which is None while it has stopped."""

    handle: int
    sample_id: int
    ids: list[int]
    stops: frozenset[int]
    logprob_ids: tuple[int, ...]
    stop_when: StopWhen | None
    turn: Turn | None = None


@dataclass(eq=False)
class Turn:
    """Everything that a conversation draws between two events: how much it may, and what came of it."""

    conversation: ServerConversation
    max_tokens: int
    call: Call = field(default_factory=Call)
    counts: ServerStats = field(default_factory=ServerStats)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[np.ndarray] = field(default_factory=list)
    finish: str = ""
    fault: str = ""  # with which this conversation alone is lost
    error: Exception | None = None  # with which all of them are


class TurnRunner:
    """Runs turns on a server's model; any number of threads may use it at once.

    model, context_tokens: as the server lists them. dialect: what it can do.
    """

    def __init__(
        self,
        client: Client,
        codec: ChatCodec,
        sampling: SamplingParams,
        model: str,
        seed: int,
        stop_texts: Sequence[str],
        triggers: Iterable[int],
    ):
        """Ask the server which models it has and what it can do.

        Raises UserError where it does not serve this model, or cannot be used.
        """
        self._client, self._codec, self._sampling, self._seed = client, codec, sampling, seed
        self._stop_texts, self._triggers = tuple(stop_texts), frozenset(triggers)
        try:
            self.model, self.context_tokens = find_model(client, model)
            self.dialect = probe(self._draw_probe, codec, bool(stop_texts), client.url)
        except (Failed, Refused) as error:
            raise self._explained(error) from None

    def run(self, turn: Turn) -> None:
        """Draw until the turn stops, by as many requests as that takes, or name the turn's fault.

        Raises Cancelled, and UserError where the server is gone or not set up for this.
        """
        drawn, counts = turn.tokens, turn.counts
        while True:
            # 1. Ask for the tokens that are still missing.
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
            # 2. Take them one by one, up to a stop; what lies behind it is thrown away.
            for n, token in enumerate(done.tokens):
                drawn.append(token)
                turn.logprobs.append(done.logprobs[n])
                stop = self._is_stop(turn.conversation, drawn)
                if stop or len(drawn) == turn.max_tokens:
                    turn.finish = "stop" if stop else "length"
                    counts.generated += len(drawn)
                    counts.discarded += len(done.tokens) - n - 1
                    return
            # 3. The text may have ended with a token that is none of the conversation's stops.
            if done.finish == "stop" and not self._at_text(done, drawn):
                turn.finish = "stop"
                counts.generated += len(drawn)
                return
            # 4. Else go on, unless that leads nowhere.
            if not done.tokens:
                at = len(turn.conversation.ids) + len(drawn)
                turn.finish = "lost"
                turn.fault = f"the server draws nothing behind {at} tokens; its context may be full"
                return

    def _is_stop(self, asked: ServerConversation, drawn: list[int]) -> bool:
        """Whether the engine would stop here: at a stop token, or where `stop_when` says so at a trigger."""
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
        """Send one request for more tokens of a turn. Raises Failed, Refused, Cancelled."""
        asked, dialect = turn.conversation, self.dialect
        ids = asked.ids + turn.tokens
        max_tokens = turn.max_tokens - len(turn.tokens)
        if asked.stop_when is not None and not dialect.stops_at_texts:
            max_tokens = min(max_tokens, PIECE_TOKENS)
        if dialect.told != "ids":
            max_tokens += LETTER_TOKENS
        request = CompletionRequest(
            ids,
            max_tokens,
            self._sampling.temperature,
            self._sampling.top_k,
            self._sampling.top_p,
            seed=seed_of(self._seed, asked.sample_id, len(ids)) % (1 << SEED_BITS),
            stop_ids=sorted(asked.stops),
            stop_texts=self._stop_texts if dialect.stops_at_texts else (),
            logprob_ids=asked.logprob_ids if dialect.probabilities else (),
        )
        return self._ask(dialect, request, turn.call)

    def _ask(self, dialect: Dialect, request: CompletionRequest, call: Call, **patience: Any) -> Completion:
        prompt = request.ids if dialect.takes_ids else self._codec.spell(request.ids)
        logprobs = dialect.logprobs
        if not request.logprob_ids:  # one candidate a token, where its id or text would not be told without
            logprobs = 0 if dialect.told == "text" else min(logprobs, 1)
        return self._client.ask(
            "/completions",
            dialect.body(request.body(self.model, prompt, logprobs)),
            lambda answer: read_completion(answer, self._codec, request.logprob_ids),
            call,
            **patience,
        )

    def _draw_probe(self, dialect: Dialect, max_tokens: int, stop_texts: Sequence[str]) -> Completion:
        size = self._codec.vocab_size
        request = CompletionRequest(
            self._codec.encode(PROBE),
            max_tokens,
            top_k=self._sampling.top_k,
            top_p=self._sampling.top_p,
            stop_ids=(self._codec.eos_id,),
            stop_texts=stop_texts,
            logprob_ids=range(0, size, size // 4 or 1),  # not all of them are ever probable
        )
        return self._ask(dialect, request, Call(), tries=TRIES)

    def _fault(self, error: Failed | Refused, call: Call) -> str:
        """Why a conversation is lost. Raises UserError if the server refuses other conversations as well."""
        if isinstance(error, Refused) and (error.status not in OF_REQUESTS or _is_of_context(error)):
            raise self._explained(error) from None
        alive = CompletionRequest(self._codec.encode(PROBE), 1)
        total_s = min(ALIVE_S, self._client.total_s)
        try:
            self._ask(replace(self.dialect, logprobs=0), alive, call, tries=1, total_s=total_s)
        except (Failed, Refused):  # nobody gets an answer
            raise self._explained(error) from None
        return str(error)

    def _explained(self, error: Failed | Refused) -> UserError:
        """What is wrong with the server, and what the user can do about it."""
        if isinstance(error, Failed) or error.status < 400:
            hint = ""
        elif _is_of_context(error):
            hint = (
                "; set the context of this run to what the server holds, or serve the model with a "
                "longer one (--max-model-len, --context-length)"
            )
        else:
            hint = HINTS.get(error.status, "; is it a server of the OpenAI kind?")
        return UserError(f"{self._client.url}: {error}{hint}")


def _is_of_context(error: Refused) -> bool:
    """Whether the server refused a conversation because it exceeds the model's context."""
    return any(words in error.said.lower() for words in OF_CONTEXT)
