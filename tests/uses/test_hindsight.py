"""Withheld facts as a set to judge, and the rows of two directions by closed form, with oracles for heads."""

import dataclasses
import types
from pathlib import Path

import pytest

from jprm.errors import UserError
from jprm.pipeline.benchmark import load_items
from jprm.pipeline.lab import Lab
from jprm.progress import Progress
from jprm.runs import RunDirectory
from jprm.search import StepRewards
from jprm.uses.baseline import Baseline
from jprm.uses.config import UsesConfig
from jprm.uses.hindsight import KINDS, HindsightSet, judged_steps, kinds
from jprm.uses.judges import Judge, averaged
from jprm.uses.passes import hindsight_rows
from jprm.uses.tasks import Uses
from jprm.worlds.embedded import EmbeddedWorld

SET = HindsightSet("dev", 20, 0)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """(whole solutions, the same cut) as the job keeps them."""
    config = UsesConfig(directory=tmp_path_factory.mktemp("hindsight"))
    with RunDirectory(config.directory / config.name) as run, Lab(config, run) as lab:
        lab.progress = Progress(1)
        both = SET, dataclasses.replace(SET, cut=True)
        return [load_items(lab.ensure(task)) for task in both]


def oracle(name, items, knows):
    """A judge that is sure of the right and the wrong steps where it knows, else says 1/2."""
    rewards = {}
    at = judged_steps(items)
    for item in items:
        said = [1.0] * len(item.solution.steps)
        right = float(item.solution.first_error == -1)
        said[at[item.problem.id]] = right if knows(item) else 0.5
        rewards[item.solution.id] = StepRewards(tuple(said))
    return Judge(name, True, rewards, None)


def test_each_kind_is_a_third_half_of_all_is_wrong_and_cut_ends_at_the_step(sets):
    whole, cut = sets
    at, shown_by = judged_steps(whole), kinds(whole)
    for kind, problems in zip(KINDS, (20, 20, 40), strict=True):
        members = [item for item in whole if shown_by[item.problem.id] == kind]
        assert len(members) == 80 and len({i.problem.id for i in members}) == problems
        assert sum(item.solution.first_error == -1 for item in members) == 40
    assert judged_steps(cut) == at and len(cut) == len(whole)
    for item, short in zip(whole, cut, strict=True):
        end = at[item.problem.id] + 1
        assert short.solution.steps == item.solution.steps[:end]
        assert short.solution.first_error == item.solution.first_error
    later = [i.solution for i in cut if shown_by[i.problem.id] != "at once"]
    right = {s.id for s in later if s.first_error == -1}
    assert right == {s.id for s in later if s.first_error >= 0}, "no text tells"


def test_rows_of_oracles_are_known(sets):
    whole, cut = sets
    items = [*whole, *cut]
    complete = {item.solution.id for item in whole}
    shown_by = kinds(whole)
    forward = oracle("forward", items, lambda i: shown_by[i.problem.id] == "at once")
    backward = oracle("backward", items, lambda i: shown_by[i.problem.id] == "at once" or i.solution.id in complete)
    bi = averaged("BiPRM", [forward, backward])
    control = averaged("two forward passes", [forward, forward])
    rows = hindsight_rows([forward, backward, bi, control], whole, cut)
    found = {(row["read"], row["shows"], row["verifier"]): row for row in rows}
    for read, kind, name in found:
        row = found[read, kind, name]
        sees = kind == "at once" or (read == "whole" and name in ("backward", "BiPRM"))
        assert row["step_auc"] == (1 if sees else 0.5)
        gain = row["step_auc"] - (1 if kind == "at once" else 0.5)
        assert row["gain"] == row["over_forward"] == gain
        assert row["gain_low"] < gain < row["gain_high"] < gain + 0.2, "a next problem may differ"
        assert (row["n_problems"], row["n_items"]) == (40 if kind == "at once" else 20, 80)
    assert len(found) == 24


def test_heads_learn_the_exact_labels_of_the_set_and_leave_other_stages_alone():
    config = UsesConfig(directory=Path("nowhere"))
    uses, lab = Uses.of(config), Lab(config, None)
    plain = Baseline(uses.main, "steps")
    taught = dataclasses.replace(plain, taught=HindsightSet("train", 5, 0))
    assert lab.stage(plain).key != lab.stage(taught).key
    assert plain.inputs(lab) == taught.inputs(lab), "what differs is what it builds on"
    world = EmbeddedWorld()
    problem = world.problems("train", 1, 0)[0]
    solution = world.reference(problem)
    n = len(solution.steps)
    for first, targets in ((-1, [1.0] * n), (0, [0.0] + [None] * (n - 1))):
        item = types.SimpleNamespace(solution=dataclasses.replace(solution, first_error=first))
        assert taught._targets(lab, item) == targets


def test_off_without_problems_and_without_directions():
    for switched in ({"hindsight": {"problems": 0}}, {"bidirectional": False}):
        assert Uses.of(UsesConfig.model_validate(switched)).hindsight_passes() == []


def test_a_world_without_facts_to_withhold_is_named(tmp_path):
    config = UsesConfig.model_validate({"world": {"settings": {"difficulty": {"steps": [1]}}}, "directory": tmp_path})
    with (
        RunDirectory(tmp_path / "uses") as run,
        Lab(config, run) as lab,
        pytest.raises(UserError, match="fewer than 20 of 1280 problems will do"),
    ):
        SET.compute(lab, lab.stage(SET))
