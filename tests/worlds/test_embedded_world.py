"""The embedded world through the `World` protocol: splits, determinism, vocabulary, boundaries,
documents.
"""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.seeds import rng_of
from jprm.worlds import SPLITS, STYLES, load_world
from jprm.worlds.base import (
    ANALYZE_CLOSE,
    ANALYZE_OPEN,
    CODE_CLOSE,
    CODE_OPEN,
    NO,
    OUTPUT_CLOSE,
    OUTPUT_OPEN,
    RATIONALE_PIECES,
    VERDICT_CLOSE,
    VERDICT_OPEN,
    YES,
    make_problem,
)
from jprm.worlds.embedded import EmbeddedWorld, parse_problem
from jprm.worlds.embedded.world import split_of

WORLD = EmbeddedWorld()
TOKENIZER = WORLD.tokenizer()
FINGERPRINT = """
import hashlib, numpy as np
from jprm.worlds import load_world
w = load_world("embedded")
h = hashlib.sha256()
for p in w.problems("dev", 30, 3):
    r, wrong = w.reference(p, np.random.default_rng(1)), w.planted(p, np.random.default_rng(2))
    h.update(repr((p, r, wrong)).encode())
h.update(repr(list(w.base_documents(50, 5))).encode())
print(h.hexdigest())
"""


def conversation(problem, steps, style, noise, rng) -> list[str]:
    """The pieces that the rationale protocol joins, as the tokenizer meets them."""
    pieces = [problem.text]
    for index, step in enumerate(steps):
        pieces.append(step)
        note = WORLD.annotate(problem, steps, index, style, rng, noise)
        if style in ("full", "analysis"):
            pieces += [ANALYZE_OPEN, note.analysis, ANALYZE_CLOSE]
        if style in ("full", "code"):
            pieces += [CODE_OPEN, note.code, CODE_CLOSE, OUTPUT_OPEN, "Error", OUTPUT_CLOSE]
        pieces += [VERDICT_OPEN, NO if index % 2 else YES, VERDICT_CLOSE]
    return pieces


def test_splits_share_no_problem_whatever_the_seeds():
    texts = {split: {p.text for s in (0, 1) for p in WORLD.problems(split, 300, s)} for split in SPLITS}
    assert not texts["train"] & texts["dev"] and not texts["train"] & texts["test"]
    assert not texts["dev"] & texts["test"]
    for split, found in texts.items():
        assert {split_of(text) for text in found} == {split}
        assert len(found) > 590, "the two seeds give different problems"


def test_problems_are_prefix_stable_and_different():
    long = WORLD.problems("train", 400, 7)
    assert WORLD.problems("train", 150, 7) == long[:150]
    assert len({p.id for p in long}) == len({p.text for p in long}) == 400
    assert set(Counter(p.tier for p in long)) == {"steps=2", "steps=3", "steps=4"}
    for problem in long:
        graph = parse_problem(problem.text)
        assert problem.answer == str(graph.values[graph.target])
        assert problem.tier == f"steps={len(graph.needed)}" and problem.split == "train"


def test_another_hash_seed_and_process_gives_the_same():
    env = os.environ | {"PYTHONHASHSEED": "12345"}
    first = _fingerprint(env)
    env["PYTHONHASHSEED"] = "54321"
    assert _fingerprint(env) == first
    assert len(first.strip()) == len(hashlib.sha256().hexdigest())


def test_records_of_solutions():
    planted = 0
    for problem in WORLD.problems("dev", 200, 0):
        right = WORLD.reference(problem)
        assert (right.first_error, right.source, right.problem_id) == (-1, "reference", problem.id)
        assert WORLD.truth(problem, right.steps) == (-1, "")
        assert WORLD.is_correct(problem, right.steps) and WORLD.answer(right.steps) == problem.answer
        assert WORLD.split_steps("".join(right.steps)) == right.steps
        wrong = WORLD.planted(problem, rng_of(0, problem.id))
        if wrong is not None:
            planted += 1
            assert WORLD.truth(problem, wrong.steps)[0] == wrong.first_error
            assert wrong.error_kind and wrong.source == "planted" and wrong.id != right.id
            again = WORLD.planted(problem, rng_of(0, problem.id))
            assert again == wrong
    assert planted > 150


def test_splitting_a_text_that_was_cut_short():
    assert WORLD.split_steps("one\n\ntwo") == ("one\n", "two\n")
    assert WORLD.split_steps("") == ()
    assert WORLD.answer(()) is None and not WORLD.is_correct(WORLD.problems("dev", 1, 0)[0], ())


@pytest.mark.parametrize("style", STYLES)
def test_every_piece_of_a_conversation_is_tokenised_alone_as_in_the_whole(style):
    lengths = []
    for problem in WORLD.problems("test", 100, 1):
        rng = rng_of(1, problem.id)
        solution = WORLD.planted(problem, rng) or WORLD.reference(problem, rng)
        pieces = conversation(problem, solution.steps, style, 0.5, rng)
        whole = TOKENIZER.encode("".join(pieces))
        assert whole == [i for piece in pieces for i in TOKENIZER.encode(piece)]
        assert whole == TOKENIZER.backend.encode("".join(pieces)).ids
        assert TOKENIZER.decode(whole) == "".join(pieces)
        lengths.append(len(whole))
    assert max(lengths) < 256


