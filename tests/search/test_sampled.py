"""Branches on the real engine: shared prefixes, books that match the engine's, no slot left behind."""

import dataclasses
import re

import pytest

from jprm.errors import UserError
from jprm.mesh import Rules
from jprm.models import bind
from jprm.models.costs import decode_flops, forward_flops
from jprm.records import Problem
from jprm.search import ROOT, Grow, Grown, Layout, ModelCost, SampledSteps, boundary_ids, make_strategy, run_search
from jprm.search.ports import Branch
from jprm.seeds import rng_of
from tests.sample.tiny import GREEDY, QWEN2, SHARED, SIZES, VOCAB, WARM, one_device
from tests.search.toys import Scored

EOS, BOUNDARIES = 1, (2, 3, 4, 5, 6, 7)
DENSE = dataclasses.replace(SIZES, slots=32)
ROWS = dataclasses.replace(SHARED, slots=32, prefix_rows=24, row_slots=4, prefix_tokens=60)
N_FLOPS = ModelCost(*(forward_flops(QWEN2, *unit) for unit in ((1, 0, 0), (0, 1, 0), (0, 0, 1))))


class Codec:
    """Every id is a word; some words end a line."""

    eos_id = EOS

    def decode(self, ids):
        return "".join("" if i == EOS else f"<{i}>" + "\n" * (i in BOUNDARIES) for i in ids)

    def encode(self, text):
        return [int(i) for i in re.findall(r"<(\d+)>\n?", text)]


class Grades:
    def answer(self, steps):
        return steps[-1] if steps else None

    def is_correct(self, problem, steps):
        return False


def layout(max_tokens=34):
    lines = lambda text: [line + "\n" for line in text.split("\n") if line]  # noqa: E731
    return Layout(boundary_ids(Codec(), VOCAB), lines, max_tokens)


def problems(n):
    codec, tokens = Codec(), [rng_of(3, i).integers(8, VOCAB, 14).tolist() for i in range(n)]
    return [Problem(f"p{i}", codec.decode(ids), "") for i, ids in enumerate(tokens)]


def read(problem, steps):
    """Any function of the text."""
    return [rng_of(0, *steps[: t + 1]).random() for t in range(len(steps))]


class Apart:
    """The same draws, each with a prompt of its own."""

    def __init__(self, generator):
        self.generator, self.forget = generator, generator.forget

    def grow(self, requests):
        return [self._grown(problem, request) for problem, request in requests]

    def _grown(self, problem, request):
        alone = [
            dataclasses.replace(request, branches=(branch,), n=1, first=request.first + i)
            for branch in request.branches
            for i in range(request.n)
        ]
        replies = self.generator.grow([(problem, one) for one in alone])
        drawn = [reply.branches[0][0] for reply in replies]
        groups = [tuple(drawn[at : at + request.n]) for at in range(0, len(drawn), request.n)]
        return Grown(tuple(groups), sum((r.cost for r in replies), type(replies[0].cost)()))


@pytest.fixture(scope="module")
def model():
    model = bind(QWEN2, Rules())
    return model, model.init(3)


def searched(folder, name, model, sizes, strategy, wrap=lambda g: g, in_flight=3, **how):
    engine = one_device(*model, sizes, WARM, seed=1)
    generator = SampledSteps(engine, Codec(), layout(), seed=5, cost=N_FLOPS, **how)
    rows = run_search(
        problems(3), strategy, wrap(generator), Scored(read), Grades(), folder / name, in_flight=in_flight
    )
    assert not any(row["error"] for row in rows)
    while engine.busy:  # a chunk that was under way
        assert engine.poll() == []
    assert engine.progress.waiting == engine.progress.running == 0, "every slot is free again"
    return rows, engine.stats


def total(rows, key):
    return sum(row["budget"]["generator"][key] for row in rows)


def texts(rows):
    return [[(c["steps"], c["rewards"]) for c in row["candidates"]] for row in rows]


BEAM = make_strategy("beam", width=2, expand=4)


