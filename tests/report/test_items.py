"""Judged solutions on a page: cut without loss, data that no text can leave, filters that say what they say."""

import json

from hypothesis import given
from hypothesis import strategies as st

from jprm.records import Execution, Problem, Rationale, Solution, Verdict
from jprm.report import Items, JudgedItem, Page, Section, StepVote, VotedStep, judged_item, render
from jprm.report.items import pieces

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
    + ["[Code Output]\n\n```\n", "<script>", "</script>", "<!--", "&amp;", '"', "'", "\u2028", "\n", "Yes}"]
)
texts = st.lists(fragments | st.text(max_size=4), max_size=12).map("".join)


def voted(*verdicts, text="why"):
    return tuple(StepVote(i, v, None if v is None else float(v), text) for i, v in enumerate(verdicts))


def item_of(label, prediction, *votes, text="why", name="s"):
    steps = tuple(VotedStep(f"step {t}", None, voted(*of_step, text=text)) for t, of_step in enumerate(votes))
    return JudgedItem(name, "problem", "planted", label, prediction, steps)


@given(texts)
def test_cutting_loses_nothing_and_data_are_only_data(text):
    assert "".join(raw for _, _, raw in pieces(text)) == text
    data = Items("", [item_of(0, 0, (True,), text=text)]).data
    assert not set("<>&") & set(data)
    told = json.loads(data)
    kinds, at = told["items"][0][6][0][3][0][4::2], told["items"][0][6][0][3][0][5::2]
    wanted = [(kind[0], shown.strip("\n")) for kind, shown, _ in pieces(text) if kind != "tag"]
    wanted = [one for one in wanted if one[0] != "t" or any(map(str.isalnum, one[1]))]
    assert [(kind, told["strings"][i]) for kind, i in zip(kinds, at, strict=True)] == wanted


@given(texts)
def test_a_page_has_its_own_script_alone(text):
    page = render(Page(text, text, [Section(text, [Items(text, [item_of(0, 0, (True,), text=text)])])]))
    assert page.count("<script") == page.count("</script") == 2


def test_both_formats_are_recognised():
    kinds = [(kind, shown) for kind, shown, _ in pieces(EMBEDDED) if kind not in ("tag", "text")]
    assert kinds == [("code", "print(8 + 3 < 12)"), ("output", "True"), ("verdict", "Yes")]
    kinds = [(kind, shown) for kind, shown, _ in pieces(PUBLISHED) if kind not in ("tag", "text")]
    assert kinds == [("code", "print(1)"), ("output", "1"), ("verdict", "No")]


def _rationale(step, vote, correct):
    verdict = Verdict(correct, None if correct is None else float(correct), None)
    runs = (Execution("print(1)", "ok", "1"),)
    return Rationale("s", step, vote, "chain", f"text {step}{vote}", runs, verdict, 5, 3, "why")


def test_a_judged_solution_from_records():
    problem = Problem("p", "Ann has 8.\n", "8")
    solution = Solution("s", "p", ("one\n", "two\n", "three\n"), "planted", 1, "slip")
    rationales = [_rationale(t, v, v != t) for t in (1, 0) for v in (2, 0, 1)]
    item = judged_item(problem, solution, rationales, 0, 1)
    assert [[v.reward for v in s.votes] for s in item.steps] == [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], []]
    assert [s.truth for s in item.steps] == [True, False, None]
    assert [[v.text for v in s.votes] for s in item.steps[:1]] == [["text 00", "text 01", "text 02"]]
    assert (item.label, item.prediction, item.origin) == (1, 0, "planted slip")
    assert item.steps[0].reward == 2 / 3 and item.steps[2].reward is None


def test_what_filters_a_solution_passes():
    both, yes = (True, False), (True, True)
    for item, tags in (
        (item_of(1, 1, yes), ["right"]),
        (item_of(1, 0, yes), ["wrong"]),
        (item_of(-1, -1, both), ["right", "disagreement"]),
        (item_of(-1, None, yes), ["wrong", "none"]),
        (item_of(None, 0, yes), []),
        (item_of(-1, -1, yes, (True, None)), ["right", "none"]),
    ):
        assert item.tags == tags


def test_what_does_not_fit_is_told_and_the_wrong_ones_stay():
    items = [item_of(0, 0 if i % 10 else 1, (True,), text=f"{i}" * 400, name=str(i)) for i in range(50)]
    told = json.loads(Items("", items, most_bytes=8000).data)
    kept = [row[0] for row in told["items"]]
    assert told["of"] == 50 and 5 < len(kept) < 20 and len(Items("", items, most_bytes=8000).data) < 9000
    assert {str(i) for i in range(0, 50, 10)} <= {*kept} and kept == sorted(kept, key=int)


def test_equal_texts_are_stored_once():
    one, many = (len(Items("", [item_of(0, 0, (True,) * n, text="x" * 1000)]).data) for n in (1, 50))
    assert many < one + 50 * 30
