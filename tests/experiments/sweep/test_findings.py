"""What a sweep shows, from finished stages with contents made here: what was put in comes out, and nothing else."""

import collections
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from jprm.evaluate import Resamples, compare, first_error_f1, replay_adaptive, score
from jprm.experiments.sweep.cell_tables import dropped_table
from jprm.experiments.sweep.comparisons import linearised, p_value
from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.equal_compute import RISKS
from jprm.experiments.sweep.findings import find
from jprm.experiments.sweep.report_tables import comparisons_table, laws_table, print_tables, stopped_table
from jprm.experiments.sweep.run import _rows_rejected
from jprm.experiments.sweep.screen import print_screen
from jprm.experiments.sweep.table import measure
from jprm.records import Problem, Rationale, Solution, Verdict, append_jsonl, to_json
from jprm.seeds import rng_of
from jprm.tasks.benchmark import Item, load_items
from tests.experiments.sweep.pretend import finish_all

ITEMS, STEPS, VOTES = 120, 3, 6
E, A, B, ALPHA, BETA = 0.2, 900.0, 8.0, 0.6, 0.5  # of the held-out loss that is put in
PARAMS = {"tiny-0.1m": 141_312, "tiny-0.3m": 304_128, "tiny-0.5m": 528_000}


def config_of(directory, **grid):
    section = {"sizes": ["tiny-0.1m", "tiny-0.3m"], "train_examples": [250, 1000], "ablations": []}
    return SweepConfig.model_validate(
        {
            "directory": directory,
            "verify": {"n_votes": VOTES},
            "evaluate": {"votes_shown": [1, 2, VOTES], "candidates_problems": 0},
            "grid": section | grid,
        }
    )


def pretend(config, accuracy):
    """Finishes every stage; `accuracy(verifier)` is the chance that a vote names the right first error."""

    sweep, stages = finish_all(config, lambda task, stage: made_up(task, stage, accuracy))
    return sweep, [measure(stages, cell) for cell in sweep.cells]


def made_up(task, stage, accuracy):
    """Writes the files of a stage and returns its summary."""
    if task.kind == "benchmark":
        items = [item(i, task.seed) for i in range(ITEMS)]
        append_jsonl(stage.file("items.jsonl"), [to_json(i) for i in items])
    if task.kind == "verifier":
        return trained(task)
    if task.kind == "votes":
        verifier = task.sampling.verifier
        rng = rng_of(verifier.seed, stage.key)
        rows = [judged(item(i, task.benchmark.seed), accuracy(verifier), rng) for i in range(ITEMS)]
        append_jsonl(stage.file("rationales.jsonl"), rows)
        return {"rationales": 1000, "generated_tokens": 9000, "forced_tokens": 1000, "none": 7}
    return {"items": ITEMS, "params": PARAMS["tiny-0.3m"]}


def trained(verifier):
    kept = {60: 40, 250: 180, 1000: 700}[verifier.examples]
    n = PARAMS[verifier.size]
    loss = E + A * n**-ALPHA + B * kept**-BETA
    dropped = {"check rejects a step labelled right": verifier.examples - kept}
    return {
        "params": n,
        "loss": 1.0,
        "flops": 6.0 * n * 1e6,
        "filter": {"kept": kept, "dropped": dropped},
        "held_out_loss": loss,
    }


def item(i, seed):
    first_error = -1 if i % 2 else i // 2 % STEPS
    steps = tuple(f"step {t} of {seed}\n" for t in range(STEPS))
    name = f"{seed}-{i}"
    problem = Problem(f"p{name}", "text\n", "1")
    return Item(problem, Solution(f"s{name}", problem.id, steps, "policy", first_error))


def judged(of, accuracy, rng, votes=VOTES):
    """Votes that are right with this chance, and name another first error else; each gives 0.9 or 0.1."""
    solution, rationales = of.solution, []
    for vote in range(votes):
        named = solution.first_error
        if rng.random() >= accuracy:
            named = int(rng.choice([e for e in range(-1, STEPS) if e != solution.first_error]))
        for t in range(STEPS):
            p = 0.1 if t == named else 0.9
            verdict = Verdict(p > 0.5, p, p)
            rationales.append(Rationale(solution.id, t, vote, "chain", "text", (), verdict, 9, 1))
    return {"solution_id": solution.id, "rationales": [to_json(r) for r in rationales]}


