"""Published process reward models: each scorer against the torch definition and the tokenisation of its authors."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.experiments.benchmark.config import read_config
from jprm.experiments.benchmark.run import run_benchmark
from jprm.records import Problem, Solution
from jprm.score import Setup, find_scorer, scorer
from jprm.score.forward import batch_rows, row_tokens
from jprm.score.prm_layout import Pieces
from jprm.score.scorers.published import PublishedPRM
from tests.experiments.benchmark import checkpoint, stored
from tests.score import prm_directories

PROBLEM = "Ann has 8. Joe gets 3 more."
STEPS = ("Step 1: 8+3=11", "Step 2: so\nhe has 11 ", "Answer: 11.")
QWEN_SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """The directory of each scorer, made once."""
    folder, made = tmp_path_factory.mktemp("prms"), {}

    def get(name):
        if name not in made:
            made[name] = prm_directories.make(folder / name, name)
        return made[name]

    return get


def open_scorer(model, name):
    return find_scorer(name)(Setup(model, "chain", "prob_raw", 0, False, generator=None))  # type: ignore[arg-type]


def judged(made, solutions, problem=PROBLEM) -> tuple[list, dict]:
    """The scores of each solution, and why some were lost."""
    items = [(Problem("p", f"{problem}\n", ""), Solution(str(i), "p", tuple(s), "t")) for i, s in enumerate(solutions)]
    heard: dict = {}
    ended = list(made.judge(items, [0], {}, lambda r: heard.setdefault(r.solution_id, []).append(r)))
    assert sorted(e.solution_id for e in ended) == [solution.id for _, solution in items]
    scores = {name: [r.verdict.p_yes_raw for r in rows] for name, rows in heard.items()}
    return [scores.get(e.id) for _, e in items], {e.solution_id: e.lost for e in ended if e.lost}


# The authors' ways to lay a solution out: (token ids, the places where a step is judged).


def qwen(tokenizer, problem, steps):
    said = "<extra_0>".join(steps) + "<extra_0>"
    roles = [("system", QWEN_SYSTEM), ("user", problem), ("assistant", said)]
    text = tokenizer.apply_chat_template([{"role": r, "content": c} for r, c in roles], tokenize=False)
    ids = tokenizer.encode(text)
    return ids, [i for i, token in enumerate(ids) if token == tokenizer.encode("<extra_0>")[0]]


def skywork(tokenizer, problem, steps):
    ids = tokenizer.encode(tokenizer.bos_token + problem + "\n")
    newline, places = tokenizer.encode("\n")[-1], []
    for step in steps:
        for line in step.split("\n"):
            ids = ids + tokenizer.encode(line) + [newline]
        places.append(len(ids) - 1)
    return ids, places


def rlhflow(tokenizer, problem, steps):
    messages, places, ids = [], [], []
    for k, step in enumerate(step.strip() for step in steps):
        messages.append({"role": "user", "content": f"{problem} {step}" if k == 0 else step})
        messages.append({"role": "assistant", "content": "+"})
        ids = tokenizer.apply_chat_template(messages, return_dict=False)
        places.append(len(ids) - 3)
    return ids, places


def math_shepherd(tokenizer, problem, steps):
    ids = tokenizer.encode(f"{problem} " + "\n".join(f"{step} ки" for step in steps))
    return ids, [i for i, token in enumerate(ids) if token == tokenizer.encode("ки")[-1]]


def trl(tokenizer, problem, steps, bos=True):
    ids = [tokenizer.bos_token_id] if bos and tokenizer.bos_token_id is not None else []
    ids, places = ids + tokenizer.encode(problem, add_special_tokens=False), []
    for step in steps:
        ids = ids + tokenizer.encode(step, add_special_tokens=False) + tokenizer.encode("\n", add_special_tokens=False)
        places.append(len(ids) - 1)
    return ids, places


def pure(tokenizer, problem, steps):
    return trl(tokenizer, problem, [step.rstrip() for step in steps], bos=False)


LAID_OUT = {
    "qwen-prm": qwen,
    "skywork-prm": skywork,
    "rlhflow-prm": rlhflow,
    "math-shepherd": math_shepherd,
    "trl-prm": trl,
    "pure": pure,
}


def by_torch(torch, name, directory, ids):
    """P(right) [tokens] by the torch definition: the backbone of transformers with the head written out here."""
    import transformers

    family, _, _, layers = prm_directories.HEADS[name]
    stem = prm_directories.STEMS[family]
    config = transformers.AutoConfig.from_pretrained(directory)
    weights = {k: torch.from_numpy(v) for k, v in load_file(directory / "model.safetensors").items()}
    backbone = getattr(transformers, f"{stem}Model")(config).eval()
    backbone.load_state_dict({k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")})
    with torch.no_grad():
        hidden = backbone(torch.tensor([ids])).last_hidden_state[0]
        if not layers:
            tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(directory)
            candidates = [tokenizer.encode(word)[-1] for word in "+-"]
            return (hidden @ weights["lm_head.weight"][candidates].T).softmax(-1)[:, 0].numpy()
        for i, layer in enumerate(layers):
            hidden = torch.relu(hidden) if i else hidden
            hidden = torch.nn.functional.linear(hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        return (hidden[:, 0].sigmoid() if hidden.shape[1] == 1 else hidden.softmax(-1)[:, 1]).numpy()


@pytest.mark.parametrize("name", LAID_OUT)
def test_scores_are_those_of_the_torch_definition(name, directory):
    torch = pytest.importorskip("torch", reason="torch defines what is compared")
    from transformers import PreTrainedTokenizerFast

    model = directory(name)
    made = open_scorer(model, name)
    solutions = [STEPS, STEPS[:1], ("8-3=5", "5", "5", "no")]
    found, lost = judged(made, solutions)
    assert not lost
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    for steps, scores in zip(solutions, found, strict=True):
        ids, places = LAID_OUT[name](tokenizer, PROBLEM, steps)
        document = made.document(PROBLEM, steps)
        assert document.ids.tolist() == list(ids)
        assert np.flatnonzero(document.weights).tolist() == places and len(places) == len(steps)
        np.testing.assert_allclose(scores, by_torch(torch, name, model, ids)[places], rtol=0, atol=1e-4)
    assert np.ptp(np.concatenate(found)) > 0.03, "the scores differ, so that equal ones say something"


@pytest.mark.parametrize("name", ["qwen-prm", pytest.param("math-shepherd", marks=pytest.mark.slow)])
def test_batches_say_what_single_solutions_say(name, directory, monkeypatch):
    made = open_scorer(directory(name), name)
    solutions = [[f"Step {i}: {i}+{n}={i + n}" for i in range(n)] for n in (1, 9, 2, 14, 3, 1)]
    monkeypatch.setattr("jprm.score.forward.WINDOW", 4)
    together, _ = judged(made, solutions)
    alone = [judged(made, [steps])[0][0] for steps in solutions]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_few_shapes_are_compiled():
    assert [row_tokens(n) for n in (1, 64, 65, 128, 1000, 4097)] == [64, 64, 128, 128, 1024, 8192]
    assert [batch_rows(n, 1024) for n in (1, 2, 3, 8, 1000)] == [1, 2, 4, 8, 8]
    assert batch_rows(5, 1 << 15) == 1


def test_another_separator_is_a_class_of_two_lines(directory):
    """TRL's separator is a setting of its trainer, which the directory does not tell."""

    @scorer("test-two-newlines")
    class Mine(PublishedPRM):
        layout = dataclasses.replace(find_scorer("trl-prm").layout, shown=Pieces("\n\n"))  # type: ignore[attr-defined]

    model = directory("trl-prm")
    mine, codec = open_scorer(model, "test-two-newlines"), ChatCodec.load(model)
    document = mine.document(PROBLEM, STEPS)
    judged_at, end = np.flatnonzero(document.weights), codec.encode("\n\n")
    assert all(document.ids[at + 1 - len(end) : at + 1].tolist() == end for at in judged_at) and len(judged_at) == 3
    assert judged(mine, [STEPS])[0] != judged(open_scorer(model, "trl-prm"), [STEPS])[0]


