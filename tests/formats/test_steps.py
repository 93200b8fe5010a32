"""The layouts of step labels: round trips, native rows, refusals, and the conversion."""

import dataclasses
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from jprm.cli import app
from jprm.errors import UserError
from jprm.formats import FORMATS, JudgedSolution, convert, report
from jprm.formats.judged import until_first_error
from jprm.formats.rows import read_rows

SHEPHERD = {
    "input": "How many? Step 1: 1+1=2. ки\nStep 2: So 3 ки",
    "label": "How many? Step 1: 1+1=2. +\nStep 2: So 3 -",
    "task": "GSM8K",
}
RLHFLOW = {
    "conversations": [
        {"role": "user", "content": "How many? Step 1: 1+1=2."},
        {"role": "assistant", "content": "+"},
        {"role": "user", "content": "Step 2: So 3"},
        {"role": "assistant", "content": "-"},
    ]
}
TRL = {"prompt": "How many?", "completions": ["1+1=2.", "So 3"], "labels": [True, False]}
PROCESSBENCH = {"id": "a-0", "problem": "How many?", "steps": ["1+1=2.", "So 3"], "label": 1}


def completion(text, rating):
    return {"text": text, "rating": rating, "flagged": False}


def stage(*completions, chosen=0, human=None):
    return {"completions": list(completions) or None, "chosen_completion": chosen, "human_completion": human}


def prm800k(*stages):
    return {"question": {"problem": "How many?"}, "label": {"steps": list(stages)}}


PRM800K = prm800k(stage(completion("1+1=2.", 1)), stage(completion("So 3", -1)))
PIECES = {"pieces": [["How many?\n", None], ["1+1=2.\n", 1.0], ["So 3\n", 0.0]]}
NATIVE = {
    **{"math-shepherd": SHEPHERD, "rlhflow": RLHFLOW, "trl": TRL},
    **{"processbench": PROCESSBENCH, "prm800k": PRM800K, "pieces": PIECES},
}


def parse(name, row):
    return FORMATS[name].parse(row, "f:7", [])


@pytest.mark.parametrize("name", FORMATS)
def test_a_native_row_of_every_layout_is_the_same_solution(name):
    (solution,) = parse(name, NATIVE[name])
    assert solution.problem == "How many?" and solution.steps == ("1+1=2.", "So 3")
    assert solution.labels == (True, False)
    row, cut = FORMATS[name].dump(solution)
    assert not cut
    assert {key: row[key] for key in NATIVE[name] if key in row and key not in ("task", "label")} == {
        key: value for key, value in NATIVE[name].items() if key not in ("task", "label")
    }


# marks of the layouts among the letters, so that writers meet what they must refuse
texts = st.lists(
    st.sampled_from(["a", " ", "\n", "ки", "+", "-", "Step 1:", "Step 2: ", "é", "\\", '"', "\ud800"]),
    min_size=1,
    max_size=6,
).map("".join)
solutions = st.builds(
    lambda problem, pairs: JudgedSolution("b", "a-1", problem, tuple(t for t, _ in pairs), tuple(x for _, x in pairs)),
    texts,
    st.lists(st.tuples(texts, st.sampled_from([True, False, None])), min_size=1, max_size=4),
)


@pytest.mark.parametrize("name", FORMATS)
@given(solution=solutions)
def test_what_is_written_is_read_back_or_refused(name, solution):
    try:
        row, cut = FORMATS[name].dump(solution)
    except UserError:
        return
    (again,) = parse(name, json.loads(json.dumps(row)))
    if FORMATS[name].strips:
        assert (again.problem, *again.steps) == tuple(text.strip() for text in (solution.problem, *solution.steps))
        assert again.labels == solution.labels and not cut
        return
    kept = len(again.steps)
    assert again.problem == solution.problem and again.steps == solution.steps[:kept]
    for before, after in zip(solution.labels, again.labels, strict=False):
        assert after is None or after is before
    assert cut == (again.steps != solution.steps or again.labels != solution.labels)


words = st.text(st.characters(categories=["L", "N", "P"], exclude_characters="к"), min_size=1)


@pytest.mark.parametrize("name", FORMATS)
@given(problem=words, steps=st.lists(words, min_size=1, max_size=5), data=st.data())
def test_plain_texts_are_never_refused(name, problem, steps, data):
    first = data.draw(st.integers(-1, len(steps) - 1))
    full = st.lists(st.booleans(), min_size=len(steps), max_size=len(steps))
    stated = until_first_error(first, len(steps)) if name == "processbench" else data.draw(full)
    solution = JudgedSolution("b", "a-1", problem, tuple(steps), tuple(stated))
    row, cut = FORMATS[name].dump(solution)
    (again,) = parse(name, row)
    assert not cut
    assert (again.problem, again.steps, again.labels) == (problem, tuple(steps), tuple(stated))


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("trl", {"labels": [True]}, "2 completions but 1 labels"),
        ("trl", {"labels": [1, 0]}, "'labels.0' must be true or false"),
        ("trl", {"completions": []}, "'completions' must be a list that is not empty"),
        ("math-shepherd", {"input": "How many? Step 1: 2"}, "must end with 'ки'"),
        ("math-shepherd", {"label": SHEPHERD["input"]}, "step 0"),
        ("math-shepherd", {"label": SHEPHERD["label"] + " x"}, "goes on after the last step"),
        ("math-shepherd", {"label": "Other" + SHEPHERD["label"][5:]}, "step 0"),
        ("math-shepherd", {"input": "Two ки", "label": "Two +"}, "no 'Step 1:'"),
        ("rlhflow", {"conversations": RLHFLOW["conversations"][:3]}, "must be pairs"),
        ("rlhflow", {"conversations": RLHFLOW["conversations"][::-1]}, "turn 0 must be the user's"),
        ("prm800k", {"question": {}}, "the field 'problem' is missing"),
        ("prm800k", prm800k(stage(completion("a", 2))), "step 0: 'rating' must be less than or equal to 1"),
        ("prm800k", prm800k(stage(completion("a", 1), chosen=1)), "'chosen_completion' 1 is none"),
        ("prm800k", prm800k(stage(chosen=None)), "no step has a completion"),
        ("prm800k", prm800k(), "'steps' must be a list"),
    ],
)
def test_bad_rows_are_refused(name, change, reason):
    with pytest.raises(UserError) as caught:
        parse(name, NATIVE[name] | change)
    assert reason in str(caught.value)


