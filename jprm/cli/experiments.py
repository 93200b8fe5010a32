"""The commands that run experiments: sweep, label, synthesize, uses. The scripts in `experiments/` call them, too."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from jprm.cli.app import CONFIGS, app
from jprm.config import load
from jprm.errors import UserError
from jprm.paths import configuration_file, present

WORDS = "[CONFIG.toml] [KEY=VALUE]..."
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar=WORDS,
        help="A file, or one that comes with jprm by its name (laws); overrides: train.steps=200, 'grid.seeds=[0, 1]'.",
    ),
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace the table of another configuration in the same directory.")
]


@app.command()
def sweep(
    words: Words = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the cells, what is there and what the rest costs; start nothing.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="With --plan: measure this machine's speed first, for a minute.")
    ] = False,
    machine: Annotated[
        str, typer.Option(help="With --plan: hours and memory on another machine, such as h100x8, v5ex16.")
    ] = "",
    worker: Annotated[
        bool, typer.Option("--worker", help="Compute stages together with other workers on this run directory.")
    ] = False,
    launcher: Annotated[str, typer.Option(help="Start workers: local, slurm (needs submitit) or ray.")] = "",
    parallel: Annotated[int, typer.Option(min=1, help="How many workers the launcher starts.")] = 2,
    replace: Replace = False,
    mix_versions: Annotated[
        bool, typer.Option("--mix-versions", help="One table may hold results of different versions of packages.")
    ] = False,
) -> None:
    """Train verifiers over sizes, examples, seeds and ablations, and end with a table, laws and a page.

    Without a file it is the embedded sweep. Results land in <directory>/<name>/ (runs/embedded/): results.jsonl,
    report.html, figures/, stages/. Exit code 0: done; 3: cells failed, and the table says why; 2: a mistake in the
    command; 75: stopped by SIGTERM, and the same command goes on.
    """
    from jprm.experiments.sweep.config import SweepConfig
    from jprm.jobs.launchers import LAUNCHERS

    chosen = [name for name, given in (("--plan", plan), ("--worker", worker), ("--launcher", launcher)) if given]
    if len(chosen) > 1:
        raise UserError(f"{chosen[0]} and {chosen[1]} exclude each other")
    for option, given in (("--calibrate", calibrate), ("--machine", machine)):
        if given and not plan:
            raise UserError(f"{option} belongs to --plan")
    if calibrate and machine:
        raise UserError("--calibrate measures this machine; leave --machine out")
    if launcher not in ("", *LAUNCHERS):
        raise UserError(f"--launcher {launcher}: no such launcher; one of {', '.join(LAUNCHERS)}")
    file, overrides = split_words(words)
    config = load(SweepConfig, file, overrides, CONFIGS)
    present(config.data.root, "data.root")
    if plan:
        from jprm.experiments.sweep.machines import machine_named
        from jprm.experiments.sweep.plan import print_plan

        print_plan(config, calibrate, machine_named(machine) if machine else None)
        return
    from jprm.experiments.sweep.run import run_sweep

    code = run_sweep(
        config,
        shlex.join(["python", "experiments/sweep.py", *command_words()]),
        worker=worker,
        launcher=launcher,
        parallel=parallel,
        arguments=[*(words or []), *(["--mix-versions"] if mix_versions else [])],
        replace=replace,
        mix_versions=mix_versions,
    )
    raise typer.Exit(code)


@app.command()
def label(
    words: Words = None,
    out: Annotated[Path | None, typer.Option(help="The file of the rows; without it in the run directory.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace other labels in the same directory.")] = False,
    mix_versions: Annotated[
        bool, typer.Option("--mix-versions", help="The file may hold results of different versions of packages.")
    ] = False,
) -> None:
    """Label solutions of the policy by rollouts: values of every step, and labels under every rule.

    Takes a sweep's configuration and computes its labels in the sweep's run directory, where the sweep finds them.
    Writes labels.jsonl, a row for each solution, and unused.jsonl. Exit code 0: done; 3: rows were rejected, rollouts
    were lost, or nothing came out, and the output says which; 2: a mistake in the command, or a server that is gone;
    75: stopped by SIGTERM. Whatever was drawn is kept, and the same command goes on.
    """
    from jprm.experiments.sweep.config import SweepConfig

    file, overrides = split_words(words)
    config = load(SweepConfig, file, overrides, CONFIGS)
    present(config.data.root, "data.root")
    from jprm.experiments.label import run_label

    raise typer.Exit(run_label(config, out=out, replace=replace, mix_versions=mix_versions))


@app.command()
def synthesize(
    words: Words = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file of conversations; by default conversations.jsonl in the run directory."),
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option(help="A folder for what each verifier of the grid learns, and a configuration of `train` for it."),
    ] = None,
    replace: Replace = False,
) -> None:
    """Have a teacher write rationales of labelled solutions, with code that runs, for `train` to learn from.

    With --training DIR `python -m jprm train --config DIR/NAME.toml` trains as a sweep of this configuration does. It
    takes the configuration of a sweep with model.teacher, and its labels from the same run directory, where what is
    missing of them is computed. Exit code 0: done; 3: a server has lost attempts, or none is kept; 2: a mistake in the
    command; 75: stopped by SIGTERM. Whatever has ended it, the same command goes on, attempt by attempt.
    """
    from jprm.experiments.sweep.config import SweepConfig

    file, overrides = split_words(words)
    config = load(SweepConfig, file, overrides, CONFIGS)
    present(config.data.root, "data.root")
    from jprm.experiments.synthesize import run_synthesis

    raise typer.Exit(run_synthesis(config, out, replace, training))


@app.command()
def uses(
    words: Words = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what is there and what the rest costs.")] = False,
    replace: Replace = False,
) -> None:
    """Set verifiers to work: baselines, best-of-N, search, criticism, at equal compute.

    Results land in <directory>/<name>/ (runs/applications/): results.jsonl, report.html, figures/, stages/. Stages of a
    sweep in the same directory are used where they fit. Exit code 0: done; 3: stages failed; 2: a mistake in the
    command; 75: stopped by SIGTERM, and the same command goes on.
    """
    from jprm.experiments.applications.config import ApplicationsConfig

    file, overrides = split_words(words, "uses")
    config = load(ApplicationsConfig, file, overrides, CONFIGS)
    present(config.data.root, "data.root")
    from jprm.experiments.applications.search_choices import check_search

    check_search(config.search)
    from jprm.experiments.applications.run import plan_applications, run_applications

    if plan:
        plan_applications(config)
        return
    command = shlex.join(["python", "experiments/uses.py", *command_words()])
    raise typer.Exit(run_applications(config, command, replace))


def split_words(words: list[str] | None, folder: str = "sweep") -> tuple[Path | None, list[str]]:
    """The configuration file, where there is one, and the overrides; `folder` has those that go by a name alone.

    Raises UserError for two files, and for a name that is none.
    """
    files = [word for word in words or [] if "=" not in word]
    if len(files) > 1:
        raise UserError(f"two configuration files, {files[0]} and {files[1]}; give one, and key=value overrides")
    return configuration_file(files[0], folder) if files else None, [word for word in words or [] if "=" in word]


def command_words() -> list[str]:
    """The words of this program's command line, as they were given behind the command."""
    words = sys.argv[1:]
    return words[1:] if words[:1] in (["sweep"], ["uses"]) else words
