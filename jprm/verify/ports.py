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
        """Returns the token ids of a text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of token ids, without padding and end marks."""
        ...

    def token_id(self, token: str) -> int:
        """Returns the id of a text that is one token. Raises UserError if it is not one."""
        ...

    def accepts(self, text: str) -> bool:
        """Says whether the vocabulary can write this text at all."""
        ...


class SamplerEvent(Protocol):
    """What happened to one conversation of a sampler since its last event."""

    @property
    def handle(self) -> int:
        """The number of the conversation."""
        ...

    @property
    def tokens(self) -> Sequence[int]:
        """The tokens that it generated, the stop included."""
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
        """Starts one conversation per sample id from a shared prompt; returns their handles.

        stop_when: says whether to stop after these tokens, all that were drawn since the last event. It
            may be asked at some tokens only (the sampler is made with `texts.trigger_ids`).
        parent: a stopped handle whose tokens begin the prompt; they need not be read again.
        """
        ...

    def extend(self, handle: int, tokens: Sequence[int], *, max_tokens: int) -> None:
        """Feeds a stopped conversation (possibly nothing) and lets it go on."""
        ...

    def release(self, handle: int) -> None:
        """Gives up a conversation."""
        ...

    def poll(self) -> Sequence[SamplerEvent]:
        """Lets the device work for a moment and returns what happened; [] if there was nothing to do."""
        ...


class CodeSession(Protocol):
    """A namespace in which one vote's code runs, snippet after snippet."""

    def submit(self, code: str) -> Future[Any]:
        """Queues a snippet; the future's result has `kind` and `text`."""
        ...

    def fork(self) -> CodeSession:
        """Returns a new session in which this one's code has run."""
        ...

    def close(self) -> None:
        """Forgets the namespace."""
        ...


class Executor(Protocol):
    """Runs code away from this process."""

    def session(self) -> CodeSession:
        """Opens an empty session."""
        ...
