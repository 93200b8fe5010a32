"""The log of a run: JSON lines, one for each logged step whatever the number of sittings."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jax

from jprm.errors import UserError
from jprm.progress import Progress
from jprm.records import read_jsonl
from jprm.runs import write_atomic
from jprm.train.loop import Job


def first_process() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


class Log:
    """Writes the lines of a job's steps and shows its progress; silent but on process 0."""

    def __init__(self, path: Path, job: Job, every: int):
        """A line for every `every` steps, and for the last one."""
        self.path = path
        self._job, self._every = job, every
        self._display = Progress(job.steps)
        self._step, self._time = 0, time.monotonic()

    def note(self, text: str) -> None:
        """A line on the terminal."""
        if first_process():
            self._display.note(text)

    def resume(self, step: int) -> None:
        """Goes on after `step`, and forgets later lines: the checkpoint does not know them.

        Raises UserError where the file cannot be read or written.
        """
        self._step, self._time = step, time.monotonic()
        self._display.done = step
        if step:
            self.note(f"going on after step {step}")
        if first_process() and self.path.exists():
            kept = [row for row in read_jsonl(self.path) if row["step"] <= step]
            write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def on_step(self, step: int, metrics: dict[str, float]) -> None:
        """Takes the metrics of a finished step."""
        if not first_process():
            return
        self._display.advance(1, f"step {step} of {self._job.steps}, loss {metrics['loss']:.4f}")
        if step % self._every and step != self._job.steps:
            return
        now = time.monotonic()
        seconds = (now - self._time) / (step - self._step)  # of a step, since the last line
        self._step, self._time = step, now
        rows, members = self._job.rows, self._job.order[step - 1]
        tokens, trained = int(rows.tokens[members].sum()), int(rows.trained[members].sum())
        self._write(
            {
                "step": step,
                "epoch": step * len(members) / len(rows),
                **metrics,
                "tokens": tokens,
                "loss_tokens": trained,
                "seconds": seconds,
                "tokens_per_s": tokens / seconds,
                "loss_tokens_per_s": trained / seconds,
            }
        )

    def _write(self, row: dict[str, Any]) -> None:
        # Not waited for: it outlives this process, and a wait for the disk costs more than a small
        # model's step. A loss of power takes lines that the next sitting writes again.
        try:
            with open(self.path, "a", encoding="ascii") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot write ({error.strerror}); free the space, and the same command "
                "goes on from the last checkpoint"
            ) from None
