"""The GSM8K world: reading files and refusing bad ones, splits, vocabulary; at large on the real
files where present.
"""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.records import Problem
from jprm.seeds import rng_of
from jprm.worlds import load_world
from jprm.worlds.base import ANALYZE_OPEN, RATIONALE_PIECES
from jprm.worlds.gsm8k import Gsm8kWorld
from jprm.worlds.gsm8k.arithmetic import numbers

DATA = Path(os.environ.get("JPRM_DATA", Path(__file__).parents[3] / "shared" / "data"))


def row(i: int) -> dict:
    a, b = 11 + i, 3 + i % 7
    return {
        "question": f"Ann has {a} boxes of {b} pens.\nShe buys 101 more. How many pens?",
        "answer": f"Boxes hold {a} * {b} = <<{a}*{b}={a * b}>>{a * b} pens\n"
        f"In all {a * b} + 101 = <<{a * b}+101={a * b + 101}>>{a * b + 101}\n#### {a * b + 101}",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    (root / "gsm8k").mkdir()
    (root / "gsm8k" / "train.jsonl").write_text("".join(json.dumps(row(i)) + "\n" for i in range(300)))
    with gzip.open(root / "gsm8k" / "test.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row(i)) + "\n" for i in range(290, 330))
    return root


@pytest.fixture(scope="module")
def small(folder) -> Gsm8kWorld:
    return load_world("gsm8k", root=str(folder), vocab_size=600)  # pyright: ignore[reportReturnType]


@pytest.fixture(scope="module")
def real() -> Gsm8kWorld:
    if not (DATA / "gsm8k").is_dir():
        pytest.skip(f"the GSM8K files are not at {DATA} (set JPRM_DATA)")
    return Gsm8kWorld(DATA)


def check(world: Gsm8kWorld, problems: list[Problem]) -> int:
    """References are right, planted errors wrong where planted, the annotator agrees; how many
    could be planted.
    """
    planted = 0
    for problem in problems:
        right = world.reference(problem)
        assert world.truth(problem, right.steps) == (-1, "") and world.is_correct(problem, right.steps)
        codes = [world.annotate(problem, right.steps, i, "full").code for i in range(len(right.steps))]
        assert all(eval(code.removeprefix("print")) for code in codes)
        wrong = world.planted(problem, rng_of(0, problem.id))
        if wrong is None:
            continue
        planted += 1
        at = wrong.first_error
        assert at is not None and world.truth(problem, wrong.steps) == (at, wrong.error_kind)
        assert wrong.steps[:at] == right.steps[:at] and len(wrong.steps) == len(right.steps)
        codes = [world.annotate(problem, wrong.steps, i, "code").code for i in range(at + 1)]
        assert [eval(code.removeprefix("print")) for code in codes] == [True] * at + [False]
    return planted


def check_vocabulary(world: Gsm8kWorld, problems: list[Problem]) -> None:
    tokenizer = world.tokenizer()
    for piece in (*RATIONALE_PIECES, "True", "False", "Error"):
        assert tokenizer.encode(piece) == [tokenizer.token_id(piece)]
    for problem in problems:
        note = world.annotate(problem, world.reference(problem).steps, 0, "full")
        pieces = [problem.text, *world.reference(problem).steps, ANALYZE_OPEN, note.analysis, "</analyze>\n"]
        pieces += ["<verify>", note.code, "</verify>\n", "[Code output: ", "True", "]\n", "<output>\\boxed{", "Yes"]
        ids, where = tokenizer.encode_spans(pieces)
        assert ids == [i for piece in pieces for i in tokenizer.encode(piece)]
        assert [
            tokenizer.decode([i for i, w in zip(ids, where, strict=True) if w == n]) for n in range(len(pieces))
        ] == pieces


def test_small_files(small):
    problems = small.problems("train", 200, 0)
    assert check(small, problems) > 150
    assert problems[0].text.count("\n") == 1 and problems[0].text.endswith("\n")
    assert small.problems("train", 50, 0) == problems[:50] != small.problems("train", 50, 1)
    check_vocabulary(small, problems[:20])


def test_splits_share_no_problem_even_where_the_files_do(small):
    texts = {s: {p.text for p in small.problems(s, n, 0)} for s, n in (("train", 200), ("dev", 10), ("test", 40))}
    assert len(texts["test"]) == 40
    assert not texts["train"] & texts["dev"] and not (texts["train"] | texts["dev"]) & texts["test"]
    with pytest.raises(UserError, match="gsm8k has 40 test problems in these files, 41 were asked"):
        small.problems("test", 41, 0)


def test_documents(small):
    documents = list(small.base_documents(500, 3))
    assert documents[:60] == list(small.base_documents(60, 3))
    held = {p.text for p in small.problems("test", 40, 0)}
    solutions = [d for d in documents if d[0].text.startswith("Ann")]
    assert not held & {d[0].text for d in solutions}
    for document in solutions[:50]:
        problem = Problem("", document[0].text, "")
        steps = small.split_steps(document[1].text.removesuffix("<eos>"))
        assert small.truth(problem, steps) == (-1, "") and document[1].trained
    for document in documents:
        if document[0].text.startswith("<verify>"):
            for code, output in zip(document[::3], document[1::3], strict=True):
                assert str(eval(code.text.split("print")[1].split("</verify>")[0])) == output.text
        elif document not in solutions:
            for left, right in zip(document[::2], document[1::2], strict=True):
                assert abs(eval(left.text.rstrip("= ")) - float(right.text)) < 0.01
    assert {d[0].text[:3] for d in documents} > {"Ann", "<ve"}
    tokenizer = small.tokenizer()
    for document in documents[:40]:  # loss masks are exact: every segment ends where a token ends
        texts = [segment.text for segment in document]
        assert tokenizer.encode("".join(texts)) == [i for text in texts for i in tokenizer.encode(text)]


def test_a_foreign_problem_has_unknown_truth(small):
    problem = Problem("p", "How many?\n", "8")
    steps = ("So 3 + 4 = 8. Answer: 8.\n",)
    assert small.truth(problem, steps) == (None, "unknown")
    assert small.is_correct(problem, steps)
    assert small.annotate(problem, steps, 0, "full").code == "print(abs(3+4 - 8) < 0.01)"
    with pytest.raises(UserError, match="not in the GSM8K files"):
        small.reference(problem)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "train.jsonl:2: not JSON"),
        ("[1]", "train.jsonl:2: must be an object"),
        ('{"question": "Why?"}', "train.jsonl:2: the field 'answer' is missing"),
        ('{"question": " ", "answer": "1\\n#### 1"}', "train.jsonl:2: 'question' must be"),
        ('{"question": "Why?", "answer": "So."}', "train.jsonl:2: the solution does not end"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, bad, message):
    for name, text in (("train", json.dumps(row(0)) + "\n" + bad + "\n"), ("test", json.dumps(row(1)))):
        (tmp_path / f"{name}.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        load_world("gsm8k", root=tmp_path)


def test_a_solution_that_does_not_add_up_is_left_out_and_listed(tmp_path):
    wrong = {"question": "Why?", "answer": "2+2=<<2+2=5>>5\n#### 5"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row(0)) + "\n" + json.dumps(wrong) + "\n")
    (tmp_path / "test.jsonl").write_text(json.dumps(row(1)))
    world = Gsm8kWorld(tmp_path)
    assert [reason.split("train.jsonl")[1] for reason in world.rejected] == [
        ":2: the calculator mark <<2+2=5>> does not add up"
    ]


def test_missing_files_and_settings_are_named(tmp_path, folder):
    with pytest.raises(UserError, match="no GSM8K file there; looked for .*train.jsonl"):
        load_world("gsm8k", root=tmp_path / "nowhere")
    with pytest.raises(UserError, match="gsm8k needs root"):
        load_world("gsm8k")
    with pytest.raises(UserError, match='unknown key "rot" .from the world gsm8k.; did you mean "root"'):
        load_world("gsm8k", rot="x")
    with pytest.raises(UserError, match="vocab_size = 100 .*greater than or equal to 512"):
        load_world("gsm8k", root=folder, vocab_size=100)
    (tmp_path / "train.jsonl.gz").write_text("not gzip")
    with pytest.raises(UserError, match="train.jsonl.gz: cannot be read"):
        load_world("gsm8k", root=tmp_path)


@pytest.mark.slow
def test_the_real_files(real):
    problems = real.problems("train", 600, 0) + real.problems("test", 300, 0)
    assert check(real, problems) > 0.8 * len(problems)
    assert len(real.rejected) < 10
    for problem in problems[:300]:
        for line in real._row(problem).lines:
            stated = numbers(line.text)
            for mark in line.marks:
                assert stated[mark.result] == mark.value and "<<" not in line.text
                assert not mark.operands or [stated[i] for i in mark.operands] == numbers(mark.expression)


@pytest.mark.slow
def test_the_real_vocabulary(real):
    check_vocabulary(real, real.problems("test", 100, 0))
    assert real.tokenizer().vocab_size <= 2048
    lengths = [len(real.tokenizer().encode(problem.text)) for problem in real.problems("test", 200, 0)]
    assert np.mean(lengths) < 100
