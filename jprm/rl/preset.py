"""Objectives by name: every choice that recipes hide, spelled out.

Papers and stacks mean different things by one name. A preset says which surrogate, which bounds, which baseline and
which weights; `dataclasses.replace` changes one of them.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from jprm.errors import UserError
from jprm.rl.aggregate import Aggregation
from jprm.rl.baselines import Baseline

Surrogate = Literal["clip", "cispo", "gspo", "reinforce", "dppo"]
Divergence = Literal["k1", "k2", "k3"]


@dataclass(frozen=True)
class Preset:
    """An objective. The formulas are those of `jprm.rl.objective`.

    clip_low, clip_high: the ratio is clipped to 1 - clip_low and 1 + clip_high. dual_clip: c, the bound of the loss of
    a token with a negative advantage; None for none. most_correction: the cap of exp(logp_prox - logp_sampler); None
    leaves the correction out. kl, kl_weight: the estimator of the divergence from a reference, and its weight.
    baseline: of `jprm.rl.baseline`. aggregation: of `jprm.rl.aggregate`. Raises UserError for names that are not known,
    and for a ratio of sequences with token weights.
    """

    surrogate: Surrogate = "clip"
    clip_low: float = 0.2
    clip_high: float = 0.28
    dual_clip: float | None = 3.0
    most_correction: float | None = 2.0
    kl: Divergence = "k2"
    kl_weight: float = 0.0
    baseline: Baseline = "rloo"
    aggregation: Aggregation = "prompt"

    def __post_init__(self):
        for name, known in (
            *(("surrogate", Surrogate), ("kl", Divergence)),
            *(("baseline", Baseline), ("aggregation", Aggregation)),
        ):
            if getattr(self, name) not in get_args(known):
                raise UserError(f"{name} = {getattr(self, name)!r}: known are {', '.join(get_args(known))}")
        if self.surrogate == "gspo" and self.aggregation != "sequence":
            raise UserError(
                "gspo has one ratio a sequence: with another aggregation than 'sequence' each token counts it"
            )


PRESETS = {
    "default": Preset(),
    # as published, arXiv 2402.03300, but for its KL term (k3, weight .04), which needs a reference
    "grpo": Preset(clip_high=0.2, baseline="grpo", aggregation="sequence"),
    "drgrpo": Preset(clip_high=0.2, baseline="mean", aggregation="constant"),  # arXiv 2503.20783
    "dapo": Preset(baseline="grpo", aggregation="token"),  # arXiv 2503.14476; its dynamic sampling is the sampler's
    "rloo": Preset(surrogate="reinforce", baseline="rloo", aggregation="constant"),  # arXiv 2402.14740
    # arXiv 2510.13786, but for the std of the batch, which fails where a batch holds one group
    "scalerl": Preset(surrogate="cispo", clip_high=4.0, baseline="mean", aggregation="prompt"),
    "maxrl": Preset(baseline="maxrl"),  # arXiv 2602.02710
    # arXiv 2507.18071: ratios of sequences are near 1
    "gspo": Preset(surrogate="gspo", clip_low=3e-4, clip_high=4e-4, baseline="grpo", aggregation="sequence"),
    "cispo": Preset(surrogate="cispo", clip_high=4.0, baseline="grpo", aggregation="token"),  # arXiv 2506.13585
    "dppo": Preset(surrogate="dppo", baseline="mean", aggregation="token"),  # prime-rl
}


def find_preset(name: str | Preset) -> Preset:
    """Returns a preset by its name, however it is spelled ("Dr.GRPO", "dr_grpo"), or the one that is given.

    Raises UserError for an unknown name.
    """
    if isinstance(name, Preset):
        return name
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    if key not in PRESETS:
        raise UserError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[key]
