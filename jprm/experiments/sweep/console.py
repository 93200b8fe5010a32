"""What a sweep prints."""

from __future__ import annotations

from jprm import report
from jprm.experiments.sweep.findings import Findings
from jprm.experiments.sweep.report_tables import cells_table
from jprm.experiments.sweep.table import MISSING_AS, Measured, one_vote_note
from jprm.terminal import terminal


def print_table(measured: list[Measured], findings: Findings) -> None:
    """Prints one block of rows per cell, and the findings below."""
    report.print_table(cells_table(measured, in_blocks=True).without("model_params"))
    out = terminal()
    if any(not row["filtered"] for m in measured for row in m.rows):
        out.print("* no consensus filter", style="dim")
    if note := one_vote_note(measured):
        out.print(note, style="dim")
    out.print(f"no verdict: {MISSING_AS[measured[0].curve.missing_as]}", style="dim")
    for finding in findings.lines():
        out.print(finding)
