"""The command line: `python -m jprm COMMAND`, and the entries of the programs in `experiments/`.

A command's file is read by every start, so it imports what it runs only when it is run: a mistyped
word is answered before JAX is loaded.
"""

from jprm.cli import ahead, experiments, files, models, rl, runs  # noqa: F401 - adds their commands
from jprm.cli.app import app
from jprm.cli.entry import ask_for_huge_pages, guarded, main, sweep_main, uses_main
