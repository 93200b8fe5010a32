"""A sampler whose model runs elsewhere: conversations here, one request for each of their turns.

The server keeps nothing between requests but its prefix cache. A turn is a completion of all tokens
that a conversation holds; it is cut here, token by token, where `jprm.sample.Engine` would stop, so
that both report the same events for the same tokens.

Each request carries a seed of its own, made of the sample id and the position. vLLM draws by it;
sglang-jax ignores it. On no server is a token free of the requests that share its batch, so a vote
is repeatable only as far as the server's arithmetic is.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.http import Cancelled, Client
from jprm.openai.dialect import Dialect
from jprm.openai.turn import ServerConversation, ServerStats, Turn, TurnRunner
from jprm.sampling import (
    SampleEvent,
    Sampler,
    SamplingParams,
    StopWhen,
    check_extension,
    check_parent,
    check_request,
    held,
)

POLL_S = 0.02  # how long `poll` waits for news: code that has run meanwhile is not kept waiting
GOES_ON, BEGINS, ENDS = range(3)  # the server still holds the keys of a conversation that goes on


class OpenAISampler(Sampler):
    """A sampler over a server's model. It is to be used by one thread, and closed in the end.

    url, model: of the server, and the name under which it knows the model.
    context_tokens: the longest conversation that the server holds; None if it does not say.
    dialect: what the server can do. stats: counts since the sampler was made.
    """

    def __init__(
        self,
        base_url: str,
        codec: ChatCodec,
        sampling: SamplingParams,
        *,
        model: str = "",
        seed: int = 0,
        stop_texts: Sequence[str] = (),
        triggers: Iterable[int] = (),
        concurrency: int = 64,
        api_key: str = "",
        **patience: Any,
    ):
        """Find the server and what it can do.

        base_url: such as http://localhost:8000/v1.
        model: its name there; "" if the server serves only one. concurrency: requests at a time.
        stop_texts: texts at which the server stops by itself (the `stops` of a format), if it shows at
            which. Else it draws some tokens at a time, and what lies behind a stop is thrown away.
        triggers: tokens at which a `stop_when` is asked, as the engine's; all if there are none.
        patience: `timeout_s`, `tries`, `first_wait_s`, `total_s` of `jprm.http.Client`.
        Raises UserError where no such server answers or does not serve the model.
        """
        if concurrency < 1:
            raise UserError(f"openai: concurrency = {concurrency} must be at least 1")
        url = base_url.rstrip("/").removesuffix("/completions")
        self._client = Client(url, "a server's of models", api_key, default_path="/v1", **patience)
        try:
            self._runner = TurnRunner(self._client, codec, sampling, model, seed, stop_texts, triggers)
        except BaseException:
            self._client.close()
            raise
        self.url, self.model = self._client.url, self._runner.model
        self.context_tokens: int | None = self._runner.context_tokens
        self.dialect: Dialect = self._runner.dialect
        self.stats = ServerStats()
        self._conversations: dict[int, ServerConversation] = {}
        self._events: list[SampleEvent] = []
        self._handles, self._order = itertools.count(), itertools.count()
        self._waiting: queue.PriorityQueue[tuple[int, int, Turn | None]] = queue.PriorityQueue()
        self._arrived: queue.SimpleQueue[Turn] = queue.SimpleQueue()
        self._concurrency = concurrency
        self._threads: list[threading.Thread] = []

    @property
    def retried(self) -> int:
        """Requests that had to be repeated so far."""
        return self._client.retried

    @property
    def busy(self) -> bool:
        """Whether anything is under way, or has news to be polled."""
        return bool(self._events) or any(c.turn for c in self._conversations.values())

    def submit(
        self,
        prompt: Sequence[int],
        sample_ids: Sequence[int],
        *,
        max_tokens: int,
        stops: Iterable[int] = (),
        logprob_ids: Iterable[int] = (),
        stop_when: StopWhen | None = None,
        parent: int | None = None,
    ) -> list[int]:
        """Queues samples as `jprm.sampling.Sampler` says.

        parent: only checked; the server's prefix cache knows what it has read.
        """
        ids = [int(i) for i in prompt]
        check_request(ids, sample_ids, max_tokens)
        if parent is not None:
            check_parent(ids, self._stopped(parent, "submit: parent").ids)
        stop_ids, logprob_ids = frozenset(stops), tuple(logprob_ids)
        conversations = [
            ServerConversation(next(self._handles), int(sample_id), list(ids), stop_ids, logprob_ids, stop_when)
            for sample_id in sample_ids
        ]
        for conversation in conversations:
            self._conversations[conversation.handle] = conversation
            self._start(conversation, max_tokens, BEGINS)
        return [conversation.handle for conversation in conversations]

    def extend(self, handle: int, tokens: Sequence[int], *, max_tokens: int) -> None:
        """Forces tokens as `jprm.sampling.Sampler` says, and asks the server for what follows them."""
        conversation = self._stopped(handle, "extend:")
        check_extension(max_tokens)
        conversation.ids += [int(i) for i in tokens]
        if max_tokens:
            self._start(conversation, max_tokens, GOES_ON)
        else:
            self._tell(Turn(conversation, 0, finish="length"))

    def release(self, handle: int) -> None:
        """Forgets a handle in any state; a request under way is cancelled."""
        conversation = held(self._conversations, handle)
        del self._conversations[handle]
        self._events = [event for event in self._events if event.handle != handle]
        if conversation.turn is not None:
            conversation.turn.call.cancel()

    def poll(self) -> list[SampleEvent]:
        """Wait a moment for news and return it.

        Raises UserError when the server is gone or refuses: unfinished conversations are then lost.
        """
        wait_s = POLL_S if self.busy and not self._events else 0.0
        while (turn := self._next_arrival(wait_s)) is not None:
            wait_s = 0.0
            self.stats.add(turn.counts)
            conversation = turn.conversation
            if conversation.handle not in self._conversations:
                continue  # released meanwhile
            conversation.turn = None
            if turn.error is not None:
                self._fail(turn.error)
            conversation.ids += turn.tokens
            self._tell(turn)
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Cancel what is under way and end the threads."""
        for handle in list(self._conversations):
            self.release(handle)
        for _ in self._threads:
            self._waiting.put((ENDS, next(self._order), None))
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._client.close()

    def __enter__(self) -> OpenAISampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, conversation: ServerConversation, max_tokens: int, rank: int) -> None:
        # A thread reads the conversation's ids for the turn; they change only when it is over.
        conversation.turn = Turn(conversation, max_tokens)
        self._waiting.put((rank, next(self._order), conversation.turn))
        if len(self._threads) < min(self._concurrency, len(self._conversations)):
            thread = threading.Thread(target=self._work, name="openai", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (turn := self._waiting.get()[2]) is not None:
            try:
                self._runner.run(turn)
            except Cancelled:
                pass  # `poll` counts what it cost
            except Exception as error:  # raised again by `poll`, in the caller's thread
                turn.error = error
            self._arrived.put(turn)

    def _next_arrival(self, wait_s: float) -> Turn | None:
        try:
            return self._arrived.get(timeout=wait_s) if wait_s else self._arrived.get_nowait()
        except queue.Empty:
            return None

    def _tell(self, turn: Turn) -> None:
        told = turn.conversation
        logprobs = np.full((len(turn.tokens), len(told.logprob_ids)), np.nan, np.float32)
        if told.logprob_ids and turn.tokens and turn.logprobs[0].size:
            logprobs[:] = turn.logprobs
        self._events.append(SampleEvent(told.handle, told.sample_id, turn.tokens, turn.finish, logprobs, turn.fault))

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error
        raise UserError(
            f"{error}. Before that it answered {self.stats.requests} requests; "
            f"{len(self._conversations)} conversations are unfinished and lost, finished ones are not"
        ) from error

    def _stopped(self, handle: int, what: str) -> ServerConversation:
        conversation = held(self._conversations, handle)
        if conversation.turn is not None:
            raise UserError(f"{what} handle {handle} has not stopped; wait for its event")
        return conversation
