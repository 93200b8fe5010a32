"""GSM8K: real problems, with per-step truth from the calculator marks of their worked solutions.

Rows are read into chains of calculations (`solutions`, over the numbers in text of `arithmetic`), errors are planted
and carried on (`planted`), and an annotator that knows the reference writes rationales (`documents`). Enter by
`Gsm8kWorld`.
"""

from jprm.worlds.gsm8k.documents import Gsm8kMix
from jprm.worlds.gsm8k.world import Gsm8kSettings, Gsm8kWorld
