"""A declarative grid becomes the points that it says, and cells that share what they can."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.config import load
from jprm.errors import UserError
from jprm.experiments.sweep.axes import points
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig
from jprm.jobs import Graph, Stages

PLAIN = ["evaluate.candidates_problems=0", "directory=nowhere"]


def configured(tmp_path, text):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return load(SweepConfig, path, PLAIN)


def axes_of(**values):
    axes = ", ".join(f'{{key = "{key.replace("__", ".")}", values = {list(v)}}}' for key, v in values.items())
    return load(SweepConfig, None, [*PLAIN, f"axes=[{axes}]"])


KEYS = {
    "train__steps": st.lists(st.integers(1, 50), min_size=1, max_size=3, unique=True),
    "verify__temperature": st.lists(st.sampled_from([0.5, 1.0, 1.5]), min_size=1, max_size=3, unique=True),
    "cell__seed": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
}


@given(st.fixed_dictionaries({}, optional=KEYS))
def test_axes_multiply_the_first_slowest(values):
    config = axes_of(**values)
    found = [tuple(v for _, v in point.values) for point in points(config)]
    assert found == list(itertools.product(*values.values()))
    for point in points(config):
        for key, value in point.values:
            section, name = key.split(".")
            assert getattr(getattr(point.config, section), name) == value
        assert not point.config.axes


def test_zips_and_filters(tmp_path):
    config = configured(
        tmp_path,
        """
        [[axes]]
        key = "cell.size"
        values = ["tiny-0.1m", "tiny-0.3m", "tiny-0.5m"]
        zip = "scale"
        [[axes]]
        key = "train.steps"
        values = [100, 200, 400]
        zip = "scale"
        [[axes]]
        key = "verify.mode"
        values = ["chain", "fork"]
        [[skip]]
        cell.size = "tiny-0.5m"
        verify.mode = "fork"
        [[only]]
        "train.steps" = [200, 400]
        """,
    )
    shown = [(c.verifier.size, c.config.train.steps, c.sampling.mode) for c in Sweep(config).grid]
    assert shown == [("tiny-0.3m", 200, "chain"), ("tiny-0.3m", 200, "fork"), ("tiny-0.5m", 400, "chain")]


def test_the_grid_is_a_shorthand_for_axes_over_cells():
    grid = load(SweepConfig, None, [*PLAIN, "grid.ablations=[]", "grid.seeds=[0, 3]"])
    axes = axes_of(cell__seed=[0, 3], cell__size=["tiny-0.3m", "tiny-0.1m"], cell__train_examples=[1000, 250])
    assert [c.votes for c in Sweep(grid).cells] == [c.votes for c in Sweep(axes).cells]
    assert [c.name for c in Sweep(grid).cells] == [c.name for c in Sweep(axes).cells]
    keys = [{task.key for task in Graph(Stages(config.path), Sweep(config).asked).tasks} for config in (grid, axes)]
    assert keys[0] == keys[1]


def test_ablations_and_lists_that_are_asked_for_stand_at_every_point():
    config = load(
        SweepConfig, None, [*PLAIN, "grid.ablations=['fork']", 'axes=[{key = "train.steps", values = [5, 6]}]']
    )
    shown = [(c.config.train.steps, c.variant, c.sampling.mode) for c in Sweep(config).cells]
    assert shown == [(5, "", "chain"), (6, "", "chain"), (5, "fork", "fork"), (6, "fork", "fork")]


def test_cells_that_differ_in_votes_temperature_or_readout_train_once(tmp_path):
    config = configured(
        tmp_path,
        """
        [[axes]]
        key = "verify.n_votes"
        values = [4, 16]
        [[axes]]
        key = "verify.readout"
        values = ["prob_raw", "vote"]
        [[axes]]
        key = "verify.temperature"
        values = [0.7, 1.1]
        """,
    )
    sweep = Sweep(config)
    cells, graph = sweep.cells, Graph(Stages(config.path), sweep.asked, sweep.leaders)
    kinds = [task.kind for task in graph.tasks]
    assert len(cells) == 8 and kinds.count("verifier") == 1 and kinds.count("votes") == 8
    # of each temperature, one stage draws, and the other three follow it
    leaders = [graph.leaders.get(c.votes) for c in cells]
    assert sum(leader is None for leader in leaders) == 2
    assert {leader.n_votes for leader in leaders if leader} == {16}
    assert sum(graph.flops(task) > 0 for task in graph.tasks if task.kind == "votes") == 2
    assert [c.config.votes_shown for c in cells[::4]] == [(1, 2, 4), (1, 2, 4, 8, 16)]
    assert len({c.name for c in cells}) == 8


def test_a_configuration_comes_back_from_its_json(tmp_path):
    config = axes_of(train__steps=[1, 2])
    again = SweepConfig.model_validate_json(config.model_dump_json())
    assert again == config and len(Sweep(again).cells) == 2


@pytest.mark.parametrize(
    ("axes", "rest", "message"),
    [
        ('[{key = "train.stepz", values = [1]}]', "", 'did you mean "train.steps"'),
        ('[{key = "train.steps", values = ["many"]}]', "", "train.steps = 'many' (from axes)"),
        ('[{key = "name", values = ["a"]}]', "", "the same for a whole run directory"),
        ('[{key = "train.steps", values = []}]', "", "axes"),
        ('[{key = "train.steps", values = [1]}, {key = "train.steps", values = [1]}]', "", "two of them"),
        (
            '[{key = "train.steps", values = [1, 2], zip = "a"}, {key = "cell.seed", values = [1], zip = "a"}]',
            "",
            "differ in length: train.steps has 2, cell.seed has 1",
        ),
        ('[{key = "train.steps", values = [1]}]', 'only=[{"cell.seed" = 1}]', "is no axis"),
        ('[{key = "train.steps", values = [1]}]', 'skip=[{"train.steps" = 1}]', "leave no point"),
        ("[]", 'skip=[{"train.steps" = 1}]', "there are none"),
    ],
)
def test_a_mistake_in_the_axes_is_named(axes, rest, message):
    with pytest.raises(UserError) as caught:
        points(load(SweepConfig, None, [*PLAIN, f"axes={axes}", *([rest] if rest else [])]))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_greedy_votes_are_one_each():
    """At temperature 0 several votes would be the same at full price; other points keep theirs."""
    config = SweepConfig.model_validate(
        {"axes": [{"key": "verify.temperature", "values": [0.0, 1.1]}], "grid": {"ablations": []}}
    )
    drawn = {c.config.verify.temperature: c.votes.n_votes for c in Sweep(config).cells}
    assert drawn == {0.0: 1, 1.1: 8}
    greedy = SweepConfig.model_validate({"verify": {"temperature": 0.0}})
    assert {cell.votes.n_votes for cell in Sweep(greedy).cells} == {1}
    candidates = Sweep(greedy).candidates
    assert candidates is not None and candidates.votes.n_votes == 1
