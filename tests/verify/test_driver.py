"""The driver on scripts: exact conversations, overlap, early stopping, adding votes, failures."""

import hashlib
import threading
from itertools import combinations

import pydantic
import pytest

from jprm.errors import UserError
from jprm.execute import Pool, PreloadLevel
from jprm.records import Problem, Solution
from jprm.seeds import seed_of
from jprm.verify import VerifySettings, first_error, mean_reward, verify
from tests.verify.fakes import FakeExecutor, FakeTokenizer, ScriptedSampler, within

SEED = 11
VERDICT = "<output>\\boxed{"
STEPS = ("S1: 8+3=11\n", "S2: 11+8=20\n", "S3: 20\n")


def solution(name, steps=STEPS):
    problem = Problem(f"p-{name}", f"Ann has 8 ({name}).\n", "19")
    return problem, Solution(f"s-{name}", problem.id, tuple(steps), "planted")


ITEMS = [solution("a"), solution("b", STEPS[:1]), solution("c", STEPS[:2])]


def coin(*parts):
    """A number in [0, 1) that depends on the parts alone: the model's chance."""
    return hashlib.sha256(repr(parts).encode()).digest()[0] / 256


def model(sample_id, text):
    """Analysis of a length of its own, code that adds, a verdict by chance; asks twice at times."""
    step = text.count("S1") + text.count("S2") + text.count("S3")
    chance = coin(sample_id, step)
    if text.endswith("]\n"):
        if chance < 0.2 and text.count("<verify>") % 2:
            return "<verify>print(2+2)</verify>\n"
        return VERDICT + ("Yes" if chance < 0.6 else "No")
    if chance > 0.97:
        return "I do not know"
    return f"{'hm ' * int(9 * chance)}</analyze>\n<verify>print({step}+{int(50 * chance)})</verify>\n"


def run(items=ITEMS, votes=(0, 1), sampler=None, executor=None, stop_early=False, **settings):
    """All rationales by (solution, step, vote), with the sampler that made them."""
    tokenizer = sampler.tokenizer if sampler else FakeTokenizer()
    sampler = sampler or ScriptedSampler(tokenizer, model)
    executor = executor or FakeExecutor()
    chosen = VerifySettings(**{"context_tokens": sampler.context_tokens, **settings})
    found = {}
    for rationales in verify(items, votes, sampler, executor, tokenizer, chosen, SEED, stop_early=stop_early):
        keys = [(r.solution_id, r.step, r.vote) for r in rationales]
        assert keys == sorted(keys, key=lambda key: (key[1], votes.index(key[2])))
        assert len({key[0] for key in keys}) <= 1 and not found.keys() & set(keys)
        found |= dict(zip(keys, rationales, strict=True))
    assert sampler.conversations == {}, "every handle is released"
    assert getattr(executor, "open_sessions", 0) == 0, "every session is closed"
    return found, sampler


def test_chain_is_one_conversation_per_vote():
    found, sampler = run(votes=(0, 1, 2))
    opening = "<analyze>"
    assert sorted(sampler.prompts) == sorted((problem.text + one.steps[0] + opening, 3) for problem, one in ITEMS)
    by_sample = {c.sample_id: sampler.tokenizer.decode(c.ids) for c in sampler.released.values()}
    for problem, one in ITEMS:
        for vote in range(3):
            texts = [found[one.id, step, vote].text for step in range(len(one.steps))]
            whole = problem.text + "".join(step + text for step, text in zip(one.steps, texts, strict=True))
            # The closing of the last verdict is known, so it is not fed.
            expected = whole.removesuffix("}</output>\n")
            assert by_sample.pop(seed_of(SEED, one.id, vote)) == expected
    assert by_sample == {}