@pytest.mark.parametrize(
    "sizes", [pytest.param(DENSE, id="dense", marks=pytest.mark.slow), pytest.param(ROWS, id="rows")]
)
def test_branches_share_their_prefixes_and_write_the_same(tmp_path, model, sizes):
    apart, alone = searched(tmp_path, "apart", model, sizes, BEAM, Apart)
    rows, together = searched(tmp_path, "together", model, sizes, BEAM)
    assert texts(rows) == texts(apart)
    assert max(len(c["steps"]) for row in rows for c in row["candidates"]) >= 3
    assert alone.generated == together.generated
    assert alone.prefilled >= 2 * together.prefilled
    assert total(apart, "prompt_tokens") >= 2 * total(rows, "prompt_tokens")
    if sizes is ROWS:
        held, continued = searched(tmp_path, "held", model, sizes, BEAM, share=True)
        assert texts(held) == texts(rows)
        assert continued.promoted > 0 and continued.prefilled < 0.8 * together.prefilled
        assert total(held, "prompt_tokens") < total(rows, "prompt_tokens")
        assert total(held, "reread_tokens") < total(rows, "reread_tokens")


def test_the_books_are_the_engines(tmp_path, model):
    """All of a prompt but its last token is fed in advance."""
    prompts = 0

    class Counted(SampledSteps):
        def _submit(self, problem, request, under_way):
            nonlocal prompts
            job = super()._submit(problem, request, under_way)
            prompts += sum(bool(group[0].ids) or not group[0].ended for group in job.groups)
            return job

    engine = one_device(*model, DENSE, WARM, seed=1)
    generator = Counted(engine, Codec(), layout(), seed=5)
    rows = run_search(problems(3), BEAM, generator, Scored(read), Grades(), tmp_path / "x")
    assert total(rows, "generated_tokens") == engine.stats.generated
    assert total(rows, "prompt_tokens") == engine.stats.prefilled + prompts
    once = sum(len(Codec().encode(problem.text)) for problem in problems(3))
    assert total(rows, "reread_tokens") == total(rows, "prompt_tokens") - once > 0


@pytest.mark.parametrize("name", ["beam", "mcts", "best_of_n"])
def test_results_depend_on_nothing_but_seed_problem_and_path(tmp_path, model, name):
    small = {"beam": {"width": 2, "expand": 2}, "mcts": {"walks": 2}, "best_of_n": {"n": 4}}
    strategy = make_strategy(name, **small[name])
    together, _ = searched(tmp_path, "together", model, DENSE, strategy)
    alone, _ = searched(tmp_path, "alone", model, DENSE, strategy, in_flight=1)
    assert together == alone


def test_several_steps_at_once_are_as_long_as_asked(model):
    engine = one_device(*model, DENSE, WARM, seed=1)
    generator = SampledSteps(engine, Codec(), layout(), seed=5)
    [problem] = problems(1)
    [one] = generator.grow([(problem, Grow((ROOT,), n=8))])
    assert all(len(b.steps) == 1 and (b.ended or b.steps[0].endswith("\n")) for b in one.branches[0])
    going = [b for b in one.branches[0] if not b.ended]
    [two] = generator.grow([(problem, Grow(tuple(going), steps=2))])
    for before, [after] in zip(going, two.branches, strict=True):
        assert after.path == (*before.path, 0) and after.steps[:1] == before.steps
        assert len(after.steps) == 3 or after.ended
    [whole] = generator.grow([(problem, Grow((ROOT,), n=8, steps=None))])
    assert all(b.ended for b in whole.branches[0])
    [again] = generator.grow([(problem, Grow((going[0],), n=2, first=1))])
    assert [b.path for b in again.branches[0]] == [(*going[0].path, 1), (*going[0].path, 2)]
    [over] = generator.grow([(problem, Grow((whole.branches[0][0],), n=2))])
    assert {(b.steps, b.ended) for b in over.branches[0]} == {(whole.branches[0][0].steps, True)}
    assert over.cost.tokens == 0


def test_looking_ahead_is_greedy_on_a_sampler_of_its_own(tmp_path, model):
    strategy = make_strategy("lookahead", width=2, expand=2)
    rows, _ = searched(tmp_path, "x", model, ROWS, strategy, share=True, greedy=greedy_engine(model))
    assert all(row["candidates"] for row in rows)
    engine = one_device(*model, DENSE, WARM, seed=1)
    generator = SampledSteps(engine, Codec(), layout(), seed=5)
    with pytest.raises(UserError, match="sampler of temperature 0"):
        generator.grow([(problems(1)[0], Grow((ROOT,), greedy=True))])


