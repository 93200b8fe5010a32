"""A rationale protocol of your own, code first and the analysis behind it: `python examples/own_protocol.py`.

A verifier that reads what its code printed can explain it. From the command line: `plugins=examples/own_protocol.py
verify.protocol=code-first`.
"""

from pathlib import Path

import jprm
from jprm.verify import Template
from jprm.worlds.base import ANALYZE_CLOSE, ANALYZE_OPEN


@jprm.protocol("code-first")
class CodeFirst(Template):
    """The compact protocol, but code comes first, and the analysis has read what it printed."""

    openings = {**Template.openings, "full": Template.code_open}  # what is forced at the beginning of a rationale

    def authored(self, analysis, codes, is_right, style):
        """What verifiers learn to write, turn by turn: up to the end of each code, then up to the verdict's word."""
        if style != "full":
            return super().authored(analysis, codes, is_right, style)
        *turns, verdict = super().authored("", codes, is_right, "code")
        return [*turns, ANALYZE_OPEN + analysis + ANALYZE_CLOSE + verdict]


if __name__ == "__main__":
    axis = 'axes=[{key="verify.protocol", values=["tags", "code-first"]}]'
    run = jprm.sweep(Path(__file__).with_name("quick.toml"), "name=protocols", axis, "grid.ablations=[]")
    for cell in run.cells:
        print(cell.values["verify.protocol"], "F1", cell.rows[-1].f1)
    print(*CodeFirst().authored("8 + 3 is 11. ", ["print(8 + 3 == 11)"], True, "full"), sep="")