def found_by(sweep, measured):
    return find(sweep, measured[0].stages, measured)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """(sweep, measured): the larger model is right more often; without the filter it is the same."""
    config = config_of(tmp_path_factory.mktemp("planted"), ablations=["unfiltered"])
    return pretend(config, lambda verifier: 0.85 if verifier.size == "tiny-0.3m" else 0.55)


@pytest.fixture(scope="module")
def findings(planted):
    return found_by(*planted)


def test_a_planted_gain_is_found_and_none_is_not(planted, findings):
    _, measured = planted
    found = {c.question: c for c in findings.comparisons}
    size = found["tiny-0.3m instead of tiny-0.1m (seed 0)"]
    large, small = (measured[0], next(m for m in measured if m.cell.verifier.size == "tiny-0.1m"))
    assert small.cell.verifier.examples == 1000
    slow = score(large.curve.labels, large.curve.at(VOTES)).f1 - score(small.curve.labels, small.curve.at(VOTES)).f1
    assert size.difference.value == pytest.approx(slow, abs=1e-12)
    assert size.verdict == "helps" and size.difference.low > 0.1
    assert size.paired.permutation_p < 0.001
    [row] = comparisons_table([size]).rows
    assert (row["finding"], row["p"]) == ("helps", "< 0.001")

    none = found["the consensus filter instead of none"]
    assert none.verdict == "not told apart"
    # 2.80 standard errors; the interval is about 3.92 of them wide
    width = none.difference.high - none.difference.low
    assert none.paired.detectable == pytest.approx(2.80 / 3.92 * width, rel=0.1)
    [row] = comparisons_table([none]).rows
    assert (row["finding"], row["detectable"]) == ("not told apart", none.paired.detectable)
    assert row["p"] == p_value(none.paired.permutation_p)


def test_the_main_cell_stands_first_and_the_difference_is_main_minus_variant(planted, findings):
    _, measured = planted
    swapped = [m for m in measured if m.cell.variant][0]
    [c] = [c for c in findings.comparisons if "filter" in c.question]
    ids = measured[0].curve.resamples.group.tolist()
    direct = compare(swapped.curve.at(VOTES), measured[0].curve.at(VOTES), ids, labels=swapped.curve.labels)
    assert c.paired == direct


def test_seeds_are_set_apart_from_problems(tmp_path):
    config = config_of(tmp_path, seeds=[0, 1, 2], train_examples=[1000])
    chance = {0: 0.95, 1: 0.5, 2: 0.7}
    sweep, measured = pretend(config, lambda v: chance[v.seed] if v.size == "tiny-0.3m" else 0.5)
    comparisons = found_by(sweep, measured).comparisons
    alone = [c.difference.value for c in comparisons if re.search(r"tiny-0.1m \(seed", c.question)]
    [whole_] = [c for c in comparisons if "(3 seeds)" in c.question]
    assert len(alone) == 3
    assert whole_.difference.value == pytest.approx(np.mean(alone), abs=1e-9)
    # problems differ between the seeds, so the seeds are the repetitions: Student's t of three
    half = 4.302653 * np.std(alone, ddof=1) / math.sqrt(3)
    assert whole_.difference.high - whole_.difference.value == pytest.approx(half, rel=1e-6)
    assert not whole_.spread.crossed and whole_.spread.seed_sd.value > 0
    [row] = comparisons_table([whole_]).rows
    assert f"seeds differ by sd {whole_.spread.seed_sd.value:.3f}" in row["finding"]
    assert whole_.spread.problem_se < np.std(alone, ddof=1)


def test_linearised_f1_has_its_mean_and_its_spread():
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(400) < 0.4, rng.integers(0, 4, 400), -1)
    correct = (rng.random(400) < np.where(labels < 0, 0.9, 0.6)).astype(float)
    values = linearised(labels, correct)
    assert values.mean() == pytest.approx(score(labels, correct).f1, abs=1e-12)
    resampled = Resamples.of(list(range(400))).f1(labels, correct)[:, 0]
    assert values.std(ddof=1) / 20 == pytest.approx(resampled.std(), rel=0.05)
    assert np.isfinite(linearised(labels, np.zeros(400))).all(), "an F1 of 0 has no slope"


