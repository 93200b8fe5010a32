"""Hostile and damaged files: every reader takes a row, or says in one line why not; nothing else."""

import copy
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.data import read_pieces, read_rows, steps_of
from jprm.errors import UserError
from jprm.formats import FORMATS, benchmark, convert, read_benchmark, read_step_scores
from jprm.formats import read_rows as rows_of
from jprm.scaling.laws import read_table
from jprm.strict_json import MAX_DEPTH, NotJson, parse, read_object
from jprm.worlds.gsm8k.solutions import read_file as read_gsm8k

COMPLETION = {"text": "1+1=2.", "rating": 1, "flagged": False}
ROWS = {
    "processbench": {"id": "a-0", "problem": "How many?", "steps": ["1+1=2.", "So 3"], "label": 1},
    "prmbench": {
        "idx": "p",
        "classification": "circular",
        "modified_question": "How many?",
        "modified_process": ["1+1=2.", "So 3"],
        "error_steps": [2],
    },
    "socratic-prmbench": {
        "idx": "p",
        "classification": "repeat_1",
        "modified_question": "How many?",
        "modified_process": ["1+1=2.", "So 3"],
        "error_steps": [2],
        "source_file": "f",
    },
    "mr-math": {
        "id": 1,
        "question": "How many?",
        "model_output_step_format": [["1+1=2."], ["So", "3"]],
        "rating": [1, 0],
        "generator": "g",
    },
    "prm800k": {
        "question": {"problem": "How many?"},
        "label": {
            "steps": [
                {"completions": [COMPLETION], "chosen_completion": 0, "human_completion": None},
                {"completions": None, "chosen_completion": None, "human_completion": COMPLETION},
            ]
        },
    },
    "math-shepherd": {
        "input": "How many? Step 1: 1+1=2. ки\nStep 2: So 3 ки",
        "label": "How many? Step 1: 1+1=2. +\nStep 2: So 3 -",
        "task": "GSM8K",
    },
    "trl": {"prompt": "How many?", "completions": ["1+1=2.", "So 3"], "labels": [True, False]},
    "rlhflow": {
        "conversations": [
            {"role": "user", "content": "How many? Step 1: 1+1=2."},
            {"role": "assistant", "content": "+"},
        ]
    },
    "scores": {"problem_id": "p", "candidate_index": 0, "step_scores": [0.5, 1], "is_correct": True, "answer": "7"},
    "gsm8k": {"question": "How many?", "answer": "2+3 = <<2+3=5>>5 pens\n#### 5"},
    "messages": {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    "parts": {"messages": [{"role": "assistant", "content": [{"type": "text", "text": "b"}]}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    "prompt and completion": {"prompt": "a", "completion": "b"},
    "two lists": {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
    "pieces": {"pieces": [["a", False], ["b", True], ["Yes", "No", 0.5]]},
    "steps": {"pieces": [["a", None], ["b", 0.5]]},
    "laws": {"N": 1e6, "D": 1e9, "loss": 2.5},
}


def read(name, path):
    """What the command that takes such a file reads of it."""
    if name in (*benchmark,):
        read_benchmark(path)
        read_benchmark(path, name)
    if name in FORMATS:
        for target in FORMATS:
            out = path.with_name("out.jsonl")
            out.unlink(missing_ok=True)
            convert(path, name, target, out)
    match name:
        case "scores":
            read_step_scores(path)
        case "gsm8k":
            read_gsm8k(path)
        case "messages" | "parts" | "sharegpt" | "prompt and completion" | "two lists" | "pieces":
            out = path.with_name("messages.jsonl")
            out.unlink(missing_ok=True)
            convert(path, "conversations", "messages", out)
            read_pieces(path, [("<o>", "</o>")])
        case "steps":
            read_rows(path, steps_of)
        case "laws":
            read_table(path)


def places(value, above=()):
    """Every path into a value."""
    yield above
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*above, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*above, index))


def changed(row, place, value):
    """The row with another value there."""
    if not place:
        return value
    row = copy.deepcopy(row)
    inner = row
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return row


scalar = st.sampled_from(
    [None, True, False, 0, 1, -1, 5, 10**18, 10**200, 0.5, -7.25, 1e300, "", " ", "\n", "a", "ки", "\x00"]
)
anything = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=5,
)


def is_one_line(error):
    return "\n" not in str(error) and len(str(error)) < 4000


@pytest.mark.parametrize("name", ROWS)
def test_a_changed_row_is_read_or_refused(name, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "in.jsonl"

    @settings(max_examples=40)
    @given(st.sampled_from(list(places(ROWS[name]))), anything)
    def fuzz(place, value):
        row = changed(ROWS[name], place, value)
        path.write_text("".join(json.dumps(r) + "\n" for r in (ROWS[name], row)))
        try:
            read(name, path)
        except UserError as error:
            assert is_one_line(error)

    fuzz()


@pytest.mark.parametrize("name", ROWS)
def test_changed_bytes_are_read_or_refused(name, tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / "in.jsonl"
    line = json.dumps(ROWS[name]).encode() + b"\n"
    broken = st.sampled_from(
        [b"\x00", b"\xff", b"[", b"]", b"{", b"}", b'"', b",", b"\n", b"\\ud800", b"NaN", b"1e999"]
        + [b"9" * 5000, b"[" * 5000, b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b"]
    )

    @settings(max_examples=25)
    @given(st.integers(0, 2 * len(line)), st.integers(0, 3), broken, st.booleans())
    def fuzz(at, cut, what, packed):
        data = line + line
        data = data[:at] + what + data[at + cut :]
        path.write_bytes(gzip.compress(data)[: -cut or None] if packed else data)
        try:
            read(name, path)
        except UserError as error:
            assert is_one_line(error)

    fuzz()


GOOD = json.dumps(ROWS["trl"])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (f"[{GOOD}]\n[{GOOD}]\n", r"a\.json:2: content after the list of 1 rows"),
        (f"[{GOOD}]\n\nend", r"a\.json:3: content after the list of 1 rows"),
        (f"[\n{GOOD}\n]]", r"a\.json:3: content after"),
        (f"[]\n{GOOD}\n", r"a\.json:2: content after the list of 0 rows"),
        (f"[]{GOOD}", r"a\.json:1: content after the list of 0 rows"),
        (GOOD.encode("utf-16"), "UTF-16 or UTF-32, not UTF-8"),
        (GOOD.encode("utf-16-le"), "UTF-16 or UTF-32, not UTF-8"),
        (f'[{{"a": {"9" * 5000}}}]', "an integer of 5000 digits is no number"),
        ("[" * 100_000, "nested more than 100 deep"),
        ('[{"a": 1, "a": 2}]', "the key 'a' stands twice"),
    ],
)
def test_a_container_that_is_broken_as_a_whole(tmp_path, data, said):
    path = tmp_path / "a.json"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(UserError, match=said):
        list(rows_of(path))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ('{"a": 1e999}', "1e999 is no number"),
        (f'{{"a": {"9" * 5000}}}', "an integer of 5000 digits"),
        ('{"a": ' + "[" * 150 + "]" * 150 + "}", "nested more than 100 deep"),
        ('{"a": ' * 100_000, "nested more than 100 deep"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' stands twice"),
        (r'{"a": "\ud83d"}', "half of a surrogate pair"),
        ('{"a": 1}{"a": 2}', "content after the value, column 9"),
        ('{"a": "\x00"}', "not JSON"),
        ("\x00" * 8, "not JSON"),
    ],
)
def test_one_broken_line_costs_one_row(tmp_path, line, said):
    path = tmp_path / "a.jsonl"
    path.write_text(f"{GOOD}\n{line}\n{GOOD}\n")
    first, broken, last = rows_of(path)
    assert (first.fault, last.fault) == ("", "") and said in broken.fault
    assert broken.place == f"{path}:2" and broken.line == 2


def test_marks_and_names_of_containers(tmp_path):
    for name, data in (
        ("bom.jsonl", b"\xef\xbb\xbf" + GOOD.encode()),
        ("bom.json", b"\xef\xbb\xbf[" + GOOD.encode() + b"]"),
        ("misnamed.jsonl", gzip.compress(GOOD.encode())),
        ("windows.jsonl", GOOD.encode() + b"\r\n\r\n"),
        ("late.json", b"\n \n[" + GOOD.encode() + b"]\n\n"),
    ):
        (tmp_path / name).write_bytes(data)
        (row,) = rows_of(tmp_path / name)
        assert row.value == ROWS["trl"]
    (tmp_path / "empty.jsonl").touch()
    assert list(rows_of(tmp_path / "empty.jsonl")) == []
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"):
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match="is a directory"):
            list(rows_of(tmp_path / name))


