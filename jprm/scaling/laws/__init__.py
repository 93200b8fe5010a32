"""Chinchilla's approaches on any table of runs: `python -m jprm laws FILE`.

Enter by `run_laws(LawsOptions(...))`, or in parts by `read_table` (CSV or JSON rows), `read_runs`
(columns to numbers), `decide` (approaches 3, 3', 2 and 1 side by side, at budgets) and `laws_report`.
"""

from jprm.scaling.laws.approaches import APPROACHES, Approach
from jprm.scaling.laws.columns import Columns
from jprm.scaling.laws.command import LawsOptions, run_laws
from jprm.scaling.laws.decisions import Decided, decide
from jprm.scaling.laws.page import laws_report
from jprm.scaling.laws.runs import Curve, Runs, read_runs
from jprm.scaling.laws.table import RunTable, read_table

__all__ = [
    "APPROACHES",
    "Approach",
    "Columns",
    "Curve",
    "Decided",
    "LawsOptions",
    "RunTable",
    "Runs",
    "decide",
    "laws_report",
    "read_runs",
    "read_table",
    "run_laws",
]
