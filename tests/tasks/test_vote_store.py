"""Stored votes stand for any other number of votes, and are read in little memory."""

import collections
import contextlib
import dataclasses
import json
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.jobs import open_run
from jprm.records import Problem, Rationale, Solution, Verdict, append_jsonl, to_json
from jprm.score import Ended
from jprm.tasks.benchmark import Item, SolutionSet, write_items
from jprm.tasks.resources import Speed
from jprm.tasks.vote_store import step_rewards, stream_rationales, stream_rewards
from jprm.tasks.votes import Votes, load_rationales
from jprm.verify import mean_reward

READOUTS = ("prob_raw", "vote", "prob_tempered")


def rationale(solution, step, vote, p):
    """`p` None is no judgement; the word and the tempered number do not always agree with p."""
    verdict = Verdict(None, None, None) if p is None else Verdict(p > 0.4, p, p * p)
    return Rationale(solution, step, vote, "chain", f"{step} {vote}", (), verdict, 3, 1)


def at_once(tables, n_votes, readout):
    """What sampling stores: each solution up to the first step that all of its votes reject."""
    stored = {}
    for name, table in tables.items():
        rows = []
        for step, votes in enumerate(table):
            here = [rationale(name, step, vote, p) for vote, p in enumerate(votes[:n_votes])]
            rows += here
            rewards = [r.verdict.reward(readout) for r in here]
            if readout and all(r is not None and r < 0.5 for r in rewards):
                break
        stored[name] = rows
    return stored


def write(path, stored):
    rows = [{"solution_id": s, "rationales": list(map(to_json, r))} for s, r in stored.items()]
    append_jsonl(path / "rationales.jsonl", rows)


# mostly No: what matters happens where all votes reject a step, or all but one
PROBABILITIES = st.sampled_from([0.2, 0.2, 0.2, 0.45, 0.45, 0.55, 0.9, None])
TABLES = st.lists(
    st.integers(1, 4).flatmap(
        lambda steps: st.lists(st.lists(PROBABILITIES, min_size=6, max_size=6), min_size=steps, max_size=steps)
    ),
    min_size=1,
    max_size=5,
).map(lambda tables: {f"s{i}": table for i, table in enumerate(tables)})


class Judges(SolutionSet):
    """The solutions of the tables."""

    kind, name, seed, size = "benchmark", "tables", 0, 1

    def __init__(self, tables, scores_solutions):
        self.tables, self._whole = tables, scores_solutions

    @property
    def scores_solutions(self):
        return self._whole

    def inputs(self):
        return {"tables": self.tables, "whole": self._whole}

    def compute(self, stage, context):
        names = self.tables.items()
        write_items(stage, [Item(Problem(n, "", ""), Solution(n, n, tuple("x" * len(t)), "policy")) for n, t in names])
        return {"items": len(self.tables)}


@dataclasses.dataclass(frozen=True)
class FromTables:
    """A sampling whose votes stand in tables; `drawn` counts what is asked of it, `fails` stops it after some votes."""

    tables: dict
    readout: str
    drawn: collections.Counter
    fails: int = 10**9
    label = "tables"
    format = None

    def parents(self):
        return ()

    def inputs(self):
        return {"tables": self.tables}

    def pool(self, context):
        return None

    def decode_flops(self, tokens):
        return tokens

    def judge(self, drawing, items, known, heard):
        votes = drawing.votes
        for _, solution in items:
            name = solution.id
            there = {(r.step, r.vote) for r in known[name]}
            readout = self.readout if votes.stop_early else None
            for r in at_once({name: self.tables[name]}, votes.n_votes, readout)[name]:
                if (r.step, r.vote) not in there:
                    if self.drawn.total() >= self.fails:
                        raise KeyboardInterrupt
                    self.drawn[name, r.step, r.vote] += 1
                    heard(r)
            yield Ended(name)


def votes_of(folder, tables, n_votes, readout, stop_early, fails=10**9):
    """The stage of these votes, computed in a run directory that may hold others, and what was drawn for it."""
    sampling = FromTables(tables, readout, collections.Counter(), fails)
    votes = Votes(sampling, Judges(tables, not stop_early), n_votes)
    with open_run(folder, [votes], None, speed=Speed()) as runner:
        return runner.ensure(votes), sampling.drawn


