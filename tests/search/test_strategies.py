"""Strategies against exhaustive search, closed forms, and a scorer that knows nothing."""

import itertools

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.evaluate import Resamples, mean_interval
from jprm.search import (
    ROOT,
    Branch,
    Choosing,
    Grow,
    Grown,
    JudgedBranch,
    Lookahead,
    Mcts,
    correctness,
    make_strategy,
    run_search,
    strategy,
    summary,
)
from jprm.search.beam import best
from jprm.search.mcts import TreeNode
from tests.search.toys import Answers, Scored, ToyPolicy, flipping, noise, perfect, problems

LAST = Choosing("last")
BLIND = {  # every strategy, wide enough for a scorer to matter
    "best_of_n": {"n": 8},
    "beam": {"width": 3, "expand": 3},
    "dvts": {"width": 3, "expand": 3},
    "lookahead": {"width": 2, "expand": 3, "ahead": 1, "greedy": False},
    "mcts": {"walks": 4, "expand": 3},
}


class Tree:
    """A generator that draws the `arity` children of a node in turn, `depth` levels deep."""

    def __init__(self, arity, depth):
        self.arity, self.depth = arity, depth

    def grow(self, requests):
        return [
            Grown(
                tuple(tuple(self._child(branch, path) for path in request.paths(branch)) for branch in request.branches)
            )
            for _, request in requests
        ]

    def _child(self, branch, path):
        steps = (*branch.steps, str(path[-1] % self.arity))
        return Branch(steps, path, len(steps) == self.depth)

    def forget(self, problem):
        pass


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("name", ["beam", "dvts"])
def test_with_a_perfect_scorer_search_is_exhaustive(tmp_path, name, width):
    arity, depth = 3, 4
    for seed in range(20):
        leaves = list(itertools.product("012", repeat=depth))
        worth = dict(zip(leaves, np.random.default_rng(seed).random(len(leaves)), strict=True))

        def best_below(_, steps, worth=worth):
            reachable = (v for leaf, v in worth.items() if leaf[: len(steps)] == tuple(steps))
            return [0.0] * (len(steps) - 1) + [max(reachable)]

        [row] = run_search(
            problems(1),
            make_strategy(name, width=width, expand=arity),
            Tree(arity, depth),
            Scored(best_below),
            Answers_of_leaves(),
            tmp_path / f"{name}-{seed}.jsonl",
        )
        found = max(row["candidates"], key=lambda c: c["rewards"][-1])
        assert tuple(found["steps"]) == max(worth, key=worth.__getitem__)
        assert len(row["candidates"]) == width


class Answers_of_leaves:
    def answer(self, steps):
        return steps[-1]

    def is_correct(self, problem, steps):
        return False


def test_a_beam_keeps_what_has_ended_until_it_is_pushed_out(tmp_path):
    """Solutions of one step end at once; a longer one with a higher score takes the place."""

    class Uneven(Tree):
        def _child(self, branch, path):
            steps = (*branch.steps, ("ba" if branch.steps else "ab")[path[-1] % 2])
            return Branch(steps, path, steps[-1] == "a" or len(steps) == 3)

    scores = {("a",): 0.6, ("b",): 0.5, ("b", "a"): 0.4, ("b", "b"): 0.7, ("b", "b", "a"): 0.1}
    scores[("b", "b", "b")] = 0.9
    rows = run_search(
        problems(1),
        make_strategy("beam", width=1, expand=2),
        Uneven(2, 3),
        Scored(lambda _, steps: [scores[steps]] * len(steps)),
        Answers_of_leaves(),
        tmp_path / "one.jsonl",
    )
    assert [c["steps"] for c in rows[0]["candidates"]] == [["a"]]  # .6 ended and is kept
    rows = run_search(
        problems(1),
        make_strategy("beam", width=2, expand=1),
        Uneven(2, 3),
        Scored(lambda _, steps: [scores[steps]] * len(steps)),
        Answers_of_leaves(),
        tmp_path / "two.jsonl",
    )
    assert [c["steps"] for c in rows[0]["candidates"]] == [["b", "b", "b"], ["a"]]


def test_without_looking_ahead_it_is_beam_search(tmp_path):
    how = {"width": 2, "expand": 3}
    beam, ahead = (
        run_search(problems(40), strategy, ToyPolicy(), flipping(0.2), Answers(), tmp_path / name)
        for name, strategy in [
            ("beam", make_strategy("beam", **how)),
            ("ahead", make_strategy("lookahead", ahead=0, **how)),
        ]
    )
    assert [r["candidates"] for r in beam] == [r["candidates"] for r in ahead]
    assert [r["budget"] for r in beam] == [r["budget"] for r in ahead]