def test_fork_continues_vote_zero():
    found, sampler = run(votes=(0, 1, 2), mode="fork")
    by_sample = {c.sample_id: sampler.tokenizer.decode(c.ids) for c in sampler.released.values()}
    prompts = []
    for problem, one in ITEMS:
        history = problem.text
        for step, text in enumerate(one.steps):
            history += text
            prompts.append((history + "<analyze>", 3))
            for vote in range(3):
                expected = history + found[one.id, step, vote].text
                sample_id = seed_of(SEED, one.id, step, vote)
                assert by_sample.pop(sample_id) == expected.removesuffix("}</output>\n")
            history += found[one.id, step, 0].text
    assert by_sample == {} and sorted(sampler.prompts) == sorted(prompts)
    assert sampler.parents.count(None) == len(ITEMS), "later steps name what they continue"


def test_rationales_hold_what_happened():
    found, _ = run()
    codes = 0
    for rationale in found.values():
        assert rationale.mode == "chain"
        for execution in rationale.executions:
            assert f"<verify>{execution.code}</verify>\n[Code output: {execution.text}]\n" in (rationale.text)
            assert execution.text == str(eval(execution.code.removeprefix("print")))
        codes += len(rationale.executions)
        tokens = len(FakeTokenizer().encode(rationale.text))
        silent = "I do not know" in rationale.text  # one more token, of no text, ended that turn
        assert rationale.generated_tokens + rationale.forced_tokens == tokens + silent
        assert (rationale.verdict.correct is None) == (rationale.reason != "")
    assert codes > len(found)


def test_probabilities_are_read_at_the_verdict():
    found, _ = run(temperature=0.5, sampler=ScriptedSampler(FakeTokenizer(), model, margin=2.0))
    judged = {r.verdict for r in found.values() if r.verdict.correct is not None}
    # The word that was written is 2 nats above the other one: sigmoid(2), and sigmoid(4) at T = .5.
    yes = (True, pytest.approx(0.8807970779778823), pytest.approx(0.9820137900379085))
    no = (False, pytest.approx(0.1192029220221176), pytest.approx(0.0179862099620916))
    assert len(judged) == 2
    for verdict in judged:
        values = (verdict.correct, verdict.p_yes_raw, verdict.p_yes_tempered)
        assert values == (yes if verdict.correct else no)


@pytest.mark.parametrize("mode", ["chain", "fork"])
def test_what_a_vote_says_depends_on_its_seed_alone(mode):
    """Not on slots, company, order, or the votes being asked for together."""
    expected, _ = run(votes=(0, 1, 2, 3), mode=mode)
    one_slot = ScriptedSampler(FakeTokenizer(), model, slots=1)
    assert run(votes=(0, 1, 2, 3), mode=mode, sampler=one_slot)[0] == expected
    assert run(ITEMS[::-1], votes=(0, 1, 2, 3), mode=mode, max_in_flight=1)[0] == expected
    assert run(votes=(0, 1), mode=mode)[0] | run(votes=(3, 2), mode=mode)[0] == expected


def test_only_the_new_votes_are_sampled():
    _, sampler = run(ITEMS[:1], votes=(4, 5))
    assert [n for _, n in sampler.prompts] == [2]
    _, sampler = run(ITEMS[:1], votes=(4, 5), mode="fork")
    assert [n for _, n in sampler.prompts] == [3, 3, 2]  # and the history that later ones continue


def test_namespaces_of_the_votes():
    executor = FakeExecutor()
    found, _ = run(ITEMS[:1], votes=(0, 1), executor=executor)
    for vote in (0, 1):
        codes = [e.code for step in range(3) for e in found["s-a", step, vote].executions]
        assert tuple(codes) in executor.histories
    executor = FakeExecutor()
    found, _ = run(ITEMS[:1], votes=(0, 1), executor=executor, mode="fork")
    shared = [e.code for step in (0, 1) for e in found["s-a", step, 0].executions]
    last = [e.code for e in found["s-a", 2, 1].executions]
    assert tuple(shared + last) in executor.histories


