"""The losses and baselines against verl's own values (tools/make_rl_golden.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.rl import Credit, Preset, aggregate, baseline, policy_loss
from tests.rl.verl_cases import GOLDEN, LOSSES, REWARDS, arrays


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_are_verls(name, golden):
    preset, (logp, prox, sampler, advantage, mask) = LOSSES[name].preset, arrays()
    credits = [Credit(a, m) for a, m in zip(advantage, mask, strict=True)]
    [weights], norm = aggregate([credits], preset.aggregation, max_tokens=mask.shape[1])

    def loss(x):
        return policy_loss(x, prox, sampler, advantage, np.stack(weights), preset)[0] / norm

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(logp, jnp.float32))
    np.testing.assert_allclose(value, golden[f"{name} loss"], atol=1e-5)
    np.testing.assert_allclose(gradient, golden[f"{name} gradient"], atol=1e-5)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_estimators_of_the_divergence_are_verls(kind, golden):
    logp, reference, *_ = arrays()
    preset, zeros, ones = Preset(kl=kind, kl_weight=1.0), np.zeros_like(logp), np.ones_like(logp)
    total, _ = policy_loss(logp, logp, logp, zeros, ones, preset, logp_ref=reference)
    np.testing.assert_allclose(total, golden[kind].sum(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["grpo", "mean", "rloo"])
def test_baselines_are_verls(kind, golden):
    np.testing.assert_allclose(baseline(REWARDS, kind, eps=1e-6), golden[kind], atol=1e-5)


def test_a_group_of_one_is_refused_where_verl_takes_the_raw_reward_for_the_advantage(golden):
    assert golden["a group of one"].tolist() == [REWARDS[0]]
    with pytest.raises(UserError, match="this group has 1"):
        baseline(REWARDS[:1], "mean")
