"""A world of files: stable splits and draws, grading by equivalence in bounded time, and what it refuses by name."""

import gc
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.grade import Equivalence, as_number
from jprm.records import Problem
from jprm.seeds import rng_of
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.settings import WorldSection
from jprm.worlds import WITHOUT_ORACLE, has_oracle, load_world
from jprm.worlds import world as worlds
from jprm.worlds.base import SPLITS
from jprm.worlds.embedded import EmbeddedWorld
from jprm.worlds.gsm8k import Gsm8kWorld
from jprm.worlds.problems import ProblemsWorld


def row(i: int) -> dict:
    return {"problem": f"What is {i} + {i}?", "solution": f"We add.\n\n{i} + {i} = $\\boxed{{{2 * i}}}$."}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("problems")
    write(root / "all.jsonl", map(row, range(300)))
    return root


@pytest.fixture(scope="module")
def world(folder) -> ProblemsWorld:
    return load_world("problems", train=str(folder / "all.jsonl"))  # pyright: ignore[reportReturnType]


def sizes(world):
    return {split: len(world._splits[split]) for split in SPLITS}


def test_problems_are_drawn_in_an_order_of_the_seed(world):
    n = sizes(world)
    assert sum(n.values()) == 300 and 15 < n["dev"] < 45 and 15 < n["test"] < 45
    for split in SPLITS:
        drawn = world.problems(split, n[split], 0)
        assert len({p.text for p in drawn}) == n[split] and {p.split for p in drawn} == {split}
        assert world.problems(split, 5, 0) == drawn[:5] != world.problems(split, 5, 1)
    texts = [{p.text for p in world.problems(split, n[split], 3)} for split in SPLITS]
    assert len(set.union(*texts)) == 300
    with pytest.raises(UserError, match=f"problems has {n['dev']} dev problems in these files, 99 were asked"):
        world.problems("dev", 99, 0)
    with pytest.raises(UserError, match="split must be one of"):
        world.problems("validation", 1, 0)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.sets(st.integers(0, 59), min_size=20), seed=st.integers(0, 9))
def test_added_and_reordered_rows_move_nothing(tmp_path, kept, seed):
    """A problem keeps its split, and problems keep their order among themselves."""
    some = [row(i) for i in kept]
    random.Random(seed).shuffle(some)
    small, large = (
        load_world("problems", train=write(tmp_path / name, rows), dev_share=0.2)
        for name, rows in (("some.jsonl", some), ("all.jsonl", map(row, range(60))))
    )
    for split in SPLITS:
        few, many = (world.problems(split, sizes(world)[split], seed) for world in (small, large))
        assert few == [problem for problem in many if problem in few]


def test_shares(tmp_path):
    path = write(tmp_path / "all.jsonl", map(row, range(200)))
    none = sizes(load_world("problems", train=path, dev_share=0, test_share=0))
    assert none == {"train": 200, "dev": 0, "test": 0}
    half = sizes(load_world("problems", train=path, dev_share=0.25, test_share=0.5))
    assert 30 < half["dev"] < 70 and 70 < half["test"] < 130
    with_file = load_world("problems", train=path, test=write(tmp_path / "test.jsonl", [row(7)]))
    without = load_world("problems", train=path)
    dev = {p.text for p in without.problems("dev", sizes(without)["dev"], 0)} - {row(7)["problem"] + "\n"}
    assert dev == {p.text for p in with_file.problems("dev", sizes(with_file)["dev"], 0)}


def test_what_stands_in_the_test_file_is_in_no_other_split(tmp_path):
    train = write(tmp_path / "train.jsonl", map(row, range(20)))
    spaced = {"question": "  What is\n3  +  3?", "answer": "6"}
    unusable = {"question": "What is 4+4?", "answer": "???"}
    world = load_world("problems", train=train, test=write(tmp_path / "test.jsonl", [spaced, unusable]), dev_share=0.3)
    n = sizes(world)
    assert n["test"] == 1 and n["train"] + n["dev"] == 18
    rest = "".join(p.text for split in ("train", "dev") for p in world.problems(split, n[split], 0))
    assert "3 + 3" not in rest and "4 + 4" not in rest
    assert [r.removeprefix(f"{tmp_path}/") for r in world.rejected] == [
        f"train.jsonl:4: its problem stands in {tmp_path}/test.jsonl, too",
        f"train.jsonl:5: its problem stands in {tmp_path}/test.jsonl, too",
        "test.jsonl:2: its answer '???' can be compared with no other: it has no letter and no digit",
    ]
    with pytest.raises(UserError, match=r"train problems in these files \(3 rows were left out\), 30 were asked"):
        world.problems("train", 30, 0)


