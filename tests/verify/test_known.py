"""What an earlier run has heard is not drawn again, and changes nothing in what is reported."""

from hypothesis import given
from hypothesis import strategies as st

from jprm.verify import VerifySettings, verify
from tests.verify.fakes import FakeExecutor, FakeTokenizer, ScriptedSampler
from tests.verify.test_driver import SEED, STEPS, model, solution

ITEMS = [solution(str(n), STEPS * 2) for n in range(4)]


class Killed(Exception):
    pass


def run(votes, mode, stop_early, known, kill_after=None):
    """(reported by key, heard, sampler); `known` is a list of rationales, the later ones win."""
    stored = {}
    for r in known:
        stored.setdefault(r.solution_id, {})[r.step, r.vote] = r
    heard, reported = [], {}

    def hear(rationale):
        if len(heard) == kill_after:
            raise Killed
        heard.append(rationale)

    sampler = ScriptedSampler(FakeTokenizer(), model, slots=3)
    settings = VerifySettings(context_tokens=sampler.context_tokens, mode=mode)
    work = verify(
        *(ITEMS, range(votes), sampler, FakeExecutor(), sampler.tokenizer, settings, SEED),
        stop_early=stop_early,
        known={name: list(rows.values()) for name, rows in stored.items()},
        heard=hear,
    )
    try:
        for rows in work:
            reported |= {(r.solution_id, r.step, r.vote): r for r in rows}
    except Killed:
        work.close()
    return reported, heard, sampler


@given(
    mode=st.sampled_from(["chain", "fork"]),
    votes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    stops=st.lists(st.booleans(), min_size=4, max_size=4),
    kills=st.lists(st.none() | st.integers(0, 40), min_size=3, max_size=3),
)
def test_runs_that_build_on_killed_ones_report_the_same(mode, votes, stops, kills):
    known = []
    for n, stop_early, kill_after in zip(votes, stops, kills, strict=False):
        known += run(n, mode, stop_early, known, kill_after)[1]
    n, stop_early = max(votes), stops[-1]
    at_once, _, _ = run(n, mode, stop_early, [])
    later, heard, _ = run(n, mode, stop_early, known)
    assert later == at_once
    keys = {(r.solution_id, r.step, r.vote) for r in known}
    assert not [r for r in heard if (r.solution_id, r.step, r.vote) in keys], "heard twice"


def drawn(sampler):
    return sum(n for _, n in sampler.prompts)


def test_what_is_complete_starts_nothing():
    for mode in ("chain", "fork"):
        for stop_early in (False, True):
            heard = run(3, mode, stop_early, [])[1]
            assert drawn(run(3, mode, stop_early, heard)[2]) == 0
            assert drawn(run(2, mode, stop_early, heard)[2]) == 0


def test_more_votes_start_only_the_new_ones():
    heard = run(2, "chain", False, [])[1]
    _, new, sampler = run(4, "chain", False, heard)
    assert drawn(sampler) == 2 * len(ITEMS) and {r.vote for r in new} == {2, 3}


def test_stopped_votes_go_on_only_where_a_new_one_disagrees():
    first, heard, _ = run(2, "chain", True, [])
    every, _, sampler = run(4, "chain", True, heard)
    grown = [
        one.id
        for _, one in ITEMS
        if max(step for name, step, _ in every if name == one.id)
        > max(step for name, step, _ in first if name == one.id)
    ]
    assert 0 < len(grown) < len(ITEMS)
    assert drawn(sampler) == 2 * len(ITEMS) + 2 * len(grown)
