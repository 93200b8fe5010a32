"""What samples: the engine of this project, or a server that speaks OpenAI's protocol."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jprm.errors import UserError, printable
from jprm.judge.items import Item
from jprm.judge.options import Options
from jprm.judge.sizes import STORED_NAMES, asked_over, choose, context_tokens
from jprm.verify import GenPRM, Sampler, trigger_ids

if TYPE_CHECKING:  # these load JAX and transformers
    from jprm.chat import ChatCodec

API_KEY = "OPENAI_API_KEY"
ENGINE_SEED = 0  # votes differ by their sample ids, which the run's seed decides


@dataclasses.dataclass(frozen=True)
class Backend:
    """A sampler that is ready.

    in_flight: conversations that it should be given at a time. drawn: tokens sampled so far.
    about: what there is to know of it. probabilities: whether P(Yes) of a verdict can be read.
    """

    sampler: Sampler
    context_tokens: int
    in_flight: int
    drawn: Callable[[], int]
    speed: Callable[[], str]
    about: str = ""
    probabilities: bool = True


@dataclasses.dataclass(frozen=True)
class Task:
    """What a backend is opened for.

    items: all of the file, for the longest. stored: the backend's part of the identity of an
    earlier sitting, or {}. claim: to be told that part before anything is sampled.
    """

    options: Options
    protocol: GenPRM
    codec: ChatCodec
    style: str
    items: Sequence[Item]
    stored: Mapping[str, Any]
    claim: Callable[[dict[str, Any]], None]

    @property
    def triggers(self) -> list[int]:
        """The tokens at which a stop of the protocol can end."""
        return trigger_ids(self.codec, self.codec.vocab_size, self.protocol.all_stops)

    def context(self, longest: int | None) -> int:
        """Tokens of the longest conversation: the user's, or what the texts need."""
        return self.options.sizes.context or context_tokens(self.items, self.codec, self.protocol, self.style, longest)


def open_own(task: Task) -> Backend:
    """The engine with the weights on its devices. Raises UserError."""
    import jax

    from jprm.models.hf_config import read_config, read_fields
    from jprm.models.locate import Checkpoint
    from jprm.sample import Engine, EngineConfig, SamplingParams
    from jprm.train.lora import from_checkpoint

    options, codec, sampling = task.options, task.codec, task.protocol.sampling
    assert options.model is not None
    config = read_config(options.model)
    # transformers may add special tokens of its own behind those of the checkpoint.
    needed = len(codec.backend.get_vocab(with_added_tokens=False))
    if needed > config.vocab_size:
        raise UserError(
            f"{options.model}: the tokenizer has {needed} tokens, config.json "
            f"{config.vocab_size}; they are not of one checkpoint"
        )
    platform = jax.local_devices()[0].platform
    dtype = options.dtype or ("float32" if platform == "cpu" else None)
    model, params = from_checkpoint(Checkpoint(options.model, options.adapters), dtype)
    found = jax.tree.leaves(params)[0].dtype
    if task.stored:
        stored = {STORED_NAMES.get(field.name, field.name): field.name for field in dataclasses.fields(EngineConfig)}
        table = {stored[name]: value for name, value in task.stored.items() if name in stored}
        sizes = asked_over(table, options.sizes)
    else:
        fields, key = read_fields(options.model), "max_position_embeddings"
        longest = fields.integer(key) if fields.get(key) is not None else None
        sizes = choose(config, found.itemsize, task.context(longest), options.sizes)
    about = {"backend": "own", "dtype": str(found), "platform": platform}
    task.claim(about | {STORED_NAMES.get(name, name): size for name, size in dataclasses.asdict(sizes).items()})
    engine = Engine(
        model,
        params,
        sizes,
        SamplingParams(sampling.temperature, sampling.top_k, sampling.top_p),
        ENGINE_SEED,
        triggers=[i for i in task.triggers if i < config.vocab_size],
    )
    return Backend(
        engine, sizes.context_tokens, 2 * sizes.slots, lambda: engine.stats.generated, lambda: str(engine.progress)
    )


def open_served(task: Task) -> Backend:
    """A server of the model; the directory gives the tokenizer. Raises UserError."""
    from jprm.openai import OpenAISampler

    options = task.options
    sampler = OpenAISampler(
        options.base_url,
        task.codec,
        task.protocol.sampling,
        model=options.served_model,
        seed=ENGINE_SEED,
        stop_texts=task.protocol.all_stops,
        triggers=task.triggers,
        concurrency=options.concurrency,
        api_key=os.environ.get(API_KEY, ""),
    )
    dialect = sampler.dialect
    about: dict[str, Any] = {"backend": "openai", "served_model": sampler.model}
    if not dialect.probabilities:
        if (asked := options.readout) not in (None, "vote"):
            sampler.close()
            raise UserError(
                f"--readout {asked}: {sampler.url} cannot give it ({dialect}); use --readout vote, or "
                "a server that tells tokens and their log-probabilities (vLLM does)"
            )
        about["readout"] = "vote"
    try:
        task.claim(about)
    except BaseException:
        sampler.close()
        raise
    return Backend(
        sampler,
        task.context(sampler.context_tokens),
        2 * options.concurrency,
        lambda: sampler.stats.generated,
        lambda: f"{sampler.stats.generated} tokens drawn, {sampler.retried} requests repeated",
        f"{sampler.url} serves {printable(sampler.model)}: {dialect}",
        dialect.probabilities,
    )


BACKENDS: dict[str, Callable[[Task], Backend]] = {"own": open_own, "openai": open_served}
