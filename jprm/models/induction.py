"""A start with heads that copy: the one skill that tiny models lack the tokens to discover.

A pretrained language model brings induction heads along: having read "A B ... A" it looks up "B". Half a million
parameters trained on two million tokens do not form them, whatever the optimizer, so the tiny presets start with them
(and are trained on from there). Reports of results name this start.

In layer 0, head h looks `offset` = h + 1 tokens back: its query and key biases make the attention score a function of
the distance alone, peaked at the offset, through the rotary positions. It copies what it finds, through a shared random
reader R (embed -> head_dim), into its own slot S_h of the residual stream. In layer 1, head h matches what stands h
back at the query (R itself for h = 0, else slot S_h-1) with what stands h + 1 back at the key (slot S_h), and copies
the key's token: "the token after the last place that looked like this". One head stays free in each layer.
"""

import numpy as np

from jprm.models.config import ModelConfig

MAX_OFFSETS = 3
SCORE_GAP = 6.0  # how far the score at the offset lies above that of a distance with a random phase
COPY_GAIN = 2.0  # the size of copies in the residual stream, whose tokens embed_scale gives size 1
CONTENT_GAIN = 0.1  # what is left of the content-dependent part of the looking-back heads' scores


def prepare(params: dict, config: ModelConfig, rng: np.random.Generator) -> dict:
    """Puts the heads above into layers 0 and 1 of `params` (numpy, laid out as in transformer.py).

    Fewer than two layers or two heads have no room for them: `params` come back as they are.
    """
    c = config
    offsets = min(MAX_OFFSETS, c.n_heads - 1, c.n_kv_heads, c.embed // c.head_dim)
    if c.n_layers < 2 or offsets < 1:
        return params
    w = {name: np.array(leaf) for name, leaf in params["layers"].items()}
    slots_DD = np.linalg.qr(rng.standard_normal((c.embed, c.embed)))[0]
    slots_SHD = slots_DD[: offsets * c.head_dim].reshape(offsets, c.head_dim, c.embed)
    reader_DH = np.linalg.qr(rng.standard_normal((c.embed, c.head_dim)))[0]
    readers = [reader_DH, *(slot_HD.T for slot_HD in slots_SHD)]  # what stands 0, 1, 2, ... back

    angle = c.rope_theta ** -(np.arange(0, c.head_dim, 2) / c.head_dim)
    size = np.sqrt(SCORE_GAP * c.head_dim**0.5 / np.sum(1 - np.cos(angle)))
    for g in range(offsets):
        h, offset = g * c.group, g + 1  # one query head for each key head: they share its weights
        turned = angle * offset
        w["q_bias"][0, h] = size * np.concatenate([np.cos(turned), -np.sin(turned)])
        w["k_bias"][0, g] = size * np.concatenate([np.ones_like(angle), np.zeros_like(angle)])
        w["q"][0, :, h] *= CONTENT_GAIN
        w["k"][0, :, g] *= CONTENT_GAIN
        w["v"][0, :, g] = reader_DH
        w["o"][0, h] = COPY_GAIN * slots_SHD[g]

        w["q"][1, :, h] = readers[g]
        w["k"][1, :, g] = readers[g + 1]
        w["v"][1, :, g] = reader_DH
        w["o"][1, h] = reader_DH.T
    return params | {"layers": w}
