"""An answer equals its own mechanical respellings and differs from mechanical changes of it."""

import gzip
import json
import random
from pathlib import Path

import pytest

from jprm.execute import Pool
from jprm.grade import PRELOAD, Grader, final_answer, same_answer
from tests.grade import alterations, respelled_layout, respelled_values, rules

# One answer or two of every shape; the tests can fail without any data set.
ANSWERS = r"""
7|-12|0|4068|123456|10,\!010|1{,}008{,}016|0.25|-3.75|.5|58,500|\frac{3}{8}|-\dfrac{5}{2}|\tfrac{7}{4}
6\frac{1}{6}|6\frac{1}{6}\text{ feet}|\frac{12}{5,\!525}|84\%|32 \%|7.5^\circ|120^{\circ}|10^\circ, 50^\circ
\$3800|\$1,\!657|\$0.50|20\text{ days}|2400 \mbox{ cm}^2|8 \text{ square units}|\text{Dana}|correct|\text{(E)}|B
\text{4:30 p.m.}|1204_9|152A_{11}|2\sqrt{3}|\sqrt{2}|4 + 4\sqrt{2}|1+\sqrt{5}, 1-\sqrt{5}|3 \pm 2\sqrt{2}
\frac{1+\sqrt{5}}{2}|10 \pi|\frac{\pi}{6}|3 \cdot 2^{10}|x^2 + 2|3x^2 - 12|y = 2x + 5|x = \frac{3}{2}|k=3
81, 256|0, 100|10, 100|3, 5, 100|7, -2, 5|\{4,5,7\}|\{100, 250\}|(0, 100)|(4,112)|(3, -1, 12)|(40, 200, 7)
\left( \frac{7}{20}, \frac{9}{20} \right)|[0, 100)|(-\infty, 100]|\left[ -\frac{1}{2}, \infty \right)|(3, 250]
(-\infty, -8) \cup (-8, \infty)|(-\infty,0] \cup (100, 250]|[2, 4) \cup (4, 100]|12x - 4y + 3z - 169 = 0
\begin{pmatrix} 1 \\ -2 \\ 100 \end{pmatrix}|\begin{pmatrix} -1/3 \\ 20/3 \end{pmatrix}|3 < x \leq 200
\begin{pmatrix} 4 & \frac{1}{2} \\ 0 & -\sqrt{3} \end{pmatrix}|\begin{pmatrix} 1 & 100 \\ 0 & 1 \end{pmatrix}
"""
assert alterations and respelled_layout and respelled_values  # they enter their rules
EMBEDDED = [one for line in ANSWERS.strip().splitlines() for one in line.split("|")]


def answers(folder: Path) -> list[str]:
    """The final answers of MATH that are one formula, in random order."""
    if not (folder / "test.jsonl.gz").is_file():
        pytest.skip(f"no MATH in {folder}")
    found: dict[str, None] = {}
    for name in ("test", "train", "math500"):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                found[row.get("answer") or final_answer(row["solution"]) or ""] = None
    plain = [one for one in found if len(one) < 200 and rules.plain(one)]
    random.Random(0).shuffle(plain)
    return plain


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=2, timeout_s=10.0, preload=PRELOAD) as pool:
        yield pool


def verdicts(pool: Pool, golds: list[str], table: dict[str, rules.Rule]):
    """Every (rule, answer, what the rule made of it, verdict)."""
    grader = Grader(pool)
    made = [
        (name, gold, text)
        for gold in golds
        for name, rule in table.items()
        for text in dict.fromkeys(rule(gold))
        if text != gold
    ]
    found = [grader.submit(gold, text) for _, gold, text in made]
    return [(*one, future.result().grade) for one, future in zip(made, found, strict=True)]


def check(pool: Pool, golds: list[str]) -> None:
    same = verdicts(pool, golds, rules.SAME)
    assert [one for one in same if one[-1] != "equal"] == []
    assert len(same) > 10 * len(golds)
    other = verdicts(pool, golds, rules.OTHER)
    assert [one for one in other if one[-1] == "equal"] == []
    told = sum(one[-1] == "different" for one in other)
    assert told > 0.9 * len(other)  # the rest cannot be told and says so


def test_embedded_answers(pool):
    check(pool, EMBEDDED)


def test_every_rule_applies_to_an_embedded_answer():
    for table in (rules.SAME, rules.OTHER):
        idle = [name for name, rule in table.items() if not any(t != a for a in EMBEDDED for t in rule(a))]
        assert idle == []


def test_a_sample_of_math(pool, data_root):
    check(pool, answers(data_root / "math")[:20])


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.release)])
def test_much_of_math(pool, data_root, count):
    check(pool, answers(data_root / "math")[:count])


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("(0, 100)", "100", "different"),
        ("(0, 100)", "0100", "different"),
        ("40, 200", "40200", "different"),
        ("(100,200)", "100200", "different"),
        (r"\{100,200\}", "100200", "different"),
        ("100, 200, 300", "100200300", "different"),
        ("0,100", "100", "different"),
        ("1,23,456", "123456", "different"),
        ("10, 100", "100, 10", "equal"),
        ("(10, 100)", "(100, 10)", "different"),
        ("(-\\infty, 100)", "(-\\infty,100]", "different"),
        ("100,000", "10^5", "equal"),
        ("(1,000)", "1000", "equal"),
        (r"(1,\!000, 2)", "(1000, 2)", "equal"),
        (r"\{1,000, 2,000\}", r"\{2000, 1000\}", "equal"),
        ("1,234, 5,678", "5678, 1234", "equal"),
        # A comma that may be either is read as the other answer is.
        ("40,200", "40200", "equal"),
        ("40,200", "200, 40", "equal"),
        ("100,200", "200,100", "unparsed"),
        ("100,200", "300,100", "different"),
        ("40,200", "(40,200)", "unparsed"),
    ],
)
def test_commas(pool, gold, answer, verdict):
    assert Grader(pool).grade(gold, answer).grade == verdict
    assert Grader(pool).grade(answer, gold).grade == verdict


@pytest.mark.parametrize("row_break", ["\\\\", "\\\\ ", "\\\\\n", "\\\\[4pt]", "\\cr ", "\\\\\\, ", "\\\\*"])
@pytest.mark.parametrize("cells", [["1", "2"], ["-1", "\\frac{1}{2}"], ["x", "\\{1\\}"], ["100", "200"]])
def test_row_breaks(pool, row_break, cells):
    matrix = r"\begin{{pmatrix}}{}\end{{pmatrix}}".format
    gold = matrix(r" \\ ".join(cells))
    assert Grader(pool).grade(gold, matrix(row_break.join(cells))).grade == "equal"
    assert Grader(pool).grade(gold, matrix(row_break.join(cells[::-1]))).grade == "different"
    for wrong in ("".join(cells), " & ".join(cells), cells[0]):
        assert Grader(pool).grade(gold, matrix(wrong)).grade != "equal"


@pytest.mark.parametrize(
    ("a", "b"),
    [("40, 200", "40200"), ("1,2", "12"), ("3 4", "34"), ("0,100", "100"), ("1,00", "100"), ("1, 000", "1000")],
)
def test_the_exact_comparison_takes_no_list_for_a_number(a, b):
    assert not same_answer(a, b)
