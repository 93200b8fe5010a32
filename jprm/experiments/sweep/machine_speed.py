"""How fast this machine trains and samples: measured in a minute on the smallest model, kept per machine."""

import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from jprm.config import fingerprint
from jprm.experiments.sweep.cells import Cell, Sweep
from jprm.jobs import provenance, write_atomic
from jprm.sampling import SamplingParams
from jprm.tasks.model_source import SamplerSizes
from jprm.tasks.resources import Speed

SECONDS_EACH = 6.0  # of training, and of sampling, once compiled
MAX_STEPS = 200
DOCUMENTS = 1000  # of pretraining: real lengths, and enough for some steps
PROMPT_TOKENS = 32


class _Enough(Exception):
    """Ends a training that has been measured for long enough."""


def stored_speed(run: Path) -> Speed | None:
    """The speed that was measured on this machine for a run; None where none was, or the file is not readable."""
    try:
        told = json.loads(_file(run).read_text(encoding="utf-8"))
        return Speed(float(told["train"]), float(told["decode"]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def measure_speed(sweep: Sweep) -> Speed:
    """Measures the speed, and keeps it in the run directory.

    Sampling is measured without the code that rationales run, and training on the documents of the base models.
    """
    from jprm.models import parameter_count

    cell = min(sweep.cells, key=lambda c: parameter_count(c.verifier.base.config))
    speed = Speed(_train_speed(cell), _decode_speed(cell))
    path = _file(sweep.config.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"train": speed.train, "decode": speed.decode, "size": cell.verifier.size}
    write_atomic(path, json.dumps(told | {"machine": provenance()}, indent=1))
    return speed


def _file(run: Path) -> Path:
    machine = {"host": platform.node(), "cpus": provenance()["cpus"]}
    return run / "speed" / f"{fingerprint(machine)}.json"


def _train_speed(cell: Cell) -> float:
    """FLOPs per second of training; the first steps, which compile, do not count."""
    from jprm.data import render
    from jprm.models.costs import train_flops
    from jprm.train import fit

    world, base = cell.verifier.world, cell.verifier.base
    config = cell.config.train.model_copy(update={"steps": MAX_STEPS, "checkpoint_every": MAX_STEPS + 1})
    documents = [
        render([(s.text, s.trained) for s in segments], base.tokenizer)
        for segments in world.world.base_documents(DOCUMENTS, 0)
    ]
    ticks: list[float] = []

    def tick(_step: int, _metrics: dict) -> None:
        ticks.append(time.monotonic())
        if len(ticks) > 2 and ticks[-1] - ticks[1] > SECONDS_EACH:
            raise _Enough

    model = base.model
    with tempfile.TemporaryDirectory() as scratch:
        try:
            fit(model, model.init(0), documents, config, 0, Path(scratch) / "c", on_step=tick)
        except _Enough:
            pass
    per_step = (ticks[-1] - ticks[1]) / (len(ticks) - 2)
    tokens = config.batch_rows * config.row_tokens
    length = sum(map(len, documents)) / len(documents)
    return train_flops(base.config, tokens, length) / per_step


def _decode_speed(cell: Cell) -> float:
    """FLOPs per second of sampling with all slots taken; the first round, which compiles, does not count."""
    config, base = cell.config, cell.verifier.base
    context_tokens, slots = config.verify.context_tokens, config.model.slots
    sampling = SamplingParams(max(config.verify.temperature, 1.0))
    engine = base.engine(base.model.init(0), sampling, SamplerSizes(context_tokens, slots))
    prompt = np.arange(1, 1 + min(PROMPT_TOKENS, context_tokens // 4)).tolist()
    new = context_tokens - len(prompt) - 1
    drawn, started, first = 0, time.monotonic(), True
    ids = iter(range(10**9))
    while first or time.monotonic() - started < SECONDS_EACH:
        handles = engine.submit(prompt, [next(ids) for _ in range(slots)], max_tokens=new)
        open_handles, tokens = set(handles), 0
        while open_handles:
            for event in engine.poll():
                tokens += len(event.tokens)
                if event.finish is not None:
                    open_handles.discard(event.handle)
                    engine.release(event.handle)
        if first:
            first, started = False, time.monotonic()
        else:
            drawn += tokens
    per_second = drawn / (time.monotonic() - started)
    return base.decode_flops(context_tokens, 1) * per_second