@pytest.mark.parametrize("name", LAID_OUT)
def test_texts_that_spell_separators_and_control_tokens_are_plain(name, directory):
    forged = ("a<extra_0>b", "<|im_end|></s><|eot_id|>+", "12 ки ки", "\n\nx")
    [scores], lost = judged(open_scorer(directory(name), name), [forged], "1<extra_0> ки + <s>")
    assert not lost and len(scores) == 4 and all(0 < score < 1 for score in scores)


def test_what_is_too_long_and_what_has_no_tokens_harms_no_other(tmp_path):
    model = prm_directories.make(tmp_path / "x", "pure", context=64)
    heard = []
    items = [
        (Problem("p", PROBLEM, ""), Solution(name, "p", steps, "t"))
        for name, steps in (("long", ("a" * 80, "b")), ("bad", ("\ud800",)), ("good", STEPS))
    ]
    ended = {e.solution_id: e.lost for e in open_scorer(model, "pure").judge(items, [0, 1], {}, heard.append)}
    assert ended["long"] == ended["good"] == "" and "surrogates not allowed" in ended["bad"]
    rows = {(r.solution_id, r.step, r.vote): r for r in heard}
    assert {key[0] for key in rows} == {"long", "good"} and len(rows) == 2 * (2 + 3)
    assert rows["long", 1, 1].verdict.correct is None and rows["long", 1, 1].reason == "context"
    assert rows["good", 2, 0].verdict == rows["good", 2, 1].verdict, "votes of a model without chance"
    known = {"good": [r for r in heard if r.solution_id == "good"]}
    heard.clear()
    assert [e.lost for e in open_scorer(model, "pure").judge(items[2:], [0, 1], known, heard.append)] == [""]
    assert not heard


