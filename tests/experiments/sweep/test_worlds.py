"""What a sweep may ask of a world that does not know the truth of steps."""

import pytest

from jprm.config import load
from jprm.errors import UserError
from jprm.experiments.sweep.config import SweepConfig

ASKED = ("world.kind=problems", "world.settings.train=x.jsonl")
FREE = ("labels.planted_solutions=0", 'evaluate.benchmarks=["processbench"]')


def config(*overrides) -> SweepConfig:
    return load(SweepConfig, None, (*ASKED, *overrides))


def test_labels_by_rollouts_and_published_benchmarks_are_fine():
    for rule in ("rpe", "hard", "difference"):
        assert config(*FREE, f"grid.labels={rule}").world.kind == "problems"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "labels.planted_solutions = 2: .*; take 0"),
        ((*FREE, "labels.planted_solutions=1"), "labels.planted_solutions = 1: .*; take 0"),
        ((*FREE, "labels.source=planted"), 'labels.source = "planted": .*; take "rollouts"'),
        ((*FREE, "grid.labels=exact"), 'grid.labels = "exact": .*; take "rpe", "hard" or "difference"'),
        ((*FREE, "cell.labels=exact"), 'cell.labels = "exact": .*; take "rpe", "hard" or "difference"'),
        ((FREE[0],), r'evaluate.benchmarks = \["policy"\]: .*; take \["processbench"\]'),
        (
            (FREE[0], 'evaluate.benchmarks=["processbench", "planted"]'),
            r'evaluate.benchmarks = \["planted"\]: .*; take \["processbench"\]',
        ),
    ],
)
def test_what_needs_the_truth_of_steps_is_refused_by_its_key(overrides, message):
    with pytest.raises(UserError, match=message) as told:
        config(*overrides)
    assert "the world problems does not know the truth of steps" in str(told.value)
    assert load(SweepConfig, None, [o for o in overrides if "labels=exact" not in o and "source" not in o])  # embedded
