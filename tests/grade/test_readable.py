"""Which answers can be compared with others, told from their shape."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.grade import unreadable
from jprm.grade.normal import normalise

GOLDEN = [
    json.loads(line) for line in Path(__file__).with_name("golden.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_whatever_equals_another_spelling_is_readable():
    equal = [p["gold"] for p in GOLDEN if p["verdict"] == "equal" and normalise(p["gold"]) != normalise(p["answer"])]
    assert len(equal) > 50
    assert [gold for gold in equal if unreadable(gold)] == []


def test_what_cannot_be_read_equals_no_other_spelling():
    others = [p for p in GOLDEN if unreadable(p["gold"]) and normalise(p["gold"]) != normalise(p["answer"])]
    assert len(others) > 3
    assert {pair["verdict"] for pair in others} <= {"unparsed", "different"}


@pytest.mark.parametrize(
    "answer",
    [
        "72",
        "-1,000",
        "1/2",
        r"\frac{1}{2}",
        "x+1",
        "(1, 2)",
        "[0,1)",
        r"\{\}",
        "∅",
        "No",
        r"\text{two dogs}",
        "(A)",
        "$5",
    ],
)
def test_readable(answer):
    assert unreadable(answer) == ""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "it has no letter and no digit"),
        ("???", "it has no letter and no digit"),
        (r"\frac{1}{", "its braces do not close"),
        ("a}{b", "its braces do not close"),
        ("=5", "a relation without a side"),
        (r"1, 2, \ldots", "dots"),
        (r"\{x | x > 2\}", "a set by a condition"),
        ("9" * 5000, "too large"),
        ("x" * 20_000, "too large"),
        ("(" * 200 + "1" + ")" * 200, "too deep"),
    ],
)
def test_unreadable(answer, reason):
    assert unreadable(answer) == reason


@given(st.text() | st.text("\\{}()[]$=,.+-12ab ").map("".join))
def test_any_text_has_a_verdict(answer):
    assert isinstance(unreadable(answer), str)
