"""Stored votes stand for any other number of votes, and are read in little memory."""

import collections
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.pipeline import votes as votes_module
from jprm.pipeline.benchmark import Benchmark, Item
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.lab import Lab
from jprm.pipeline.stored import Known, stream_rationales, stream_rewards
from jprm.pipeline.table import rewards_of
from jprm.pipeline.verifier import Verifier
from jprm.pipeline.votes import Votes, complete
from jprm.records import Problem, Rationale, Solution, Verdict, append_jsonl, to_json
from jprm.runs import Stage

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


@settings(max_examples=200)
@given(
    TABLES,
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(READOUTS)), min_size=1, max_size=3),
    st.integers(1, 6),
    st.sampled_from(READOUTS),
    st.booleans(),
)
def test_votes_completed_from_others_equal_those_drawn_at_once(tables, sources, n_votes, readout, stop_early):
    import tempfile
    from pathlib import Path

    drawn = collections.Counter()

    def sample(_lab, _votes, items, indices, stops):
        for item in items:
            name, steps = item.solution.id, len(item.solution.steps)
            tables_here = {name: tables[name][:steps]}
            rows = at_once(tables_here, indices.stop, readout if stops else None)[name]
            chosen = [r for r in rows if r.vote in indices]
            drawn.update((name, r.step, r.vote) for r in chosen)
            yield chosen, "drawn"

    lab = Lab(SweepConfig.model_validate({"verify": {"readout": readout}}), None)
    benchmark = Benchmark("planted" if stop_early else "candidates", 0)
    votes = Votes(Verifier("s", 1, "exact", True, "full", 0), benchmark, "none", "chain", n_votes)
    items = [
        Item(Problem(name, "", ""), Solution(name, name, tuple("x" * len(table)), "policy"))
        for name, table in tables.items()
    ]
    expected = at_once(tables, n_votes, readout if stop_early else None)
    before, votes_module._sample = votes_module._sample, sample
    try:
        with tempfile.TemporaryDirectory() as folder:
            known = []
            for i, (n, other) in enumerate(sources):
                stage = Stage("votes", {"i": i}, Path(folder))
                with stage.sitting():
                    write(stage.path, at_once(tables, n, other if stop_early else None))
                    stage.finish({}, 1.0)
                known.append(Known.of(stage, n))
            found = {r[0].solution_id: r for r, _ in complete(lab, votes, items, known)}
    finally:
        votes_module._sample = before
    assert found == expected
    most = max((n for n, _ in sources), default=0)
    same = all(other == readout for _, other in sources)
    if most >= n_votes and (same or not stop_early):
        assert not drawn, "nothing is drawn that is there"
    again = {name for (name, _, vote), n in drawn.items() if vote < min(most, n_votes)}
    if same:  # only where the new votes do not agree to stop is anything drawn again
        cut_short = {n for n in tables if len(at_once({n: tables[n]}, most, readout)[n]) < most * len(tables[n])}
        assert not again - (cut_short if stop_early else set())


@given(TABLES, st.integers(1, 6), st.sampled_from(READOUTS))
def test_streamed_rewards_are_those_of_the_records(tables, n_votes, readout):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), at_once(tables, n_votes, "prob_raw"))
        path = Path(folder) / "rationales.jsonl"
        streamed = dict(stream_rewards(path, n_votes, readout))
        for rationales in stream_rationales(path):
            slow = np.array(rewards_of(rationales, n_votes, readout), dtype=float)
            assert np.array_equal(streamed.pop(rationales[0].solution_id), slow, equal_nan=True)
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
    if "Rationale" not in said:  # the others are seen when they are taken over
        with pytest.raises(UserError, match=rf"rationales\.jsonl:2: {said}"):
            stage = Stage("votes", {}, tmp_path)
            stage.path = tmp_path
            Known.of(stage, 1)
