"""Reinforcement learning with process rewards: from judged rollouts to token credits, and the loss on them.

Enter by `credit(row, group)` for the credit of one problem's `Judged` rollouts by a row's name, by `row` to register
one of your own, by `baseline` for the comparison within a group, by `aggregate` for the weights of a batch, and by
`policy_loss` for the loss. `read_judged` reads stored rollouts, `audit` holds any row's credit on them against the
exact advantage, and `hack_rewards` shows what it pays for. The loop that trains is not here yet.

All is numpy but `policy_loss`, which is imported when it is first used, with JAX.
"""

from typing import TYPE_CHECKING, Any

from jprm.rl.aggregate import Aggregation, aggregate
from jprm.rl.audit import audit, credited, has_exact, missing_needs
from jprm.rl.baselines import Baseline, baseline
from jprm.rl.credit import Row, by_step, by_token, check_settings, credit, even, find_row, row
from jprm.rl.guard import guard
from jprm.rl.hacks import HACKS, HackRewards, hack_groups, hack_rewards
from jprm.rl.preset import PRESETS, Preset, find_preset
from jprm.rl.records import Credit, Judged, Rollout
from jprm.rl.stored import StoredGroup, StoredRollout, judged_row, read_judged

if TYPE_CHECKING:
    from jprm.rl.objective import policy_loss


def __getattr__(name: str) -> Any:
    if name != "policy_loss":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jprm.rl.objective import policy_loss

    return policy_loss
