"""The published protocol in tests: its file, a tokenizer whose tokens cross its stops, and a run."""

from pathlib import Path

from jprm.config import load
from jprm.records import Problem, Solution
from jprm.verify import GenPRM, ThinkPRM, VerifySettings, verify
from tests.verify.fakes import FakeExecutor, FakeTokenizer, ScriptedSampler

FILE = Path(__file__).resolve().parents[2] / "configs/verify/genprm.toml"
# The protocol's texts are long for a random model's vocabulary, and it stops at letters by chance.
BRIEF = (
    "chat.system=Review.",
    "tags.analyze_close=a",
    "tags.code_close=e",
    "tags.output_close=o",
    "tags.verdict_close=}$o",
    'tags.verify_open="<v>\\n```python\\nprint(1)\\n"',
)
EOS = "<｜end▁of▁sentence｜>"
# A blank and a word are one token where they are tokenised together; one token ends beyond a stop.
PIECES = ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "Yes", "No", " The", ">\n\n", "```")

A0 = "<analyze>\nLet's analyze the Paragraph {} step by step: "
V0 = "<verify>\nLet's use python code to find any potential error:\n```python\n"
O0 = "<output>\n**Judgement**: $\\boxed"
YES, NO = "{Yes}$\n</output>\n", "{No}$\n</output>\n"


def published(*overrides):
    return load(GenPRM, FILE, overrides)


def thinkprm(*overrides):
    """Without the turns of a chat: a problem, its solution, and words that are tokens of the fakes."""
    plain = ("prompt='{problem} {solution}'", "think_open='<think>'", "yes=Yes", "no=No")
    return load(ThinkPRM, FILE.with_name("thinkprm.toml"), (*plain, 'question="\\n? "', *overrides))


def codec():
    return FakeTokenizer(pieces=PIECES, eos=EOS)


def item(name, *steps):
    problem = Problem(f"p-{name}", f"Ann has 8 ({name}).\n", "19")
    return problem, Solution(f"s-{name}", problem.id, steps, "planted")


class Watched(ScriptedSampler):
    """Remembers what the model was shown at every turn, end of turns included."""

    def __init__(self, tokenizer, script, **sizes):
        super().__init__(tokenizer, script, **sizes)
        self.shown = []

    def _finish(self, handle, conversation):
        self.shown.append(self.tokenizer.show(conversation.ids))
        return super()._finish(handle, conversation)


def run(items, script, *overrides, votes=(0,), executor=None, context_tokens=10_000, **settings):
    """(rationales by solution, step and vote; the sampler)."""
    tokenizer, executor = codec(), executor or FakeExecutor()
    sampler = Watched(tokenizer, script, context_tokens=context_tokens)
    chosen = VerifySettings(context_tokens=sampler.context_tokens, template=published(*overrides), **settings)
    rows = verify(items, votes, sampler, executor, tokenizer, chosen, 7)
    found = {(r.solution_id, r.step, r.vote): r for rationales in rows for r in rationales}
    assert sampler.conversations == {} and getattr(executor, "open_sessions", 0) == 0
    assert len(found) == sum(len(one.steps) for _, one in items) * len(votes)
    return found, sampler