@settings(max_examples=100)
@given(
    TABLES,
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(READOUTS), st.integers(0, 20)), max_size=3),
    st.integers(1, 6),
    st.sampled_from(READOUTS),
    st.booleans(),
)
def test_votes_completed_from_others_equal_those_drawn_at_once(tables, sources, n_votes, readout, stop_early):
    """Whatever other tasks asked for, and wherever they were stopped: what is there is not drawn again."""
    with tempfile.TemporaryDirectory() as name:
        folder, there = Path(name), set()
        for n, other, fails in sources:
            with contextlib.suppress(KeyboardInterrupt):
                _, drawn = votes_of(folder, tables, n, other, stop_early, fails or 10**9)
                there |= drawn.keys()
        stage, drawn = votes_of(folder, tables, n_votes, readout, stop_early)
        assert load_rationales(stage) == at_once(tables, n_votes, readout if stop_early else None)
        assert not there & drawn.keys() and max(drawn.values(), default=1) == 1
        left = {path.name for path in stage.path.iterdir()} - {"seconds.json"}
        assert left == {"DONE", "inputs.json", "rationales.jsonl"}, "no log is left"


def test_an_interrupted_task_goes_on_vote_by_vote(tmp_path):
    tables = {f"s{i}": [[0.9] * 6] * 3 for i in range(4)}
    for fails in (10, 7):
        with pytest.raises(KeyboardInterrupt):
            votes_of(tmp_path, tables, 6, "vote", True, fails)
    stage, drawn = votes_of(tmp_path, tables, 6, "vote", True)
    assert drawn.total() == 4 * 6 * 3 - 17 and load_rationales(stage) == at_once(tables, 6, "vote")


@given(TABLES, st.integers(1, 6), st.sampled_from(READOUTS))
def test_streamed_rewards_are_those_of_the_records(tables, n_votes, readout):
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), at_once(tables, n_votes, "prob_raw"))
        path = Path(folder) / "rationales.jsonl"
        streamed = dict(stream_rewards(path, n_votes, readout))
        for rationales in stream_rationales(path):
            table = streamed.pop(rationales[0].solution_id)
            slow = np.full(table.shape, np.nan)
            for r in rationales:
                reward = r.verdict.reward(readout)
                slow[r.step, r.vote] = np.nan if reward is None else reward
            assert np.array_equal(table, slow, equal_nan=True)
            means = [mean_reward([None if np.isnan(r) else r for r in votes]) for votes in slow.tolist()]
            assert step_rewards(rationales, n_votes, readout) == means
        assert not streamed


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"solution_id": "s", "rationales": []},
        {"solution_id": "s", "rationales": [{"step": 0}]},
        {"solution_id": "s", "rationales": [{"step": 0, "vote": 9, "verdict": {"correct": True, "p_yes_raw": 1.0}}]},
    ],
)
def test_a_row_that_is_no_solutions_is_named(tmp_path, row):
    (tmp_path / "rationales.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=r"rationales\.jsonl: not the rationales of a solution"):
        list(stream_rewards(tmp_path / "rationales.jsonl", 2, "prob_raw"))


def test_memory_is_eight_bytes_a_vote(tmp_path):
    """A million votes and ten million differ in the arrays alone: nothing else is kept of a row."""
    peaks = []
    for solutions in (20, 80):
        path = tmp_path / str(solutions)
        path.mkdir()
        table = [[0.3, 0.8] * 32] * 3
        write(path, at_once({f"s{i}": table for i in range(solutions)}, 64, "prob_raw"))
        tracemalloc.start()
        held = dict(stream_rewards(path / "rationales.jsonl", 64, "prob_raw"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert sum(a.size for a in held.values()) == solutions * 3 * 64
    assert (peaks[1] - peaks[0]) / (60 * 3 * 64) < 12


def broken(**change):
    row = to_json(rationale("s", 0, 0, 0.9))
    return row | {"verdict": row["verdict"] | change} if "p_yes_raw" in change else row | change


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"rationales": []}, "the field 'solution_id' is missing"),
        ({"solution_id": "s", "rationales": {}}, "'rationales' must be a list, it is {}"),
        ({"solution_id": "s", "rationales": [broken(p_yes_raw=7.0)]}, "Rationale: .*p_yes_raw' must be"),
        ({"solution_id": "s", "rationales": [broken(step=-1)]}, "Rationale: 'step' must be"),
        ({"solution_id": "s", "rationales": [7]}, "Rationale: must be an object, it is 7"),
    ],
)
def test_foreign_rows_are_named_by_their_line(tmp_path, row, said):
    path = tmp_path / "rationales.jsonl"
    write(tmp_path, {"a": [rationale("a", 0, 0, 0.9)]})
    append_jsonl(path, [row])
    with pytest.raises(UserError, match=rf"rationales\.jsonl:2: .*{said}"):
        list(stream_rationales(path))
    with pytest.raises(UserError, match=r"rationales\.jsonl"):
        list(stream_rewards(path, 1, "prob_raw"))
