"""The command line's root, to which the other files add their commands."""

import typer

from jprm.errors import EXIT_CODES

CODES = "; ".join(f"{code} = {meaning}" for code, meaning in EXIT_CODES.items())
app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, epilog=f"Exit codes. {CODES}."
)

data = typer.Typer(no_args_is_help=True, help="Files of solutions with step labels, and of conversations.")
app.add_typer(data, name="data")

rl = typer.Typer(
    no_args_is_help=True, help="The credit of stored rollouts for reinforcement learning, and which hacks are paid."
)
app.add_typer(rl, name="rl")


@app.callback()
def _root() -> None:
    """Generative process reward models in JAX."""


# The configurations by command: a file of another command is refused as such. They are loaded only then.
CONFIGS = {
    "train": "jprm.train.config:RunConfig",
    "sweep": "jprm.experiments.sweep.config:SweepConfig",
    "uses": "jprm.experiments.applications.config:ApplicationsConfig",
    "evaluate --protocol": "jprm.verify:GenPRM",
}
