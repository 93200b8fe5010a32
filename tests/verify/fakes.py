"""Stand-ins for the engine, the pool and the tokenizer, driven by scripts and a fake clock."""

from __future__ import annotations

import re
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np

from jprm.errors import UserError
from jprm.verify import EMBEDDED, Budget

PIECES = (
    *("<analyze>", "</analyze>\n", "<verify>", "</verify>\n", "[Code output: ", "]\n"),
    *("<output>\\boxed{", "Yes", "No", "}</output>\n", "}$\n", "</output>\n", "\n```\n"),
)


def within(max_tokens, max_rounds, verdict_tokens, template=EMBEDDED):
    """The template with another budget."""
    budget = Budget(max_tokens=max_tokens, max_rounds=max_rounds, verdict_tokens=verdict_tokens)
    if template is EMBEDDED:
        return replace(template, budget=budget)
    return template.model_copy(update={"budget": budget})


class FakeTokenizer:
    """The protocol's pieces are tokens, any other character is one; ids grow as texts are seen.

    The end of a turn reads as "", but for `show`; `eos` is how it is written.
    """

    eos_id = 0

    def __init__(self, refused: str = "", pieces=PIECES, eos: str = "<eos>"):
        self._refused, self._eos = refused, eos
        self._ids = {eos: 0}
        self._texts = [""]
        self._pattern = re.compile(
            "|".join(re.escape(piece) for piece in sorted([*pieces, eos], key=len, reverse=True)) + "|.", re.DOTALL
        )
        for piece in pieces:
            self._id(piece)

    def _id(self, piece):
        if piece not in self._ids:
            self._ids[piece] = len(self._texts)
            self._texts.append(piece)
        return self._ids[piece]

    def encode(self, text):
        if not self.accepts(text):
            raise UserError(f"no token for {self._refused!r}")
        return [self._id(piece) for piece in self._pattern.findall(text)]

    def decode(self, ids):
        return "".join(self._texts[i] for i in ids)

    def show(self, ids):
        return "".join(self._texts[i] if i else self._eos for i in ids)

    def token_id(self, token):
        if self._pattern.findall(token) != [token]:
            raise UserError(f"{token!r} is not one token")
        return self._id(token)

    def accepts(self, text):
        return not (self._refused and self._refused in text)


@dataclass
class FakeEvent:
    """As the engine's."""

    handle: int
    sample_id: int
    tokens: list[int]
    finish: str
    logprobs: np.ndarray


@dataclass
class Conversation:
    """A handle's state in the scripted sampler."""

    sample_id: int
    ids: list[int]
    max_tokens: int
    state: str  # "queued", "running", "stopped"
    turns: list[list[int]] = field(default_factory=list)  # forced tokens, generated tokens, ...


class ScriptedSampler:
    """A sampler with few slots whose model is `script(sample_id, text so far) -> further text`.

    That text may run on behind a stop or behind `max_tokens`; it is cut there. Log-probabilities of
    the logprob ids are `-position` for the one written and `-position - margin` for the other.
    """

    def __init__(self, tokenizer, script, slots=4, context_tokens=10_000, margin=2.0):
        self.tokenizer, self.script, self.slots = tokenizer, script, slots
        self.context_tokens, self.margin = context_tokens, margin
        self.conversations: dict[int, Conversation] = {}
        self.released: dict[int, Conversation] = {}
        self.prompts: list[tuple[str, int]] = []  # text and number of samples of each submit
        self.parents: list[int | None] = []  # and what it was to continue
        self.log: list[str] = []
        self._next = 0

    def submit(self, prompt, sample_ids, *, max_tokens, stops, logprob_ids=(), stop_when=None, parent=None):
        if parent is not None:
            held = self.conversations[parent]
            assert held.state == "stopped" and prompt[: len(held.ids)] == held.ids
        self.parents.append(parent)
        assert len(prompt) + max_tokens <= self.context_tokens and max_tokens >= 1
        self.stops, self.logprob_ids, self.stop_when = list(stops), list(logprob_ids), stop_when
        self.prompts.append((self.tokenizer.decode(prompt), len(sample_ids)))
        handles = []
        for sample_id in sample_ids:
            conversation = Conversation(sample_id, list(prompt), max_tokens, "queued")
            conversation.turns.append(list(prompt))
            self.conversations[self._next] = conversation
            handles.append(self._next)
            self._next += 1
        return handles

    def extend(self, handle, tokens, *, max_tokens):
        conversation = self.conversations[handle]
        assert conversation.state == "stopped"
        conversation.ids += tokens
        conversation.turns.append(list(tokens))
        assert len(conversation.ids) + max_tokens <= self.context_tokens and max_tokens >= 1
        conversation.max_tokens, conversation.state = max_tokens, "running"

    def release(self, handle):
        self.released[handle] = self.conversations.pop(handle)

    @property
    def busy(self):
        states = [conversation.state for conversation in self.conversations.values()]
        in_slots = len(states) - states.count("queued")
        return "running" in states or ("queued" in states and in_slots < self.slots)

    def poll(self):
        for conversation in self.conversations.values():
            states = [other.state for other in self.conversations.values()]
            if conversation.state == "queued" and len(states) - states.count("queued") < self.slots:
                conversation.state = "running"
        running = [(h, c) for h, c in self.conversations.items() if c.state == "running"]
        return [self._finish(handle, conversation) for handle, conversation in running[:2]]

    def _finish(self, handle, conversation):
        text = self.tokenizer.decode(conversation.ids)
        tokens, finish = [], "length"
        for token in self.tokenizer.encode(self.script(conversation.sample_id, text)):
            tokens.append(token)
            if token in self.stops or (self.stop_when and self.stop_when(tokens)):
                finish = "stop"
                break
            if len(tokens) == conversation.max_tokens:
                break
        else:
            if len(tokens) < conversation.max_tokens:
                tokens.append(self.tokenizer.eos_id)
                finish = "stop"
        start = len(conversation.ids)
        conversation.ids += tokens
        conversation.turns.append(tokens)
        conversation.state = "stopped"
        self.log.append(f"sampled {handle}")
        logprobs = np.array(
            [
                [-float(start + n) - self.margin * (token != word) for word in self.logprob_ids]
                for n, token in enumerate(tokens)
            ]
        ).reshape(len(tokens), len(self.logprob_ids))
        return FakeEvent(handle, conversation.sample_id, tokens, finish, logprobs)


@dataclass
class FakeOutcome:
    """As the pool's."""

    kind: str
    text: str


class FakeExecutor:
    """Runs code with `run(history, code) -> text`; with `held`, only when `let_go` is called."""

    def __init__(self, run=None, held=False):
        self.run = run or (lambda history, code: str(eval(code.removeprefix("print"))))
        self.held = held
        self.pending: deque = deque()
        self.open_sessions = 0
        self.histories: list[tuple[str, ...]] = []

    def session(self):
        return FakeSession(self, [])

    def let_go(self):
        session, code, future = self.pending.popleft()
        session.answer(code, future)


class FakeSession:
    """A namespace that is only a history."""

    def __init__(self, executor, history):
        self.executor, self.history = executor, history
        executor.open_sessions += 1

    def submit(self, code):
        future = Future()
        if self.executor.held:
            self.executor.pending.append((self, code, future))
        else:
            self.answer(code, future)
        return future

    def answer(self, code, future):
        text = self.executor.run(tuple(self.history), code)
        self.history.append(code)
        self.executor.histories.append(tuple(self.history))
        future.set_result(FakeOutcome("ok", text))

    def fork(self):
        return FakeSession(self.executor, list(self.history))

    def close(self):
        self.executor.open_sessions -= 1
