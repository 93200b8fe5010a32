"""The verifier at work on a world: baselines, best-of-N, search and criticism, measured side by side.

Enter by `run_uses(config, command)` (`experiments/uses.py`) and by `print_search` (`jprm search`).
The tasks are those of a sweep and more (`baseline`, `scores`, `searched`), done once each in the
same kind of run directory; what they stored becomes judged solutions (`judges`), rows (`grid`,
`chosen`, `refined`, `passes`) and a page (`report`).

Nothing is imported here, because reading a configuration (`jprm.uses.config`) must not wait for
what computes it.
"""

__all__: list[str] = []