@pytest.mark.parametrize(
    ("gold", "text", "correct"),
    [
        ("1/2", "so it is \\boxed{0.5}", True),
        ("1/2", "so it is \\boxed{\\dfrac12}", True),
        ("\\sqrt{8}", "so it is \\boxed{2\\sqrt{2}}", True),
        ("x+1", "The answer is $1+x$.", True),
        ("72", "#### 72", True),
        ("72", "\\boxed{72}.\n\nI hope this is right.", True),
        ("72", "\\boxed{73}", False),
        ("x+1", "\\boxed{x-1}", False),
        ("72", "it is 72", False),
        ("72", "\\boxed{", False),
        ("72", "\\boxed{2^{2^{100}}}", False),
        ("72", "", False),
    ],
)
def test_final_answers_are_graded_by_equivalence(world, gold, text, correct):
    problem = Problem("p", "Why?\n", gold)
    assert world.is_correct(problem, world.split_steps(text)) is correct


def test_equal_spellings_start_no_pool(folder):
    world = load_world("problems", train=str(folder / "all.jsonl"))
    for gold, stated in (("72", "72.0"), ("\\sqrt{2}", "\\sqrt{2}"), ("\\frac12", "0.5"), ("Dana", "\\text{Dana}")):
        assert world.is_correct(Problem("p", "Why?\n", gold), (f"\\boxed{{{stated}}}\n",))
    assert world.equivalence._pool is None


def test_the_pool_ends_with_the_world(folder, monkeypatch):
    ended = []
    monkeypatch.setattr(Equivalence, "close", lambda self: ended.append(self))
    world = load_world("problems", train=str(folder / "all.jsonl"))
    equivalence = world.equivalence
    del world
    gc.collect()
    assert ended == [equivalence]


@pytest.mark.slow
def test_a_comparison_that_hangs_is_not_equal(folder):
    world = load_world("problems", train=str(folder / "all.jsonl"), grade_timeout_s=1.0)
    zero = r"\sqrt{2+\sqrt{2+\sqrt{2+\sqrt{2+\sqrt{3}}}}}-2\cos\frac{\pi}{96}"
    assert not world.is_correct(Problem("p", "Why?\n", "0"), (f"\\boxed{{{zero}}}\n",))
    assert world.equivalence.untold.total() == 1  # "timeout", or the parser takes its end for a fault


def test_truth_is_unknown_and_references_are_the_files(world):
    [problem] = world.problems("train", 1, 0)
    solution = world.reference(problem)
    i = int(problem.text.split()[2])
    assert solution.steps == ("We add.\n\n", f"{i} + {i} = $\\boxed{{{2 * i}}}$.\n")
    assert (solution.first_error, solution.source) == (None, "reference")
    assert world.is_correct(problem, solution.steps) and world.answer(solution.steps) == problem.answer
    assert world.truth(problem, solution.steps) == (None, "unknown")
    with pytest.raises(UserError, match="problem p has no worked solution .* world.settings.solution_field"):
        world.reference(Problem("p", "Why?\n", "1"))


def test_what_needs_an_oracle_is_refused_by_name(world):
    [problem] = world.problems("train", 1, 0)
    steps = world.reference(problem).steps
    for what, ask in {
        "planted errors: label solutions of a policy": lambda: world.planted(problem, rng_of(0)),
        "annotator: have a model": lambda: world.annotate(problem, steps, 0, "full"),
        "documents to pretrain on: start from a checkpoint": lambda: world.base_documents(1, 0),
        "vocabulary of its own: use a checkpoint": world.tokenizer,
    }.items():
        with pytest.raises(UserError, match=f"the world problems has no {what}"):
            ask()


