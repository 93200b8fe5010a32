"""The outcome alone: where every comparison starts."""

from collections.abc import Sequence

from jprm.rl.baselines import EPS, outcome_credit
from jprm.rl.credit import even, row
from jprm.rl.records import Credit, Judged


@row("outcome", needs=("outcome",))
def outcome(group: Sequence[Judged], baseline: str = "rloo", eps: float = EPS) -> list[Credit]:
    """Every token has the baselined outcome of its rollout (`jprm.rl.baselines` names the papers)."""
    return [even(judged, a) for judged, a in zip(group, outcome_credit(group, baseline, eps), strict=True)]
