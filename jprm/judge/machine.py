"""The model, its tokenizer and the code pool, opened when the first vote is to be drawn."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jprm.config import load
from jprm.errors import UserError
from jprm.execute import Place, open_place
from jprm.judge.items import Item
from jprm.judge.options import Options
from jprm.judge.sizes import asked_over, choose, context_tokens, cores
from jprm.progress import Progress
from jprm.records import ReadOut
from jprm.score import Generator
from jprm.verify import Execution, GenPRM, Settings, trigger_ids

if TYPE_CHECKING:  # these load JAX and transformers
    from jprm.chat import ChatCodec
    from jprm.sample import Engine, EngineConfig

PROTOCOL = Path(__file__).resolve().parents[2] / "configs" / "verify" / "genprm.toml"
ENGINE_SEED = 0  # votes differ by their sample ids, which the run's seed decides


def read_protocol(options: Options) -> GenPRM:
    """The published protocol, or the user's, with overrides. Raises UserError."""
    if options.protocol is None and not PROTOCOL.is_file():
        raise UserError(f"{PROTOCOL}: no such file; give --protocol FILE.toml")
    return load(GenPRM, options.protocol or PROTOCOL, options.overrides)


class Machine:
    """Samples with the engine of this project. Use as a context manager: it ends the code pool."""

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

        items: all of the file, for the longest. stored: the engine's part of the identity of an
        earlier sitting, or {}. claim: told that part before anything is sampled.
        """
        self._options, self._protocol, self._items = options, protocol, items
        self._readout: ReadOut = readout
        self._stored, self._claim, self._progress = stored, claim, progress
        self._pool: Place | None = None
        self._engine: Engine | None = None
        self._started = time.monotonic()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    @property
    def speed(self) -> str:
        """How the engine is doing; "" before it runs."""
        return str(self._engine.progress) if self._engine is not None else ""

    @property
    def drawn_tokens(self) -> int:
        """Tokens that this sitting has sampled, those included that no table counts."""
        return self._engine.stats.generated if self._engine is not None else 0

    def generator(self, style: str, execute: Execution) -> Generator:
        """Loads everything. Raises UserError for whatever is missing or does not fit."""
        from jprm.chat import ChatCodec

        options, protocol = self._options, self._protocol
        assert options.model is not None
        codec = ChatCodec.load(options.model)
        self._note_vocabulary(codec)
        sizes, self._engine = self._load(codec, style)
        if execute == "executed" and self._pool is None:
            self._pool = self._open_pool()
        settings = Settings(
            context_tokens=sizes.context_tokens,
            mode=options.mode,
            style=style,
            execute=execute,
            temperature=protocol.sampling.temperature,
            max_in_flight=2 * sizes.lanes,
            readout=self._readout,
            template=protocol,
        )
        self._progress.note(
            f"sampling starts after {time.monotonic() - self._started:.1f} s: {sizes.lanes} lanes "
            f"of {sizes.context_tokens} tokens"
        )
        return Generator(self._engine, self._pool, codec, settings)

    def _note_vocabulary(self, codec: ChatCodec) -> None:
        chat, tags = self._protocol.chat, self._protocol.tags
        turns, words = (chat.user, chat.assistant, chat.end_of_turn), (tags.yes, tags.no)
        for texts, why in (
            (
                turns,
                "is no single token of this vocabulary: another family's chat? (chat.* overrides)",
            ),
            (
                words,
                "is no single token of this vocabulary: verdicts are read without probabilities",
            ),
        ):
            for text in texts:
                if len(codec.encode(text)) != 1:
                    self._progress.note(f"note: {text!r} {why}")

    def _load(self, codec: ChatCodec, style: str) -> tuple[EngineConfig, Engine]:
        """The sizes, and the engine with the weights on its devices."""
        import jax

        from jprm.models.hf_config import read_config, read_fields
        from jprm.models.hf_weights import from_hf
        from jprm.sample import Engine, EngineConfig, SamplingParams

        options, sampling = self._options, self._protocol.sampling
        assert options.model is not None
        config = read_config(options.model)
        if codec.vocab_size > config.vocab_size:
            raise UserError(
                f"{options.model}: the tokenizer has {codec.vocab_size} tokens, config.json "
                f"{config.vocab_size}; they are not of one checkpoint"
            )
        platform = jax.local_devices()[0].platform
        dtype = options.dtype or ("float32" if platform == "cpu" else None)
        model, params = from_hf(options.model, dtype)
        found = jax.tree.leaves(params)[0].dtype
        if self._stored:
            names = {field.name for field in dataclasses.fields(EngineConfig)}
            table = {name: value for name, value in self._stored.items() if name in names}
            sizes = asked_over(table, options.sizes)
        else:
            longest = read_fields(options.model).get("max_position_embeddings")
            context = options.sizes.context or context_tokens(
                self._items, codec, self._protocol, style, longest
            )
            sizes = choose(config, found.itemsize, context, options.sizes)
        self._claim(dataclasses.asdict(sizes) | {"dtype": str(found), "platform": platform})
        engine = Engine(
            model,
            params,
            sizes,
            SamplingParams(sampling.temperature, sampling.top_k, sampling.top_p),
            ENGINE_SEED,
            triggers=trigger_ids(codec, codec.vocab_size, self._protocol.stops),
        )
        return sizes, engine

    def _open_pool(self) -> Place:
        options = self._options
        local = {"uncovered": options.uncovered} if options.place == "local" else {}
        pool = open_place(
            options.place,
            workers=options.workers or cores(),
            timeout_s=self._protocol.sampling.code_timeout_s,
            memoize=True,
            **local,
        )
        self._progress.note(f"generated code runs {pool.description}")
        return pool