def test_real_code_keeps_its_names_from_step_to_step():
    def names(_, text):
        if text.endswith("]\n"):
            return VERDICT + ("Yes" if text.endswith("[Code output: 2]\n") else "No")
        step = text.count("<analyze>")
        return f"<verify>{'a = 2' if step == 1 else 'print(a)'}</verify>\n"

    with Pool(workers=1, memoize=True, warm=PreloadLevel.PLAIN) as pool:
        sampler = ScriptedSampler(FakeTokenizer(), names)
        found, _ = run(ITEMS[:1], votes=(0, 1, 2), sampler=sampler, executor=pool)
        assert [found["s-a", step, 2].verdict.correct for step in range(3)] == [False, True, True]
        assert pool.stats.snippets == 9 and pool.stats.memo_hits >= 1


def test_sampling_goes_on_while_code_runs():
    """One solution's code is held back; the others finish meanwhile, then it is taken up again."""
    executor = FakeExecutor(held=True)

    def sometimes(_, text):
        if "(a)" in text and not text.endswith("]\n"):
            return "<verify>print(1+1)</verify>\n"
        return VERDICT + "Yes"

    tokenizer = FakeTokenizer()
    sampler = ScriptedSampler(tokenizer, sometimes)
    chosen = VerifySettings(context_tokens=1000)
    order = []
    for rationales in verify(ITEMS, [0], sampler, executor, tokenizer, chosen, SEED):
        order.append(rationales[0].solution_id)
        if len(order) == 2:
            assert order == ["s-b", "s-c"] and len(executor.pending) == 1
            executor.held = False
            executor.let_go()
    assert order == ["s-b", "s-c", "s-a"]


def test_with_nothing_to_sample_it_waits_for_the_code():
    executor = FakeExecutor(held=True)
    timer = threading.Timer(0.05, lambda: (setattr(executor, "held", False), executor.let_go()))
    timer.start()
    found, sampler = run([solution("b", STEPS[:1])], votes=[0], executor=executor)
    assert len(found) == 1
    timer.join()


def test_in_flight_is_bounded():
    most = 0

    class Watched(ScriptedSampler):
        def poll(self):
            nonlocal most
            most = max(most, len(self.conversations))
            return super().poll()

    run([solution(str(n)) for n in range(9)], sampler=Watched(FakeTokenizer(), model), max_in_flight=5)
    assert most in (4, 5)  # two votes each: a third solution waits until one vote is done


@pytest.mark.parametrize("mode", ["chain", "fork"])
@pytest.mark.parametrize("slots", [1, 5])
def test_stopping_early_leaves_every_first_error_as_it_is(mode, slots):
    items = [solution(str(n), STEPS * 2) for n in range(25)]
    votes = (0, 1, 2)
    full, _ = run(items, votes, mode=mode)
    sampler = ScriptedSampler(FakeTokenizer(), model, slots=slots)
    early, _ = run(items, votes, sampler, mode=mode, stop_early=True)
    assert early.items() <= full.items()
    assert 0 < len(full) - len(early) < len(full)

    def prediction(found, one, subset):
        steps = [step for step in range(len(one.steps)) if (one.id, step, 0) in found]
        verdicts = [[found[one.id, step, vote].verdict for vote in subset] for step in steps]
        return first_error([mean_reward([v.reward("vote") for v in row]) for row in verdicts])

    for _, one in items:
        for size in range(1, 4):
            for subset in combinations(votes, size):
                assert prediction(early, one, subset) == prediction(full, one, subset)


def test_stopping_early_saves_tokens():
    def denies(_, text):
        return VERDICT + "No"

    counts = []
    for stop_early in (False, True):
        sampler = ScriptedSampler(FakeTokenizer(), denies)
        found, _ = run(ITEMS[:1], (0, 1), sampler, stop_early=stop_early)
        counts.append((len(found), len(sampler.log)))
    assert counts[0] == (6, 6)
    assert counts[1][0] == 2 and counts[1][1] <= 4


