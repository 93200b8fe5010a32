"""What samples a checkpoint: the engine of this project, in sizes that are chosen for it, or a server of the model.

Sizes follow from the texts that have to fit, and from the memory that is there. The number of votes and of solutions
has no say: bits repeat for fixed sizes only, and votes that are added later have to be those that would have come at
once. So what is decided when a sampler is opened first is recorded, and holds from then on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jprm.errors import UserError, printable
from jprm.jobs import provenance
from jprm.models.locate import Checkpoint
from jprm.records import ReadOut
from jprm.sampling import Sampler
from jprm.tasks.benchmark import Item
from jprm.tasks.settings import CheckpointSection
from jprm.verify import CheckpointProtocol, trigger_ids

if TYPE_CHECKING:  # these load JAX and transformers
    from jprm.chat import ChatCodec
    from jprm.models import ModelConfig
    from jprm.sample import EngineConfig

API_KEY = "OPENAI_API_KEY"
ENGINE_SEED = 0  # votes differ by their sample ids, which the seed of the votes decides
ROUND_TOKENS = 256
MOST_GROUP_SLOTS = {"cpu": 8}  # a decode step on a CPU is bound by the reading of keys and values
ACCELERATOR_GROUP_SLOTS = 256
ATTEND_SPAN = {"cpu": 512}  # most contexts are mostly empty; on accelerators the loop was not measured
FIRST_ENTRIES = {"cpu": 1024}  # whole spans; most conversations are short for long
SLOTS_PER_ROW = {"cpu": 2}  # where samples share prompts that grow; on accelerators rows were not measured
MEMORY_SHARE = {"cpu": 0.4}  # of a CPU's, which others use too
ACCELERATOR_MEMORY_SHARE = 0.85


class NoProbabilities(UserError):
    """A server that cannot tell the probability of a verdict was asked for one."""


@dataclass(frozen=True)
class OpenSampler:
    """A sampler that is ready.

    in_flight: how many conversations it should be given at a time. speed: tells in words how fast it samples. about: a
    line on what it is, for the user.
    """

    sampler: Sampler
    context_tokens: int
    in_flight: int
    speed: Callable[[], str]
    about: str = ""


@dataclass(frozen=True)
class SamplerRequest:
    """What a sampler is opened for.

    items: all solutions of the set, for the longest. style: see `jprm.score.Setup`. recorded: what was decided when
    these votes were first sampled, or {}. record: is told what is decided, before anything is sampled; it raises
    UserError where that is not what is recorded. doing: shows the user what takes long.
    """

    settings: CheckpointSection
    checkpoint: Checkpoint
    protocol: CheckpointProtocol
    readout: ReadOut
    codec: ChatCodec
    style: str
    items: Sequence[Item]
    recorded: Mapping[str, Any]
    record: Callable[[dict[str, Any]], None]
    doing: Callable[[str], AbstractContextManager[None]] = lambda what: contextlib.nullcontext()

    @property
    def triggers(self) -> list[int]:
        """The tokens at which a stop of the protocol can end."""
        return trigger_ids(self.codec, self.codec.vocab_size, self.protocol.all_stops)

    def context_tokens(self, longest: int | None) -> int:
        """Returns the tokens that hold the longest conversation: the user's number, or what the protocol expects.

        What outgrows them all the same ends there, and is counted (see `jprm.verify.verify`). longest: what the model
        was made for, which is never exceeded; None where it does not say.
        """
        if self.settings.context:
            return self.settings.context

        @functools.cache
        def count(text: str) -> int:
            try:
                return len(self.codec.encode(text))
            except (UserError, ValueError):  # this solution is lost later, with its reason
                return 0

        expected = self.protocol.expected_tokens
        need = max(expected(i.problem.text, i.solution.steps, self.style, count) for i in self.items)
        rounded = _in_multiples(need, ROUND_TOKENS)
        return rounded if longest is None else min(rounded, longest)


def open_engine(request: SamplerRequest) -> OpenSampler:
    """Opens the engine of this project, with the weights on its devices.

    Raises UserError for what is missing, does not fit, or is not as it is recorded.
    """
    with request.doing("loading JAX"):
        import jax

        from jprm.models.hf_config import read_config
        from jprm.models.hf_fields import read_fields
        from jprm.sample import Engine
        from jprm.train.lora import from_checkpoint

    settings, directory = request.settings, request.checkpoint.directory
    # 1. The files have to be those of one checkpoint.
    config = read_config(directory)
    request.codec.check_size(config.vocab_size)
    # 2. The weights are loaded, and the sizes are those of an earlier attempt, or are chosen.
    platform = jax.local_devices()[0].platform
    with request.doing("loading weights"):
        dtype = settings.dtype or ("float32" if platform == "cpu" else None)
        model, params = from_checkpoint(request.checkpoint, dtype, stacked=False)
    dtype = jax.tree.leaves(params)[0].dtype
    if request.recorded:
        sizes = recorded_sizes(request.recorded, settings, FIRST_ENTRIES.get(platform, 0))
    else:
        fields, key = read_fields(directory), "max_position_embeddings"
        longest = fields.integer(key) if fields.get(key) is not None else None
        asked = {"slots": settings.slots, "tensor": settings.tensor, "prefix_rows": settings.prefix_rows}
        sizes = choose_sizes(
            config, dtype.itemsize, request.context_tokens(longest), shared_prompts=settings.mode == "fork", **asked
        )
    decisive = {name: size for name, size in dataclasses.asdict(sizes).items() if name != "first_entries"}
    request.record({"backend": "own", "dtype": str(dtype), "platform": platform} | decisive)
    # 3. The engine takes its memory.
    with request.doing("compiling"):
        engine = Engine(
            model,
            params,
            sizes,
            request.protocol.sampling.params,
            ENGINE_SEED,
            triggers=[i for i in request.triggers if i < config.vocab_size],
        )
    about = f"{sizes.slots} conversations side by side on this machine: {engine.memory}"
    return OpenSampler(engine, sizes.context_tokens, 2 * sizes.slots, lambda: str(engine.progress), about)


def open_server(request: SamplerRequest) -> OpenSampler:
    """Connects to a server of the model; the checkpoint's directory gives the tokenizer.

    Raises NoProbabilities where it cannot give what the read-out needs, and UserError for what else keeps it from
    being used.
    """
    from jprm.openai import OpenAISampler

    settings = request.settings
    sampler = OpenAISampler(
        settings.base_url,
        request.codec,
        request.protocol.sampling.params,
        model=settings.served_model,
        seed=ENGINE_SEED,
        stop_texts=request.protocol.all_stops,
        triggers=request.triggers,
        concurrency=settings.concurrency,
        api_key=os.environ.get(API_KEY, ""),
    )
    dialect = sampler.dialect
    try:
        if not dialect.probabilities and request.readout != "vote":
            raise NoProbabilities(
                f"--readout {request.readout}: {sampler.url} cannot give it ({dialect}); use --readout vote, or "
                "a server that tells tokens and their log-probabilities (vLLM does)"
            )
        only = {} if dialect.probabilities else {"readout": "vote"}
        request.record({"backend": "openai", "served_model": sampler.model} | only)
    except BaseException:
        sampler.close()
        raise
    return OpenSampler(
        sampler,
        request.context_tokens(sampler.context_tokens),
        2 * settings.concurrency,
        lambda: f"{sampler.stats.generated} tokens drawn, {sampler.retried} requests repeated",
        f"{sampler.url} serves {printable(sampler.model)}: {dialect}",
    )


def choose_sizes(
    model: ModelConfig,
    itemsize: int,
    context: int,
    *,
    slots: int | None = None,
    most_slots: int | None = None,
    tensor: int | None = None,
    prefix_rows: int | None = None,
    shared_prompts: bool = False,
) -> EngineConfig:
    """Chooses the engine's sizes for a model and a context on the local devices.

    There is one slot group for each core of a CPU, one for each accelerator (or group of them), and as many slots as
    fit into the memory that is there, a power of two, but `most_slots` at most; or `slots`, whether they fit or not.
    shared_prompts: several samples of one prompt are written side by side, and the next prompts go on from one of them,
    as in votes of fork mode: then there are prefix rows where they pay, unless `prefix_rows` says how many.
    Raises UserError where not one slot fits.
    """
    import jax

    from jprm.sample import EngineConfig
    from jprm.sample.config import BLOCK_TOKENS, CPU_BLOCK_TOKENS, CPU_DECODE_STEPS, DECODE_STEPS
    from jprm.sample.memory import device_bytes, engine_memory

    devices = jax.local_devices()
    kind = devices[0].platform
    tensor = tensor or 1
    groups = processors() if kind == "cpu" else max(1, len(devices) // tensor)
    groups = min(groups, slots or most_slots or groups)
    slots_per_row = SLOTS_PER_ROW.get(kind, 0) if shared_prompts else 0

    def sizes(group_slots: int) -> EngineConfig:
        rows = -(-group_slots // slots_per_row) * groups if slots_per_row else 0
        return EngineConfig(
            slots=group_slots * groups,
            slot_groups=groups,
            context_tokens=context,
            tensor=tensor,
            prefix_rows=rows if prefix_rows is None else _in_multiples(prefix_rows, groups),
            block_tokens=CPU_BLOCK_TOKENS if kind == "cpu" else BLOCK_TOKENS,
            decode_steps=CPU_DECODE_STEPS if kind == "cpu" else DECODE_STEPS,
            attend_span=ATTEND_SPAN.get(kind, 0),
            first_entries=FIRST_ENTRIES.get(kind, 0),
        )

    if slots is not None:
        return sizes(-(-slots // groups))
    limit = device_bytes(devices[0]) * MEMORY_SHARE.get(kind, ACCELERATOR_MEMORY_SHARE)
    group_slots = most_slots and -(-most_slots // groups) or MOST_GROUP_SLOTS.get(kind, ACCELERATOR_GROUP_SLOTS)
    while True:
        config = sizes(group_slots)
        memory = engine_memory(model, config, itemsize, len(devices))
        if memory.total_bytes <= limit:
            return config
        if group_slots == 1:
            memory.check(int(limit), str(devices[0]))
        group_slots //= 2


def recorded_sizes(recorded: Mapping[str, Any], asked: CheckpointSection, first_entries: int = 0) -> EngineConfig:
    """Returns the recorded sizes, with what the user asks for now laid over them. Raises UserError for damage.

    first_entries: of caches whose spans are recorded; the bits do not depend on it.
    """
    from jprm.sample import EngineConfig

    names = {field.name for field in dataclasses.fields(EngineConfig)}
    sizes = {name: value for name, value in recorded.items() if name in names}
    now = {"context_tokens": asked.context, "tensor": asked.tensor}
    now["first_entries"] = first_entries if sizes.get("attend_span") else None
    try:
        groups = sizes["slot_groups"]
        for name, value in (("slots", asked.slots), ("prefix_rows", asked.prefix_rows)):
            now[name] = None if value is None else _in_multiples(value, groups)
        return EngineConfig(**sizes | {name: value for name, value in now.items() if value is not None})
    except (KeyError, TypeError) as error:
        raise UserError(f"engine.json: not the sizes of an engine ({error}); give another --out") from None


def processors() -> int:
    """The processors that this process may use."""
    return provenance()["cpus"] or 1


def _in_multiples(n: int, size: int) -> int:
    """The least multiple of `size` that is not below `n`."""
    return -(-n // size) * size
