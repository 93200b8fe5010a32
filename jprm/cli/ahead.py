"""The command that compiles programs for a slice of TPUs that is not here."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jprm.cli.app import CONFIGS, app
from jprm.config import load
from jprm.errors import UserError
from jprm.paths import configuration_file
from jprm.terminal import say


@app.command(name="compile")
def compile_ahead(
    topology: Annotated[str, typer.Option(help="The slice, such as v5e:4x4 or v5p:2x2x1.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Overrides of --config, such as mesh.tensor=4.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A file of `train`, such as those of configs/train/: its training step.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A Hugging Face directory or a preset: prefill and decode steps of `evaluate`.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Sequences that one slot group decodes side by side.")] = 64,
    context: Annotated[int, typer.Option(min=16, help="Tokens of the longest sequence.")] = 4096,
    prefix_rows: Annotated[int, typer.Option(min=0, help="Rows of shared prompts, of half the context each.")] = 0,
    tensor: Annotated[int, typer.Option(min=1, help="Devices that share the weights of a slot group.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="A file for all figures, as JSON.")] = None,
) -> None:
    """Compile the programs of a run for a slice of TPUs, on any machine: memory, traffic, bounds on speed.

    Needs the extra `tpu`; no TPU is needed and nothing is run. Exit code 2: a program does not fit, and why.
    """
    if (config is None) == (model is None):
        raise UserError("compile: give either --config FILE of `train`, or --model DIR to decode with")
    if overrides and config is None:
        raise UserError(f"compile: {overrides[0]} is an override of --config, which is not given")
    settings = None
    if config is not None:
        from jprm.train.config import RunConfig

        settings = load(RunConfig, configuration_file(config, "train"), overrides or [], CONFIGS)
    from jprm.aot.slices import open_slice

    place = open_slice(topology)
    if settings is not None:
        from jprm.aot.training import training_program

        programs = [training_program(settings, place)]
    else:
        from jprm.aot.decoding import decoding_programs, engine_config, sizes_of

        assert model is not None
        programs = decoding_programs(sizes_of(model), engine_config(slots, context, prefix_rows, tensor), place)
    from jprm.aot.programs import compiled
    from jprm.aot.table import program_table, traffic_lines
    from jprm.report.tables import print_table

    found = []
    for program in programs:
        say(f"compiling {program.name} for {program.devices} of {len(place.devices)} chips of {place.name}")
        found.append(compiled(program, place))
    print_table(program_table(found, place))
    for line in traffic_lines(found):
        say(line)
    if json_file is not None:
        figures = {"topology": place.name, "programs": [each.to_json() for each in found]}
        json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
