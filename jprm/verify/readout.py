"""From log-probabilities to P(Yes): where the verdict stands and what the model believed there.

All three rewards of a verdict come from one run: `vote` is the sampled word itself, `prob_raw` is
the model's own probability of Yes against No, `prob_tempered` the same at the sampling temperature.
The last is what the published evaluation got (its log-probabilities came after temperature and
truncation, vLLM issue 9453), the second is the smoother estimator.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from jprm.verify.ports import TextCodec


def token_at(codec: TextCodec, turn: Sequence[int], at: int) -> int:
    """The token of a turn in which its character `at` begins."""
    last = len(turn) - 1

    def length(n: int) -> int:
        return len(codec.decode(turn[:n]))

    return min(bisect_right(range(1, last + 1), at, key=length), last)


def verdict_position(
    tokens: Sequence[int], yes_id: int, no_id: int, correct: bool, at: int | None = None
) -> int | None:
    """Index of the verdict's token in the turn that ended with the verdict `correct`.

    It is token `at`, in which the word begins that was read; where that is not said, the last Yes or
    No token, matched by id. None where that token is not the word that was read, because the model
    spelled it in other tokens: then there is no probability to report.
    """
    for position in range(len(tokens) - 1, -1, -1) if at is None else (at,):
        if tokens[position] in (yes_id, no_id):
            return position if tokens[position] == (yes_id if correct else no_id) else None
    return None


def probability_yes(yes: float, no: float, temperature: float = 1.0) -> float | None:
    """P(Yes) among Yes and No from their log-probabilities: sigmoid((yes - no) / temperature).

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