def test_adaptive_rows_are_those_of_a_direct_replay(planted, findings):
    _, measured = planted
    stopped = findings.stopped
    assert [s.result.risk for s in stopped] == list(RISKS)
    main = measured[0].cell.votes
    stages = measured[0].stages
    items = load_items(stages[main.benchmark])
    votes = {}
    for line in stages[main].file("rationales.jsonl").read_text().splitlines():
        row = json.loads(line)
        table = [[0.0] * VOTES for _ in range(STEPS)]
        for r in row["rationales"]:
            table[r["step"]][r["vote"]] = float(r["verdict"]["correct"])
        votes[row["solution_id"]] = table
    for s in stopped:
        direct = replay_adaptive(
            [votes[i.solution.id] for i in items],
            [i.solution.first_error for i in items],
            [i.problem.id for i in items],
            risk=s.result.risk,
        )
        assert s.result.row() == direct.row()
    assert stopped[0].result.change.value == pytest.approx(0), "risk 0 changes no decision"
    assert 0 < stopped[0].result.saved.value < stopped[1].result.saved.value
    assert stopped_table(stopped).rows[0]["mode"] == "chain", "votes of a chain can only be stopped whole"


def test_laws_of_few_points_are_refused_with_the_reason(findings):
    refused = [law.refusal for law in findings.laws if law.refusal]
    assert findings.laws[0].name == "held-out loss against parameters and examples"
    assert refused[0] == (
        "law in parameters, examples: 10 points are needed (5 parameters, twice), there are 4; "
        "add cells to the grid or fix an axis"
    )
    assert "law in parameters, examples, votes: 14 points are needed (7 parameters, twice), there are 12" in refused[1]
    cells = [row["estimate"] for row in laws_table(findings).rows]
    assert all(f"not fitted: {refusal}" in cells for refusal in refused) and findings.laws[0].note == ""


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    sizes, examples = ["tiny-0.1m", "tiny-0.3m", "tiny-0.5m"], [60, 250, 1000]
    config = config_of(tmp_path_factory.mktemp("wide"), sizes=sizes, train_examples=examples, seeds=[0, 1])
    return pretend(config, lambda v: 0.3 + 0.1 * sizes.index(v.size) + v.examples / 2500)


@pytest.fixture(scope="module")
def wide_findings(wide):
    return found_by(*wide)


def test_the_law_of_the_loss_that_was_put_in_comes_out(wide_findings):
    law = wide_findings.laws[0]
    assert law.law.exponent("parameters").value == pytest.approx(ALPHA, abs=0.02)
    assert law.law.exponent("examples").value == pytest.approx(BETA, abs=0.02)
    assert law.law.floor.value == pytest.approx(E, abs=0.01)
    told = dict(law.quantities)
    assert told["points"] == "18" and "covered the truth" in law.coverage
    assert "2 of 2 inside" in told["largest compute held out"]
    # the cheapest size costs 6 N 1e6 and the dearest likewise: only the dearest budget pays for the largest
    budgets = [value for name, value in law.quantities if name.startswith("best for")]
    assert [b.split(" parameters")[0] for b in budgets] == ["141 k", "304 k", "528 k"]
    assert all("700 examples" in b for b in budgets)


def test_the_law_of_the_error_says_what_weakens_it_and_chooses_like_brute_force(wide, wide_findings):
    measured = wide[1]
    law = wide_findings.laws[1]
    assert law.law.axes == ("parameters", "examples", "votes") and "share training and votes" in law.note
    name, value = [q for q in law.quantities if q[0].endswith("of judging")][-1]
    costs = {}
    for m in measured:
        for row in m.rows:
            if row["train_examples"] == 1000:
                costs.setdefault((row["model_params"], row["n_votes"]), []).append(row["flops"])
    dearest = max(np.mean(c) for c in costs.values())
    best = min(
        (float(law.law(n, 700, v)[0]), n, v) for (n, v), c in costs.items() if np.mean(c) <= dearest * (1 + 1e-9)
    )
    assert value.startswith(f"{best[1] / 1000:.3g} k parameters, {best[2]} votes"), name
    assert re.search(r"\(\d+% of the resamples\)", value)


def test_every_interval_of_a_law_says_its_coverage_once(wide_findings):
    table = laws_table(wide_findings)
    notes = dict(re.findall(r"(\(\w\)) measured: (.*?)(?=\. \(\w\) measured: |\.$)", table.note))
    assert len(notes) == table.note.count(") measured: ") == len(set(notes.values())) > 1
    assert all("covered the truth" in said for said in notes.values())
    marked = [row["coverage"] for row in table.rows if "[" in row["estimate"]]
    assert len(marked) > 6 and set(marked) == notes.keys()


