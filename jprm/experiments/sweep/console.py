"""What a sweep prints."""

from __future__ import annotations

from rich.table import Table

from jprm.experiments.sweep.findings import Findings
from jprm.experiments.sweep.table import MISSING_AS, Measured, f1_of, one_vote_note
from jprm.terminal import terminal


def print_table(measured: list[Measured], findings: Findings) -> None:
    """One block of rows per cell, and the findings below."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("model", "train", "style", "code", "labels", "variant", "seed", "votes", "F1 [95 %]"):
        table.add_column(name, no_wrap=True)
    for name in ("no verdict", "tokens", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for m in measured:
        for i, row in enumerate(m.rows):
            first = [
                row["model"],
                str(row["train_examples"]),
                row["style"],
                row["code"],
                row["labels"] + ("" if row["filtered"] else " *"),
                row["variant"] or row["benchmark"],
                str(row["seed"]),
            ]
            silent = f"{row['missing_share']:.1%}"
            costs = [f"{row['tokens']:,}", f"{row['seconds']:.0f}"]
            numbers = [str(row["n_votes"]), f1_of(row), silent, *costs]
            table.add_row(*(first if i == 0 else [""] * len(first)), *numbers)
    out = terminal()
    out.print(table)
    if any(not row["filtered"] for m in measured for row in m.rows):
        out.print("* no consensus filter", style="dim")
    if note := one_vote_note(measured):
        out.print(note, style="dim")
    out.print(f"no verdict: {MISSING_AS[measured[0].curve.missing_as]}", style="dim")
    for finding in findings.lines():
        out.print(finding)
