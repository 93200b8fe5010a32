"""The pages of runs, for a browser: a sweep's report while it goes on, other reports as they stand, and an index."""

import datetime
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jprm.errors import UserError
from jprm.evaluate import interval_of, interval_row
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.findings import find
from jprm.experiments.sweep.finished import read_sweep_config
from jprm.experiments.sweep.report import sweep_page
from jprm.experiments.sweep.table import measure
from jprm.jobs import Graph, Stages
from jprm.records import read_jsonl
from jprm.report import Page, Section, Table, Text, columns, render, server_of
from jprm.terminal import say

RUNS = Table(
    "", columns("run: name | report | changed | cells | solutions: benchmark | votes: n_votes | F1: f1*"), link="link"
)
TO_DO = Table("", columns("stage | what | state"))


class RunSite:
    """One run, whose page is made from what is finished."""

    def __init__(self, run: Path):
        """Raises UserError where there is neither a sweep nor a report."""
        self.run = run
        self._made: tuple[str, str] = ("", "")
        self._sweep: Sweep | None = None
        if not ((run / "config.json").is_file() or (run / "report.html").is_file()):
            raise UserError(f"{run}: there is no run, and no folder of runs")

    def state(self, name: str = "") -> str | None:
        """The finished cells and the age of the report."""
        if name:
            return None
        report = self.run / "report.html"
        age = report.stat().st_mtime_ns if report.is_file() else 0
        sweep = self._open()
        done = [] if sweep is None else [c.name for c in sweep.cells if Stages(self.run)[c.votes].done]
        return json.dumps([age, len(done), done])

    def page(self, name: str = "") -> str | None:
        """The report of the finished cells, or what is to be done before there is one."""
        state = self.state(name)
        if state is not None and self._made[0] != state:
            self._made = state, self._page()
        return None if state is None else self._made[1]

    def _open(self) -> Sweep | None:
        """The sweep in the directory; None where something else has run there."""
        if self._sweep is None and (self.run / "stages").is_dir():
            try:
                self._sweep = Sweep(read_sweep_config(self.run))
            except UserError:
                return None
        return self._sweep

    def _page(self) -> str:
        sweep, stages, report = self._open(), Stages(self.run), self.run / "report.html"
        done = [] if sweep is None else [cell for cell in sweep.cells if stages[cell.votes].done]
        if report.is_file() and (sweep is None or len(done) == len(sweep.cells)):
            return report.read_text(encoding="utf-8")
        if sweep is None:
            return render(Page(self.run.name, "There is no report here yet.", []))
        graph = Graph(stages, sweep.asked, sweep.leaders)
        rows = [
            {"stage": task.kind, "what": task.label, "state": "done" if stages[task].done else "to do"}
            for task in graph.tasks
        ]
        progress = Section("What is done", [TO_DO.of(rows)])
        lead = f"{len(done)} of {len(sweep.cells)} cells are finished. This page loads itself anew when another one is."
        if sweep.main not in done:
            return render(Page(f"jprm sweep: {self.run.name}", lead, [progress]))
        measured = [measure(stages, cell) for cell in done]
        page, _ = sweep_page(sweep.config, measured, find(sweep, stages, measured), "")
        return render(Page(page.title, f"{lead}\n\n{page.lead}", [*page.sections, progress], page.headline, page.below))


class RunsSite:
    """A folder of runs: an index, and each of them below its name."""

    def __init__(self, folder: Path):
        """Raises UserError where no run is in the folder."""
        self.folder = folder
        self._sites: dict[str, RunSite] = {}
        if not self._runs():
            raise UserError(f"{folder}: there is no run, and no folder of runs")

    def state(self, name: str) -> str | None:
        """That of a run, or of all of them."""
        if name:
            return site.state() if (site := self._site(name)) else None
        return json.dumps([[run.name, _changed(run)] for run in self._runs()])

    def page(self, name: str) -> str | None:
        """That of a run, or the index."""
        if name:
            return site.page() if (site := self._site(name)) else None
        rows = [_row(run) for run in self._runs()]
        text = Text("F1 is that of a run's first cell, at the most votes that have a row.")
        return render(Page(f"Runs in {self.folder}", "", [Section("Runs", [RUNS.of(rows), text])]))

    def _runs(self) -> list[Path]:
        """The runs in the folder, the latest first."""
        marks = ("config.json", "report.html", "results.jsonl")
        found = [path for path in self.folder.iterdir() if any((path / mark).is_file() for mark in marks)]
        return sorted(found, key=_changed, reverse=True)

    def _site(self, name: str) -> RunSite | None:
        run = next((run for run in self._runs() if run.name == name), None)
        return None if run is None else self._sites.setdefault(name, RunSite(run))


def view(path: Path, port: int) -> None:
    """Serves the pages of a run, or of a folder of runs, until it is interrupted. Raises UserError for neither."""
    is_run = any((path / mark).is_file() for mark in ("config.json", "report.html"))
    with server_of(RunSite(path) if is_run else RunsSite(path), port) as server:
        say(f"{path}: http://{server.server_address[0]}:{server.server_port}/   (stop with Ctrl-C)")
        server.serve_forever()


def _changed(run: Path) -> float:
    """When one of the files in a run directory was last written."""
    return max((path.stat().st_mtime for path in run.iterdir() if path.exists()), default=0.0)


def _row(run: Path) -> dict[str, Any]:
    when = datetime.datetime.fromtimestamp(_changed(run)).strftime("%Y-%m-%d %H:%M")
    row: dict[str, Any] = {"name": run.name, "link": f"{quote(run.name)}/", "changed": when, "cells": None}
    row["report"] = "there" if (run / "report.html").is_file() else "not yet"
    results = run / "results.jsonl"
    cells = [r for r in read_jsonl(results) if "cell" in r and "n_votes" in r] if results.is_file() else []
    if cells:
        last = [r for r in cells if r["cell"] == cells[0]["cell"]][-1]
        row |= {key: last.get(key) for key in ("benchmark", "n_votes")} | interval_row("f1", interval_of(last, "f1"))
        row["cells"] = len({r["cell"] for r in cells})
    return row
