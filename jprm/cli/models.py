"""Commands on a model: train, evaluate, export."""

from pathlib import Path
from typing import Annotated

import typer

from jprm.cli.app import CONFIGS, app
from jprm.config import load
from jprm.errors import UserError
from jprm.paths import configuration_file, present
from jprm.terminal import say


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="A file such as those of configs/train/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Overrides, such as train.steps=200.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, envvar="JPRM_PROCESSES", help="The number of processes that run this command.")
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(envvar="JPRM_PROCESS_ID", help="Which of them this is, from 0.")
    ] = None,
    coordinator: Annotated[str | None, typer.Option(envvar="JPRM_COORDINATOR", help="host:port of process 0.")] = None,
    heartbeat_s: Annotated[
        int, typer.Option("--heartbeat", min=1, help="Seconds until a silent process is dead.")
    ] = 100,
) -> None:
    """Fine-tune a model on conversations; the same command resumes. Exit code 75: preempted, saved.

    Slurm, MPI and TPU pods need none of the options about processes.
    """
    from jprm.train.config import RunConfig

    settings = load(RunConfig, configuration_file(config, "train"), overrides or [], CONFIGS)
    settings.check_files()
    from jprm.train.distributed import Processes
    from jprm.train.run import run_training

    given = None
    if processes is not None:
        given = Processes(processes, process_id, coordinator, heartbeat_s)
    raise typer.Exit(run_training(settings, given))


@app.command()
def evaluate(
    given: typer.Context,
    data: Annotated[Path, typer.Option(help="Rows of a benchmark: JSON, JSON lines, .gz, parquet.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value of the protocol, as budget.max_tokens=512.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A Hugging Face directory.")] = None,
    layout: Annotated[str, typer.Option("--format", help="auto, or a benchmark of `python -m jprm list`.")] = "auto",
    n: Annotated[int, typer.Option("--n", help="Votes; more can be added later.")] = 8,
    mode: Annotated[str, typer.Option(help="Votes have their own history (chain), or one (fork).")] = "chain",
    limit: Annotated[int | None, typer.Option(help="Judge only so many rows, from the first on.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the votes are kept.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="A file for the table, as JSON.")] = None,
    regrade: Annotated[
        bool, typer.Option("--regrade", help="Make the table from stored votes, without the model.")
    ] = False,
    worker: Annotated[bool, typer.Option("--worker", help="Share the votes with other workers on --out.")] = False,
    chunk: Annotated[int, typer.Option(help="Solutions that a worker takes at a time.")] = 16,
    scorer: Annotated[
        str | None, typer.Option(help="Who judges (python -m jprm list); default: as it was trained, else genprm.")
    ] = None,
    plugins: Annotated[
        list[Path] | None, typer.Option("--plugin", help="A Python file with a @scorer or a @benchmark.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Judge the steps behind an error too.")] = False,
    seed: Annotated[int, typer.Option(help="The seed of the votes.")] = 0,
    readout: Annotated[str | None, typer.Option(help="vote, prob_raw or prob_tempered; default: the scorer's.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Short for sampling.temperature=...")] = None,
    chat: Annotated[
        str | None, typer.Option(help="published, or template: the checkpoint's own chat; default: as it was trained.")
    ] = None,
    protocol: Annotated[Path | None, typer.Option(help="A protocol file; default: the published GenPRM's.")] = None,
    dtype: Annotated[str | None, typer.Option(help="The type of weights and caches.")] = None,
    slots: Annotated[int | None, typer.Option(help="Conversations side by side.")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of the longest conversation.")] = None,
    prefix_rows: Annotated[int | None, typer.Option(help="Rows of the cache for shared prompts.")] = None,
    tensor: Annotated[int | None, typer.Option(help="Devices that share the weights.")] = None,
    overflow: Annotated[
        str, typer.Option(help="Beyond the context: give_up, drop_code, drop_analysis, verdict_only.")
    ] = "give_up",
    missing: Annotated[str, typer.Option(help="A solution without a verdict is: wrong, or excluded.")] = "wrong",
    place: Annotated[str, typer.Option(help="Where code runs: local, ray, or a URL.")] = "local",
    uncovered: Annotated[
        list[str] | None, typer.Option(help="Needs of the jail that may be uncovered (see doctor).")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that run code.")] = None,
    backend: Annotated[str, typer.Option(help="own, or openai: a server of the model.")] = "own",
    base_url: Annotated[str, typer.Option(help="The address of the server, such as http://localhost:8000/v1.")] = "",
    served_model: Annotated[str, typer.Option(help="The name of the model on the server.")] = "",
    concurrency: Annotated[int, typer.Option(help="Requests that the server gets at a time.")] = 64,
) -> None:
    """Score a benchmark with a checkpoint; stored votes are kept, and only missing ones sampled.

    Exit code 3: rows were rejected or solutions lost, the rest is in the table. 2: nothing ran.
    """
    from jprm.experiments.benchmark.config import read_config

    heat = [] if temperature is None else [f"sampling.temperature={temperature}"]
    # Every other option is a field of the configuration, under the same name.
    options = {name: value for name, value in given.params.items() if name != "temperature" and value is not None}
    config = read_config(**options | {"overrides": [*(overrides or ()), *heat]})
    from jprm.experiments.benchmark.run import run_benchmark

    raise typer.Exit(run_benchmark(config))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The new directory.")],
    run: Annotated[Path, typer.Option(help="Directory of a finished sweep or training run.")] = Path("runs/embedded"),
    to: Annotated[str, typer.Option(help="The format: hf, which transformers opens.")] = "hf",
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; default: as the run's checkpoint had it.")
    ] = None,
) -> None:
    """Write a trained model, or a sweep's main verifier with a card, as a Hugging Face checkpoint."""
    if to != "hf":
        raise UserError(f"--to {to}: no such format; the only one is hf")
    present(run, "--run")
    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise UserError(f"--dtype {dtype}: known: float32, bfloat16, float16")
    if (run / "weights.safetensors").is_file():  # of `train`; a sweep keeps its weights in stages
        from jprm.train.weights import export_run as write
    else:
        from jprm.experiments.sweep.config import require_sweep

        require_sweep(run)
        from jprm.experiments.sweep.export import export_verifier as write

    say(f"{out}: {write(run, out, dtype)}")
