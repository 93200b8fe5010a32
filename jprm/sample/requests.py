"""What callers ask the engine for, checked, and what they get back. No JAX.

Invariant: a `SampleRequest` fits into the engine it was checked for, so that nothing a user writes can
fail once slots are running.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from jprm.errors import UserError
from jprm.sample.config import EngineConfig

StopWhen = Callable[[list[int]], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class SampleEvent:
    """A handle has stopped, and these are the tokens that it drew since its last event."""

    handle: int
    sample_id: int
    tokens: list[int]  # the stop token included
    finish: str  # "stop": the last token is a stop, or `stop_when` said so; "length": max_tokens are drawn
    logprobs: np.ndarray  # f32 [len(tokens), logprob ids]: raw log-probabilities at each of these tokens
    fault: str = ""  # an engine loses nothing; a server may


@dataclasses.dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SampleRequest:
    """One prompt, shared by the samples drawn from it."""

    prompt: np.ndarray
    stops: tuple[int, ...]
    logprob_ids: tuple[int, ...]
    stop_when: StopWhen | None


def checked_request(
    prompt: Sequence[int],
    sample_ids: Sequence[int],
    max_tokens: Sequence[int],
    stops: Iterable[int],
    logprob_ids: Iterable[int],
    stop_when: StopWhen | None,
    config: EngineConfig,
    vocab_size: int,
) -> SampleRequest:
    """The request, or a UserError that names the numbers which do not fit."""
    ids = token_ids(prompt, vocab_size, "submit: prompt token")
    if not len(ids):
        raise UserError("submit: the prompt is empty; give at least one token")
    if not len(sample_ids):
        raise UserError("submit: no sample ids; give one for each sample wanted")
    if not all(0 <= i < 2**63 for i in sample_ids):
        raise UserError("submit: sample ids must be integers from 0 to 2**63 - 1")
    if len(max_tokens) != len(sample_ids):
        raise UserError(f"submit: {len(max_tokens)} values of max_tokens for {len(sample_ids)} sample ids")
    if min(max_tokens) < 1:
        raise UserError(f"submit: max_tokens = {min(max_tokens)} must be at least 1")
    most = max(max_tokens)
    if len(ids) + most > config.context_tokens:
        raise UserError(
            f"submit: a prompt of {len(ids)} tokens + max_tokens = {most} do not fit into "
            f"context_tokens = {config.context_tokens}"
        )
    if len(ids) > config.most_prompt_tokens:
        raise UserError(
            f"submit: a prompt of {len(ids)} tokens does not fit into a prefix row; raise "
            f"prefix_tokens = {config.most_prompt_tokens}"
        )
    if most > config.most_own_tokens:
        raise UserError(f"submit: max_tokens = {most} do not fit into own_tokens = {config.most_own_tokens}")
    stops = token_ids(stops, vocab_size, "submit: stop id")
    logprob_ids = token_ids(logprob_ids, vocab_size, "submit: logprob id")
    for name, given in (("stops", stops), ("logprob_ids", logprob_ids)):
        if len(given) > (allowed := getattr(config, f"max_{name}")):
            raise UserError(f"submit: {len(given)} ids in {name}; the engine's max_{name} = {allowed}")
    return SampleRequest(ids, tuple(stops.tolist()), tuple(logprob_ids.tolist()), stop_when)


def token_ids(tokens: Iterable[int], vocab_size: int, what: str) -> np.ndarray:
    """The tokens as int32. Raises UserError, beginning with `what`, for one outside the vocabulary."""
    ids = np.fromiter(tokens, np.int64)
    bad = ids[(ids < 0) | (ids >= vocab_size)]
    if len(bad):
        raise UserError(f"{what} {bad[0]} is not in the vocabulary (0 to {vocab_size - 1})")
    return ids.astype(np.int32)
