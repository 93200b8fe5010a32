"""The log of a run: JSON lines, one for each logged step whatever the number of attempts."""

import json
from pathlib import Path
from typing import Any

from jprm.errors import Unwritable, lacking
from jprm.jobs import Progress, write_atomic
from jprm.records import read_jsonl
from jprm.train.distributed import first_process
from jprm.train.loop import TrainingJob
from jprm.train.meter import Meter


class Log:
    """Writes the lines of a job's steps and shows its progress; silent but on process 0."""

    def __init__(self, path: Path, job: TrainingJob, meter: Meter, every: int, tensorboard: bool = False):
        """Writes a line for every `every` steps and for the last one, to TensorBoard as well if asked to.

        Raises UserError where TensorBoard is not installed.
        """
        self.path = path
        self._job, self._meter, self._every = job, meter, every
        self._display = Progress(job.steps)
        board = tensorboard and first_process()
        self._board = TensorBoard(path.with_name("tensorboard")) if board else None

    def note(self, text: str) -> None:
        """Writes a line on the terminal."""
        if first_process():
            self._display.note(text)

    def resume(self, step: int) -> None:
        """Goes on after `step`, and forgets later lines: the checkpoint does not know them.

        Raises UserError where the file cannot be read or written.
        """
        self._meter.restart()
        self._display.done = step
        if step:
            self.note(f"going on after step {step}")
        if first_process() and self.path.exists():
            kept = [row for row in read_jsonl(self.path, {"step": int}) if row["step"] <= step]
            write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def on_step(self, step: int, metrics: dict[str, float]) -> None:
        """Takes the metrics of a finished step."""
        if not first_process():
            return
        self._display.advance(1, f"step {step} of {self._job.steps}, loss {metrics['loss']:.4f}")
        rows, members = self._job.rows, self._job.order[step - 1]
        counts = (rows.tokens[members], rows.pairs[members], rows.trained[members])
        self._meter.add(*(int(count.sum()) for count in counts))
        if step % self._every and step != self._job.steps:
            return
        line = self._meter.line(step, metrics) | {"epoch": step * len(members) / len(rows)}
        self._write(line)
        if self._board is not None:
            self._board.write(line)

    def close(self) -> None:
        """Ends what is written for TensorBoard."""
        if self._board is not None:
            self._board.close()

    def _write(self, row: dict[str, Any]) -> None:
        # This does not wait for the disk, which would cost more than a small model's step: what is written outlives
        # this process, and lines that a loss of power takes are written again by the next attempt.
        try:
            with open(self.path, "a", encoding="ascii") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise Unwritable(
                f"{self.path}: cannot write ({error.strerror}); free the space, and the same command "
                "goes on from the last checkpoint"
            ) from None


class TensorBoard:
    """Writes the numbers of the log's lines for TensorBoard."""

    def __init__(self, directory: Path):
        """Raises UserError without the package."""
        try:
            from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError:
            raise lacking("log: TensorBoard", "tensorboardX", "tensorboard") from None
        self._writer = SummaryWriter(str(directory))

    def write(self, line: dict[str, Any]) -> None:
        """Writes the numbers of one line, at its step."""
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, line["step"])
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