def test_a_none_stops_nothing():
    first = seed_of(SEED, "s-a", 0)

    def silent(sample_id, text):
        return "hm" if sample_id == first else VERDICT + "No"

    sampler = ScriptedSampler(FakeTokenizer(), silent)
    found, _ = run(ITEMS[:1], (0, 1), sampler, stop_early=True)
    assert len(found) == 6 and found["s-a", 0, 0].reason == "no_verdict"


@pytest.mark.parametrize("mode", ["chain", "fork"])
def test_a_full_context_costs_the_later_verdicts_only(mode):
    items = [solution("a"), solution("b", STEPS[:1])]
    template = within(60, 2, 1)
    full, _ = run(items, (0, 1), mode=mode, template=template)
    sampler = ScriptedSampler(FakeTokenizer(), model, context_tokens=150)
    short, _ = run(items, (0, 1), sampler, mode=mode, template=template)
    assert short.keys() == full.keys()
    lost = {key for key, rationale in short.items() if rationale.reason == "context"}
    assert lost and all(short[key].verdict.correct is None for key in lost)
    assert {key: short[key] for key in short.keys() - lost} == {key: full[key] for key in full.keys() - lost}
    assert ("s-b", 0, 0) not in lost and ("s-a", 2, 1) in lost
    tiny, _ = run(items, (0, 1), ScriptedSampler(FakeTokenizer(), model, context_tokens=20), mode=mode)
    assert {rationale.reason for rationale in tiny.values()} == {"context"} and len(tiny) == 8


def test_none_and_nothing():
    assert run([], (0,))[0] == {}
    assert run([solution("x", ())], (0,))[0] == {}
    found, _ = run(sampler=ScriptedSampler(FakeTokenizer(), lambda *_: ""))
    assert {(r.verdict.correct, r.reason) for r in found.values()} == {(None, "no_verdict")}


def test_a_broken_executor_is_heard_of_and_everything_given_back():
    def broken(history, code):
        raise RuntimeError("the pool was closed")

    tokenizer = FakeTokenizer()
    sampler, executor = ScriptedSampler(tokenizer, model), FakeExecutor(broken)
    with pytest.raises(RuntimeError, match="closed"):
        list(verify(ITEMS, [0], sampler, executor, tokenizer, VerifySettings(context_tokens=1000), SEED))
    assert sampler.conversations == {} and executor.open_sessions == 0


def test_leaving_early_gives_everything_back():
    tokenizer = FakeTokenizer()
    sampler, executor = ScriptedSampler(tokenizer, model), FakeExecutor()
    iterator = verify(ITEMS, [0, 1], sampler, executor, tokenizer, VerifySettings(context_tokens=1000), SEED)
    next(iterator)
    iterator.close()
    assert sampler.conversations == {} and executor.open_sessions == 0


@pytest.mark.parametrize(
    ("votes", "settings", "message"),
    [([], {}, "votes"), ([0, 0], {}, "votes"), ([-1], {}, "votes"), ([0], {"style": "ful"}, "'ful'")],
)
def test_mistakes_are_said_before_anything_runs(votes, settings, message):
    tokenizer = FakeTokenizer()
    sampler = ScriptedSampler(tokenizer, model)
    with pytest.raises(UserError, match=message):
        verify(ITEMS, votes, sampler, FakeExecutor(), tokenizer, VerifySettings(context_tokens=99, **settings), SEED)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "chains"}, "mode\n.*'chain' or 'fork'.*'chains'"),
        ({"readout": "prob"}, "readout\n.*'prob_raw'.*'prob'"),
        ({"overflow": "shrink"}, "overflow\n.*'give_up', 'drop_code'.*'shrink'"),
        ({"execute": "yes"}, "execute\n.*'executed'.*'yes'"),
        ({"max_in_flight": 0}, "max_in_flight\n.*greater than or equal to 1"),
        ({"context_tokens": 0}, "context_tokens\n.*greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be_meant(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        VerifySettings(**{"context_tokens": 99, **settings})
