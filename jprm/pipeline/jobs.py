"""What a sweep has to do: the tasks of its cells, each once, those it builds on first."""

from __future__ import annotations

from collections.abc import Iterable

from jprm.errors import UserError
from jprm.pipeline.cells import Cell, candidate_cell, sweep_cells
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.votes import sampling_of
from jprm.runs import Stage, provenance

Job = tuple[Lab, Task]  # a task, in the laboratory of its point's configuration


def jobs_of(lab: Lab, config: SweepConfig) -> tuple[list[Cell], Cell | None, list[Job]]:
    """The cells in the order of the table, the one that chooses among candidates, and all jobs, parents first."""
    cells, candidates = sweep_cells(config), candidate_cell(config)
    asked = [*cells, *([candidates] if candidates else [])]
    _lead(lab, asked)
    seen: dict[str, Job] = {}

    def visit(view: Lab, task: Task) -> None:
        key = view.stage(task).key
        if key not in seen:
            for parent in task.parents(view):
                visit(view, parent)
            seen.setdefault(key, (view, task))

    for cell in asked:
        visit(lab.at(cell.config), cell.votes)
    return cells, candidates, list(seen.values())


def _lead(lab: Lab, cells: Iterable[Cell]) -> None:
    """Of votes that differ only in how many there are or how they are read, the most are drawn, and first."""
    groups: dict[str, list[tuple[Lab, Cell]]] = {}
    for cell in cells:
        view = lab.at(cell.config)
        same = Stage("sampling", sampling_of(view.stage(cell.votes).inputs), view.root).key
        groups.setdefault(same, []).append((view, cell))
    for members in groups.values():
        view, most = max(members, key=lambda member: member[1].votes.n_votes)
        leader = view.stage(most.votes).key
        for other, cell in members:
            if other.stage(cell.votes).key != leader:
                other.follow(cell.votes, (view, most.votes))


def check_versions(jobs: list[Job], mix: bool) -> None:
    """Raises UserError where finished stages, or what is still to be computed, differ in the packages' versions."""
    finished = [view.stage(task) for view, task in jobs if view.stage(task).done]
    computed: dict[tuple[tuple[str, str], ...], list[Stage]] = {}
    for stage in finished:
        if stage.versions:
            computed.setdefault(tuple(sorted(stage.versions.items())), []).append(stage)
    if len(finished) < len(jobs):
        computed.setdefault(tuple(sorted(provenance()["packages"].items())), [])
    if mix or len(computed) < 2:
        return
    kinds = list(computed)
    first, other = dict(kinds[0]), dict(kinds[1])
    name = next(n for n in sorted({*first, *other}) if first.get(n) != other.get(n))
    told = " and ".join(f"{name} {versions.get(name, 'absent')}" for versions in (first, other))
    raise UserError(
        f"{finished[0].path.parent.parent}: its {len(finished)} finished stages and this program differ in their "
        f"versions ({told}); set name=OTHER to compute all anew, or give --mix-versions for one table of both"
    )
