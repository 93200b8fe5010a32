"""The command line's root, to which the other files add their commands."""

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

data = typer.Typer(no_args_is_help=True, help="Files of solutions with step labels.")
app.add_typer(data, name="data")


@app.callback()
def _root() -> None:
    """Generative process reward models in JAX."""
