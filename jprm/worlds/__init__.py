"""Worlds: where problems come from, and in two of them the truth of every step.

`load_world("embedded")` is the laboratory in which everything is trained from scratch in minutes;
`load_world("gsm8k", root=PATH)` reads the real files, and `load_world("problems", train=FILE)` any file of problems
with answers, of which the truth of steps is unknown. All are a `World` (see `base`), and nothing above this room knows
more of them than that.
"""

from jprm.worlds.base import SPLITS, STYLES, Annotation, Segment, Split, Style, World
from jprm.worlds.registry import WITHOUT_ORACLE, has_oracle, load_world, reads_root, world