def test_tags_and_numbers_are_single_tokens():
    for piece in (*RATIONALE_PIECES, "True", "False", "None", "Error", "0", "199", "Uma", "Step 8: "):
        assert TOKENIZER.encode(piece) == [TOKENIZER.token_id(piece)]
    assert TOKENIZER.encode("9801") == TOKENIZER.encode("98") + TOKENIZER.encode("0") + TOKENIZER.encode("1")
    assert TOKENIZER.accepts("Code output: ") is False


def test_base_documents_are_of_the_train_split_and_fit():
    documents = list(WORLD.base_documents(600, 0))
    assert documents[:100] == list(WORLD.base_documents(100, 0))
    lengths = [len(TOKENIZER.encode("".join(s.text for s in d))) for d in documents]
    assert np.quantile(lengths, 0.99) < 160 and max(lengths) < 208, "they fit into a row of `base`"
    starts = [d[0].text.partition("get?\n") for d in documents if "How many" in d[0].text]
    problems = [problem + end for problem, end, _ in starts]
    assert {split_of(text) for text in problems} == {"train"}
    kinds = Counter(_kind(d) for d in documents)
    for kind, share in (
        ("arithmetic", WORLD.mix.arithmetic),
        ("reading", WORLD.mix.reading),
        ("program", WORLD.mix.programs),
    ):  # .1 is more than three standard deviations of about 300 draws
        assert abs(kinds[kind] / kinds["solution"] - share) < 0.1


def test_what_the_documents_train():
    for document in WORLD.base_documents(300, 1):
        trained = "".join(s.text for s in document if s.trained)
        match _kind(document):
            case "solution":
                text, steps = document[0].text, WORLD.split_steps(trained.removesuffix("<eos>"))
                assert trained.endswith("\n<eos>")
                assert WORLD.truth(_problem(text), steps) == (-1, "")
            case "arithmetic":
                for left, right in zip(document[::3], document[1::3], strict=True):
                    assert eval(left.text.replace("=", "")) == int(right.text) and right.trained
            case "program":
                for code, output in zip(document[::3], document[1::3], strict=True):
                    assert str(eval(code.text.split("print")[1].split("</verify>")[0])) == output.text
                    assert output.trained and not code.trained
            case "reading":
                stated = document[0].text.replace(".\n", ". ")
                for name, rest in zip(document[1::2], document[2::2], strict=True):
                    assert not name.trained and rest.trained
                    fact, code = (name.text + rest.text).split(" </analyze>\n<verify>")
                    for sentence in fact.removeprefix("<analyze>").removesuffix(".").split(". "):
                        who, _, said = sentence.partition(" ")
                        unknown = said == "is unknown" and f"{who} has " not in stated
                        assert unknown or f"{sentence}. " in stated
                    numbers = set(re.findall(r"\d+", code))
                    assert numbers <= set(re.findall(r"\d+", fact)), "the program uses what was read"


def test_half_of_the_programs_print_true():
    world = load_world("embedded", mix={"programs": 1.0, "arithmetic": 0.0, "reading": 0.0})
    outputs = [s.text for d in world.base_documents(400, 0) if _kind(d) == "program" for s in d if s.trained]
    assert len(outputs) == 1200
    assert 0.45 < outputs.count("True") / len(outputs) < 0.55


def test_settings_by_name():
    world = load_world("embedded", difficulty={"steps": [1], "distractors": [0]})
    assert {p.tier for p in world.problems("test", 20, 0)} == {"steps=1"}
    with pytest.raises(
        UserError, match='"difficulty.stpes" .from the world embedded.; did you mean "difficulty.steps"'
    ):
        load_world("embedded", difficulty={"stpes": [1]})
    with pytest.raises(UserError, match='unknown key "dificulty" .from the world embedded.; did you mean "diff'):
        load_world("embedded", dificulty={})
    with pytest.raises(UserError, match="unknown world 'embeded': did you mean 'embedded'"):
        load_world("embeded")
    with pytest.raises(UserError, match="only about"):
        tiny = {"steps": [1], "distractors": [0], "names": 3, "base_values": [5, 5], "constants": [2, 2]}
        load_world("embedded", difficulty=tiny | {"kinds": ["add"]}).problems("test", 500, 0)
    with pytest.raises(UserError, match="split must be one of"):
        WORLD.problems("validation", 1, 0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="mix.reading = 2.0 .*less than or equal to 1"):
        load_world("embedded", mix={"reading": 2.0})


def _fingerprint(env) -> str:
    root = Path(__file__).parents[2]  # python -c imports from its working directory
    run = [sys.executable, "-c", FINGERPRINT]
    return subprocess.run(run, env=env, cwd=root, capture_output=True, text=True, check=True).stdout


def _problem(text):
    return make_problem("embedded", text, "", "", "train")


def _kind(document) -> str:
    first = document[0].text
    if document[1].text.startswith("<analyze>"):
        return "reading"
    if first.startswith("<verify>"):
        return "program"
    return "solution" if "How many" in first else "arithmetic"
