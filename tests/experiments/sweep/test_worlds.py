"""What a sweep may ask of a world that does not know the truth of steps."""

import pytest

from jprm.config import load
from jprm.errors import UserError
from jprm.experiments.sweep.config import SweepConfig

ASKED = ("world.kind=problems", "world.settings.train=x.jsonl")
MODELS = ("model.policy=./policy", 'grid.sizes=["./base"]', "grid.main_size=./base")


def config(*overrides) -> SweepConfig:
    return load(SweepConfig, None, (*ASKED, *MODELS, *overrides))


def test_labels_by_rollouts_and_published_benchmarks_are_fine():
    for rule in ("rpe", "hard", "difference"):
        asked = config(f"grid.labels={rule}", 'evaluate.benchmarks=["processbench", "answers", "data/math.jsonl"]')
        assert asked.world.kind == "problems"


def test_the_defaults_are_what_such_a_world_can_give():
    asked, embedded = config(), SweepConfig()
    assert (asked.labels.planted_solutions, asked.evaluate.benchmarks) == (0, ("answers",))
    assert (embedded.labels.planted_solutions, embedded.evaluate.benchmarks) == (2, ("policy",))


@pytest.mark.parametrize(
    ("models", "key"),
    [
        (("model.policy=tiny-0.3m", *MODELS[1:]), "model.policy = 'tiny-0.3m'"),
        ((MODELS[0], 'grid.sizes=["./base", "tiny-0.1m"]'), "grid.sizes = 'tiny-0.1m'"),
    ],
)
def test_presets_are_refused(models, key):
    with pytest.raises(UserError, match=f"{key}: presets are trained from scratch .* name the directory"):
        load(SweepConfig, None, (*ASKED, *models))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("labels.planted_solutions=1",), "labels.planted_solutions = 1: .*; take 0"),
        (("labels.source=planted",), 'labels.source = "planted": .*; take "rollouts"'),
        (("grid.labels=exact",), 'grid.labels = "exact": .*; take "rpe", "hard" or "difference"'),
        (("cell.labels=exact",), 'cell.labels = "exact": .*; take "rpe", "hard" or "difference"'),
        (('evaluate.benchmarks=["policy"]',), r'evaluate.benchmarks = \["policy"\]: .*; take "answers"'),
        (
            ('evaluate.benchmarks=["processbench", "planted"]',),
            r'evaluate.benchmarks = \["planted"\]: .*; take "answers"',
        ),
    ],
)
def test_what_needs_the_truth_of_steps_is_refused_by_its_key(overrides, message):
    with pytest.raises(UserError, match=message) as told:
        config(*overrides)
    assert "the world problems does not know the truth of steps" in str(told.value)
    assert load(SweepConfig, None, [o for o in overrides if "labels=exact" not in o and "source" not in o])  # embedded
