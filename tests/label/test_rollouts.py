"""WrittenSolution values on a simulated policy whose success rates have a closed form (see `chain`)."""

from dataclasses import replace

import numpy as np
import pytest

from jprm.label import ProblemValues, RolloutSettings, rollouts_needed, sample_solutions, value_problems
from jprm.label.rollouts import ProblemSamples, choose_solutions
from jprm.records import Problem, from_json, to_json
from jprm.seeds import rng_of, seed_of
from tests.label.chain import ERRS, RECOVERS, STEPS, ChainSampler, Letters, LineWorld

PROBLEMS = [Problem(id=f"p{i}", text=f"problem {i}\n", answer="g") for i in range(12)]


def _values(problems=PROBLEMS, sampler=None, done=(), **settings):
    sampler = sampler or ChainSampler()
    chunks = value_problems(
        problems,
        LineWorld(),
        sampler,
        Letters(),
        RolloutSettings(max_tokens=20, chunk_problems=5, **settings),
        seed=7,
        done=done,
    )
    return [record for chunk in chunks for record in chunk]


def _closed_form(n_left):
    chain = np.array([[1 - ERRS, ERRS], [RECOVERS, 1 - RECOVERS]])
    return np.linalg.matrix_power(chain, n_left) @ [1.0, 0.0]


def test_estimates_agree_with_the_closed_form():
    problems = [Problem(id=f"q{i}", text=f"many {i}\n", answer="g") for i in range(60)]
    found, total, count = _values(problems), {}, {}
    for record in found:
        states = {(): record.correct}
        for valued in record.solutions:
            for t in range(1, STEPS):
                states[valued.solution.steps[:t]] = round(valued.mc[t] * record.rollouts)
        for steps, correct in states.items():
            # Values after a zero are not measured; here none is ever zero at K = 64.
            key = (len(steps), bool(steps) and steps[-1] == "b\n")
            total[key] = total.get(key, 0) + correct
            count[key] = count.get(key, 0) + (record.rollouts if steps else record.n)
    assert set(total) == {(0, False), *((t, bad) for t in (1, 2, 3) for bad in (False, True))}
    for (t, bad), correct in total.items():
        truth = _closed_form(STEPS - t)[int(bad)]
        error = np.sqrt(truth * (1 - truth) / count[t, bad])
        assert abs(correct / count[t, bad] - truth) < 4 * error, (t, bad)


def test_another_draw_values_the_same_solutions_by_other_rollouts():
    first, second = ChainSampler(), ChainSampler()
    kept, again = _values(PROBLEMS, first), _values(PROBLEMS, second, draw=1)
    assert [[v.solution for v in r.solutions] for r in kept] == [[v.solution for v in r.solutions] for r in again]
    assert [(r.n, r.correct, r.rollouts) for r in kept] == [(r.n, r.correct, r.rollouts) for r in again]
    of_problems = {f"problem {i}\n" for i in range(len(PROBLEMS))}
    drawn = [{(text, i) for text, ids in s.seen for i in ids if text not in of_problems} for s in (first, second)]
    shared = [{(text, i) for text, ids in s.seen for i in ids if text in of_problems} for s in (first, second)]
    assert not drawn[0] & drawn[1] and shared[0] == shared[1]
    values = [np.array([mc for r in of for v in r.solutions for mc in v.mc[1:-1]]) for of in (kept, again)]
    assert (values[0] != values[1]).any() and abs(values[0].mean() - values[1].mean()) < 0.05


def test_the_first_samples_are_extended_and_counted():
    sampler = ChainSampler()
    [record] = _values(PROBLEMS[:1], sampler)
    start = [ids for text, ids in sampler.seen if text == "problem 0\n"]
    assert [len(ids) for ids in start] == [16, 48] and record.n == record.rollouts == 64
    assert len(set(start[0] + start[1])) == 64
    [few] = sample_solutions(PROBLEMS[:1], 64, LineWorld(), ChainSampler(), Letters(), seed=7, max_tokens=20)
    assert sum(s.correct for s in few[0].samples) == record.correct


