"""What callers ask the engine for, checked, and what they get back. No JAX.

Invariant: a `Request` fits into the engine it was checked for, so that nothing a user writes can
fail once lanes are running.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from jprm.errors import UserError
from jprm.sample.config import EngineConfig

StopWhen = Callable[[list[int]], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A handle has stopped.

    tokens: what was drawn since its last event, the stop token included.
    finish: "stop" (the last token is one of the stops, or `stop_when` said so) or "length"
        (max_tokens are drawn).
    watched: f32 [len(tokens), watched ids], the raw log-probabilities with which each of these
        tokens was drawn or not.
    """

    handle: int
    sample_id: int
    tokens: list[int]
    finish: str
    watched: np.ndarray
    fault: str = ""  # an engine loses nothing; a server may


@dataclasses.dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Request:
    """One prompt, shared by the samples drawn from it."""

    prompt: np.ndarray
    stops: tuple[int, ...]
    watch: tuple[int, ...]
    stop_when: StopWhen | None


def checked_request(
    prompt: Sequence[int],
    sample_ids: Sequence[int],
    max_tokens: Sequence[int],
    stops: Iterable[int],
    watch: Iterable[int],
    stop_when: StopWhen | None,
    config: EngineConfig,
    vocab_size: int,
) -> Request:
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
    watch = token_ids(watch, vocab_size, "submit: watch id")
    for name, given, allowed in (("stops", stops, config.max_stops), ("watch", watch, config.max_watch)):
        if len(given) > allowed:
            raise UserError(f"submit: {len(given)} ids in {name}; the engine's max_{name} = {allowed}")
    return Request(ids, tuple(stops.tolist()), tuple(watch.tolist()), stop_when)


def token_ids(tokens: Iterable[int], vocab_size: int, what: str) -> np.ndarray:
    """Tokens as int32. Raises UserError, beginning with `what`, for one outside the vocabulary."""
    ids = np.fromiter(tokens, np.int64)
    bad = ids[(ids < 0) | (ids >= vocab_size)]
    if len(bad):
        raise UserError(f"{what} {bad[0]} is not in the vocabulary (0 to {vocab_size - 1})")
    return ids.astype(np.int32)
