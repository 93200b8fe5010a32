"""What `python -m jprm evaluate` is asked for, checked as far as that needs no file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from jprm.errors import UserError
from jprm.evaluate import Missing
from jprm.judge.sizes import Sizes
from jprm.records import ReadOut
from jprm.verify import Mode, Overflow

BACKENDS = ("own", "openai")


@dataclass(frozen=True)
class Options:
    """One evaluation.

    readout: None is the scorer's own. full: judge every step although the benchmark asks for the
    first error only. protocol: a TOML file of `jprm.verify.GenPRM`, None for the published one;
    overrides: `key=value` for it. place, uncovered: see `jprm.execute.open_place`.
    missing: what a solution without a verdict counts (`jprm.evaluate.missing`).
    overflow: see `jprm.verify.Settings`. base_url, served_model, concurrency: see `jprm.openai.OpenAISampler`.
    """

    model: Path | None  # a directory, or a name as `jprm.models.locate` knows it
    data: Path
    layout: str = "auto"
    n: int = 8
    mode: Mode = "chain"
    limit: int | None = None
    out: Path | None = None
    json_file: Path | None = None
    regrade: bool = False
    scorer: str = "genprm"
    plugin: Path | None = None
    full: bool = False
    seed: int = 0
    readout: ReadOut | None = None
    dtype: str | None = None
    sizes: Sizes = field(default_factory=Sizes)
    protocol: Path | None = None
    overrides: tuple[str, ...] = ()
    place: str = "local"
    uncovered: tuple[str, ...] = ()
    workers: int | None = None
    overflow: Overflow = "give_up"
    missing: Missing = "wrong"
    backend: str = "own"
    base_url: str = ""
    served_model: str = ""
    concurrency: int = 64
    adapters: tuple[Path, ...] = ()  # what `jprm.models.locate` finds of `model`

    def __post_init__(self):
        """Raise UserError for what cannot be meant."""
        for name, value, kind in (
            ("mode", self.mode, Mode),
            ("readout", self.readout, ReadOut),
            ("overflow", self.overflow, Overflow),
            ("missing", self.missing, Missing),
        ):
            if value is not None and value not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise UserError(f"--{name} {value}: no such {name}; known: {known}")
        if self.dtype not in (None, "float32", "bfloat16", "float16"):
            raise UserError(f"--dtype {self.dtype}: known: float32, bfloat16, float16")
        if self.backend not in BACKENDS:
            raise UserError(f"--backend {self.backend}: known: {', '.join(BACKENDS)}")
        if (self.backend == "openai") != bool(self.base_url):
            raise UserError("--backend openai and --base-url URL belong together")
        for name, value in (
            ("n", self.n),
            ("concurrency", self.concurrency),
            ("limit", self.limit),
            ("workers", self.workers),
        ):
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")

    @property
    def directory(self) -> Path:
        """Where the votes are kept."""
        if self.out is not None:
            return self.out
        data = self.data.name.split(".")[0]
        model = self.model.resolve().name if self.model else "no-model"
        return Path("runs") / "evaluate" / f"{model}-{data}-{self.scorer}-{self.mode}"
