"""One request to /v1/completions, and what the answer says about tokens.

Servers differ in what they tell. vLLM names token ids (`return_token_ids`, or ids in place of token
texts) and the log-probabilities of chosen tokens (`logprob_token_ids`); sglang and sglang-jax give
texts of tokens and the `TOP` most probable ones; others give a text alone. The fields of all are sent,
since each ignores those it does not know, and the most exact of what comes back is used.

Log-probabilities are the model's own, before temperature and truncation, where the server gives
those: vLLM does by default since its V1 engine (`--logprobs-mode raw_logprobs`), before it did not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jprm.chat import ChatCodec
from jprm.errors import UserError

TOP = 20  # the most log-probabilities per token that vLLM gives by default
NAMED = "token_id:"  # how vLLM writes a token as its id


class Sampling(Protocol):
    """How to sample, as `jprm.sample.SamplingParams` and `jprm.verify.genprm.Sampling` say it."""

    @property
    def temperature(self) -> float:
        """0 is greedy."""
        ...

    @property
    def top_k(self) -> int:
        """0 cuts nothing."""
        ...

    @property
    def top_p(self) -> float:
        """1 cuts nothing."""
        ...


@dataclass(frozen=True)
class Completion:
    """What a server has drawn.

    tokens: with the token at which it stopped. watched: f32 [len(tokens), watched ids], nan where the
    server does not say. matched: what it stopped at: a text, a token, or None if it does not say or
    it was an end of text. finish: "stop" or "length".
    """

    tokens: list[int]
    watched: np.ndarray
    finish: str
    matched: str | int | None
    prompt_tokens: int
    cached_tokens: int


def request_body(
    model: str,
    prompt: Sequence[int] | str,
    max_tokens: int,
    sampling: Sampling,
    seed: int,
    stop_ids: Sequence[int],
    stop_texts: Sequence[str],
    watch: Sequence[int],
) -> dict[str, Any]:
    """The fields of a request for one continuation."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompt if isinstance(prompt, str) else list(prompt),
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": seed,
        "stop_token_ids": list(stop_ids),
        "add_special_tokens": False,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
        "include_stop_str_in_output": True,  # vLLM
        "no_stop_trim": True,  # sglang
        "logprobs": TOP if watch else 0,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }
    if sampling.top_k:
        body["top_k"] = sampling.top_k
    if stop_texts:
        body["stop"] = list(stop_texts)
    if watch:
        body["logprob_token_ids"] = list(watch)
    return body


def read_completion(
    answer: Mapping[str, Any], codec: ChatCodec, watch: Sequence[int]
) -> Completion:
    """The continuation in an answer. Raises ValueError, LookupError or TypeError where there is none."""
    [choice] = answer["choices"]
    finish = choice["finish_reason"]
    if finish not in ("stop", "length"):
        raise ValueError(finish)  # sglang answers "abort" when it shuts down
    matched = choice.get("stop_reason", choice.get("matched_stop"))
    logprobs = choice.get("logprobs") or {}
    texts: list[str] = logprobs.get("tokens") or []
    tokens = _tokens(choice, texts, matched, codec)
    usage = answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return Completion(
        tokens=tokens,
        watched=_watched(tokens, texts, logprobs, watch, codec),
        finish=finish,
        matched=matched,
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
    )


def _tokens(
    choice: Mapping[str, Any], texts: list[str], matched: str | int | None, codec: ChatCodec
) -> list[int]:
    ids = choice.get("token_ids")
    if ids is not None:
        return [int(i) for i in ids]
    if texts and all(text.startswith(NAMED) for text in texts):
        return [int(text.removeprefix(NAMED)) for text in texts]
    singles = [codec.encode(text) for text in texts]
    if singles and all(len(single) == 1 for single in singles):
        return [single[0] for single in singles]
    text = choice["text"]
    if isinstance(matched, str) and not text.endswith(matched):
        text += matched
    tokens = codec.encode(text)
    ends = matched if isinstance(matched, int) else None
    if choice["finish_reason"] == "stop" and matched is None:
        ends = codec.eos_id
    if ends is not None and tokens[-1:] != [ends]:
        tokens.append(ends)
    return tokens


def _watched(
    tokens: Sequence[int],
    texts: Sequence[str],
    logprobs: Mapping[str, Any],
    watch: Sequence[int],
    codec: ChatCodec,
) -> np.ndarray:
    """[len(tokens), len(watch)]; nan where a token is not among those that the server names."""
    watched = np.full((len(tokens), len(watch)), np.nan, np.float32)
    tops: list[Mapping[str, float] | None] = logprobs.get("top_logprobs") or []
    if len(texts) != len(tokens):  # the text was tokenised again, to other tokens
        return watched
    for column, token in enumerate(watch):
        names = (f"{NAMED}{token}", codec.spell([token]))
        for row, top in enumerate(tops[: len(tokens)]):
            value = next((top[name] for name in names if top and name in top), None)
            if value is not None:
                watched[row, column] = value
    return watched


def context_error(url: str, message: str) -> UserError | None:
    """The error of a conversation that the server finds too long, None if the message says another."""
    said = message.lower()
    if "context length" in said or "max_model_len" in said or "context_length" in said:
        return UserError(
            f"{url}: {message}; set the context of this run to what the server holds, or serve the "
            "model with a longer one (--max-model-len, --context-length)"
        )
    return None
