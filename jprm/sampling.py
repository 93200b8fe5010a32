"""What a sampler is, wherever its model runs: how it draws, what it is asked for, and what it tells.

`jprm.sample.Engine` samples on the devices here, `jprm.openai.OpenAISampler` has a server sample. Labels, verification
and search know a `Sampler` and neither of the two, so that they load no JAX and their tests run on scripts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from jprm.errors import UserError

StopWhen = Callable[[list[int]], bool]
Tokens = Sequence[int] | np.ndarray
T = TypeVar("T")


@dataclass(frozen=True)
class SamplingParams:
    """Temperature, then top-k, then top-p: vLLM's order. Raises UserError for a value outside its range."""

    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # 0 cuts nothing
    top_p: float = 1.0  # 1 cuts nothing

    def __post_init__(self):
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"sampling: temperature = {self.temperature} must be finite and at least 0")
        if self.top_k < 0:
            raise UserError(f"sampling: top_k = {self.top_k} must be at least 0 (0 cuts nothing)")
        if not 0 < self.top_p <= 1:
            raise UserError(f"sampling: top_p = {self.top_p} must be above 0 and at most 1 (1 cuts nothing)")


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """A handle has stopped, and these are the tokens that it drew since its last event."""

    handle: int
    sample_id: int
    tokens: list[int]  # the stop token included
    # "stop": the last token is a stop, or `stop_when` said so; "length": max_tokens are drawn; "lost": a server cannot
    # complete this conversation
    finish: str
    logprobs: np.ndarray  # f32 [len(tokens), logprob ids]: raw log-probabilities; nan where a server does not say
    fault: str = ""  # why it is lost


class Sampler(ABC):
    """Draws continuations of many prompts side by side; one that has stopped is held until it is released."""

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Whether `poll` would get anything done, or has news."""

    @abstractmethod
    def submit(
        self,
        prompt: Sequence[int],
        sample_ids: Sequence[int],
        *,
        max_tokens: int,
        stops: Sequence[int] = (),
        logprob_ids: Sequence[int] = (),
        stop_when: StopWhen | None = None,
        parent: int | None = None,
    ) -> list[int]:
        """Queues one sample of up to max_tokens tokens for each id; returns their handles.

        stops, logprob_ids: token ids that end a turn when they are drawn, and token ids of which events tell the
            log-probabilities. They hold as long as the handle.
        stop_when: for stops that are not single tokens: says whether to stop after these tokens, all that were drawn
            since the last event. A sampler that was made with `triggers` asks at these tokens only.
        parent: a stopped handle whose tokens begin the prompt, so that they need not be read again.
        Raises UserError for what does not fit the sampler, before anything runs.
        """

    @abstractmethod
    def extend(self, handle: int, tokens: Sequence[int], *, max_tokens: int) -> None:
        """Forces tokens (possibly none) on a stopped handle, then lets it draw up to max_tokens more.

        With max_tokens 0 it stops again at once, with an empty event. Raises UserError for a handle that has not
        stopped.
        """

    @abstractmethod
    def release(self, handle: int) -> None:
        """Forgets a handle in any state, with what it has not reported yet."""

    @abstractmethod
    def poll(self) -> list[SampleEvent]:
        """Lets the model work for a moment, and returns who has stopped; [] where nobody has."""


def check_request(prompt: Tokens, sample_ids: Sequence[int], max_tokens: int) -> None:
    """Raises UserError for a prompt without tokens, no sample ids, and max_tokens below 1."""
    if not len(prompt):
        raise UserError("submit: the prompt is empty; give at least one token")
    if not len(sample_ids):
        raise UserError("submit: no sample ids; give one for each sample wanted")
    if max_tokens < 1:
        raise UserError(f"submit: max_tokens = {max_tokens} must be at least 1")


def check_parent(prompt: Tokens, held: Tokens) -> None:
    """Raises UserError for a prompt that does not begin with the tokens that its parent holds."""
    if list(prompt[: len(held)]) != list(held):
        raise UserError(f"submit: the prompt does not begin with the {len(held)} tokens of its parent")


def check_extension(max_tokens: int) -> None:
    """Raises UserError for a number of further tokens below 0."""
    if max_tokens < 0:
        raise UserError(f"extend: max_tokens = {max_tokens} must be at least 0")


def held(conversations: Mapping[int, T], handle: int) -> T:
    """Returns what a handle stands for. Raises UserError for one that is unknown or was released."""
    if handle not in conversations:
        raise UserError(f"sample: handle {handle} is unknown or released")
    return conversations[handle]
