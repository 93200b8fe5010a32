"""The loss of a policy on tokens with credit, as a sum and what it is divided by: the only device code of this room.

With A the advantage, r = exp(logp - logp_prox), sg for no gradient, e_lo and e_hi the bounds of a preset:

    clip        l = -min(r A, clip(r, 1 - e_lo, 1 + e_hi) A); where A < 0 at most -c A (dual clip)   PPO, DAPO
    cispo       l = -sg(min(r, 1 + e_hi)) A logp                                                    MiniMax-M1, ScaleRL
    gspo        as clip, with r = exp(sg(s) + logp - sg(logp)), s the mean of log r over the rollout GSPO-token
    reinforce   l = -A logp
    dppo        l = -r A but where sign(A) (pi - pi_sampler) > .2, + 1e-3 (log r)^2                 prime-rl
    kl          + kl_weight k, with d = logp - logp_ref: k1 = d, k2 = d^2 / 2, k3 = exp(-d) - 1 + d
    correction  l min(exp(logp_prox - logp_sampler), C), a constant                                  truncated IS

On the policy's own tokens the gradient of k2 is that of KL(pi | ref), that of k3 is that of KL(ref | pi), and that of
k1 is 0: k2 is the loss, k3 is for display. log r is clamped to [-20, 20] before it is exponentiated.

Shape letters: B rows, L tokens.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jprm.errors import UserError
from jprm.rl.preset import Preset, find_preset

LOG_RATIO = 20.0
MOST_MOVED = 0.2  # DPPO drops a token whose probability has moved further in the direction of its advantage
PULL = 1e-3  # the weight of DPPO's squared log-ratio


def policy_loss(
    logp: Any,
    logp_prox: Any,
    logp_sampler: Any,
    advantage: Any,
    weight: Any,
    preset: str | Preset,
    *,
    logp_ref: Any = None,
    rollout_of: Any = None,
    norm: Any = None,
) -> tuple[jax.Array, jax.Array]:
    """Computes (sum of weight * l, norm), f32 scalars; the loss is the one over the other, over all microbatches.

    logp, logp_prox, logp_sampler, advantage, weight: BL, of the drawn tokens under the parameters that are trained,
    those before the update, and those that drew them. What stands at weight 0 is not read. weight: a row's weight times
    that of `jprm.rl.aggregate`. logp_ref: BL, of the reference, where the preset has a `kl_weight`. rollout_of: BL,
    numbers below B x L of the rollouts that share rows, for gspo; by default each row is one. norm: this part of what
    the host filled in; by default the sum of the weights, and with the aggregation "constant" B x L.
    Raises UserError for an unknown preset, and for a KL term without a reference.
    """
    chosen = find_preset(preset)
    if chosen.kl_weight and logp_ref is None:
        raise UserError("a kl_weight needs logp_ref, the log-probabilities under the reference")
    w_BL = jnp.asarray(weight, jnp.float32)
    held_BL = w_BL != 0

    def read(x_BL):  # a nan behind a weight of 0 would still reach the gradient
        return jnp.where(held_BL, jnp.asarray(x_BL, jnp.float32), 0.0)

    logp_BL, prox_BL, sampler_BL, a_BL = map(read, (logp, logp_prox, logp_sampler, advantage))
    log_r_BL = jnp.clip(logp_BL - prox_BL, -LOG_RATIO, LOG_RATIO)
    if chosen.surrogate == "gspo":
        log_r_BL = _of_sequences(logp_BL, prox_BL, held_BL, rollout_of)
    loss_BL = _surrogate(chosen, logp_BL, log_r_BL, sampler_BL, a_BL)
    if chosen.kl_weight:
        loss_BL += chosen.kl_weight * _divergence(chosen.kl, logp_BL - read(logp_ref))
    if chosen.most_correction is not None:
        drift_BL = jnp.clip(prox_BL - sampler_BL, -LOG_RATIO, LOG_RATIO)
        loss_BL *= lax.stop_gradient(jnp.minimum(jnp.exp(drift_BL), chosen.most_correction))
    if norm is None:
        norm = w_BL.size if chosen.aggregation == "constant" else jnp.sum(w_BL)
    return jnp.sum(w_BL * loss_BL), jnp.asarray(norm, jnp.float32)


def _surrogate(preset: Preset, logp_BL, log_r_BL, sampler_BL, a_BL):
    """The loss of each token, BL, without KL and correction."""
    r_BL = jnp.exp(log_r_BL)
    if preset.surrogate == "reinforce":
        return -a_BL * logp_BL
    if preset.surrogate == "cispo":
        return -lax.stop_gradient(jnp.minimum(r_BL, 1 + preset.clip_high)) * a_BL * logp_BL
    if preset.surrogate == "dppo":
        moved_BL = jnp.sign(a_BL) * (jnp.exp(logp_BL) - jnp.exp(sampler_BL))
        return jnp.where(moved_BL > MOST_MOVED, 0.0, -r_BL * a_BL) + PULL * log_r_BL**2
    clipped_BL = jnp.clip(r_BL, 1 - preset.clip_low, 1 + preset.clip_high)
    loss_BL = -jnp.minimum(r_BL * a_BL, clipped_BL * a_BL)
    if preset.dual_clip is None:
        return loss_BL
    return jnp.where(a_BL < 0, jnp.minimum(loss_BL, -preset.dual_clip * a_BL), loss_BL)


def _of_sequences(logp_BL, prox_BL, held_BL, rollout_of):
    """The log-ratio of each token's rollout, BL, with the gradient of the token's own log-probability."""
    rows, tokens = logp_BL.shape
    number_BL = jnp.arange(rows)[:, None] if rollout_of is None else jnp.asarray(rollout_of)
    number = jnp.broadcast_to(number_BL, (rows, tokens)).reshape(-1)
    terms = jnp.stack([(logp_BL - prox_BL).reshape(-1), held_BL.reshape(-1).astype(jnp.float32)], 1)
    sums = jax.ops.segment_sum(terms, number, num_segments=rows * tokens)
    mean = (sums[:, 0] / jnp.maximum(sums[:, 1], 1))[number].reshape(rows, tokens)
    mean = lax.stop_gradient(jnp.clip(mean, -LOG_RATIO, LOG_RATIO))
    return mean + logp_BL - lax.stop_gradient(logp_BL)


def _divergence(kind: str, d_BL):
    if kind == "k1":
        return d_BL
    if kind == "k2":
        return d_BL**2 / 2
    return jnp.expm1(jnp.clip(-d_BL, -LOG_RATIO, LOG_RATIO)) + d_BL
