"""Labels say what differs, and no two are alike."""

from hypothesis import given
from hypothesis import strategies as st

from jprm.config import load
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.short_names import as_key, in_groups, in_words, labels_of, short_labels, varying

KEYS = ("model", "train_examples", "code", "verify.n_votes", "verify.temperature", "a.steps", "b.steps")
VALUES = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["1", "x", "x, y", 0.5, [1, 2]])
FACTS = st.lists(st.fixed_dictionaries(dict.fromkeys(KEYS, VALUES)), min_size=1, max_size=12, unique_by=as_key)


@given(FACTS)
def test_labels_are_distinct_and_say_what_differs_and_nothing_else(facts):
    labels = labels_of(facts)
    assert len(set(labels)) == len(facts)
    keys = varying(facts)
    for one, label in zip(facts, labels, strict=True):
        assert label.startswith(in_words(one, keys)), "a number may follow where two read alike"
    for key in KEYS:
        differs = len({as_key(one[key]) for one in facts}) > 1
        assert not (key in keys and not differs)
        twins = [k for k in keys if all(as_key(one[k]) == as_key(one[key]) for one in facts)]
        assert not differs or twins, "what differs is said, by this key or by one that always says the same"


@given(FACTS, st.integers(1, 4))
def test_groups_are_small_and_their_keys_tell_them_apart(facts, most):
    by, left = in_groups(facts, most)
    groups = {}
    for one in facts:
        groups.setdefault(as_key([one[key] for key in by]), []).append(one)
    assert all(len(group) <= most for group in groups.values())
    assert set(by) | set(left) == set(varying(facts)) and not set(by) & set(left)


def labels(axes, **grid):
    table = {"directory": "nowhere", "axes": axes, "evaluate": {"candidates_problems": 0}}
    return short_labels(Sweep(SweepConfig.model_validate(table | ({"grid": grid} if grid else {}))).cells)


def test_points_of_axes_are_told_apart_in_few_words():
    found = labels(
        [
            {"key": "verify.temperature", "values": [0.7, 1.1]},
            {"key": "verify.n_votes", "values": [4, 16]},
            {"key": "verify.mode", "values": ["chain", "fork"]},
        ]
    )
    assert found[0] == "chain, temperature 0.7, 4 votes" and found[-1] == "fork, temperature 1.1, 16 votes"
    assert len(set(found)) == 8
    assert labels([{"key": "cell.size", "values": ["tiny-0.1m", "tiny-0.3m"]}]) == ["tiny-0.1m", "tiny-0.3m"]
    assert labels([{"key": "verify.mode", "values": ["fork"]}]) == ["tiny-0.3m"], "nothing differs"


def test_keys_of_one_last_word_are_named_in_full():
    axes = [{"key": f"{section}.steps", "values": [1, 2]} for section in ("base", "train")]
    assert labels(axes)[0] == "base.steps 1, train.steps 1"


def test_the_cells_of_the_default_sweep():
    cells = Sweep(load(SweepConfig, None, ["directory=nowhere"])).cells
    assert short_labels(cells[:2]) == ["1000 examples", "250 examples"]
    assert len(set(short_labels(cells))) == len(cells)