def test_looking_ahead_sees_a_dead_end(tmp_path):
    """The better-looking child leads nowhere; one step later everybody can see it."""
    scores = {("0",): 0.9, ("1",): 0.8, ("0", "0"): 0.1, ("1", "0"): 0.7}
    rows = [
        run_search(
            problems(1),
            make_strategy(name, width=1, expand=2, **more),
            Tree(2, 2),
            Scored(lambda _, steps: [scores.get(tuple(steps), 0.0)] * len(steps)),
            Answers_of_leaves(),
            tmp_path / name,
        )[0]
        for name, more in [("beam", {}), ("lookahead", {"greedy": False})]
    ]
    assert [row["candidates"][0]["steps"][0] for row in rows] == ["0", "1"]


def test_subtrees_stay_apart(tmp_path):
    """A beam is taken over by the best first step; subtrees each keep their own."""
    rows = {
        name: run_search(
            problems(1),
            make_strategy(name, width=3, expand=3),
            Tree(9, 3),
            Scored(lambda _, steps: [float(int(steps[0]))] * len(steps)),
            Answers_of_leaves(),
            tmp_path / name,
        )[0]
        for name in ("beam", "dvts")
    }
    first = {name: {c["steps"][0] for c in row["candidates"]} for name, row in rows.items()}
    assert first == {"beam": {"8"}, "dvts": {"6", "7", "8"}}