def greedy_engine(model):
    return one_device(*model, DENSE, GREEDY, seed=1)


def test_a_problem_that_does_not_fit_is_lost_alone(tmp_path, model):
    engine = one_device(*model, DENSE, WARM, seed=1)
    generator = SampledSteps(engine, Codec(), layout(), seed=5)
    long = Problem("long", "<9>" * 60, "")
    rows = run_search([*problems(2), long], BEAM, generator, Scored(read), Grades(), tmp_path / "x")
    assert [bool(row["error"]) for row in rows] == [False, False, True]
    assert "do not fit into context_tokens = 64" in rows[2]["error"]
    assert engine.progress.waiting == 0


def test_branches_that_hold_all_lanes_are_told(model):
    sizes = dataclasses.replace(DENSE, slots=4)
    generator = SampledSteps(one_device(*model, sizes, WARM, seed=1), Codec(), layout(), seed=5, share=True)
    second, *others = problems(20)
    for first in others:
        [grown] = generator.grow([(first, Grow((ROOT,), n=4))])
        if not any(b.ended for b in grown.branches[0]):
            break
        generator.forget(first)
    with pytest.raises(UserError, match="more slots, lower in_flight, or turn share off"):
        generator.grow([(second, Grow((ROOT,), n=4))])
    generator.forget(first)
    [grown] = generator.grow([(second, Grow((ROOT,), n=4))])
    assert len(grown.branches[0]) == 4


def test_a_text_that_was_not_drawn_here_can_be_continued(model):
    generator = SampledSteps(one_device(*model, DENSE, WARM, seed=1), Codec(), layout(), seed=5)
    [problem] = problems(1)
    given = Branch(("<9><10><2>\n",), ("revise",))
    [grown] = generator.grow([(problem, Grow((given,), n=2, steps=None))])
    assert all(b.steps[0] == given.steps[0] and len(b.steps) > 1 for b in grown.branches[0])


class Quoting(Codec):
    """<8> is a control token; a text of others that spells it is read as <10>."""

    decode_quoted = Codec.decode

    def quote(self, text):
        return text.replace("<8>", "<10>")

    encode_quoted = Codec.encode


def test_steps_that_were_not_drawn_here_spell_no_control_token(model, monkeypatch):
    sampler, prompts = one_device(*model, DENSE, WARM, seed=1), []
    submit = sampler.submit
    monkeypatch.setattr(sampler, "submit", lambda ids, *a, **k: prompts.append(list(ids)) or submit(ids, *a, **k))
    generator = SampledSteps(sampler, Quoting(), layout(), seed=5)
    problem = Problem("p", "<9><8><11>", "")
    given = Branch(("<9><8><2>\n",), ("revise",))
    generator.grow([(problem, Grow((given,), n=1, steps=1))])
    assert prompts == [[9, 10, 11, 9, 10, 2]]


def prefill_flops(config, tokens):
    """Of reading a prompt, of which only the last position is read out."""
    return forward_flops(config, tokens, tokens * (tokens + 1) / 2, 1)


@pytest.mark.parametrize(("context", "prompt", "generated"), [(0, 17, 0), (20, 0, 5), (3, 4, 6)])
def test_flops_in_three_numbers_are_those_of_the_model(context, prompt, generated):
    found = N_FLOPS.cost(context, prompt, generated)
    read = prefill_flops(QWEN2, context + prompt) - (prefill_flops(QWEN2, context) if context else 0)
    read = read + N_FLOPS.per_logits if context and prompt else read
    expected = (read if prompt else 0) + decode_flops(QWEN2, context + prompt, generated)
    assert found.flops == pytest.approx(expected)
    assert (found.prompt_tokens, found.generated_tokens) == (prompt, generated)


def test_a_vocabulary_without_a_boundary_is_refused():
    assert boundary_ids(Codec(), VOCAB) == BOUNDARIES
    with pytest.raises(UserError, match="no token ends with"):
        boundary_ids(Codec(), 2)
