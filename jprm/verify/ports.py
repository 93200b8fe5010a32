"""What this room needs from others, as protocols: a tokenizer, a sampler and a code executor.

Declared here and not imported, so that verification knows neither JAX nor processes, and its tests
run on scripts. `jprm.sample.Engine` and `jprm.execute.Pool` satisfy them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

StopWhen = Callable[[list[int]], bool]


class TextCodec(Protocol):
    """A tokenizer. `encode(a) + encode(b) == encode(a + b)` wherever the template joins texts.

    That holds for a plain template; a `GenPRM` with `retokenize` needs it nowhere. For a chat,
    `encode` has to read the text of a special token as that token, and to add none of its own.

    One that has control tokens also has `quote`, `encode_quoted` and `decode_quoted`, as
    `jprm.tokenizer.Tokenizer`: without them nothing keeps a text of others from spelling one.
    """

    @property
    def eos_id(self) -> int:
        """The token with which a model ends its text."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without padding and end marks."""
        ...

    def token_id(self, token: str) -> int:
        """The id of a text that is one token; UserError if it is not."""
        ...

    def accepts(self, text: str) -> bool:
        """Whether the vocabulary can write this text at all."""
        ...


class Event(Protocol):
    """News of one handle since its last event."""

    @property
    def handle(self) -> int:
        """The conversation."""
        ...

    @property
    def tokens(self) -> Sequence[int]:
        """What it generated, the stop token included."""
        ...

    @property
    def finish(self) -> str | None:
        """ "stop" or "length"; "lost" if it can never be completed; None while it goes on."""
        ...

    @property
    def fault(self) -> str:
        """Why it is lost; "" where it is not."""
        ...

    @property
    def logprobs(self) -> Any:
        """[len(tokens), len(logprob_ids)] raw log-probabilities of the logprob ids, per position."""
        ...


class Sampler(Protocol):
    """A sampling engine; conversations that it has stopped keep their slot until released."""

    @property
    def busy(self) -> bool:
        """Whether anything is running or queued."""
        ...

    def submit(
        self,
        prompt: Sequence[int],
        sample_ids: Sequence[int],
        *,
        max_tokens: int,
        stops: Sequence[int],
        logprob_ids: Sequence[int] = (),
        stop_when: StopWhen | None = None,
        parent: int | None = None,
    ) -> list[int]:
        """Start one conversation per sample id from a shared prompt; returns their handles.

        stop_when: whether to stop after these tokens, all that were drawn since the last event. It
            may be asked at some tokens only (the sampler is made with `stops.trigger_ids`).
        parent: a stopped handle whose tokens begin the prompt; they need not be read again.
        """
        ...

    def extend(self, handle: int, tokens: Sequence[int], *, max_tokens: int) -> None:
        """Feed a stopped conversation (possibly nothing) and let it go on."""
        ...

    def release(self, handle: int) -> None:
        """Give up a conversation."""
        ...

    def poll(self) -> Sequence[Event]:
        """Let the device work for a moment and return the news; [] if there was nothing to do."""
        ...


class CodeSession(Protocol):
    """A namespace in which one vote's code runs, snippet after snippet."""

    def submit(self, code: str) -> Future[Any]:
        """Queue a snippet; the future's result has `kind` and `text`."""
        ...

    def fork(self) -> CodeSession:
        """A new session with this one's past."""
        ...

    def close(self) -> None:
        """Forget the namespace."""
        ...


class Executor(Protocol):
    """Runs code away from this process."""

    def session(self) -> CodeSession:
        """Open an empty session."""
        ...