def test_a_damaged_gsm8k_file_is_named(tmp_path):
    path = tmp_path / "train.jsonl.gz"
    packed = gzip.compress(json.dumps(ROWS["gsm8k"]).encode() * 500)
    for data in (packed[:-9], packed[:20] + b"\xff\xff" + packed[22:], b"no gzip"):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"train\.jsonl\.gz"):
            read_gsm8k(path)


def test_ambiguous_files_say_so(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"steps": ["a"]}))
    with pytest.raises(UserError, match="no row has the fields.*processbench has id, problem, steps, label"):
        read_benchmark(path)
    path.write_text("".join(json.dumps(ROWS[n]) + "\n" for n in ("prmbench", "processbench")))
    with pytest.raises(UserError, match=r"several benchmarks, prmbench \(.*:1\), processbench \(.*:2\)"):
        read_benchmark(path)
    assert len(read_benchmark(path, "prmbench").items) == 1


def test_the_depth_that_is_allowed():
    for depth, good in ((MAX_DEPTH, True), (MAX_DEPTH + 1, False)):
        for opened, closed in (("[", "]"), ('{"a":', "}")):
            text = opened * depth + ("1" if opened != "[" else "") + closed * depth
            if good:
                parse(text)
            else:
                with pytest.raises(NotJson, match="nested"):
                    parse(text)


@given(anything)
def test_what_json_writes_is_read(value):
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


def test_an_object_in_a_file(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(UserError, match="no such file; copy it"):
        read_object(path, "copy it")
    for data, said in ((b"[1]", "expected a JSON object, found list"), (b"{", "not JSON"), (b"\xff", "UTF-8")):
        path.write_bytes(data)
        with pytest.raises(UserError, match=said):
            read_object(path, "copy it")
    with pytest.raises(UserError, match="cannot be read"):
        read_object(tmp_path, "copy it")
