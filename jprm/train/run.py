"""The command `python -m jprm train`: one run from its configuration to weights on disk.

The run directory holds `config.json`, `data.json` (what became of the rows of the file), `log.jsonl`,
`checkpoints/`, `tokenizer/`, and when the last step is done `weights.safetensors` (adapters merged, and by
themselves in `adapter/`), `jprm.json` where the rows say in which protocol they were written, and `result.json`; with
`export` also `hf/`, a Hugging Face checkpoint.
Process 0 writes all but the checkpoints, which are everybody's.
"""

import contextlib
import datetime
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jprm.config import plain
from jprm.data import Rows, pack
from jprm.digests import inventory
from jprm.errors import PREEMPTED, UserError
from jprm.formats.protocols import PROTOCOL_FILE, protocol_json
from jprm.jobs import HeldDirectory, provenance, write_atomic
from jprm.models import parameter_count
from jprm.models.locate import EXPORTED
from jprm.train.checkpoint import Checkpoints
from jprm.train.config import RunConfig
from jprm.train.distributed import (
    Processes,
    first_process,
    gathered,
    join,
    keep_freed_memory,
    mesh_of,
    of_first_process,
    stop_signal,
)
from jprm.train.log import Log
from jprm.train.loop import TrainingJob, TrainingTotals, make_job, run, run_identity
from jprm.train.lora import LORA, save_peft
from jprm.train.memory import gb, step_memory
from jprm.train.meter import Meter, train_flops_of
from jprm.train.optimizer import make_optimizer
from jprm.train.start import Start, start_of
from jprm.train.step import TrainState
from jprm.train.weights import RESULT, export_run, save_params

SHOWN_LINES = 20
# What lies in the run directory and is no part of the trained model.
NOT_WEIGHTS = ("lock", "config.json", "data.json", "log.jsonl", "checkpoints", "tensorboard", RESULT)
NOT_WEIGHTS += (EXPORTED, f".{EXPORTED}.unfinished")
DATA_FILE = "data.json"


def run_training(config: RunConfig, processes: Processes | None = None) -> int:
    """Trains, or goes on training; returns 0 when the last step is done, and 75 when it was asked to stop before.

    Raises UserError for every mistake in the configuration and the data.
    """
    keep_freed_memory()
    join(processes)
    mesh = mesh_of(config.mesh, config.train.batch_rows, config.train.microbatches)
    directory = config.directory / config.name
    with contextlib.ExitStack() as stack:
        if first_process():  # it holds the run directory for all processes
            stack.enter_context(HeldDirectory(directory))
        if mesh is not None:
            stack.enter_context(jax.set_mesh(mesh))
        return _train(config, directory, stack.enter_context(stop_signal()))


def _train(config: RunConfig, directory: Path, stop: Callable[[int], bool]) -> int:
    start = start_of(config, config.data.date or first_day(directory))
    documents = start.corpus.documents
    packing = pack([len(d) for d in documents], config.train.row_tokens, config.seed)
    rows = Rows(documents, packing, start.corpus.lines)
    memory = step_memory(start.model, config.train, make_optimizer(config.train))
    memory.check()
    job = make_job(start.model, start.fresh, rows, config.train, config.seed)
    meter = Meter(start.model, config.train)  # on every process, since all take part in what it measures
    log = Log(directory / "log.jsonl", job, meter, config.log_every, config.tensorboard)
    report = data_report(start, rows)
    for line in _summary(config, start, report):
        log.note(line)
    log.note(f"attention by {meter.kernel}; estimated memory of a device: {gb(memory.total)} ({memory})")
    identity = run_identity(start.model, documents, config.train, config.seed)
    identity["initial_parameters"] = start.weights
    if start.date:
        identity["data.date"] = start.date

    def on_resume(step: int) -> None:  # by now the directory is known to be this run's, and may be written to
        log.resume(step)
        if first_process():
            write_atomic(directory / "config.json", json.dumps(config, indent=1, default=plain))
            write_atomic(directory / DATA_FILE, json.dumps(report, indent=1))
            start.save_tokenizer(directory / "tokenizer")

    with (
        contextlib.closing(log),
        Checkpoints(directory / "checkpoints", identity, config.keep_checkpoints) as checkpoints,
    ):
        state, totals = run(job, checkpoints, log.on_step, stop, on_resume)
    if int(state.step) < job.steps:
        log.note(f"stopped after step {int(state.step)} and saved; the same command goes on from here")
        return PREEMPTED
    _finish(config, directory, start, job, state, totals)
    loss = np.asarray(state.losses)[-1]
    log.note(f"{directory}: all {job.steps} steps done, the last with loss {loss:.4f}")
    return 0


