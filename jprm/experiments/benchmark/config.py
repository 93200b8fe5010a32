"""The configuration of a checkpoint's evaluation on a benchmark's file: what the options of `evaluate` say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field, model_validator

from jprm.errors import UserError
from jprm.evaluate import Missing
from jprm.tasks.settings import CheckpointSection
from jprm.verify import CheckpointProtocol, GenPRM, published

OPTIONS = {
    "layout": "format",
    "json_file": "json",
    "plugins": "plugin",
}  # the options that are not called as their fields


class JudgeConfig(CheckpointSection):
    """A checkpoint as a judge, and the protocol that it is asked in."""

    model: Path | None = None
    """The checkpoint: a directory, or a name as `jprm.models.locate` knows it."""
    protocol: Path | None = None
    """A file of the scorer's protocol; by default the published one."""
    chat: Literal["published", "template"] | None = None
    """Whose turns a GenPRM conversation has: the published ones, or those of the checkpoint's own chat template."""
    overrides: tuple[str, ...] = ()
    """`key=value` of the protocol."""

    @model_validator(mode="after")
    def _a_server_has_an_address(self) -> JudgeConfig:
        if (self.backend == "openai") != bool(self.base_url):
            raise ValueError("--backend openai and --base-url URL belong together")
        return self

    def read_protocol(self, kind: type[CheckpointProtocol]) -> CheckpointProtocol:
        """Reads the protocol of this kind and lays the overrides over it. Raises UserError for a mistake in either."""
        chat = (f"chat.turns={self.chat}",) if self.chat and kind is GenPRM else ()
        if self.chat == "template" and not chat:
            raise UserError(f"--chat template: the scorer {self.scorer} has a chat of its own; leave it out")
        return published(kind, (*chat, *self.overrides), self.protocol)


class BenchmarkConfig(JudgeConfig):
    """One evaluation; `read_config` makes it from what the user gives."""

    data: Path
    """The file of judged solutions."""
    layout: str = "auto"
    """The layout of the file (see `jprm.formats.benchmark`); "auto" tells it from the rows."""
    n: int = Field(default=8, ge=1)
    """The votes on each step."""
    limit: int | None = Field(default=None, ge=1)
    """How many rows are judged, from the first on; by default all."""
    full: bool = False
    """Whether every step is judged, although the benchmark asks for the first error only."""
    missing: Missing = "wrong"
    """What a solution without a verdict counts as (see `jprm.evaluate.missing`)."""
    out: Path | None = None
    """The run directory."""
    json_file: Path | None = None
    """Where the table is written as JSON."""
    regrade: bool = False
    """Whether the table is made from stored votes alone, without the model."""
    worker: bool = False
    """Whether other workers share the run directory; each judges some of the solutions under a lease."""
    chunk: int = Field(default=16, ge=1)
    """The solutions that a worker judges under one lease."""

    @model_validator(mode="after")
    def _a_worker_draws(self) -> BenchmarkConfig:
        if self.worker and self.regrade:
            raise ValueError("--worker and --regrade exclude each other: from stored votes one process makes the table")
        return self

    @property
    def directory(self) -> Path:
        """The run directory, called as the user calls the model."""
        if self.out is not None:
            return self.out
        data = self.data.name.split(".")[0]
        model = self.model.resolve().name if self.model else "no-model"
        return Path("runs") / "evaluate" / f"{model}-{data}-{self.scorer}-{self.mode}"


def read_config(**options: Any) -> BenchmarkConfig:
    """Makes a configuration from options. Raises UserError, which names the option, for a wrong value."""
    try:
        return BenchmarkConfig(**options)
    except pydantic.ValidationError as error:
        raise UserError(_reason(error.errors(include_url=False)[0])) from None


def _reason(mistake: Any) -> str:
    """The first complaint of pydantic in one line."""
    if not mistake["loc"]:
        return mistake["msg"].removeprefix("Value error, ")
    field = str(mistake["loc"][0])
    option = f"--{OPTIONS.get(field, field).replace('_', '-')} {mistake['input']}"
    if mistake["type"] == "literal_error":
        known = ", ".join(re.findall(r"'([^']+)'", mistake["ctx"]["expected"]))
        return f"{option}: no such {field}; known: {known}"
    if mistake["type"] == "greater_than_equal":
        return f"{option}: must be at least {mistake['ctx']['ge']}"
    return f"{option}: {mistake['msg']}"
