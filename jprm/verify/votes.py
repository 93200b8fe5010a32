"""From the verdict that was read to a vote, from votes to a step's reward, and from rewards to the first error.

All three rewards of a verdict come from one run: `vote` is the sampled word itself, `prob_raw` is
the model's own probability of Yes against No, `prob_tempered` the same at the sampling temperature.
The last is what the published evaluation got (its log-probabilities came after temperature and
truncation, vLLM issue 9453), the second is the smoother estimator.

A vote without a judgement is None and takes no part: it is neither right nor wrong. A step that no
vote judged is open, and a solution whose verdict needs that step has none.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

from jprm.quoting import TextCodec
from jprm.records import Verdict
from jprm.ties import below, mean
from jprm.verify.protocol import Done

NO_VERDICT = Verdict(None, None, None)
ONE_VOTE = "all votes would be the same, so one is drawn for each step"


def votes_drawn(asked: int, temperature: float, top_k: int = 0) -> int:
    """Returns the votes worth their price: one where sampling is greedy, since it leaves nothing to chance."""
    return 1 if temperature == 0 or top_k == 1 else asked


def verdict_of(
    done: Done,
    turn: Sequence[int],
    logprobs: Sequence[Sequence[float]],
    word_ids: tuple[int, ...],
    codec: TextCodec,
    temperature: float,
) -> Verdict:
    """Returns the verdict of a finished rationale, with its probabilities where the model spelled its word as a token.

    turn: the tokens of the model's last turn. logprobs [len(turn), len(word_ids)]: of the words Yes
    and No at each of them. word_ids: the tokens of the two words; () where the vocabulary has none.
    """
    if done.correct is None:
        return NO_VERDICT
    if word_ids:
        yes_id, no_id = word_ids
        at = None if done.word_at is None else token_at(codec, turn, done.word_at)
        position = verdict_position(turn, yes_id, no_id, done.correct, at)
        if position is not None:
            yes, no = (float(value) for value in logprobs[position])
            return Verdict(done.correct, probability_yes(yes, no), probability_yes(yes, no, temperature))
    return Verdict(done.correct, None, None)


def token_at(codec: TextCodec, turn: Sequence[int], at: int) -> int:
    """Returns the index of the token of a turn in which its character `at` begins."""
    last = len(turn) - 1

    def length(n: int) -> int:
        return len(codec.decode(turn[:n]))

    return min(bisect_right(range(1, last + 1), at, key=length), last)


def verdict_position(
    tokens: Sequence[int], yes_id: int, no_id: int, correct: bool, at: int | None = None
) -> int | None:
    """Returns the index of the verdict's token in the turn that ended with the verdict `correct`.

    It is token `at`, in which the word begins that was read; where that is not said, the last Yes or
    No token, matched by id. None where that token is not the word that was read, because the model
    spelled it in other tokens: then there is no probability to report.
    """
    for position in range(len(tokens) - 1, -1, -1) if at is None else (at,):
        if tokens[position] in (yes_id, no_id):
            return position if tokens[position] == (yes_id if correct else no_id) else None
    return None


def probability_yes(yes: float, no: float, temperature: float = 1.0) -> float | None:
    """Returns P(Yes) among Yes and No from their log-probabilities: sigmoid((yes - no) / temperature).

    Temperature 0 is its limit: 0, 1, or 1/2 at a tie. None if the two cannot be compared.
    """
    difference = yes - no
    if math.isnan(difference):
        return None
    if temperature == 0.0:
        return 0.5 if difference == 0.0 else float(difference > 0.0)
    logit = difference / temperature
    # exp of a negative number only: it cannot overflow.
    small = math.exp(-abs(logit)) / (1.0 + math.exp(-abs(logit)))
    return 1.0 - small if logit > 0.0 else small


def mean_reward(rewards: Sequence[float | None]) -> float | None:
    """Returns the mean of the votes that judged (GenPRM, eqs. 6-7); None if none did."""
    judged = [reward for reward in rewards if reward is not None]
    return mean(judged) if judged else None


def first_error(rewards: Sequence[float | None], threshold: float = 0.5) -> int | None:
    """Returns the 0-based index of the first step whose reward is below the threshold, -1 if there is none.

    It is None where the verdict needs a step that was not judged: any step before and at the first that is
    accused, all of them where none is. `jprm.evaluate.first_error_f1` counts None as wrong.
    """
    for step, reward in enumerate(rewards):
        if reward is None:
            return None
        if below(reward, threshold):
            return step
    return -1
