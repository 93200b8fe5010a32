"""Training conversations: equal to what the verifier writes, and trained on exactly that."""

import itertools
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import pytest

from jprm.label import synthesize
from jprm.records import Solution
from jprm.seeds import rng_of
from jprm.verify import VerifySettings, verify
from jprm.worlds import STYLES, load_world
from tests.verify.fakes import within

WORLD = load_world("embedded")
TOKENIZER = WORLD.tokenizer()


def _run(code):
    """What the annotator's one-line programs print; the real pool is tested in its own room."""
    lines = []
    try:
        exec(code, {"print": lambda *values: lines.append(" ".join(map(str, values)))})
    except Exception as error:
        return "error", str(error)
    return "ok", "\n".join(lines)


def _items(n=12):
    rng = np.random.default_rng(0)
    for problem in WORLD.problems("train", n, 0):
        yield problem, WORLD.reference(problem, rng)
        planted = WORLD.planted(problem, rng)
        if planted is not None:
            yield problem, planted


ITEMS = list(_items())


def _synthesize(problem, solution, style="full", first_error=None, **kwargs):
    label = solution.first_error if first_error is None else first_error
    return synthesize(problem, solution, label, WORLD, style, _run, TOKENIZER, **kwargs)


@dataclass
class Event:
    handle: int
    tokens: list
    finish: str
    logprobs: np.ndarray


class Replay:
    """A sampler whose model has learned one conversation by heart, and checks all it is forced."""

    def __init__(self, ids):
        self.ids, self.at, self.waiting, self.generated = ids, 0, False, []

    @property
    def busy(self):
        return self.waiting

    def submit(self, prompt, sample_ids, *, max_tokens, stops, logprob_ids=(), stop_when=None, parent=None):
        self.stops = stops
        self.extend(0, prompt, max_tokens=max_tokens)
        return [0]

    def extend(self, handle, tokens, *, max_tokens):
        assert self.ids[self.at : self.at + len(tokens)] == list(tokens)
        self.at += len(tokens)
        self.waiting = True

    def poll(self):
        if not self.waiting:
            return []
        start, self.waiting = self.at, False
        while self.ids[self.at] not in self.stops:
            self.at += 1
        self.at += 1
        self.generated += range(start, self.at)
        return [Event(0, self.ids[start : self.at], "stop", np.zeros((self.at - start, 2)))]

    def release(self, handle):
        pass


class Inline:
    """An executor that runs code at once, in this process."""

    def session(self):
        return self

    fork = session

    def submit(self, code):
        future = Future()
        kind, text = _run(code)
        future.set_result(type("Outcome", (), {"kind": kind, "text": text}))
        return future

    def close(self):
        pass


@pytest.mark.parametrize("style", STYLES)
def test_a_verifier_that_learned_the_text_writes_it_again(style):
    """Forced tokens, generated tokens, executed outputs and verdicts, to the token."""
    for problem, solution in ITEMS:
        conversation = _synthesize(problem, solution, style)
        judged = solution.steps[: len(conversation.checks)]
        ids, piece = TOKENIZER.encode_spans([text for text, _ in conversation.documents[0]])
        sampler = Replay(ids)
        settings = VerifySettings(
            context_tokens=2000, style=style, execute="executed" if style in ("full", "code") else "none"
        )
        cut = Solution(solution.id, problem.id, judged, "policy")
        [rationales] = verify([(problem, cut)], [0], sampler, Inline(), TOKENIZER, settings, seed=0)
        steps = zip(judged, (r.text for r in rationales), strict=True)
        assert problem.text + "".join(itertools.chain(*steps)) == conversation.text
        # The loss falls on exactly what the sampler was left to write.
        assert [i for i, p in enumerate(piece) if conversation.documents[0][p][1]] == sampler.generated
        verdicts = [r.verdict.correct for r in rationales]
        assert verdicts == [t != solution.first_error for t in range(len(judged))]


def test_a_conversation_by_hand():
    problem, solution = ITEMS[0]
    conversation = _synthesize(problem, solution)
    first = WORLD.annotate(problem, solution.steps, 0, "full")
    [pieces] = conversation.documents
    assert pieces[:5] == (
        (problem.text + solution.steps[0] + "<analyze>", False),
        (first.analysis + "</analyze>\n<verify>" + first.code + "</verify>\n", True),
        ("[Code output: True]\n", False),
        ("<output>\\boxed{Yes", True),
        ("}</output>\n" + solution.steps[1] + "<analyze>", False),
    )
    assert len(conversation.checks) == len(solution.steps)


def test_it_ends_with_the_first_step_labelled_wrong():
    problem, solution = next(item for item in ITEMS if len(item[1].steps) >= 3)
    for label in (-1, 0, 1):
        conversation = _synthesize(problem, solution, first_error=label)
        last = len(solution.steps) - 1 if label < 0 else label
        assert len(conversation.checks) == last + 1
        assert conversation.text.endswith("<output>\\boxed{" + ("Yes" if label < 0 else "No") + "}</output>\n")
        assert solution.steps[last] in conversation.text
        assert conversation.text.count("\\boxed{No}") == (label >= 0)


def test_verdicts_are_the_labels_even_where_the_code_disagrees():
    problem, solution = next(i for i in ITEMS if i[1].first_error == -1)
    conversation = _synthesize(problem, solution, first_error=0)
    assert conversation.checks[0].verdict is True
    assert conversation.documents[0][-2:] == (("<output>\\boxed{No", True), ("}</output>\n", False))


def test_output_is_what_the_code_printed_and_never_trained():
    problem, solution = ITEMS[0]
    outputs = iter(["7", "True", "", "False", "x"])
    conversation = synthesize(problem, solution, -1, WORLD, "code", lambda code: ("ok", next(outputs)), TOKENIZER)
    shown = [(t, w) for t, w in conversation.documents[0] if t.startswith("[Code output: ")]
    assert shown[0] == ("[Code output: 7]\n", False) and shown[1][0] == "[Code output: True]\n"
    assert [c.verdict for c in conversation.checks][:2] == [None, True]


def test_checks_run_in_every_style_and_noise_hits_the_same_steps():
    for problem, solution in ITEMS:
        checks = {
            style: [
                check.annotation.code
                for check in _synthesize(problem, solution, style, noise=0.5, rng=rng_of(0, solution.id)).checks
            ]
            for style in STYLES
        }
        assert checks["full"] == checks["code"] == checks["analysis"] == checks["direct"]
    clean = [_synthesize(p, s).text for p, s in ITEMS]
    noisy = [_synthesize(p, s, noise=1.0, rng=rng_of(1, s.id)).text for p, s in ITEMS]
    assert sum(a != b for a, b in zip(clean, noisy, strict=True)) > len(ITEMS) // 2


@pytest.mark.parametrize("style", ["full", "code", "analysis"])
def test_a_rationale_beyond_the_budget_is_marked(style):
    problem, solution = ITEMS[0]
    [fits] = _synthesize(problem, solution, style).documents
    longest = len(TOKENIZER.encode("".join(t for t, _ in fits)))
    for budget in range(1, 40):
        template = within(budget, 3, 1)
        found = _synthesize(problem, solution, style, template=template)
        if not found.too_long:
            assert found.documents == (fits,)
    tight = within(3, 3, 1)
    assert _synthesize(problem, solution, style, template=tight).too_long
    assert longest > 3