def test_who_has_an_oracle_is_known_before_a_world_is_loaded():
    classes = {cls.name: cls for cls in (EmbeddedWorld, Gsm8kWorld, ProblemsWorld)}
    assert classes.keys() <= {*worlds}, "other tests may have registered worlds of their own"
    assert {name for name, cls in classes.items() if not cls.has_oracle} == WITHOUT_ORACLE
    assert all(has_oracle(name) == cls.has_oracle for name, cls in classes.items())


def test_steps_as_the_settings_say(folder):
    def steps(text, **settings):
        return load_world("problems", train=str(folder / "all.jsonl"), **settings).split_steps(text)

    assert steps("a\nb\n\nc") == ("a\nb\n\n", "c\n")
    assert steps("a\nb\n\nc", steps="lines") == ("a\n", "b\n\n", "c\n")
    assert steps("a\nb\n\nc", steps_pattern="(?=b)") == ("a\n", "b\n\nc\n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"problems needs train: a file of problems.*\(world.settings.train\)"),
        ({"train": []}, "train = .*at least 1 item"),
        ({"train": "x", "problm_field": "q"}, 'unknown key "problm_field" .*; did you mean "problem_field"'),
        ({"train": "x", "test": "y", "test_share": 0.5}, "test_share is for a world without a test file"),
        ({"train": "x", "dev_share": 0.5, "test_share": 0.5}, "leave nothing for train"),
        ({"train": "x", "steps_pattern": "("}, r"steps_pattern = '\('.*not a regular expression"),
        ({"train": "x", "steps_pattern": "a*"}, "every character would be a step"),
        ({"train": "x", "steps_pattern": "a", "steps": "lines"}, "steps_pattern stands instead of steps"),
        ({"train": "x", "steps": "words"}, "steps = 'words'"),
        ({"train": "/nowhere/x.jsonl"}, "/nowhere/x.jsonl: no such file"),
    ],
)
def test_settings_are_checked(given, message):
    with pytest.raises(UserError, match=message):
        load_world("problems", **given)


def test_the_identity_is_what_the_files_hold_and_not_where_they_are(tmp_path, monkeypatch):
    def identity(root=None, **settings):
        return OpenWorld(WorldSection(kind="problems", settings=settings), root).identity

    (tmp_path / "b").mkdir()
    rows = [row(i) for i in range(10)]
    here, there = write(tmp_path / "a.jsonl", rows), write(tmp_path / "b" / "c.jsonl", rows)
    other = write(tmp_path / "other.jsonl", rows[:9])
    assert identity(train=here) == identity(train=[there])
    assert identity(train=here) == identity(tmp_path, train="a.jsonl") == identity(tmp_path / "b", train=there)
    monkeypatch.chdir(tmp_path / "b")
    assert identity(train="c.jsonl") == identity(train=here)
    assert identity(train="a.jsonl", root=str(tmp_path)) == identity(tmp_path / "b", train="../a.jsonl")
    different = [
        identity(train=here),
        identity(train=other),
        identity(train=[here, other]),
        identity(train=here, test=other),
        identity(train=other, test=here),
        identity(train=here, steps="lines"),
        identity(train=here, dev_share=0.2),
    ]
    assert len({json.dumps(one) for one in different}) == len(different)
    assert identity(train=here)["settings"] == {}


def test_math_and_gsm8k_are_two_files_of_it(data_root):
    """The published answers are those that the worked solutions state; all but a few rows are usable."""
    math = load_world("problems", root=data_root, train="math/test.jsonl.gz", test="math/math500.jsonl.gz")
    assert len(math._splits["test"]) == 303
    assert all("math500.jsonl.gz, too" in reason for reason in math.rejected)
    gsm8k = load_world(
        "problems", root=data_root, train="gsm8k/test.jsonl.gz", steps="lines", dev_share=0, test_share=0
    )
    assert sizes(gsm8k) == {"train": 789, "dev": 0, "test": 0} and not gsm8k.rejected
    for world, split in ((math, "test"), (gsm8k, "train")):
        problems = world.problems(split, 300, 0)
        assert all(world.is_correct(p, world.reference(p).steps) for p in problems)
    assert all(as_number(p.answer) is not None for p in gsm8k.problems("train", 300, 0))
