"""A simulated policy whose success rates have a closed form, and the little that rollouts ask of world and tokenizer.

The policy writes STEPS lines, "g" or "b". From a good one it errs with rate ERRS, from a bad one
it recovers with rate RECOVERS; the answer is right iff the last line is good. With n lines left the
success rates from good and bad are M^n (1, 0)'.
"""

from dataclasses import dataclass

import numpy as np

from jprm.worlds.base import lines, make_solution

STEPS, ERRS, RECOVERS = 4, 0.15, 0.1


class LineWorld:
    """Just what the rollouts ask of a world."""

    split_steps = staticmethod(lines)

    def answer(self, steps):
        return steps[-1].strip() if len(steps) == STEPS else None

    def is_correct(self, problem, steps):
        return self.answer(steps) == "g"

    def truth(self, problem, steps):
        return (list(steps).index("b\n"), "slip") if "b\n" in steps else (-1, "")

    def planted(self, problem, rng):
        at = int(rng.integers(STEPS))
        return make_solution(problem, ["g\n"] * at + ["b\n"] * (STEPS - at), "planted", at, "operand")


class Letters:
    """A tokenizer of single characters; 0 ends a text."""

    eos_id = 0

    def encode(self, text):
        return [ord(c) for c in text]

    def decode(self, ids):
        return "".join(chr(i) for i in ids if i)

    def token_id(self, token):
        return ord(token)

    def accepts(self, text):
        return True


@dataclass
class Event:
    handle: int
    tokens: list
    finish: str
    logprobs: object = None
    fault: str = ""


class ChainSampler:
    """The two-state policy; draws on sample ids only, answers in a scrambled order."""

    def __init__(self, order=0, errs=ERRS, recovers=RECOVERS, fail_after=None):
        self.rng = np.random.default_rng(order)
        self.errs, self.recovers, self.fail_after = errs, recovers, fail_after
        self.pending, self.seen, self.released, self.polls = {}, [], [], 0

    @property
    def busy(self):
        return bool(self.pending)

    def submit(self, prompt, sample_ids, *, max_tokens, stops, logprob_ids=()):
        text = "".join(chr(t) for t in prompt)
        self.seen.append((text, tuple(sample_ids)))
        handles = [sum(len(ids) for _, ids in self.seen[:-1]) + i for i in range(len(sample_ids))]
        for handle, sample in zip(handles, sample_ids, strict=True):
            self.pending[handle] = self._write(text, sample)[:max_tokens]
        return handles

    def _write(self, text, sample):
        done = text.split("\n")[1:-1]
        good, rng, out = (not done or done[-1] == "g"), np.random.default_rng(sample), []
        for _ in range(STEPS - len(done)):
            good = rng.random() >= self.errs if good else rng.random() < self.recovers
            out += [ord("g" if good else "b"), ord("\n")]
        return [*out, 0]

    def poll(self):
        self.polls += 1
        if self.polls == self.fail_after:
            raise KeyboardInterrupt
        some = self.rng.permutation(list(self.pending))[:50]
        events = []
        for handle in map(int, some):
            tokens = self.pending.pop(handle)
            events.append(Event(handle, tokens, "stop" if tokens[-1] == 0 else "length"))
        return events

    def release(self, handle):
        self.released.append(handle)
