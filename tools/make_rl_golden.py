"""Writes tests/rl/verl_golden.npz: what verl makes of the losses and baselines of `jprm.rl` on the same arrays.

    PYTHONPATH=. python tools/make_rl_golden.py

Needs verl 0.9.1 with torch, installed beside this package. Only results are stored; the test makes the arrays again.
"""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from verl.trainer.ppo import core_algos  # pyright: ignore[reportMissingImports]
from verl.workers.config import ActorConfig  # pyright: ignore[reportMissingImports]

from tests.rl.verl_cases import CORRECTION, GOLDEN, LOSSES, REWARDS, arrays


def main() -> None:
    """Computes the loss and the gradient of every case, and the advantages of every baseline."""
    found = {}
    for name, case in LOSSES.items():
        logp, prox, sampler, advantage, mask = (torch.tensor(x, dtype=torch.float64) for x in arrays())
        logp.requires_grad_()
        config = ActorConfig(
            strategy="fsdp",
            rollout_n=1,
            ppo_micro_batch_size_per_gpu=1,
            clip_ratio_low=case.preset.clip_low,
            clip_ratio_high=case.preset.clip_high,
        )
        loss, _ = core_algos.get_policy_loss_fn(case.function)(
            old_log_prob=prox,
            log_prob=logp,
            advantages=advantage,
            response_mask=mask,
            loss_agg_mode=case.mode,
            config=config,
            rollout_is_weights=torch.exp(prox - sampler).clamp(max=CORRECTION),
        )
        [gradient] = torch.autograd.grad(loss, logp)
        found |= {f"{name} loss": loss.detach().numpy(), f"{name} gradient": gradient.numpy()}
    logp, reference, *_ = (torch.tensor(x, dtype=torch.float64) for x in arrays())
    for kind in ("k1", "k2", "k3"):
        found[kind] = core_algos.kl_penalty_forward(logp, reference, kind).numpy()
    rewards, ones, index = torch.tensor(REWARDS)[:, None], torch.ones(len(REWARDS), 1), np.zeros(len(REWARDS), int)
    for name, by_std in (("grpo", True), ("mean", False)):
        grpo = core_algos.compute_grpo_outcome_advantage(rewards, ones, index, norm_adv_by_std_in_grpo=by_std)
        found[name] = grpo[0][:, 0].numpy()
    found["rloo"] = core_algos.compute_rloo_outcome_advantage(rewards, ones, index)[0][:, 0].numpy()
    alone = core_algos.compute_grpo_outcome_advantage(rewards[:1], ones[:1], index[:1], norm_adv_by_std_in_grpo=False)
    found["a group of one"] = alone[0][:, 0].numpy()
    np.savez_compressed(GOLDEN, allow_pickle=False, **found)
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes, {len(found)} arrays")


if __name__ == "__main__":
    main()