def first_day(directory: Path) -> datetime.date:
    """Returns the day that an earlier start of this run has written into its data; today for a new run.

    Raises UserError where its file cannot be read.
    """
    path, day = directory / DATA_FILE, datetime.date.today()
    try:
        if found := json.loads(path.read_text(encoding="utf-8")).get("date"):
            day = datetime.date.fromisoformat(found)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it and set data.date") from None
    return datetime.date.fromordinal(of_first_process(day.toordinal()))


def data_report(start: Start, rows: Rows) -> dict[str, Any]:
    """Tells what became of the rows of the file: how many there are, and the lines of those that are left out."""
    corpus = start.corpus
    return {
        "file": str(corpus.path),
        "documents": len(corpus.documents) - len(rows.packing.too_long),
        "too_long": [corpus.lines[i] for i in rows.packing.too_long],
        "untrained": list(corpus.untrained),
        "quoted": list(start.quoted),
        "date": start.date,
        "rows": len(rows),
        "fill": rows.fill,
        "tokens": int(rows.tokens.sum()),
        "loss_tokens": int(rows.trained.sum()),
    }


def _summary(config: RunConfig, start: Start, report: dict[str, Any]) -> Iterator[str]:
    mesh = jax.sharding.get_mesh()
    devices = "1 device" if mesh.empty else f"mesh {dict(mesh.shape)}"
    yield (
        f"{start.weights}: {parameter_count(start.model.config):,} parameters on {devices}, "
        f"{jax.process_count()} process(es)"
    )
    yield (
        f"{report['file']}: {report['documents']} documents in {report['rows']} rows of "
        f"{config.train.row_tokens} tokens, {report['fill']:.1%} full, "
        f"{report['loss_tokens'] / report['tokens']:.1%} of the tokens trained"
    )
    reasons = {
        "too_long": "left out (longer than train.row_tokens)",
        "untrained": "left out (nothing to train in them)",
        "quoted": "rows have messages that spell control tokens; they are plain text (data.control_tokens=true "
        "makes tokens of them)",
    }
    for key, why in reasons.items():
        if lines := report[key]:
            more = ", ... (all in data.json)" if len(lines) > SHOWN_LINES else ""
            shown = ", ".join(map(str, lines[:SHOWN_LINES])) + more
            yield f"{report['file']}: {len(lines)} {why}: lines {shown}"
    if report["date"]:
        yield f"the chat template writes a date: {report['date']}, whenever this run goes on"
    if len(start.protocols) > 1:
        told = " | ".join(map(str, start.protocols))
        yield f"{report['file']}: rows in {len(start.protocols)} protocols, of which the model remembers none: {told}"


def _finish(
    config: RunConfig, directory: Path, start: Start, job: TrainingJob, state: TrainState, totals: TrainingTotals
) -> None:
    params, adapters = gathered(job.finished(state.params)), gathered(state.params.get(LORA, {}))
    if not first_process():
        return
    # Nothing that differs between attempts goes into the file, so a run that was killed ends in the same bytes.
    recipe = config.model_dump(mode="json", include={"model", "train", "seed"})
    save_params(directory, params, {"config": recipe, "tokens": totals.tokens})
    places = [directory]
    if adapters:
        places.append(directory / "adapter")
        save_peft(places[-1], adapters, config.train.lora, str(config.model.checkpoint or ""))
    if start.protocol is not None:
        for place in places:
            write_atomic(place / PROTOCOL_FILE, protocol_json(start.protocol))
    summary = {
        "params": sum(x.size for x in jax.tree.leaves(params)),
        "loss": float(np.asarray(state.losses)[-1]),
        "tokens": totals.tokens,
        "flops": train_flops_of(start.model, config.train, totals.tokens, totals.pairs),
        "seconds": totals.seconds,
        "dtype": start.dtype,  # the type in which the first weights were stored, which an export keeps
        "files": inventory(directory, NOT_WEIGHTS),
        "provenance": provenance(),
    }
    write_atomic(directory / RESULT, json.dumps(summary, indent=1))
    if config.export:
        shutil.rmtree(directory / EXPORTED, ignore_errors=True)  # of an attempt that was killed while it wrote
        export_run(directory, directory / EXPORTED, "float32")
