"""Rationales on a page: cut without loss, escaped whatever they hold."""

import html.parser

from hypothesis import given
from hypothesis import strategies as st

from jprm.records import Execution, Problem, Rationale, Solution, Verdict
from jprm.report import SolutionCard, StepCard, card_of
from jprm.report.cards import highlighted, pieces
from jprm.report.pages import environment

EMBEDDED = (
    "<analyze>Ann has 8. </analyze>\n<verify>print(8 + 3 < 12)</verify>\n"
    "[Code output: True]\n<output>\\boxed{Yes}</output>\n"
)
PUBLISHED = (
    "<analyze>\nLet's analyze.</analyze>\n<verify>\nLet's see:\n```python\nprint(1)\n```\n"
    "[Code Output]\n\n```\n1\n```\n</verify>\n<output>\n**Judgement**: $\\boxed{No}$\n</output>\n"
)

fragments = st.sampled_from(
    ["<verify>", "</verify>\n", "[Code output: ", "]\n", "```python\n", "\n```\n", "\\boxed{Yes}"]
    + ["[Code Output]\n\n```\n", "<script>", "&amp;", '"', "'", "# x", "1.5", "print", "\n", "Yes}"]
)


@given(st.lists(fragments | st.text(max_size=4), max_size=12).map("".join))
def test_cutting_loses_nothing_and_html_is_escaped(text):
    assert "".join(raw for _, _, raw in pieces(text)) == text
    assert "".join(part for _, part in highlighted(text)) == text
    inside = SolutionCard("", (StepCard("", None, (), text),), None, None)
    assert _tags(card_html(inside)) <= {"p", "pre", "i", "span", "details", "summary", "ol", "li", "div"}


class _Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)


def card_html(card):
    return str(environment().get_template("cards.html").module.card(card))


def _read(page):
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader


def _tags(page):
    return _read(page).tags


def test_both_formats_are_recognised():
    kinds = [(kind, shown) for kind, shown, _ in pieces(EMBEDDED) if kind not in ("tag", "text")]
    assert kinds == [("code", "print(8 + 3 < 12)"), ("output", "True"), ("verdict", "Yes")]
    kinds = [(kind, shown) for kind, shown, _ in pieces(PUBLISHED) if kind not in ("tag", "text")]
    assert kinds == [("code", "print(1)"), ("output", "1"), ("verdict", "No")]


def test_code_is_highlighted():
    assert [part for part in highlighted("if x == 'a<b':  # no") if part[0]] == [
        ("kw", "if"),
        ("str", "'a<b'"),
        ("com", "# no"),
    ]
    assert highlighted("print(8)") == [("fn", "print"), ("", "("), ("num", "8"), ("", ")")]
    step = StepCard("", None, (), "<verify>x < '1'</verify>")
    assert '<pre class="code">x &lt; <i class="str">&#39;1&#39;</i></pre>' in card_html(
        SolutionCard("", (step,), None, None)
    )


def _rationale(step, vote, correct):
    verdict = Verdict(correct, None if correct is None else float(correct), None)
    runs = (Execution("print(1)", "ok", "1"),)
    return Rationale("s", step, vote, "chain", f"text {step}{vote}", runs, verdict, 5, 3, "why")


def test_a_card_from_records():
    problem = Problem("p", "Ann has 8.\n", "8")
    solution = Solution("s", "p", ("one\n", "two\n", "three\n"), "planted", 1, "slip")
    rationales = [_rationale(t, v, v != t) for t in (1, 0) for v in (2, 0, 1)]
    card = card_of(problem, solution, rationales, 0, vote=1)
    assert [s.rewards for s in card.steps] == [(0.0, 1.0, 1.0), (1.0, 0.0, 1.0), ()]
    assert [s.truth for s in card.steps] == [True, False, None]
    assert [s.rationale for s in card.steps] == ["text 01", "text 11", ""]
    assert (card.label, card.prediction, card.origin) == (1, 0, "planted slip")


def _card(label, prediction):
    step = StepCard("x\n", True, (1.0, 0.0, None), "", "context")
    return card_html(SolutionCard("P <b>\n", (step,), label, prediction))


def test_the_card_says_what_happened():
    for label, prediction, word in (
        (1, 1, "found"),
        (1, 0, "missed"),
        (1, -1, "missed"),
        (-1, -1, "passed"),
        (-1, 2, "false alarm"),
        (None, -1, "no label"),
    ):
        assert f">{word}</span>" in _card(label, prediction)
    card = _card(1, -1)
    assert "label step 2, predicted no error" in card and "P &lt;b&gt;" in card
    assert '<b class="yes"></b><b class="no"></b><b class="none"></b>' in card
    assert "P(Yes) 0.50" in card and "context" in card
