"""How fast this machine trains and samples: measured in a minute on the smallest model, kept per machine."""

from __future__ import annotations

import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from jprm.config import fingerprint
from jprm.pipeline.cells import Cell
from jprm.pipeline.lab import Lab, Rates
from jprm.runs import provenance, write_atomic

SECONDS_EACH = 6.0  # of training, and of sampling, once compiled
MAX_STEPS = 200
DOCUMENTS = 1000  # of pretraining: real lengths, and enough for some steps
PROMPT_TOKENS = 32


class _Enough(Exception):
    """Long enough to know."""


def stored_rates(lab: Lab) -> Rates | None:
    """What was measured on this machine for this run; None where nothing was, or the file is not readable."""
    try:
        told = json.loads(_path(lab).read_text(encoding="utf-8"))
        return Rates(float(told["train"]), float(told["decode"]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def calibrate(lab: Lab, cells: list[Cell]) -> Rates:
    """Measures, and keeps the result in the run directory.

    Sampling is measured without the code that rationales run, and training on the documents of the base models.
    """
    from jprm.models import parameter_count

    view, size = min(
        ((lab.at(cell.config), cell.votes.verifier.size) for cell in cells),
        key=lambda pair: parameter_count(pair[0].model_config(pair[1])),
    )
    rates = Rates(_train_rate(view, size), _decode_rate(view, size))
    path = _path(lab)
    path.parent.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"train": rates.train, "decode": rates.decode, "size": size}
    write_atomic(path, json.dumps(told | {"machine": provenance()}, indent=1))
    return rates


def _path(lab: Lab) -> Path:
    machine = {"host": platform.node(), "cpus": provenance()["cpus"]}
    return lab.root / "calibration" / f"{fingerprint(machine)}.json"


def _train_rate(lab: Lab, size: str) -> float:
    """FLOPs per second of training; the first steps, which compile, do not count."""
    from jprm.data import render
    from jprm.models.costs import train_flops
    from jprm.train import fit

    config = lab.config.train.model_copy(update={"steps": MAX_STEPS, "checkpoint_every": MAX_STEPS + 1})
    documents = [
        render([(s.text, s.trained) for s in segments], lab.tokenizer)
        for segments in lab.world.base_documents(DOCUMENTS, 0)
    ]
    ticks: list[float] = []

    def tick(_step: int, _metrics: dict) -> None:
        ticks.append(time.monotonic())
        if len(ticks) > 2 and ticks[-1] - ticks[1] > SECONDS_EACH:
            raise _Enough

    model = lab.model(size)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            fit(model, model.init(0), documents, config, 0, Path(scratch) / "c", on_step=tick)
        except _Enough:
            pass
    per_step = (ticks[-1] - ticks[1]) / (len(ticks) - 2)
    tokens = config.batch_rows * config.row_tokens
    length = sum(map(len, documents)) / len(documents)
    return train_flops(lab.model_config(size), tokens, length) / per_step


def _decode_rate(lab: Lab, size: str) -> float:
    """FLOPs per second of sampling with all lanes taken; the first round, which compiles, does not count."""
    config, model = lab.config, lab.model(size)
    engine = lab.engine(size, model.init(0), max(config.verify.temperature, 1.0), config.verify.context_tokens)
    prompt = np.arange(1, 1 + min(PROMPT_TOKENS, config.verify.context_tokens // 4)).tolist()
    new = config.verify.context_tokens - len(prompt) - 1
    drawn, started, first = 0, time.monotonic(), True
    ids = iter(range(10**9))
    while first or time.monotonic() - started < SECONDS_EACH:
        handles = engine.submit(prompt, [next(ids) for _ in range(config.model.lanes)], max_tokens=new)
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
    return lab.decode_flops(size, config.verify.context_tokens, 1) * per_second
