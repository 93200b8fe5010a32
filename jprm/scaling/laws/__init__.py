"""Chinchilla's approaches on any table of runs, for `python -m jprm laws FILE`.

Enter by `read_table` (CSV or JSON rows), then `read_runs` (columns to numbers), then `decide` (approaches 3, 3', 2 and
1 side by side, at budgets). `jprm.experiments.laws` prints and draws what they find.
"""

from jprm.scaling.laws.approaches import APPROACHES, Approach, Decided, decide
from jprm.scaling.laws.runs import Runs, TrainingCurve, read_runs
from jprm.scaling.laws.table import RESULTS, Columns, RunTable, read_table
