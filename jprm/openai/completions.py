"""One request to /v1/completions, and what the answer says about tokens.

Servers differ in what they tell. vLLM names token ids (`return_token_ids`, or ids in place of token
texts) and the log-probabilities of chosen tokens (`logprob_token_ids`); llama.cpp names ids beside
its log-probabilities; sglang and sglang-jax give texts of tokens and the most probable ones; others
give a text alone. The most exact of what comes back is used: a text is tokenised again only where
there are no ids. Which fields a server takes, the probe finds out (see `jprm.openai.dialect`).

Log-probabilities are the model's own, before temperature and truncation, where the server gives
those: vLLM does by default since its V1 engine (`--logprobs-mode raw_logprobs`), before it did not.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AliasPath, BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter

from jprm.chat import ChatCodec
from jprm.http import parse

NAMED = "token_id:"  # how vLLM writes a token as its id
BROKEN = "\ufffd"  # what a text shows of a letter of which not all bytes are there

Told = Literal["ids", "texts", "text"]
Stop = int | str | None


@dataclass(frozen=True)
class CompletionRequest:
    """One continuation that a server is asked for; greedy, without an end, unless said otherwise."""

    ids: Sequence[int]
    max_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: Sequence[int] = ()
    stop_texts: Sequence[str] = ()
    logprob_ids: Sequence[int] = ()

    def body(self, model: str, prompt: Sequence[int] | str, logprobs: int) -> dict[str, Any]:
        """The fields of the request, for a server that takes all of them.

        prompt: the ids or their text. logprobs: how many of the most probable tokens to tell.
        """
        body: dict[str, Any] = {
            "model": model,
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop_token_ids": list(self.stop_ids),
            "add_special_tokens": False,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            "include_stop_str_in_output": True,  # vLLM
            "no_stop_trim": True,  # sglang
            "logprobs": logprobs,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }
        if self.top_k:
            body["top_k"] = self.top_k
        if self.stop_texts:
            body["stop"] = list(self.stop_texts)
        if self.logprob_ids:
            body["logprob_token_ids"] = list(self.logprob_ids)
        return body


@dataclass(frozen=True)
class Completion:
    """What a server has drawn."""

    text: str  # as it came
    tokens: list[int]  # with the token at which it stopped, as far as that is known
    told: Told  # whether the server named the tokens' ids, their texts, or the text alone
    logprobs: np.ndarray  # f32 [len(tokens), logprob ids]; nan where the server does not say
    most_logprobs: int  # the most log-probabilities that a token came with
    finish: Literal["stop", "length"]
    matched: Stop  # the text or token at which it stopped; None if it does not say, or at an end of text
    prompt_tokens: int
    cached_tokens: int  # of the prompt, which the server had read before


class _Shape(BaseModel):
    """The shape that an answer must have; further fields are ignored."""

    model_config = ConfigDict(strict=True)


Id = Annotated[int, Field(ge=0, lt=1 << 31)]
LogProb = Annotated[float, Field(le=0.01)]  # not nan; rounding may lift it over 0


class _Candidate(_Shape):
    id: Id | None = None
    token: str
    logprob: LogProb


class _Position(_Shape):
    id: Id | None = None
    token: str
    top_logprobs: list[_Candidate] = []


class _LogProbs(_Shape):
    tokens: Annotated[list[str], Field(fail_fast=True)] | None = None
    top_logprobs: Annotated[list[dict[str, LogProb] | None], Field(fail_fast=True)] | None = None
    content: Annotated[list[_Position], Field(fail_fast=True)] | None = None  # as in chats; llama.cpp


class _Choice(_Shape):
    text: str
    finish_reason: Literal["stop", "length"]  # sglang says "abort" when it shuts down
    stop_reason: Stop = None  # vLLM
    matched_stop: Stop = None  # sglang
    token_ids: Annotated[list[Id], Field(fail_fast=True)] | None = None
    logprobs: _LogProbs | None = None


class _Usage(_Shape):
    prompt_tokens: NonNegativeInt | None = None
    cached_tokens: Annotated[
        NonNegativeInt | None, Field(validation_alias=AliasPath("prompt_tokens_details", "cached_tokens"))
    ] = None


class _Answer(_Shape):
    choices: Annotated[list[_Choice], Field(min_length=1, max_length=1)]
    usage: _Usage | None = None


_ANSWER = TypeAdapter(_Answer)


def read_completion(answer: bytes, codec: ChatCodec, logprob_ids: Sequence[int]) -> Completion:
    """The continuation in an answer. Raises ValueError, naming the place, if there is none."""
    # 1. Check the shape of the answer.
    found = parse(_ANSWER, answer)
    [choice] = found.choices
    told_logprobs = choice.logprobs or _LogProbs()
    matched = choice.matched_stop if choice.stop_reason is None else choice.stop_reason
    # 2. Find the tokens, and put back the stop that the server named but left out.
    tokens, told = _tokens(choice, told_logprobs, codec)
    if told == "text":
        tokens = _tokenised(choice, matched, codec)
    elif isinstance(matched, str) and matched not in codec.decode(tokens):
        tokens += codec.encode(matched)
    if not tokens or told != "ids" or choice.token_ids is None:
        tokens += _end(choice.finish_reason, matched, tokens, codec)
    for token in (min(tokens, default=0), max(tokens, default=0)):
        if not 0 <= token < codec.vocab_size:
            raise ValueError(f"token {token} is not among the {codec.vocab_size} of the checkpoint's tokenizer")
    # 3. Find the log-probabilities, which no text that was tokenised again can be matched with.
    tops = _candidates(told_logprobs)
    usage = found.usage or _Usage()
    return Completion(
        text=choice.text,
        tokens=tokens,
        told=told,
        logprobs=_logprobs(tokens, [] if told == "text" else tops, logprob_ids, codec),
        most_logprobs=max(map(len, tops), default=0),
        finish=choice.finish_reason,
        matched=matched,
        prompt_tokens=usage.prompt_tokens or 0,
        cached_tokens=usage.cached_tokens or 0,
    )


def _tokens(choice: _Choice, logprobs: _LogProbs, codec: ChatCodec) -> tuple[list[int], Told]:
    """The ids as far as the server tells them, and how it does."""
    if choice.token_ids is not None:
        return list(choice.token_ids), "ids"
    positions = logprobs.content or []
    ids = [position.id for position in positions if position.id is not None]
    if ids and len(ids) == len(positions):
        return ids, "ids"
    texts = [position.token for position in positions] or logprobs.tokens or []
    if texts and all(text.startswith(NAMED) for text in texts):
        return [int(text.removeprefix(NAMED)) for text in texts], "ids"
    unfinished = choice.finish_reason == "length" and choice.text.endswith(BROKEN)
    found = _ids_of_texts(texts, choice.text, unfinished, codec) if texts else None
    return (found, "texts") if found is not None else ([], "text")


def _is_broken(piece: str) -> bool:
    return BROKEN in piece


def _ids_of_texts(texts: Sequence[str], text: str, unfinished: bool, codec: ChatCodec) -> list[int] | None:
    """The ids of tokens of which the texts are told; None where they cannot be told for sure.

    A token that holds some bytes of a letter shows them as U+FFFD, which may be a token of its own.
    Such a run of tokens is read off the whole text, where the letter stands.
    """
    ids: list[int] = []
    at = 0
    if unfinished and text.rstrip(BROKEN):  # the rest of a letter comes with the next request
        whole = len(texts) - sum(1 for _ in itertools.takewhile(_is_broken, reversed(texts)))
        texts = texts[:whole]
    for broken, group in itertools.groupby(texts, key=_is_broken):
        run = list(group)
        if not broken:
            singles = [codec.encode(piece) for piece in run]
            if any(len(single) != 1 for single in singles):
                return None
            ids += itertools.chain(*singles)
            at += sum(map(len, run))
            continue
        for end in range(at + 1, min(at + sum(map(len, run)), len(text)) + 1):
            found = codec.encode(text[at:end])
            if [codec.spell([i]) for i in found] == run:
                ids, at = ids + found, end
                break
        else:
            return None
    return ids


def _tokenised(choice: _Choice, matched: Stop, codec: ChatCodec) -> list[int]:
    """The tokens of a text that came without ids, with the stop text that the server cut off and named."""
    text = choice.text
    if choice.finish_reason == "length":
        text = text.rstrip(BROKEN) or text  # the rest of a letter comes with the next request
    if isinstance(matched, str) and not text.endswith(matched):
        text += matched
    return codec.encode(text)


def _end(finish: str, matched: Stop, tokens: Sequence[int], codec: ChatCodec) -> list[int]:
    """The token that ended the text, if the server named it but left it out of the answer."""
    ends = matched if isinstance(matched, int) else None
    if finish == "stop" and matched is None and not (tokens and tokens[-1] in codec.eos_ids):
        ends = codec.eos_id
    return [] if ends is None or [*tokens[-1:]] == [ends] else [ends]


def _candidates(logprobs: _LogProbs) -> list[Mapping[str, float]]:
    """For each drawn token, the log-probabilities of the candidates by their names."""
    if not logprobs.content:
        return [top or {} for top in logprobs.top_logprobs or []]
    return [
        {c.token if c.id is None else f"{NAMED}{c.id}": c.logprob for c in position.top_logprobs}
        for position in logprobs.content
    ]


def _logprobs(
    tokens: Sequence[int], tops: Sequence[Mapping[str, float]], logprob_ids: Sequence[int], codec: ChatCodec
) -> np.ndarray:
    """[len(tokens), len(logprob_ids)]; nan where a token is not among those that the server names."""
    found = np.full((len(tokens), len(logprob_ids)), np.nan, np.float32)
    for column, token in enumerate(logprob_ids):
        names = (f"{NAMED}{token}", codec.spell([token]))
        for row, top in enumerate(tops[: len(tokens)]):
            found[row, column] = next((top[name] for name in names if name in top), np.nan)
    return found
