"""GSM8K as a `World`: the real problems, with the truth that their calculator marks give.

The test split is the test file; development is a share of the train file, by a hash of the text; a problem that stands
in both files is a test problem.

Invariant: splits share no problem, and no method but `base_documents` and `tokenizer` depends on more than the
problem's own row.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import Field

from jprm.config import Config
from jprm.digests import content_digest
from jprm.errors import UserError
from jprm.grade import final_answer
from jprm.records import Problem, Solution
from jprm.seeds import seed_of
from jprm.tokenizer import Tokenizer, bpe_tokenizer
from jprm.worlds import base
from jprm.worlds.base import RATIONALE_PIECES, SPLITS, Annotation, Segment, Style, World
from jprm.worlds.gsm8k import documents, planted, solutions
from jprm.worlds.gsm8k.documents import Gsm8kMix
from jprm.worlds.gsm8k.solutions import WorkedProblem

DEV_SHARE = 10  # one train problem in so many is a development problem
ATOMIC = (*RATIONALE_PIECES, "True", "False", "None", "Error")


class Gsm8kSettings(Config):
    """What a configuration may say about this world."""

    root: Path | None = None
    """The folder that holds train.jsonl and test.jsonl, or .jsonl.gz; in a sweep `data.root` gives it."""
    vocab_size: int = Field(default=2048, ge=512)
    """The tokens of the vocabulary; bytes and tags need 512."""
    mix: Gsm8kMix = Gsm8kMix()


class Gsm8kWorld(World):
    """Grade-school word problems; steps are the lines of the worked solutions."""

    name = "gsm8k"
    version = "2"  # since final answers are read past marks and prose
    path_settings = frozenset(("root",))

    def __init__(self, root: str | Path, vocab_size: int = 2048, mix: Gsm8kMix | None = None):
        """Reads both files under `root`. Raises UserError naming the file, and the bad line."""
        self.mix = mix or Gsm8kMix()
        self.vocab_size = vocab_size
        train, unsound_train = solutions.read_file(train_file := solutions.find_file(Path(root), "train"))
        test, unsound_test = solutions.read_file(test_file := solutions.find_file(Path(root), "test"))
        self.digest = f"{content_digest(train_file)}-{content_digest(test_file)}"
        self.rejected = (*unsound_train, *unsound_test)
        rows = {row.text: (split_of(row.text), row) for row in train}
        rows |= {row.text: ("test", row) for row in test}
        self._rows = {text: row for text, (_, row) in rows.items()}
        self._splits = {split: [row for s, row in rows.values() if s == split] for split in SPLITS}
        self._tokenizer: Tokenizer | None = None

    def problems(self, split: base.Split, n: int, seed: int) -> list[Problem]:
        """Returns `n` problems in the order of the seed. Raises UserError where there are fewer."""
        base.check_split(split)
        rows = self._splits[split]
        if n > len(rows):
            raise UserError(f"gsm8k has {len(rows)} {split} problems in these files, {n} were asked")
        order = random.Random(seed_of(seed, self.name, "problems", split)).sample(rows, len(rows))
        return [
            base.make_problem(self.name, row.text, row.answer, f"steps={min(len(row.lines), 8)}", split)
            for row in order[:n]
        ]

    def reference(self, problem: Problem, rng: np.random.Generator | None = None) -> Solution:
        """Returns the worked solution of the file; there is only one, whatever `rng`."""
        return base.make_solution(problem, [line.text for line in self._row(problem).lines], "reference", -1)

    def planted(self, problem: Problem, rng: np.random.Generator) -> Solution | None:
        """Returns the worked solution with one planted error that later steps carry on."""
        drawn = planted.plant(problem.text, self._row(problem).lines, base.scalar_rng(rng))
        if drawn is None:
            return None
        steps, at, kind = drawn
        return base.make_solution(problem, steps, "planted", at, kind)

    def truth(self, problem: Problem, steps: Sequence[str]) -> tuple[int | None, str]:
        """Returns the exact truth for steps with the words of the worked solution, else (None, "unknown")."""
        row = self._rows.get(problem.text)
        return (None, solutions.UNKNOWN) if row is None else solutions.first_error(row.lines, steps)

    def answer(self, steps: Sequence[str]) -> str | None:
        """Returns the answer that the last step states."""
        return final_answer(steps[-1]) if steps else None

    def annotate(
        self,
        problem: Problem,
        steps: Sequence[str],
        step: int,
        style: Style,
        rng: np.random.Generator | None = None,
        noise: float = 0.0,
    ) -> Annotation:
        """Returns the annotator's rationale for `steps[step]`; it has the file's solution, if any."""
        row = self._rows.get(problem.text)
        scalar = None if rng is None else base.scalar_rng(rng)
        return documents.annotate(row.lines if row else (), steps, step, style, scalar, noise)

    def base_documents(self, n: int, seed: int) -> Iterator[list[Segment]]:
        """Yields the first `n` documents of the mix; rows come again, in another order."""
        rng = random.Random(seed_of(seed, self.name, "base"))
        return islice(documents.documents(self._splits["train"], rng, self.mix), n)

    def tokenizer(self) -> Tokenizer:
        """Returns byte-level BPE of the train split's problems, solutions and annotations; it is made once."""
        if self._tokenizer is None:
            self._tokenizer = bpe_tokenizer(self._texts(), self.vocab_size, ATOMIC)
        return self._tokenizer

    def _texts(self) -> Iterator[str]:
        for row in self._splits["train"]:
            steps = [line.text for line in row.lines]
            yield row.text + "".join(steps)
            for index in range(len(steps)):
                note = documents.annotate(row.lines, steps, index, "analysis")
                yield note.analysis
                yield note.code

    def _row(self, problem: Problem) -> WorkedProblem:
        row = self._rows.get(problem.text)
        if row is None:
            raise UserError(f"problem {problem.id} is not in the GSM8K files that were read")
        return row


def split_of(text: str) -> str:
    """Returns the split of a problem of the train file."""
    return "dev" if hashlib.sha256(text.encode()).digest()[0] % DEV_SHARE == 0 else "train"
