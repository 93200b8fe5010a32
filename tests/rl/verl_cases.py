"""The arrays and cases on which the losses of `jprm.rl` are compared with verl's."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jprm.rl import PRESETS, Preset

GOLDEN = Path(__file__).with_name("verl_golden.npz")
CORRECTION = 2.0
REWARDS = (1.0, 0.0, 0.0, 0.25, 1.0)


class Case(NamedTuple):
    """A preset, and verl's function and aggregation for the same."""

    preset: Preset
    function: str
    mode: str


LOSSES = {
    "dapo": Case(PRESETS["dapo"], "vanilla", "token-mean"),
    "grpo": Case(PRESETS["grpo"], "vanilla", "seq-mean-token-mean"),
    "drgrpo": Case(PRESETS["drgrpo"], "vanilla", "seq-mean-token-sum-norm"),
    # verl has no dual clip here, and bounds the ratio of CISPO from below as well, which a bound of 0 leaves alone
    "gspo": Case(replace(PRESETS["gspo"], dual_clip=None), "gspo", "seq-mean-token-mean"),
    "cispo": Case(replace(PRESETS["cispo"], clip_low=1.0), "cispo", "token-mean"),
}


def arrays():
    """logp, logp_prox, logp_sampler, advantage and mask, 4 x 6; some ratios lie beyond every bound."""
    rng = np.random.default_rng(7)
    logp = -rng.exponential(1.0, (4, 6)) - 0.5
    prox, sampler = (logp + 0.5 * rng.standard_normal(logp.shape) for _ in range(2))
    advantage = rng.standard_normal(logp.shape)
    prox[0, 0], advantage[0, 0] = logp[0, 0] - 1.5, -1.0  # beyond the dual clip
    mask = np.arange(6) < np.array([6, 4, 1, 5])[:, None]
    return logp, prox, sampler, advantage, mask.astype(float)