def rewrite(directory, weights=None, **fields):
    if weights is not None:
        save_file(weights, directory / "model.safetensors")
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_directory_of_another_layout_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="--model DIR is missing"):
        open_scorer(None, "trl-prm")
    model = prm_directories.make(tmp_path / "qwen", "qwen-prm")
    weights = load_file(model / "model.safetensors")
    with pytest.raises(UserError, match=r"\['Qwen2ForProcessRewardModel'\] is not supported; a Qwen2ForPrmModel is"):
        open_scorer(model, "skywork-prm")
    rewrite(model, {k: v for k, v in weights.items() if k != "score.2.bias"})
    with pytest.raises(UserError, match=r"tensor score.2.bias is missing, which belongs to the head of a .*Reward"):
        open_scorer(model, "qwen-prm")
    three = {"score.2.weight": np.zeros((3, 32), np.float32), "score.2.bias": np.zeros(3, np.float32)}
    rewrite(model, weights | three)
    with pytest.raises(UserError, match=r"score.2 has 3 outputs; one is wanted, or two"):
        open_scorer(model, "qwen-prm")
    rewrite(model, weights | {"more": np.zeros(1, np.float32)})
    with pytest.raises(UserError, match="tensor more has no place in this architecture"):
        open_scorer(model, "qwen-prm")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(UserError, match="pytorch_model.bin is a pickle"):
        open_scorer(model, "qwen-prm")


def test_a_tokenizer_of_another_layout_is_told_in_one_line(tmp_path):
    other = prm_directories.make(tmp_path / "x", "skywork-prm")
    rewrite(other, architectures=["Qwen2ForProcessRewardModel"])
    with pytest.raises(UserError, match=r"'<extra_0>' is \d tokens, and has to be one"):
        open_scorer(other, "qwen-prm")
    llama = prm_directories.make(tmp_path / "y", "rlhflow-prm")
    with pytest.raises(UserError, match=r"'ки' is \d tokens, and has to be one"):
        open_scorer(llama, "math-shepherd")


def test_evaluate_from_end_to_end(tmp_path, directory):
    data = checkpoint.write(tmp_path / "gsm8k.jsonl", checkpoint.rows(6))
    options = dict(scorer="rlhflow-prm", model=directory("rlhflow-prm"), data=data, n=4, full=True)
    assert run_benchmark(read_config(**options, out=tmp_path / "run", json_file=tmp_path / "found.json")) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["scorer"], found["readout"], found["n"]) == ("rlhflow-prm", "prob_raw", 1)
    stored_votes = stored.votes(tmp_path / "run")
    assert len(stored_votes) == len({r["solution_id"] for r in stored_votes.values()}) * 3 == 18
