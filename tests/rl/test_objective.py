"""The losses against a transcription in plain numpy, token by token, and their gradients against finite differences."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.rl import PRESETS, Preset, find_preset, policy_loss

CASES = PRESETS | {
    "k1": Preset(kl="k1", kl_weight=0.3),
    "k2": Preset(kl="k2", kl_weight=0.3),
    "k3": Preset(kl="k3", kl_weight=0.3),
    "plain": Preset(dual_clip=None, most_correction=None),
}


def arrays(rows=5, tokens=7, seed=0, spread=0.5):
    """logp, logp_prox, logp_sampler, advantage, weight, reference; with ratios on both sides of every bound."""
    rng = np.random.default_rng(seed)
    logp = -rng.exponential(1.0, (rows, tokens))
    near = [np.minimum(logp + spread * rng.standard_normal(logp.shape), -1e-3) for _ in range(3)]
    near[0][0, 0] = logp[0, 0] - 1.5  # a ratio above c
    advantage = rng.standard_normal(logp.shape)
    advantage[0, 0] = -1.0
    weight = rng.uniform(0.1, 1, logp.shape) * (rng.random(logp.shape) < 0.8)
    weight[0, 0] = 1.0
    return logp, near[0], near[1], advantage, weight, near[2]


def transcribed(preset, logp, prox, sampler, advantage, weight, reference, held=None):
    """sum of w l by the formulas, where `held` is the log-probability inside whatever has no gradient."""
    held = logp if held is None else held
    total = 0.0
    for i in range(len(logp)):
        used = [t for t in range(len(logp[i])) if weight[i, t]]
        mean = sum(held[i, t] - prox[i, t] for t in used) / max(1, len(used))
        for t in used:
            a, x, x0 = advantage[i, t], logp[i, t], held[i, t]
            r, r0 = math.exp(x - prox[i, t]), math.exp(x0 - prox[i, t])
            if preset.surrogate == "gspo":
                r = math.exp(mean + x - x0)
            if preset.surrogate in ("clip", "gspo"):
                loss = -min(r * a, min(max(r, 1 - preset.clip_low), 1 + preset.clip_high) * a)
                if preset.dual_clip and a < 0:
                    loss = min(loss, -preset.dual_clip * a)
            elif preset.surrogate == "cispo":
                loss = -min(r0, 1 + preset.clip_high) * a * x
            elif preset.surrogate == "reinforce":
                loss = -a * x
            else:
                dropped = math.copysign(1, a) * (math.exp(x0) - math.exp(sampler[i, t])) > 0.2
                loss = (0 if dropped else -r * a) + 1e-3 * (x - prox[i, t]) ** 2
            if preset.kl_weight:
                d = x - reference[i, t]
                loss += preset.kl_weight * {"k1": d, "k2": d * d / 2, "k3": math.exp(-d) - 1 + d}[preset.kl]
            if preset.most_correction:
                loss *= min(math.exp(prox[i, t] - sampler[i, t]), preset.most_correction)
            total += weight[i, t] * loss
    return total


@pytest.mark.parametrize("name", CASES)
def test_a_loss_is_the_formula_and_its_gradient_the_difference_quotient(name):
    preset, (logp, prox, sampler, advantage, weight, reference) = CASES[name], arrays()

    def loss(x):
        return policy_loss(x, prox, sampler, advantage, weight, preset, logp_ref=reference)[0]

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(logp, jnp.float32))
    np.testing.assert_allclose(value, transcribed(preset, *arrays()), rtol=1e-6, atol=2e-6)
    step = 1e-6
    for i, t in np.ndindex(logp.shape):
        up, down = logp.copy(), logp.copy()
        up[i, t] += step
        down[i, t] -= step
        ends = [transcribed(preset, x, prox, sampler, advantage, weight, reference, held=logp) for x in (up, down)]
        np.testing.assert_allclose(gradient[i, t], (ends[0] - ends[1]) / (2 * step), atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_rows_microbatches_and_packing_change_no_loss(name):
    preset, data = CASES[name], arrays()
    *used, reference = data

    def sums(arrays, reference, **about):
        return np.array(policy_loss(*arrays, preset, logp_ref=reference, **about))

    whole = sums(used, reference)
    order = np.random.default_rng(1).permutation(5)
    np.testing.assert_allclose(sums([x[order] for x in used], reference[order]), whole, rtol=1e-5, atol=1e-6)
    parts = [sums([x[rows] for x in used], reference[rows]) for rows in (slice(0, 2), slice(2, 5))]
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-5, atol=1e-6)
    packed = [x.reshape(1, -1) for x in used]
    together = sums(packed, reference.reshape(1, -1), rollout_of=np.repeat(np.arange(5), 7)[None])
    np.testing.assert_allclose(together, whole, rtol=1e-5, atol=1e-6)


def test_what_stands_at_weight_0_is_not_read():
    data = arrays()
    weight = data[4]
    spoilt = [np.where(weight == 0, np.nan, x) for x in data[:4]]

    def loss(x):
        return policy_loss(x, *spoilt[1:], weight, "grpo")[0]

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(spoilt[0], jnp.float32))
    np.testing.assert_allclose(value, policy_loss(*data[:5], "grpo")[0], rtol=1e-6)
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[weight == 0].any()


def test_the_norm_is_that_of_the_table_or_of_the_host():
    logp, prox, sampler, advantage, _, _ = arrays(2, 4)
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]])
    for name, weight, norm in (("dapo", mask, 6), ("grpo", mask / mask.sum(1, keepdims=True), 2), ("Dr.GRPO", mask, 8)):
        assert policy_loss(logp, prox, sampler, advantage, weight, name)[1] == pytest.approx(norm)
    assert policy_loss(logp, prox, sampler, advantage, mask, "dapo", norm=3)[1] == 3


def test_the_gradients_of_the_divergences_are_those_of_which_kl():
    """Over five tokens, by enumeration: 0 for k1, KL(pi|ref) for k2, KL(ref|pi) for k3."""
    rng = np.random.default_rng(0)
    logits, reference = (jnp.asarray(rng.standard_normal(5), jnp.float32) for _ in range(2))
    ref = jax.nn.log_softmax(reference)

    def gradient(kind):
        pi = jax.nn.softmax(logits)

        def loss(x):
            logp = jax.nn.log_softmax(x)[None]
            now = jax.lax.stop_gradient(logp)
            preset = Preset(kl=kind, kl_weight=1.0)
            return policy_loss(logp, now, now, jnp.zeros((1, 5)), pi[None], preset, logp_ref=ref[None])[0]

        return jax.grad(loss)(logits)

    forward = jax.grad(lambda x: jnp.sum(jax.nn.softmax(x) * (jax.nn.log_softmax(x) - ref)))(logits)
    backward = jax.grad(lambda x: jnp.sum(jnp.exp(ref) * (ref - jax.nn.log_softmax(x))))(logits)
    np.testing.assert_allclose(gradient("k1"), 0, atol=1e-6)
    np.testing.assert_allclose(gradient("k2"), forward, atol=1e-6)
    np.testing.assert_allclose(gradient("k3"), backward, atol=1e-6)
    assert np.abs(forward - backward).max() > 0.05


def test_a_ratio_that_would_overflow_is_clamped():
    for surrogate in ("clip", "cispo", "dppo"):
        preset = Preset(surrogate=surrogate)
        value, _ = policy_loss([[0.0]], [[-500.0]], [[-500.0]], [[-1.0]], [[1.0]], preset)
        assert np.isfinite(value)


def test_presets_are_found_however_they_are_spelled_and_hold_together():
    assert find_preset("Dr.GRPO") == find_preset("dr_grpo") == PRESETS["drgrpo"]
    assert PRESETS["default"] == Preset() and find_preset(Preset()) == Preset()
    with pytest.raises(UserError, match="unknown preset 'gpro'"):
        find_preset("gpro")
    with pytest.raises(UserError, match="one ratio a sequence"):
        replace(PRESETS["gspo"], aggregation="token")
    with pytest.raises(UserError, match="surrogate = 'ppo'"):
        Preset(surrogate="ppo")
    with pytest.raises(UserError, match="needs logp_ref"):
        policy_loss([[0.0]], [[0.0]], [[0.0]], [[1.0]], [[1.0]], Preset(kl_weight=0.1))