def test_a_state_is_sampled_once():
    sampler = ChainSampler()
    _values(sampler=sampler, correct_per_problem=3, wrong_per_problem=4, planted_per_problem=3)
    later = [text for text, _ in sampler.seen if text.count("\n") > 1]
    assert len(later) == len(set(later))
    ids = [i for _, chunk in sampler.seen for i in chunk]
    assert len(ids) == len(set(ids))


def test_the_last_value_is_exact_and_costs_nothing():
    sampler = ChainSampler()
    for record in _values(sampler=sampler):
        for valued in record.solutions:
            assert len(valued.mc) == STEPS + 1
            assert valued.mc[-1] == float(valued.solution.steps[-1] == "g\n")
    assert max(text.count("\n") for text, _ in sampler.seen) == 1 + STEPS - 1


def test_nothing_is_sampled_beyond_a_zero():
    sampler = ChainSampler(recovers=0.0)
    records = _values(sampler=sampler)
    # A bad state is asked about once and found dead; no state with two bad lines is ever asked.
    assert any("b\n" in text for text, _ in sampler.seen)
    assert not any("b\nb\n" in text for text, _ in sampler.seen)
    for record in records:
        for valued in record.solutions:
            if valued.solution.first_error >= 0:
                dead = valued.solution.first_error + 1
                assert valued.mc[dead:] == (0.0,) * (STEPS + 1 - dead)
                assert min(valued.mc[:dead]) > 0


@pytest.mark.parametrize(("errs", "rollouts"), [(0.005, 32), (0.15, 64), (0.45, 128)])
def test_k_follows_pass_at_1(errs, rollouts):
    sampler = ChainSampler(errs=errs, recovers=0.0)
    records = _values(sampler=sampler)
    assert rollouts in {r.rollouts for r in records}
    for record in records:
        assert record.n == record.rollouts
    halved = _values(sampler=ChainSampler(errs=errs, recovers=0.0), divisor=16)
    assert {r.rollouts for r in halved} <= {2, 4, 8}
    assert all(r.n == 16 for r in halved)  # the first samples are never thrown away


def test_an_unsolvable_problem_is_left():
    sampler = ChainSampler(errs=1.0, recovers=0.0)
    records = _values(sampler=sampler)
    assert {r.reason for r in records} == {"unsolvable problem"}
    assert all(r.solutions == () and r.correct == 0 and r.n == 128 for r in records)
    assert all(text.count("\n") == 1 for text, _ in sampler.seen)


def test_values_do_not_depend_on_the_order_of_answers_or_the_companions():
    once = _values()
    assert _values(sampler=ChainSampler(order=99)) == once
    assert _values(PROBLEMS[3:4])[0] == once[3]


