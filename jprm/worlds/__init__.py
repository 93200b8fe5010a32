"""Worlds: where problems come from, and where the truth of every step is known.

`load_world("embedded")` is the laboratory in which everything is trained from scratch in minutes;
`load_world("gsm8k", root=PATH)` reads the real files. Both are a `World` (see `base`), and nothing above this room
knows more of them than that.
"""

from jprm.worlds.base import SPLITS, STYLES, Annotation, Segment, Split, Style, World
from jprm.worlds.registry import WORLDS, load_world
