"""Tiny checkpoints that have learnt a few texts by heart: a policy that errs in half of its solutions, and a teacher.

All problems have the answer 4. The policy writes two steps, and ends with 4 or 5. The teacher analyses each paragraph,
has code run, and says that all is right, or that the second paragraph is wrong. It is no judge, but the filter keeps
what agrees with the labels.
"""

import shutil
from pathlib import Path

import numpy as np

from jprm.chat import ChatCodec
from jprm.data import Document, render
from jprm.models import bind, to_hf
from jprm.models.hf_config import read_config
from jprm.records import Solution
from jprm.tasks.policy import prompt_of
from jprm.tasks.settings import TeacherSection
from jprm.train import fit
from jprm.train.config import TrainConfig
from jprm.verify import GenPRM, as_paragraphs, published
from jprm.verify.sections import HEAD, shown_output
from tests.chat import checkpoints
from tests.models import tiny_hf

# The second speaker's name ends a turn in the vocabulary, where it is not quoted.
PROBLEMS = [f"What is {a} and {b}, asks {who}?" for a, b in ((1, 3), (2, 2), (3, 1)) for who in ("Ann", "<|im_end|>")]
ANSWERS = RIGHT, WRONG = 4, 5
STEPS = "We add both numbers.\n\n", "So it is \\boxed{{{}}}."
POLICY = "{problem}\nSolve it.\n"
TEACHER = TeacherSection(instruction="{problem}\nCheck it.", system="")
SECTION = "Both are there.\n</analyze>\n<verify>\n```python\nprint({} + 2)\n```\n"
RECIPE = TrainConfig(steps=40, batch_rows=4, row_tokens=256, optimizer="adamw", learning_rate=5e-3, warmup_steps=4)
SHAPE = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 4096}

Pieces = list[tuple[str, bool]]


def make(folder: Path) -> dict[str, Path]:
    """The directories by role: policy, teacher and base, which is what the teacher is."""
    untrained = _untrained(folder / "untrained")
    codec = ChatCodec.load(untrained)
    texts = {
        "policy": [_solved(problem, answer, codec) for problem in PROBLEMS for answer in ANSWERS],
        "teacher": [_judged(p, a, wrong, codec) for p in PROBLEMS for a in ANSWERS for wrong in (-1, 2)],
    }
    end = (codec.spell([codec.eos_id]), True)
    for role, pieces in texts.items():
        _train(untrained, folder / role, [render([*of_one, end], codec) for of_one in pieces])
    shutil.copytree(folder / "teacher", folder / "base")
    return {role: folder / role for role in ("policy", "teacher", "base")}


def _untrained(directory: Path) -> Path:
    """A random model, whose tokenizer has words for what is written here."""
    chat = published(GenPRM).chat
    section = HEAD.format(number=1) + SECTION.format(1) + shown_output("3") + "</verify>\n\\boxed{-1} {Yes} {No}"
    texts = [*PROBLEMS, *STEPS, POLICY, TEACHER.instruction, section, chat.system, chat.first_user.training] * 4
    texts += ["You are a helpful assistant. Problem:\nSolution:\n<paragraph_1>\n</paragraph_1>\n"] * 4
    checkpoints.make(directory, "qwen", texts=texts, vocab_size=600)
    codec = ChatCodec.load(directory)
    shape = SHAPE | {"vocab_size": -(-codec.vocab_size // 8) * 8, "eos_token_id": codec.eos_id}
    config = tiny_hf.CASES["qwen2-tied"] | shape
    built = tiny_hf.write(directory / "weights", config, tiny_hf.tensors(config))
    for path in built.iterdir():
        path.rename(directory / path.name)
    built.rmdir()
    return directory


def _train(start: Path, directory: Path, documents: list[Document]) -> None:
    from jprm.models import from_hf

    model, params = from_hf(start, np.float32)
    trained = fit(bind(read_config(start)), params, documents, RECIPE, 0, directory / "checkpoints")
    shutil.rmtree(directory)
    to_hf(directory, model, trained.params, source=start)


def _solved(problem: str, answer: int, codec: ChatCodec) -> Pieces:
    """What the policy reads and writes."""
    return [(POLICY.format(problem=codec.quote(problem)), False), (STEPS[0] + STEPS[1].format(answer), True)]


def _judged(problem: str, answer: int, wrong: int, codec: ChatCodec) -> Pieces:
    """What the teacher reads and writes where it calls the paragraph of this number wrong; -1 is none."""
    prompt, solution = prompt_of(TEACHER, codec), Solution("", "", (STEPS[0], STEPS[1].format(answer)), "policy")
    task = f"Problem:\n{codec.quote(problem)}\n\nSolution:\n{as_paragraphs(solution).steps[0]}"
    return [
        (prompt.before + task + prompt.after + HEAD.format(number=1), False),
        (SECTION.format(1), True),
        (shown_output("3"), False),
        ("</verify>\n" + HEAD.format(number=2) + SECTION.format(2), True),
        (shown_output("4"), False),
        (f"</verify>\n\\boxed{{{wrong}}}", True),
    ]
