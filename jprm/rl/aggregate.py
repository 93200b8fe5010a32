"""How tokens are weighed in the loss of a batch: data that the host fills in, so that no device code depends on it.

    mode        weight of a token          norm                       known as
    token       1                          tokens of the batch        DAPO
    sequence    1 / tokens of its rollout  rollouts                   GRPO as published
    constant    1                          rollouts x max_tokens      Dr.GRPO
    prompt      1 / tokens of its group    groups                     ScaleRL

The loss is sum(w * l) / norm, whatever the packing, the microbatches and the hosts.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from jprm.errors import UserError
from jprm.rl.records import Credit

Aggregation = Literal["token", "sequence", "constant", "prompt"]


def aggregate(
    groups: Sequence[Sequence[Credit]], mode: str, max_tokens: int | None = None
) -> tuple[list[list[np.ndarray]], float]:
    """Returns w [L] of every credit of a batch's groups, and the norm.

    Tokens are those with a weight; a row's own weight is a factor. max_tokens: what a rollout may have, for "constant".
    Raises UserError for an unknown mode, and for "constant" without `max_tokens`.
    """
    if mode not in get_args(Aggregation):
        raise UserError(f"unknown aggregation {mode!r}; known: {', '.join(get_args(Aggregation))}")
    if mode == "constant" and not max_tokens:
        raise UserError("the aggregation 'constant' divides by max_tokens, which is not given")
    tokens = [[int((credit.weight > 0).sum()) for credit in group] for group in groups]
    rollouts = sum(n > 0 for of_group in tokens for n in of_group)
    of_batch = sum(sum(of_group) for of_group in tokens)
    shares = {
        "token": (lambda n, of_group: 1, of_batch),
        "sequence": (lambda n, of_group: n, rollouts),
        "constant": (lambda n, of_group: 1, rollouts * (max_tokens or 0)),
        "prompt": (lambda n, of_group: sum(of_group), sum(any(of_group) for of_group in tokens)),
    }
    share_of, norm = shares[mode]
    weights = [
        [credit.weight / max(1, share_of(n, of_group)) for credit, n in zip(group, of_group, strict=True)]
        for group, of_group in zip(groups, tokens, strict=True)
    ]
    return weights, float(norm)
