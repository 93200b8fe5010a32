"""Rotary positions: by what angle each pair of a head turns at each position, and the turning.

Shape letters: M positions, N heads, H a head's dimension (of speeds and angles: its half, one for each pair).
"""

import math

import jax
import jax.numpy as jnp

from jprm.models.config import Llama3Scaling, ModelConfig, YarnScaling


def rotate(x_MNH: jax.Array, cos_MH: jax.Array, sin_MH: jax.Array) -> jax.Array:
    """Rotates the halves of each head as pairs, as Hugging Face's Qwen2 does: (x1 c - x2 s, x2 c + x1 s)."""
    x1, x2 = jnp.split(x_MNH.astype(jnp.float32), 2, -1)
    cos, sin = cos_MH[:, None, :], sin_MH[:, None, :]
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], -1).astype(x_MNH.dtype)


def rotations(positions_M: jax.Array, config: ModelConfig) -> tuple[jax.Array, jax.Array]:
    """Computes cos and sin of position * theta**(-2 i / H) for the H / 2 pairs, f32, scaled as the config says."""
    exponent = jnp.arange(0, config.head_dim, 2, dtype=jnp.float32) / config.head_dim
    speed_H = config.rope_theta**-exponent
    scaling = config.rope_scaling
    if isinstance(scaling, Llama3Scaling):
        speed_H = _llama3(speed_H, scaling)
    elif isinstance(scaling, YarnScaling):
        speed_H = _yarn(speed_H, scaling, config.rope_theta)
    angle_MH = positions_M[:, None].astype(jnp.float32) * speed_H
    cos_MH, sin_MH = jnp.cos(angle_MH), jnp.sin(angle_MH)
    if isinstance(scaling, YarnScaling):
        return cos_MH * scaling.attention_factor, sin_MH * scaling.attention_factor
    return cos_MH, sin_MH


def _llama3(speed_H: jax.Array, scaling: Llama3Scaling) -> jax.Array:
    """Slows rotations (radians a token) as Llama 3 does (`apply_scaling` of its reference code)."""
    turns_H = scaling.original_context * speed_H / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept_H = jnp.clip((turns_H - low) / (high - low), 0, 1)
    return speed_H * (kept_H + (1 - kept_H) / scaling.factor)


def _yarn(speed_H: jax.Array, scaling: YarnScaling, theta: float) -> jax.Array:
    """Slows rotations (radians a token) as YaRN does (arXiv 2309.00071, section 3.2, as transformers computes it)."""
    pairs = speed_H.shape[0]

    def pair_that_turns(times: float) -> float:
        return pairs * math.log(scaling.original_context / (times * 2 * math.pi)) / math.log(theta)

    first, last = pair_that_turns(scaling.beta_fast), pair_that_turns(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * pairs - 1)
    last += 0.001 * (first == last)  # a band without width would divide by 0
    slowed_H = jnp.clip((jnp.arange(pairs, dtype=jnp.float32) - first) / (last - first), 0, 1)
    return speed_H * (1 - slowed_H + slowed_H / scaling.factor)
