"""GSM8K: real problems, with per-step truth from the calculator marks of their worked solutions.

Rows are read (`files`) into chains of calculations (`chain`, over the numbers in text of
`arithmetic`), errors are planted and carried on (`errors`), and an annotator that knows the
reference writes rationales. Enter by `Gsm8kWorld`.
"""

from jprm.worlds.gsm8k.chain import ERROR_KINDS, Line, Mark, read_solution
from jprm.worlds.gsm8k.drills import Mix
from jprm.worlds.gsm8k.errors import PLANTED_KINDS
from jprm.worlds.gsm8k.world import Gsm8kWorld

__all__ = ["ERROR_KINDS", "PLANTED_KINDS", "Gsm8kWorld", "Line", "Mark", "Mix", "read_solution"]
