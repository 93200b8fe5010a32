"""The model, its tokenizer and the code pool, opened when the first vote is to be drawn."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jprm.config import load
from jprm.execute import CodePlace, open_place
from jprm.judge.backends import BACKENDS, Backend, Task
from jprm.judge.items import Item
from jprm.judge.options import Options
from jprm.judge.sizes import cores
from jprm.progress import Progress
from jprm.records import ReadOut
from jprm.score import Generator
from jprm.verify import Execution, GenPRM, Settings

if TYPE_CHECKING:  # loads transformers
    from jprm.chat import ChatCodec

PROTOCOL = Path("configs", "verify", "genprm.toml")  # beside the package, or installed inside of it


def read_protocol(options: Options) -> GenPRM:
    """The published protocol, or the user's, with overrides. Raises UserError."""
    package = Path(__file__).resolve().parents[1]
    files = [options.protocol] if options.protocol else [package.parent / PROTOCOL, package / PROTOCOL]
    return load(GenPRM, next((f for f in files if f.is_file()), files[0]), options.overrides)


class Machine:
    """Samples a checkpoint. Use as a context manager: it ends the code pool and the sampler."""

    def __init__(
        self,
        options: Options,
        protocol: GenPRM,
        readout: ReadOut,
        items: Sequence[Item],
        stored: Mapping[str, Any],
        claim: Callable[[dict[str, Any]], None],
        progress: Progress,
    ):
        """A machine that loads nothing yet.

        items, stored, claim: see `Task`.
        """
        self._options, self._protocol, self._items = options, protocol, items
        self._readout: ReadOut = readout
        self._stored, self._claim, self._progress = stored, claim, progress
        self._pool: CodePlace | None = None
        self._backend: Backend | None = None
        self._open = contextlib.ExitStack()
        self._started = time.monotonic()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def speed(self) -> str:
        """How the sampler is doing; "" before it runs."""
        return self._backend.speed() if self._backend is not None else ""

    @property
    def drawn_tokens(self) -> int:
        """Tokens that this sitting has sampled, those included that no table counts."""
        return self._backend.drawn() if self._backend is not None else 0

    def generator(self, style: str, execute: Execution) -> Generator:
        """Loads everything. Raises UserError for whatever is missing or does not fit."""
        from jprm.chat import ChatCodec

        options, protocol = self._options, self._protocol
        assert options.model is not None
        codec = ChatCodec.load(options.model)
        self._note_vocabulary(codec)
        task = Task(options, protocol, codec, style, self._items, self._stored, self._claim)
        self._backend = backend = BACKENDS[options.backend](task)
        if isinstance(backend.sampler, contextlib.AbstractContextManager):
            self._open.enter_context(backend.sampler)
        if backend.about:
            self._progress.note(backend.about)
        if execute == "executed" and self._pool is None:
            self._pool = self._open.enter_context(self._open_pool())
        settings = Settings(
            context_tokens=backend.context_tokens,
            mode=options.mode,
            style=style,
            execute=execute,
            temperature=protocol.sampling.temperature,
            max_in_flight=backend.in_flight,
            readout=self._readout if backend.probabilities else "vote",
            template=protocol,
            overflow=options.overflow,
        )
        self._progress.note(
            f"sampling starts after {time.monotonic() - self._started:.1f} s; a conversation may "
            f"have {backend.context_tokens} tokens"
        )
        return Generator(backend.sampler, self._pool, codec, settings)

    def _note_vocabulary(self, codec: ChatCodec) -> None:
        chat, tags = self._protocol.chat, self._protocol.tags
        turns, words = (chat.user, chat.assistant, chat.end_of_turn), (tags.yes, tags.no)
        for texts, why in (
            (turns, "is no single token of this vocabulary: another family's chat? (chat.* overrides)"),
            (words, "is no single token of this vocabulary: verdicts are read without probabilities"),
        ):
            for text in texts:
                if len(codec.encode(text)) != 1:
                    self._progress.note(f"note: {text!r} {why}")

    def _open_pool(self) -> CodePlace:
        options = self._options
        local = {"uncovered": options.uncovered} if options.place == "local" else {}
        pool = open_place(
            options.place,
            workers=options.workers or cores(),
            timeout_s=self._protocol.sampling.code_timeout_s,
            memoize=True,
            **local,
        )
        pool.options = self._protocol.code_settings.options
        self._progress.note(f"generated code runs {pool.description}")
        return pool
