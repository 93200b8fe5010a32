"""The grader in a pool: the golden pairs, hanging comparisons, threads, any text at all."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.execute import Pool
from jprm.grade import PRELOAD, Graded, Grader
from jprm.grade.normal import normalise

GOLDEN_FILE = Path(__file__).with_name("golden.jsonl")
GOLDEN = [json.loads(line) for line in GOLDEN_FILE.read_text(encoding="utf-8").splitlines()]
LIMIT_S = 10.0


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=1, timeout_s=LIMIT_S, preload=PRELOAD) as pool:
        yield pool


def test_the_golden_pairs(pool):
    grader = Grader(pool)
    graded = [grader.submit(pair["gold"], pair["answer"]) for pair in GOLDEN]
    wrong = [
        f"{pair['gold']!r} and {pair['answer']!r}: {future.result()}, not {pair['verdict']}"
        for pair, future in zip(GOLDEN, graded, strict=True)
        if future.result().grade != pair["verdict"]
    ]
    assert wrong == []
    assert sum(grader.counts.values()) == len(GOLDEN)
    assert grader.counts["equal"] == sum(pair["verdict"] == "equal" for pair in GOLDEN)


def test_the_golden_file_itself():
    assert len(GOLDEN) >= 300
    assert len({(pair["gold"], pair["answer"]) for pair in GOLDEN}) == len(GOLDEN)
    for pair in GOLDEN:  # a verdict is the truth, or says that it cannot tell
        assert pair["verdict"] in (pair["truth"], "unparsed")


def test_what_is_too_large_says_so(pool):
    for text in ("2^{2^{100}}", "1000000!", r"\binom{10^9}{5\cdot10^8}", r"\sum_{k=1}^{10^9} k^{-k}"):
        assert Grader(pool).grade(text, "1") == Graded("unparsed", "too large")
    assert Grader(pool).grade("9" * 20_000, "1") == Graded("unparsed", "too large")


@pytest.mark.parametrize("nest", ["\\frac{1}{%s}", "2^{%s}", "\\sqrt{%s}", "(%s)", "[%s)", "{%s}"])
@pytest.mark.parametrize("depth", [101, 500, 1200])
def test_nesting_is_a_verdict_however_deep(pool, nest, depth):
    """No answer that a model writes may end the program of the caller."""
    text = "1"
    for _ in range(depth):
        text = nest % text
    grader = Grader(pool)
    for gold, answer in ((text, "1"), ("1", text)):
        graded = grader.grade(gold, answer)
        assert graded.grade == "unparsed" and graded.reason in ("too deep", "too large")
    assert grader.grade(text, text + " ").grade == "equal"
    assert normalise(text) == text


def test_what_is_not_too_deep_is_read(pool):
    text = "\\dfrac{1}{" * 100 + "2" + "}" * 100
    assert Grader(pool).grade(text, text.replace("dfrac", "frac")).grade == "equal"


RECORDER = """
import sys
class Recorder:
    asked = []
    def find_spec(self, name, path=None, target=None):
        self.asked.append(name)
sys.meta_path.insert(0, Recorder())
"""


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_nothing_is_imported_after_the_start(pool, every):
    session = pool.session()
    code = "from jprm.grade import symbolic\nfrom jprm.grade.normal import normalise\n"
    assert session.run(RECORDER).kind == "ok"
    for pair in GOLDEN[::every]:
        gold, answer = pair["gold"], pair["answer"]
        outcome = session.run(f"{code}symbolic.compare(normalise({gold!r}), normalise({answer!r}))")
        assert outcome.kind == "ok", (pair, outcome)
    assert session.run("import sys\nprint(sys.meta_path.pop(0).asked)").text == "[]"
    session.run(RECORDER + "import this_is_no_module")  # the recorder would have seen one
    assert session.run("print(Recorder.asked)").text == "['this_is_no_module']"
    session.run("sys.meta_path.pop(0)")


def test_a_hanging_comparison_is_a_timeout():
    nested = r"\sqrt{2+\sqrt{2+\sqrt{2+\sqrt{2+\sqrt{3}}}}}-2\cos\frac{\pi}{96}"  # zero
    with Pool(workers=1, timeout_s=1.0, grace_s=0.5, preload=PRELOAD) as pool:
        grader = Grader(pool)
        assert grader.grade("x+x", "2x").grade in ("equal", "timeout")  # starts the program
        assert grader.grade(nested, "0") == Graded("timeout")
        assert grader.counts["timeout"] >= 1


def test_the_grader_works_after_its_programs_died(pool):
    grader = Grader(pool)
    assert grader.grade("x+x", "2x").grade == "equal"
    assert grader._idle[-1].session.run("import os\nos._exit(1)").kind == "died"
    assert grader.grade("x+x", "3x").grade == "different"


def test_any_thread_may_ask(pool):
    grader, found = Grader(pool), []

    def ask(factor):
        found.append((factor, grader.grade("x+x", f"{factor}x").grade))

    threads = [threading.Thread(target=ask, args=(factor,)) for factor in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [
        (1, "different"), (2, "equal"), (3, "different"), (4, "different"),
    ]  # fmt: skip


def test_percent_may_be_either(pool):
    either = Grader(pool, percent="either")
    assert either.grade("50\\%", "50").grade == "equal"
    assert either.grade("x\\%", "x").grade == "equal"
    assert Grader(pool).grade("x\\%", "x").grade == "different"
    with pytest.raises(UserError, match="'strict' or 'either'"):
        Grader(pool, percent="sometimes")  # pyright: ignore[reportArgumentType]


def test_no_answer_is_unparsed(pool):
    assert Grader(pool).grade("3", None) == Graded("unparsed", "empty")


latex = st.lists(
    st.sampled_from(
        r"1 2 3 0.5 x y n A i e \pi \frac \sqrt \sin \log { } ( ) [ ] , = < \leq + - * / ^ _ ! | % "
        r"\text{cm} \text{or} \cup \in \{ \} \pm \infty \sum \binom \cdot \left( \right) : &".split()
    ),
    max_size=7,
).map("".join)


@given(latex | st.text(max_size=15), latex)
def test_any_text_gets_a_verdict(pool, gold, answer):
    graded = Grader(pool).grade(gold, answer)
    assert graded.grade in ("equal", "different", "unparsed", "timeout"), graded
    again = Grader(pool).grade(gold, gold)
    assert again.grade == ("equal" if again.reason != "empty" else "unparsed")


def test_a_closed_pool_is_heard_by_everyone_who_waits():
    with Pool(workers=1, timeout_s=LIMIT_S, preload=PRELOAD) as pool:
        grader = Grader(pool, sessions=1)
        futures = [grader.submit("x+x", f"{factor}x") for factor in range(3, 40)]
    outcomes = [future.exception(timeout=10.0) for future in futures]
    assert any(isinstance(error, RuntimeError) for error in outcomes)
    with pytest.raises(RuntimeError):
        grader.grade("x+x", "2x")


def test_sessions_are_reused_and_bounded():
    class Counting:
        def __init__(self, pool):
            self.pool, self.opened = pool, 0

        def session(self):
            self.opened += 1
            return self.pool.session()

    with Pool(workers=2, timeout_s=LIMIT_S, preload=PRELOAD) as pool:
        counting = Counting(pool)
        grader = Grader(counting, sessions=2)  # pyright: ignore[reportArgumentType]
        futures = [grader.submit("x+x", f"{factor}x") for factor in range(2, 50)]
        grades = [future.result().grade for future in futures]
    assert grades == ["equal"] + ["different"] * 47
    assert 2 <= counting.opened <= 4