def test_prm800k_gives_the_path_and_every_branch_from_it():
    row = prm800k(
        stage(completion("a", 0), completion("b", -1)),
        stage(completion("c", -1), chosen=None, human={"text": "d", "rating": None}),
        stage(completion("e", None)),
    )
    notes = []
    found = FORMATS["prm800k"].parse(row, "f:7", notes)
    assert [(s.id, s.steps, s.labels) for s in found] == [
        ("7.0", ("a", "d", "e"), (True, True, None)),
        ("7.1", ("b",), (False,)),
        ("7.2", ("a", "c"), (True, False)),
    ]
    assert notes == ["f:7: 1 neutral ratings (0), read as right"]


def test_a_path_that_was_given_up_leaves_its_branches():
    given_up = prm800k(stage(completion("a", 1)), stage(completion("b", -1), chosen=None))
    assert [s.steps for s in parse("prm800k", given_up)] == [("a", "b")]
    without_offer = prm800k(stage(completion("a", 1)), stage(chosen=None))
    assert [s.steps for s in parse("prm800k", without_offer)] == [("a",)]


def test_labels_that_a_layout_cannot_state_are_left_out():
    solution = JudgedSolution("b", "a-1", "p", ("w", "x", "y"), (True, False, True))
    for name in FORMATS:
        row, cut = FORMATS[name].dump(solution)
        assert cut == (name == "processbench")
    assert FORMATS["processbench"].dump(solution)[0]["label"] == 1
    partly = dataclasses.replace(solution, labels=(True, False, None))
    row, cut = FORMATS["trl"].dump(partly)
    assert cut and row["completions"] == ["w", "x"] and row["labels"] == [True, False]
    with pytest.raises(UserError, match="the first step has no label"):
        FORMATS["trl"].dump(dataclasses.replace(solution, labels=(None, True, True)))


def run(*arguments):
    return CliRunner().invoke(app, ["data", "convert", *map(str, arguments)])


def test_the_command_counts_and_says_that_rows_were_rejected(tmp_path):
    source, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    long = PROCESSBENCH | {"id": "a-1", "steps": ["1", "2", "3"]}
    marks = PROCESSBENCH | {"id": "a-2", "steps": ["1 ки 2"], "label": -1}
    bad = PROCESSBENCH | {"id": "a-3", "label": 9}
    rows = [PROCESSBENCH, long, bad, marks]
    source.write_text("\n".join(json.dumps(row) for row in rows))
    done = run("--in", source, "--from", "processbench", "--to", "math-shepherd", out)
    assert done.exit_code == 3
    assert done.stdout.splitlines() == [
        "solutions read 3, written 2, rejected 2",
        "labels: right 2, flawed 2, unknown 0",
        "first flawed step (-1: none): 1 2",
        "cut: 1 solutions lost labels or steps that the format cannot state",
        f"rejected: {source}:3: 'label' must be -1 or the index of one of the 2 steps, it is 9",
        f"rejected: {source}: solution 'a-2': cannot be written as math-shepherd: "
        "'label' is not 'input' with + or - for 'ки': step 0",
    ]
    assert len(gzip.decompress(out.read_bytes()).splitlines()) == 2
    back = tmp_path / "c.jsonl"
    assert run("--in", out, "--from", "math-shepherd", "--to", "trl", back).exit_code == 0
    assert [row.value["labels"] for row in read_rows(back)] == [[True, False], [True, False]]


def test_mistakes_are_named_and_nothing_is_overwritten(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(TRL))
    with pytest.raises(UserError, match="unknown format 'x' to read; known: processbench, prmbench"):
        convert(path, "x", "trl", tmp_path / "b")
    with pytest.raises(UserError, match="unknown format 'prmbench' to write"):
        convert(path, "trl", "prmbench", tmp_path / "b")
    with pytest.raises(UserError, match="trl as messages: conversations are written as messages"):
        convert(path, "trl", "messages", tmp_path / "b")
    with pytest.raises(UserError, match="conversations as pieces: conversations are written as messages"):
        convert(path, "conversations", "pieces", tmp_path / "b")
    with pytest.raises(UserError, match="exists; delete it"):
        convert(path, "trl", "trl", path)
    with pytest.raises(UserError, match="cannot write"):
        convert(path, "trl", "trl", tmp_path / "no" / "b")


@pytest.mark.parametrize(("name", "written"), [("math-shepherd", 7), ("prm800k", 36)])
def test_the_real_samples(data_root, tmp_path, name, written):
    path = data_root / "format_samples" / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no samples at {path}")
    done = convert(path, name, "trl", tmp_path / "a.jsonl")
    assert done.rejected == () and done.written == done.read == written, report(done)
    if name == "math-shepherd":
        convert(path, name, name, tmp_path / "b.jsonl")
        for before, after in zip(read_rows(path), read_rows(tmp_path / "b.jsonl"), strict=True):
            assert before.value["input"] == after.value["input"]
            assert before.value["label"] == after.value["label"]
