"""Withheld facts as a set to judge, and the rows of two directions by closed form, with oracles for heads."""

import dataclasses
import types

import pytest

from jprm.experiments.applications.config import ApplicationsConfig
from jprm.experiments.applications.judgements import Judgements, averaged
from jprm.experiments.applications.passes import delayed_evidence_rows
from jprm.experiments.applications.tasks import Applications
from jprm.jobs import StageFailed, open_run
from jprm.search import StepRewards
from jprm.tasks.benchmark import load_items
from jprm.tasks.delayed_evidence import KINDS, DelayedEvidence, judged_steps, kinds
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.settings import WorldSection
from jprm.worlds.embedded import EmbeddedWorld

SET = DelayedEvidence(OpenWorld(WorldSection()), "dev", 20, 0)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """(whole solutions, the same cut) as a run keeps them."""
    both = SET, dataclasses.replace(SET, cut=True)
    with open_run(tmp_path_factory.mktemp("sets"), both, None) as runner:
        return [load_items(runner.ensure(task)) for task in both]


def oracle(name, items, knows):
    """A judge that is sure of the right and the wrong steps where it knows, else says 1/2."""
    rewards = {}
    at = judged_steps(items)
    for item in items:
        said = [1.0] * len(item.solution.steps)
        right = float(item.solution.first_error == -1)
        said[at[item.problem.id]] = right if knows(item) else 0.5
        rewards[item.solution.id] = StepRewards(tuple(said))
    return Judgements(name, True, rewards, None)


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
    rows = delayed_evidence_rows([forward, backward, bi, control], whole, cut)
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
    plain = Applications(ApplicationsConfig()).baseline("steps")
    taught = dataclasses.replace(plain, taught=dataclasses.replace(SET, split="train", problems=5))
    assert plain.key != taught.key
    assert plain.inputs() == taught.inputs(), "what differs is what it builds on"
    world = EmbeddedWorld()
    problem = world.problems("train", 1, 0)[0]
    solution = world.reference(problem)
    n = len(solution.steps)
    for first, targets in ((-1, [1.0] * n), (0, [0.0] + [None] * (n - 1))):
        item = types.SimpleNamespace(solution=dataclasses.replace(solution, first_error=first))
        assert taught._targets(item) == targets


def test_off_without_problems_and_without_directions():
    for switched in ({"delayed_evidence": {"problems": 0}}, {"bidirectional": False}):
        assert Applications(ApplicationsConfig.model_validate(switched)).delayed_evidence_passes() == []


def test_a_world_without_facts_to_withhold_is_named(tmp_path):
    world = OpenWorld(WorldSection(settings={"difficulty": {"steps": [1]}}))
    task = dataclasses.replace(SET, world=world)
    with open_run(tmp_path, [task], None) as runner:
        with pytest.raises(StageFailed, match="fewer than 20 of 1280 problems will do"):
            runner.ensure(task)
