"""A scorer whose votes are known: the published protocol over a scripted sampler."""

from __future__ import annotations

import re

from jprm.errors import UserError
from jprm.score import Generator
from jprm.score.scorers.genprm import GenPRMScorer
from jprm.seeds import rng_of, seed_of
from jprm.verify import VerifySettings
from tests.verify.fakes import FakeExecutor
from tests.verify.published import Watched, codec, published

PARAGRAPH = re.compile(r"Paragraph (\d+) step by step: ")


class Scripted(GenPRMScorer):
    """Votes as `verdict(row's problem, step, vote)` says: True, False or None.

    Register a subclass with that method. `killed_after` rationales the run ends in `Killed`.
    """

    samples = False  # by a model that a directory would have to be given for
    killed_after: int | None = None
    drawn: list[int] = []  # conversations that each call began

    def verdict(self, problem, step, vote):
        raise NotImplementedError

    def judge(self, items, votes, known, heard):
        tokenizer = codec()
        sample = {
            seed_of(self.setup.seed, one.id, *where, *again): vote
            for _, one in items
            for vote in votes
            for where in [(vote,), *((step, vote) for step in range(len(one.steps)))]
            for again in [(), *(("restart", i) for i in range(1, 40))]
        }

        def script(sample_id, text):
            step = int(PARAGRAPH.findall(text)[-1]) - 1
            problem = next(p.text for p, _ in items if p.text.strip() in text)
            if not text.endswith("```python\n"):
                return "fine</analyze>\n"
            correct = self.verdict(problem, step, sample[sample_id])
            word = {True: "{Yes}", False: "{No}", None: "{Well}"}[correct]
            return f"print(1)\n</verify>\n<output>\n**Judgement**: $\\boxed{word}$\n</output>\n"

        sampler = Watched(tokenizer, script)
        settings = VerifySettings(
            context_tokens=sampler.context_tokens,
            mode=self.setup.mode,
            readout=self.setup.readout,
            template=published(),
        )
        generator = Generator(sampler, FakeExecutor(), tokenizer, settings)
        self.setup = type(self.setup)(
            **{name: getattr(self.setup, name) for name in self.setup.__dataclass_fields__}
            | {"generator": lambda style, execute: generator}
        )
        left = self.killed_after

        def hear(rationale):
            nonlocal left
            if left == 0:
                raise Killed
            left = None if left is None else left - 1
            heard(rationale)

        yield from super().judge(items, votes, known, hear)
        type(self).drawn.append(sum(n for _, n in sampler.prompts))


class Killed(UserError):
    """Stands for SIGKILL: the run ends in the middle."""


def chance(problem, step, vote):
    """A verdict by chance; a step is wrong with a chance of its own, so that unanimity is common."""
    wrong = rng_of(1, problem, step).choice([0.05, 0.5, 0.95])
    draw = rng_of(2, problem, step, vote).random()
    return None if draw > 0.97 else bool(draw > wrong)
