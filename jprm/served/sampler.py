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
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.http import Cancelled, Client
from jprm.served.completions import Sampling
from jprm.served.dialect import Dialect
from jprm.served.turn import Drawer, Request, Stats, StopWhen, Turn

POLL_S = 0.02  # how long `poll` waits for news: code that has run meanwhile is not kept waiting
GOES_ON, BEGINS, ENDS = range(3)  # the server still holds the keys of a conversation that goes on


@dataclass(frozen=True, slots=True)
class Event:
    """A handle has stopped; as `jprm.sample.Event`. `watched` is nan where the server does not say.

    finish: "lost", too, where the server cannot complete this conversation; `fault` says why.
    """

    handle: int
    sample_id: int
    tokens: list[int]
    finish: str
    watched: np.ndarray
    fault: str = ""


@dataclass(eq=False)
class _Conversation:
    """`turn` is under way; None while the conversation has stopped."""

    request: Request
    ids: list[int]
    turn: Turn | None = None


class ServedSampler:
    """Satisfies `jprm.verify.ports.Sampler`. To be used by one thread, and closed in the end.

    url, model: of the server, and the name under which it knows the model.
    context_tokens: the longest conversation that the server holds; None if it does not say.
    """

    def __init__(
        self,
        base_url: str,
        codec: ChatCodec,
        sampling: Sampling,
        *,
        model: str = "",
        seed: int = 0,
        stop_texts: Sequence[str] = (),
        triggers: Iterable[int] = (),
        concurrency: int = 64,
        api_key: str = "",
        **patience: Any,
    ):
        """base_url: such as http://localhost:8000/v1. model: its name there; "" if the server
            serves only one. concurrency: requests at a time.

        stop_texts: at which the server stops by itself (the `stops` of a format), if it shows at
            which. Else it draws some tokens at a time, and what lies behind a stop is thrown away.
        triggers: as the engine's: tokens at which a `stop_when` is asked; all if there are none.
        patience: `timeout_s`, `tries`, `first_wait_s`, `total_s` of `jprm.http.Client`.
        Raises UserError where no such server answers or does not serve the model.
        """
        if concurrency < 1:
            raise UserError(f"served: concurrency = {concurrency} must be at least 1")
        url = base_url.rstrip("/").removesuffix("/completions")
        kind = "a server's of models"
        self._client = Client(url, kind, api_key, default_path="/v1", **patience)
        try:
            self._drawer = Drawer(self._client, codec, sampling, model, seed, stop_texts, triggers)
        except BaseException:
            self._client.close()
            raise
        self.url = self._client.url
        self.model, self.context_tokens = self._drawer.model, self._drawer.context_tokens
        self.stats = Stats()
        self._conversations: dict[int, _Conversation] = {}
        self._events: list[Event] = []
        self._handles, self._order = itertools.count(), itertools.count()
        self._waiting: queue.PriorityQueue[tuple[int, int, Turn | None]] = queue.PriorityQueue()
        self._arrived: queue.SimpleQueue[Turn] = queue.SimpleQueue()
        self._concurrency = concurrency
        self._threads: list[threading.Thread] = []
        self._started = time.monotonic()

    @property
    def retried(self) -> int:
        """Requests that had to be repeated so far."""
        return self._client.retried

    @property
    def dialect(self) -> Dialect:
        """What the server can do."""
        return self._drawer.dialect

    @property
    def progress(self) -> str:
        """A look at it: speed since it was made, and what its conversations do."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        under_way = sum(c.turn is not None for c in self._conversations.values())
        asked = min(under_way, self._concurrency)
        return (
            f"{self.stats.generated / seconds:,.0f} tokens/s, {asked} requests, "
            f"{len(self._conversations) - under_way} wait, {under_way - asked} queued"
        )

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
        watch: Iterable[int] = (),
        stop_when: StopWhen | None = None,
        parent: int | None = None,
    ) -> list[int]:
        """Queue one sample of up to max_tokens tokens for each id; returns their handles.

        parent: only checked; the server's prefix cache knows what it has read. Raises UserError for
        an empty prompt, no sample ids, max_tokens below 1, and a parent that has not stopped or does
        not begin the prompt.
        """
        ids = [int(i) for i in prompt]
        if not ids:
            raise UserError("submit: the prompt is empty; give at least one token")
        if not len(sample_ids):
            raise UserError("submit: no sample ids; give one for each sample wanted")
        if max_tokens < 1:
            raise UserError(f"submit: max_tokens = {max_tokens} must be at least 1")
        if parent is not None:
            held = self._stopped(parent, "submit: parent").ids
            if ids[: len(held)] != held:
                raise UserError(f"submit: the prompt does not begin with the {len(held)} tokens of its parent")
        stop_ids, watched, handles = frozenset(stops), tuple(watch), []
        for sample_id in sample_ids:
            handle = next(self._handles)
            request = Request(int(sample_id), stop_ids, watched, stop_when)
            self._conversations[handle] = _Conversation(request, list(ids))
            self._start(handle, max_tokens, BEGINS)
            handles.append(handle)
        return handles

    def extend(self, handle: int, tokens: Sequence[int], *, max_tokens: int) -> None:
        """Force tokens on a stopped handle, then let it draw up to max_tokens more.

        With max_tokens 0 it stops again at once, with an empty event. Raises UserError for a handle
        that has not stopped.
        """
        conversation = self._stopped(handle, "extend:")
        if max_tokens < 0:
            raise UserError(f"extend: max_tokens = {max_tokens} must be at least 0")
        conversation.ids += [int(i) for i in tokens]
        if max_tokens:
            self._start(handle, max_tokens, GOES_ON)
        else:
            self._tell(handle, conversation.request, [], "length", [])

    def release(self, handle: int) -> None:
        """Forget a handle in any state; a request under way is cancelled."""
        conversation = self._conversation(handle)
        del self._conversations[handle]
        self._events = [event for event in self._events if event.handle != handle]
        if conversation.turn is not None:
            conversation.turn.call.cancel()

    def poll(self) -> list[Event]:
        """Wait a moment for news and return it.

        Raises UserError when the server is gone or refuses: unfinished conversations are then lost.
        """
        wait_s = POLL_S if self.busy and not self._events else 0.0
        while (turn := self._next_arrival(wait_s)) is not None:
            wait_s = 0.0
            self.stats.add(turn.counts)
            conversation = self._conversations.get(turn.handle)
            if conversation is None or conversation.turn is not turn:
                continue  # released meanwhile
            conversation.turn = None
            if turn.error is not None:
                self._fail(turn.error)
            conversation.ids += turn.tokens
            self._tell(turn.handle, turn.request, turn.tokens, turn.finish, turn.watched, turn.fault)
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

    def __enter__(self) -> ServedSampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, handle: int, max_tokens: int, rank: int) -> None:
        conversation = self._conversations[handle]
        # The turn reads `ids` in its thread; they change only when it is over.
        turn = Turn(handle, conversation.request, conversation.ids, max_tokens)
        conversation.turn = turn
        self._waiting.put((rank, next(self._order), turn))
        if len(self._threads) < min(self._concurrency, len(self._conversations)):
            thread = threading.Thread(target=self._work, name="served", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (turn := self._waiting.get()[2]) is not None:
            try:
                self._drawer.take(turn)
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

    def _tell(
        self, handle: int, request: Request, tokens: list[int], finish: str, watched: list[np.ndarray], fault: str = ""
    ) -> None:
        rows = np.full((len(tokens), len(request.watch)), np.nan, np.float32)
        if request.watch and tokens and watched[0].size:
            rows[:] = watched
        self._events.append(Event(handle, request.sample_id, tokens, finish, rows, fault))

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error
        raise UserError(
            f"{error}. Before that it answered {self.stats.requests} requests; "
            f"{len(self._conversations)} conversations are unfinished and lost, finished ones are not"
        ) from error

    def _conversation(self, handle: int) -> _Conversation:
        if handle not in self._conversations:
            raise UserError(f"sample: handle {handle} is unknown or released")
        return self._conversations[handle]

    def _stopped(self, handle: int, what: str) -> _Conversation:
        conversation = self._conversation(handle)
        if conversation.turn is not None:
            raise UserError(f"{what} handle {handle} has not stopped; wait for its event")
        return conversation
