"""The command line of `experiments/uses.py`: a configuration and overrides."""

from __future__ import annotations

import shlex

from jprm.config import load
from jprm.errors import UserError
from jprm.paths import present
from jprm.uses.config import UsesConfig

HELP = """usage: python experiments/uses.py [CONFIG.toml] [key=value ...]

CONFIG.toml   a file of configs/uses/; without one, the embedded world
key=value     overrides, such as evaluate.candidates=8 or 'search.strategies=["beam"]'

Results land in <directory>/<name>/ (runs/uses/): results.jsonl, report.html, figures/, stages/.
The same command goes on where it was stopped. Stages of a sweep in the same directory are used where they fit.
Exit code 0: done; 3: stages failed; 2: a mistake in the command; 75: stopped by SIGTERM, the same command goes on."""


def uses_command(arguments: list[str]) -> int:
    """Does what the arguments say; the exit code. Raises UserError for mistakes in them."""
    if "--help" in arguments or "-h" in arguments:
        print(HELP)
        return 0
    if flags := [word for word in arguments if word.startswith("-")]:
        raise UserError(f"unknown option {flags[0]} (see --help)")
    files = [word for word in arguments if "=" not in word]
    if len(files) > 1:
        raise UserError(f"two configuration files, {files[0]} and {files[1]}; give one")
    config = load(UsesConfig, files[0] if files else None, [w for w in arguments if "=" in w])
    present(config.data.root, "data.root")
    from jprm.uses.search_axes import check_search

    check_search(config.search)
    from jprm.uses.run import run_uses

    return run_uses(config, shlex.join(["python", "experiments/uses.py", *arguments]))