def test_an_interrupted_run_ends_the_same_and_repeats_no_finished_chunk():
    whole, stored = ChainSampler(), []
    once = _values(sampler=whole)
    sampler = ChainSampler(fail_after=whole.polls * 2 // 3)
    chunks = value_problems(
        PROBLEMS, LineWorld(), sampler, Letters(), RolloutSettings(max_tokens=20, chunk_problems=5), seed=7
    )
    with pytest.raises(KeyboardInterrupt):
        for chunk in chunks:
            stored += chunk
    assert 0 < len(stored) < len(PROBLEMS)
    assert set(sampler.released) == {h for h in range(sum(len(i) for _, i in sampler.seen))}
    stored = stored[:-2]  # a chunk of which only a part reached the file
    stored += _values(done={r.problem_id for r in stored})
    assert sorted(stored, key=lambda r: r.problem_id) == sorted(once, key=lambda r: r.problem_id)
    everything = ChainSampler()
    assert _values(sampler=everything, done={p.id for p in PROBLEMS}) == []
    assert everything.seen == []


def test_records_survive_the_file():
    for record in _values(PROBLEMS[:2]):
        assert from_json(ProblemValues, to_json(record)) == record


def test_tokens_are_counted():
    sampler = ChainSampler()
    [record] = _values(PROBLEMS[:1], sampler)
    written = sum(len(ids) * (2 * (STEPS + 1 - text.count("\n")) + 1) for text, ids in sampler.seen)
    assert record.generated_tokens == written
    assert record.prompt_tokens == sum(len(text) for text, _ in sampler.seen)


def _samples(n, sampler=None, max_tokens=20):
    chunks = sample_solutions(
        PROBLEMS, n, LineWorld(), sampler or ChainSampler(), Letters(), seed=3, max_tokens=max_tokens, chunk_problems=5
    )
    return [record for chunk in chunks for record in chunk]


def test_more_samples_begin_with_the_fewer():
    few, many = _samples(4), _samples(9, ChainSampler(order=5))
    assert [r.samples for r in few] == [r.samples[:4] for r in many]
    assert from_json(ProblemSamples, to_json(many[0])) == many[0]
    assert np.mean([r.pass_at_1 for r in _samples(64)]) == pytest.approx(_closed_form(STEPS)[0], abs=0.07)


def test_a_sample_cut_short_is_marked():
    for record in _samples(3, max_tokens=6):
        assert all(not s.finished and len(s.steps) == 3 and not s.correct for s in record.samples)


def test_every_state_fits_the_context_of_problem_and_max_tokens():
    class Bounded(ChainSampler):
        def submit(self, prompt, sample_ids, *, max_tokens, stops, logprob_ids=()):
            assert len(prompt) + max_tokens == prompt.index(ord("\n")) + 1 + 20
            return super().submit(prompt, sample_ids, max_tokens=max_tokens, stops=stops)

    assert _values(sampler=Bounded()) == _values()


def test_choice_takes_usable_samples_of_both_kinds_once():
    [record] = _samples(64)[:1]
    settings = RolloutSettings(correct_per_problem=2, wrong_per_problem=3, planted_per_problem=0)
    world = LineWorld()
    chosen = choose_solutions(PROBLEMS[0], record.samples, world, Letters(), settings, rng_of(0, "x"))
    right = [world.is_correct(None, s.steps) for s in chosen]
    assert right == [True, True, False, False, False]
    assert len({s.steps for s in chosen}) == 5 and {s.source for s in chosen} == {"policy"}
    assert all((s.first_error, s.error_kind) == world.truth(None, s.steps) for s in chosen)
    again = choose_solutions(PROBLEMS[0], record.samples, world, Letters(), settings, rng_of(0, "x"))
    assert again == chosen
    long = RolloutSettings(min_steps=STEPS + 1, planted_per_problem=0)
    assert choose_solutions(PROBLEMS[0], record.samples, world, Letters(), long, rng_of(0, "x")) == []


def test_malformed_or_unwritable_samples_are_not_chosen():
    class Strict(LineWorld):
        def truth(self, problem, steps):
            return (1, "format") if steps[1] == "b\n" else super().truth(problem, steps)

    class NoB(Letters):
        def accepts(self, text):
            return "b" not in text

    [record] = _samples(64)[:1]
    many = RolloutSettings(correct_per_problem=50, wrong_per_problem=50, planted_per_problem=5, max_tokens=20)

    def chosen(world, codec, settings=many):
        found = choose_solutions(PROBLEMS[0], record.samples, world, codec, settings, rng_of(0, "x"))
        return {s.steps for s in found if s.source == "policy"}

    everything = chosen(LineWorld(), Letters())
    assert chosen(Strict(), Letters()) == {s for s in everything if s[1] != "b\n"} != everything
    assert chosen(LineWorld(), NoB()) == {("g\n",) * STEPS}
    assert chosen(LineWorld(), Letters(), replace(many, max_tokens=2 * STEPS)) == set()


def test_a_sampler_that_loses_rollouts_is_noticed():
    class Lossy(ChainSampler):
        def poll(self):
            self.pending.clear()
            return []

    with pytest.raises(RuntimeError, match="80 rollouts wait"):
        _values(sampler=Lossy())


def test_the_schedule_is_the_papers():
    assert RolloutSettings().rollouts(0.5) == rollouts_needed(0.5)
    assert seed_of(7, "rollout", "x", 0) != seed_of(7, "rollout", "x", 1)
