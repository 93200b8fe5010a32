"""The command line of `experiments/sweep.py`: a configuration, overrides, and what to do with them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from jprm.config import load
from jprm.errors import UserError
from jprm.paths import present
from jprm.pipeline.config import SweepConfig

HELP = """usage: python experiments/sweep.py [CONFIG.toml] [key=value ...] [options]

CONFIG.toml      a file of configs/sweep/; without one, the embedded sweep
key=value        overrides, such as train.steps=200 or 'grid.seeds=[0, 1]'
--plan           show the cells, what is there already and what the rest costs; start nothing
--calibrate      with --plan: measure this machine's speed first, for a minute at most
--worker         compute stages together with other workers on this run directory
--launcher NAME  start workers: local, slurm (needs submitit) or ray
--parallel K     how many (2)
--mix-versions   let one table hold results of different versions of jprm and its packages

Results land in <directory>/<name>/ (runs/embedded/): results.jsonl, report.html, figures/, stages/.
Exit code 0: done; 3: cells failed, the table says why; 2: a mistake in the command; 75: stopped by SIGTERM, go on."""

PROGRAM = ("python", "experiments/sweep.py")
LAUNCHERS = ("local", "slurm", "ray")


@dataclass
class Options:
    """What stands on the command line beside the configuration."""

    files: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    launcher: str = ""
    parallel: int = 2

    @property
    def sweep(self) -> list[str]:
        """The arguments that name the sweep: any worker of it is given the same."""
        return [*self.files, *self.overrides, *(["--mix-versions"] * self.mix_versions)]

    @property
    def mix_versions(self) -> bool:
        """Whether one table may hold results of different versions."""
        return "--mix-versions" in self.flags


def sweep_command(arguments: list[str]) -> int:
    """Does what the arguments say; the exit code. Raises UserError for mistakes in them."""
    if "--help" in arguments or "-h" in arguments:
        print(HELP)
        return 0
    options = parse(arguments)
    config = load(SweepConfig, options.files[0] if options.files else None, options.overrides)
    present(config.data.root, "data.root")
    command = shlex.join([*PROGRAM, *arguments])
    if "--plan" in options.flags:
        from jprm.pipeline.plan import print_plan

        print_plan(config, "--calibrate" in options.flags)
        return 0
    if options.launcher:
        from jprm.pipeline.launch import launch

        return launch(config, options.launcher, options.parallel, options.sweep, command)
    if "--worker" in options.flags:
        from jprm.pipeline.worker import run_worker

        return run_worker(config, command, options.mix_versions)
    from jprm.pipeline.sweep import run_sweep

    return run_sweep(config, command, options.mix_versions)


def parse(arguments: list[str]) -> Options:
    """Raises UserError for what is not an option, and for options that exclude each other."""
    options, rest = Options(), list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word in ("--plan", "--calibrate", "--worker", "--mix-versions"):
            options.flags.add(word)
        elif name in ("--launcher", "--parallel"):
            if not equals and not rest:
                raise UserError(f"{name} needs a value (see --help)")
            _set(options, name, value if equals else rest.pop(0))
        elif word.startswith("-"):
            raise UserError(f"unknown option {word} (see --help)")
        elif equals:
            options.overrides.append(word)
        else:
            options.files.append(word)
    if len(options.files) > 1:
        raise UserError(
            f"two configuration files, {options.files[0]} and {options.files[1]}; give one, and key=value overrides"
        )
    chosen = [f for f in ("--plan", "--worker") if f in options.flags]
    chosen += ["--launcher"] if options.launcher else []
    if len(chosen) > 1:
        raise UserError(f"{chosen[0]} and {chosen[1]} exclude each other")
    if "--calibrate" in options.flags and "--plan" not in options.flags:
        raise UserError("--calibrate belongs to --plan")
    return options


def _set(options: Options, name: str, value: str) -> None:
    if name == "--launcher":
        if value not in LAUNCHERS:
            raise UserError(f"--launcher {value}: no such launcher; one of {', '.join(LAUNCHERS)}")
        options.launcher = value
    elif value.isdecimal() and int(value) > 0:
        options.parallel = int(value)
    else:
        raise UserError(f"--parallel {value}: not a number of workers")
