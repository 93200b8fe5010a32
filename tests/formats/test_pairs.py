"""Every conversion from one layout to another: what is written, its own reader reads, the same."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.formats import FORMATS, benchmark, convert
from jprm.formats.judged import JudgedSolution, parse_rows
from jprm.formats.rows import read_rows

READERS = {name: layout.parse for name, layout in (benchmark.entries() | FORMATS).items()}
REAL = {
    "processbench": ("processbench/math.jsonl.gz",),
    "prmbench": ("prmbench/prmbench.jsonl.gz",),
    "socratic-prmbench": ("socratic_prmbench/socratic_prmbench.jsonl.gz",),
    "mr-math": ("mr_math/mr-math_invalid_errors.jsonl.gz", "mr_math/mr-math_redundant_errors.jsonl.gz"),
    "prm800k": ("format_samples/prm800k.jsonl.gz",),
    "math-shepherd": ("format_samples/math-shepherd.jsonl.gz",),
}

piece = st.sampled_from(["Step 1:", "ки", "\n", " ", "-", "a", "+", "7", "é", "\t", "\x00", "\u2028"])
text = st.lists(piece, min_size=1, max_size=5).map("".join).filter(str.strip)
ids = st.sampled_from(["1", "a-1", "a", "a-a-1", "x-1-1", "-1"])
steps = st.lists(text, min_size=1, max_size=3)


@st.composite
def native_row(draw, name):
    """A row as the files of a layout have it."""
    problem, said, identity = draw(text), draw(steps), draw(ids)
    labels = draw(st.lists(st.booleans(), min_size=len(said), max_size=len(said)))
    wrong = [i for i, label in enumerate(labels, 1) if not label]
    solution = JudgedSolution("", identity, problem, tuple(said), tuple(labels))
    match name:
        case "prmbench" | "socratic-prmbench":
            flaws = ["redundency", "circular"] if name == "prmbench" else ["repeat", "premise_x"]
            return {
                "idx": identity,
                "classification": draw(st.sampled_from(flaws)),
                "modified_question": problem,
                "modified_process": said,
                "error_steps": wrong,
                "source_file": "f",
            }
        case "mr-math":
            return {
                "id": draw(st.integers(0, 2)),
                "question": problem,
                "model_output_step_format": [step.split("\n") for step in said],
                "rating": list(map(int, labels)),
            }
        case _:
            return FORMATS[name].row(solution)


def stripped(text):
    return text.strip()


def check(path, source, out):
    """Reads back what was written, and compares it with what was read before."""
    before = parse_rows(read_rows(path), READERS[source])
    for target, layout in FORMATS.items():
        written = out / f"{target}.jsonl"
        written.unlink(missing_ok=True)
        done = convert(path, source, target, written)
        after = parse_rows(read_rows(written), layout.parse)
        assert after.rejected == () and len(after.items) == done.written
        assert done.written + len(done.rejected) == len(before.items) + len(before.rejected)
        text = stripped if layout.strips else str
        kept = iter(before.items)
        for item in after.items:  # in the order of the file, some left out with a reason
            same = next(
                old
                for old in kept
                if (text(old.problem), tuple(map(text, old.steps[: len(item.steps)]))) == (item.problem, item.steps)
                and all(a in (None, b) for a, b in zip(item.labels, old.labels, strict=False))
            )
            assert item.first_error == same.first_error or layout.holds == "every"
        yield target, done


@pytest.mark.parametrize("source", READERS)
def test_what_is_written_is_read_back_the_same(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")

    @settings(max_examples=15)
    @given(st.lists(native_row(source), min_size=1, max_size=4))
    def pairs(rows):
        path = folder / "in.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        list(check(path, source, folder))

    pairs()


def test_one_solution_flawed_in_two_ways_keeps_two_ids(tmp_path):
    row = {"idx": "p1-0", "modified_question": "How many?", "modified_process": ["1+1=2.", "So 3"], "error_steps": [2]}
    path = tmp_path / "a.jsonl"
    rows = [row | {"classification": flaw} for flaw in ("circular", "deception")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = convert(path, "prmbench", "processbench", tmp_path / "b.jsonl")
    assert (done.written, done.rejected) == (2, ())
    found = [row.value["id"] for row in read_rows(tmp_path / "b.jsonl")]
    assert found == ["circular-p1-0", "deception-p1-0"]


@pytest.mark.parametrize("source", REAL)
def test_real_files_are_read_back_the_same(source, data_root, tmp_path):
    for name in REAL[source]:
        path = data_root / name
        if not path.is_file():
            pytest.skip(f"no file at {path}")
        some = tmp_path / "in.jsonl"
        rows = [row.value for row in read_rows(path)]
        some.write_text("".join(json.dumps(row) + "\n" for row in rows[:: 1 + len(rows) // 400]))
        for target, done in check(some, source, tmp_path):
            assert done.written, target