def of_which_fast(*names):
    """Every strategy; those that are not named here are slow: five hundred problems are searched with each."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in BLIND]


def gain_over_one_sample(tmp_path, name, scorer, n=500):
    """Accuracy minus the policy's exact success rate, with its interval over problems.

    At 99 %, so that all five strategies together are right with 95 %.
    """
    policy, items = ToyPolicy(slip=0.15, recover=0.1), problems(n)
    how = BLIND[name]
    rows = run_search(items, make_strategy(name, **how), policy, scorer, Answers(), tmp_path / name)
    assert not any(row["error"] for row in rows)
    right = correctness(rows, LAST) - policy.value(items[0], ())
    return mean_interval(right, Resamples.of([p.id for p in items]), level=0.99)


@pytest.mark.parametrize("name", of_which_fast("best_of_n", "beam", "mcts"))
def test_a_scorer_that_knows_nothing_gains_nothing(tmp_path, name):
    blind = gain_over_one_sample(tmp_path, name, noise(seed=3))
    assert blind.low <= 0.0 <= blind.high
    assert blind.high - blind.low < 0.13, "too wide to see a gain"


@pytest.mark.parametrize("name", of_which_fast("best_of_n", "beam"))
def test_a_small_leak_of_the_truth_is_seen_by_the_same_test(tmp_path, name):
    assert gain_over_one_sample(tmp_path, name, noise(seed=3, leak=0.3)).low > 0.0


def estimates(tree, measured):
    """The policy's success rate from every node: measured at a leaf, above it the children's mean."""
    values = [0.0] * len(tree)
    for i in reversed(range(len(tree))):  # children stand behind their parents
        below = [value for child, value in zip(tree, values, strict=True) if child["parent"] == i]
        values[i] = float(np.mean(below)) if below else measured(tree[i])
    return values


def mcts_rows(tmp_path, n, scorer, policy, **how):
    return run_search(problems(n, steps=3), Mcts(**how), policy, scorer, Answers(), tmp_path / "mcts.jsonl")


def test_tree_values_are_unbiased_with_an_exact_scorer(tmp_path):
    policy = ToyPolicy(slip=0.3, recover=0.2)
    exact = Scored(lambda p, steps: [policy.value(p, steps[: t + 1]) for t in range(len(steps))])
    rows = mcts_rows(tmp_path, 300, exact, policy, walks=4, expand=3)
    truth = policy.value(problems(1, 3)[0], ())
    roots, walked = [], []
    for row in rows:
        tree = row["notes"]["tree"]
        roots.append(estimates(tree, lambda node: node["score"])[0])
        walked.append(tree[0]["value"])
    error = np.std(roots) / np.sqrt(len(roots))
    assert abs(np.mean(roots) - truth) < 2 * error
    # the value that guides the walk leans towards the good children: the check can fail
    assert np.mean(walked) - truth > 2 * np.std(walked) / np.sqrt(len(walked))


def test_rollout_labels_are_unbiased_at_every_depth_whatever_steers_the_walk(tmp_path):
    policy = ToyPolicy(slip=0.3, recover=0.2)
    rows = mcts_rows(tmp_path, 300, flipping(0.2), policy, walks=3, expand=3, rollouts=4)
    grader, problem = Answers(), problems(1, 3)[0]
    for depth in range(3):
        by_problem = []
        for row in rows:
            tree = row["notes"]["tree"]
            values = estimates(
                tree,
                lambda n: (
                    float(grader.is_correct(problem, n["steps"]))
                    if n["ended"]
                    else np.mean([grader.is_correct(problem, r) for r in n["rollouts"]])
                ),
            )
            gaps = [
                (value - policy.value(problem, node["steps"]))
                for value, node in zip(values, tree, strict=True)
                if len(node["steps"]) == depth
            ]
            if gaps:
                by_problem.append(np.mean(gaps))
        error = np.std(by_problem) / np.sqrt(len(by_problem))
        assert abs(np.mean(by_problem)) < 2 * error, depth


def test_the_walks_go_where_the_scores_are_high(tmp_path):
    policy = ToyPolicy(slip=0.4)
    rows = mcts_rows(tmp_path, 30, perfect(), policy, walks=12, expand=3, exploration=0.3)
    visits = {True: [], False: []}
    for row in rows:
        tree = row["notes"]["tree"]
        for i, node in enumerate(tree):
            below = [child["visits"] - 1 for child in tree if child["parent"] == i]
            assert not below or node["visits"] - 1 == sum(below), "every walk goes to the end"
            if node["parent"] == 0:
                visits[node["score"] == 1.0].append(node["visits"])
        assert tree[0]["visits"] == 13
    assert np.mean(visits[True]) > 2 * np.mean(visits[False])


def test_without_an_end_a_tree_stops_at_its_greatest_depth(tmp_path):
    how = Mcts(walks=3, expand=2, max_steps=4)
    [row] = run_search(problems(1, steps=9), how, ToyPolicy(), perfect(), Answers(), tmp_path / "deep.jsonl")
    assert {len(c["steps"]) for c in row["candidates"]} == {4}


def test_budgets_count_what_was_done(tmp_path):
    """Width 2, 3 draws, 4 steps: 6 first steps, then 6 at each of 3 levels, each judged once."""
    rows = run_search(
        problems(3, steps=4),
        make_strategy("beam", width=2, expand=3),
        ToyPolicy(),
        noise(),
        Answers(),
        tmp_path / "b.jsonl",
    )
    for row in rows:
        assert row["budget"]["generator"]["generated_tokens"] == 6 * 4
        assert row["budget"]["generator"]["prompt_tokens"] == 1 + 2 * 3
        assert row["budget"]["verifier"]["generated_tokens"] == 6 * (1 + 2 + 3 + 4)
        assert row["budget"]["verifier"]["flops"] == 60.0
    assert summary(rows)["flops"] == 24 + 60


def test_names_and_settings_are_checked_before_anything_runs():
    assert set(BLIND) <= set(strategy.names())
    with pytest.raises(UserError, match="did you mean 'beam'"):
        make_strategy("beem")
    with pytest.raises(UserError, match="did you mean 'width'"):
        make_strategy("beam", widht=3)
    with pytest.raises(UserError, match="width = 0 must be at least 1"):
        make_strategy("beam", width=0)
    with pytest.raises(UserError, match="unknown aggregation 'median'"):
        make_strategy("mcts", aggregation="median")
    with pytest.raises(UserError, match="strategy 'beam' of jprm.search.beam is taken by jprm.search.beam; rename one"):
        strategy("beam")(Lookahead)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("beam", {"width": "abc"}),
        ("beam", {"width": True}),
        ("beam", {"width": 2.5}),
        ("beam", {"aggregation": 3}),
        ("best_of_n", {"n": "x"}),
        ("best_of_n", {"n": [1, 2]}),
        ("mcts", {"exploration": "large"}),
        ("lookahead", {"greedy": "no"}),
    ],
)
def test_a_setting_of_another_type_is_refused(name, settings):
    with pytest.raises(UserError, match=f"strategy '{name}': {[*settings][0]} = "):
        make_strategy(name, **settings)


def test_a_whole_number_is_a_number():
    assert make_strategy("mcts", exploration=1).exploration == 1


def test_equal_scores_keep_the_order_of_the_draws():
    """.1 + .2 + .3 and .3 + .2 + .1 differ by rounding, and so do their means and products."""
    forth, back = 0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1
    assert forth > back
    judged = JudgedBranch(ROOT, ())
    first, second = (back, judged), (forth, judged)
    assert best([first, second, (0.1, judged)], 2) == [first, second]
    nodes = [TreeNode(judged, 0.0), TreeNode(judged, back, parent=0), TreeNode(judged, forth, parent=0)]
    nodes[0].children = [1, 2]
    assert make_strategy("mcts")._best_child(nodes, nodes[0]) == 1


def test_greedy_continuations_are_one():
    with pytest.raises(UserError, match="n = 4 must be 1"):
        Grow((ROOT,), n=4, greedy=True)