def test_all_tables_are_printed_the_cells_first(planted, findings, capsys):
    _, measured = planted
    print_tables(measured, findings)
    said = " ".join(capsys.readouterr().out.split())
    parts = ("a * passed no consensus filter", "without a verdict is counted as wrong", "F1 is the harmonic mean")
    tables = ("Paired comparisons against", "Adaptive votes", "Laws of loss, error and votes", "F1(N) = c")
    places = [said.index(part) for part in (*parts, *tables)]
    assert places == sorted(places)
    labels = [name for name, _ in findings.vote_fits]
    assert len({*labels}) == 4 and "tiny-0.1m, 250 examples" in labels
    assert all(label in said[places[-1] :] for label in labels), "the vote law of every cell of the grid"


def test_the_last_screen(planted, findings, tmp_path, capsys):
    _, measured = planted
    print_screen(measured, findings, tmp_path)
    out = capsys.readouterr().out
    lines, said, f1 = out.splitlines(), " ".join(out.split()), measured[0].curve.f1(VOTES)
    assert said.startswith(f"tiny-0.3m trained on 1000 examples has F1 {f1} at {VOTES} votes on {ITEMS} solutions")
    assert " Without reading, the best that one can say (random) has F1 0." in said
    assert any("helps" in line and "tiny-0.3m instead of tiny-0.1m" in line for line in lines)
    assert any(line.startswith("law: votes of ") for line in lines) and len(lines) <= 23
    assert str(tmp_path / "report.html") in lines[-1] and "--tables" in lines[-1]


def test_what_was_dropped_adds_up(planted):
    _, measured = planted
    rows = {(row["what"], row["where"]): (row["count"], row["of"]) for row in dropped_table(measured).rows}
    cells = len(measured)
    assert rows["votes without a verdict (None)", "in all"] == (7 * cells, 1000 * cells)
    assert rows["code that ran out of time", "in all"] == (0, 0)
    dropped = rows["labelled solutions: check rejects a step labelled right", "in all"]
    assert dropped == (2 * 70 + 3 * 300, 2 * 250 + 3 * 1000)


def test_the_table_of_comparisons_has_a_row_for_each(findings):
    rows = comparisons_table(findings.comparisons).rows
    assert [row["question"] for row in rows] == [c.question for c in findings.comparisons]
    assert [row["p"] for row in rows] == [p_value(c.paired.permutation_p) for c in findings.comparisons]


def test_p_values():
    assert [p_value(p) for p in (0.0001, 0.5084, math.nan)] == ["< 0.001", "0.508", "-"]


def test_the_measured_cells_are_those_that_were_put_in(planted):
    """The control of all above: F1 of the votes, counted by hand."""
    sweep, measured = planted
    m = measured[0]
    items = load_items(m.stages[m.cell.votes.benchmark])
    rows = m.stages[m.cell.votes].file("rationales.jsonl").read_text().splitlines()
    predictions = []
    for line in rows:
        judged_ = json.loads(line)["rationales"]
        means = [np.mean([r["verdict"]["p_yes_raw"] for r in judged_ if r["step"] == t]) for t in range(STEPS)]
        predictions.append(next((t for t, mean in enumerate(means) if mean < 0.5), -1))
    slow = first_error_f1([i.solution.first_error for i in items], predictions).f1
    assert m.curve.score(VOTES).f1 == pytest.approx(slow, abs=1e-12)


def test_rows_that_were_rejected_are_counted_once_a_benchmark():
    """What `processbench` could not read ends a sweep in exit code 3, however many cells judged it."""
    Named = collections.namedtuple("Named", "name seed")

    def cell(name):
        return SimpleNamespace(
            votes=SimpleNamespace(benchmark=Named(name, 0)), verifier=SimpleNamespace(labels=Named("of", 0))
        )

    def stages(**rejected):
        found = {name: {"rejected": n} if n is not None else {} for name, n in ({"of": None} | rejected).items()}
        return {Named(name, 0): SimpleNamespace(done=True, summary=summary) for name, summary in found.items()}

    bad, good = cell("processbench"), cell("policy")
    assert _rows_rejected(stages(processbench=3, policy=None), [bad, bad, good]) == {"processbench (seed 0)": 3}
    assert _rows_rejected(stages(processbench=0, policy=None), [good, bad]) == {}
    assert _rows_rejected(stages(of=2, processbench=0, policy=None), [good, bad]) == {"labels (seed 0)": 2}
    unread = {Named(name, 0): SimpleNamespace(done=False) for name in ("processbench", "of")}
    assert _rows_rejected(unread, [bad]) == {}, "it is not finished"
