"""Problems of one's own: any files whose rows hold a problem and its answer. MATH and GSM8K are two of them.

Rows are read and checked (`rows`), and solutions cut into steps (`steps`). Nobody knows the truth of a step here: a
solution is right where its final answer equals the row's. Enter by `ProblemsWorld`.
"""

from jprm.worlds.problems.world import ProblemsSettings, ProblemsWorld
