"""A configuration is read from files and words, and every mistake in them is named."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from jprm.config import Config, fingerprint, load, toml
from jprm.errors import UserError


class Train(Config):
    steps: int = Field(400, ge=1)
    rate: float = 0.02
    remat: bool = False
    warmup: int = 20

    @model_validator(mode="after")
    def _consistent(self):
        if self.warmup > self.steps:
            raise ValueError(f"warmup = {self.warmup} is above steps = {self.steps}")
        return self


class Grid(Config):
    sizes: tuple[str, ...] = ("tiny",)
    seeds: tuple[int, ...] = (0,)
    labels: Literal["rpe", "hard"] = "rpe"


class World(Config):
    settings: dict[str, Any] = {}


class Settings(Config):
    name: str = "default"
    root: Path | None = None
    train: Train = Train()
    grid: Grid = Grid()
    world: World = World()


class Required(Config):
    size: int


def complaint(*overrides: str, path: Path | None = None, cls: type[Config] = Settings) -> str:
    with pytest.raises(UserError) as caught:
        load(cls, path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_anything_the_defaults_hold():
    assert load(Settings) == Settings()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.steps=200", {"train": Train(steps=200)}),
        ("train.steps = 200", {"train": Train(steps=200)}),
        ("train.rate=1e-3", {"train": Train(rate=0.001)}),
        ("train.remat=true", {"train": Train(remat=True)}),
        ("train={steps=30, rate=1}", {"train": Train(steps=30, rate=1.0)}),
        ('grid.sizes=["a", "b"]', {"grid": Grid(sizes=("a", "b"))}),
        ("grid.seeds=[]", {"grid": Grid(seeds=())}),
        ("grid.labels=hard", {"grid": Grid(labels="hard")}),
        ('grid.labels="hard"', {"grid": Grid(labels="hard")}),
        ("name=plain words", {"name": "plain words"}),
        ("name=2024", {"name": "2024"}),
        ("name=a=b", {"name": "a=b"}),
        ("name=", {"name": ""}),
        ("root=/a/b", {"root": Path("/a/b")}),
        ("root=7", {"root": Path("7")}),
        ("world.settings.steps=[2, 3]", {"world": World(settings={"steps": [2, 3]})}),
    ],
)
def test_an_override(override, expected):
    assert load(Settings, None, [override]) == Settings(**expected)


def test_later_overrides_win_and_leave_the_rest():
    loaded = load(Settings, None, ["train={steps=30}", "train.rate=0.5", "train.steps=40"])
    assert loaded.train == Train(steps=40, rate=0.5)


def test_a_file_extends_another_and_overrides_win(tmp_path):
    (tmp_path / "base.toml").write_text('name = "base"\n[train]\nsteps = 50\nrate = 0.5\n')
    (tmp_path / "sub").mkdir()
    over = tmp_path / "sub" / "over.toml"
    over.write_text('extends = "../base.toml"\nname = "over"\n[train]\nsteps = 60\nwarmup = 1\n')
    loaded = load(Settings, over, ["train.warmup=2"])
    assert loaded == Settings(name="over", train=Train(steps=60, rate=0.5, warmup=2))


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("trian.steps=5", "train.steps"),
        ("train.step=5", "train.steps"),
        ("gird.seed=5", "grid.seeds"),
        ("train.steps.deep=5", "train.steps"),
        ("trian={steps=5}", "train.steps"),
        ("nmae=x", "name"),
        ("world.setings.a=1", "world.settings"),
    ],
)
def test_an_unknown_key_names_the_nearest(override, nearest):
    message = complaint(override)
    assert message.startswith('unknown key "')
    assert message.endswith(f'(from the command line); did you mean "{nearest}"?')


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps=0", "train.steps = 0 (from the command line): Input should be greater than or equal to 1"),
        ("train.steps=many", "train.steps = 'many' (from the command line): Input should be a val"),
        ("train.steps=", "train.steps = '' (from the command line): Input should be a valid int"),
        ("train.steps=1\nname=2", "train.steps = '1\\nname=2' (from the command line): Input sho"),
        ("train.remat=3", "train.remat = 3 (from the command line): Input should be a valid bool"),
        ("train=5", "train = 5 (from the command line): Input should be a valid dictionary"),
        ("grid.labels=soft", "grid.labels = 'soft' (from the command line): Input should be 'rpe'"),
        ("grid.seeds=[0, 'x']", "grid.seeds.1 = 'x' (from the command line): Input should be a"),
        ("train.steps=9", "train (from the command line): warmup = 20 is above steps = 9"),
        ("train.steps", "'train.steps' is not an override; write key=value, such as train.steps="),
        ("=5", "'=5' is not an override"),
        ("train..steps=5", "'train..steps=5' is not an override"),
    ],
)
def test_a_bad_override_is_one_line(override, message):
    assert complaint(override).startswith(message)


def test_a_mistake_in_a_file_names_the_file_that_made_it(tmp_path):
    base, over = tmp_path / "base.toml", tmp_path / "over.toml"
    over.write_text('extends = "base.toml"\n[train]\nrate = 1.0\n')
    base.write_text("[train]\nsteps = 0\n")
    assert complaint(path=over).startswith(f"train.steps = 0 (from {base}): ")
    base.write_text("[trian]\nsteps = 5\n")
    assert complaint(path=over).startswith(f'unknown key "trian.steps" (from {base}); did you mean')
    base.write_text("[train]\nwarmup = 900\n")
    assert complaint(path=over).startswith(f"train (from {base}, {over}): warmup = 900 is above")
    assert complaint("train.rate=x", path=over).startswith("train.rate = 'x' (from the command li")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[train\nsteps = 5", "not valid TOML (Expected ']'"),
        (b"steps = " + b"9" * 5000, "not valid TOML ("),
        (b"steps = " + b"[" * 100_000, "not valid TOML ("),
        (b"a = 1\na = 2", "not valid TOML (Cannot overwrite a value"),
        (b"name = '\xff'", "not valid TOML ("),
        (b"extends = 3", "extends = 3 must be the path of a TOML file"),
        (b'extends = "bad.toml"', "extends itself; remove the circle of `extends`"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, message):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    assert complaint(path=path).startswith(f"{path}: {message}")


OTHERS = {"fit": "tests.test_config:Train", "size": "tests.test_config:Required"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps = 50\nrate = 0.5", "that is a file for `fit`"),
        ("rate = 0.5\nstepz = 3", "that is a file for `fit`"),
        ("size = 3", "that is a file for `size`"),
        ("[train]\nsteps = 50\nrate = 0.5\n[grid]\nsize = 1", 'unknown key "grid.size" (from '),
        ('name = "a"\nrate = 0.5', 'unknown key "rate" (from '),  # one key each: a mistake, no other file
    ],
)
def test_a_file_of_another_command_is_refused_as_such(tmp_path, content, message):
    path = tmp_path / "a.toml"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        load(Settings, path, (), OTHERS)
    assert str(caught.value).removeprefix(f"{path}: ").startswith(message)
    with pytest.raises(UserError, match="unknown key"):
        load(Settings, None, ["rate=0.5"], OTHERS)


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "none.toml"
    reason = "cannot read the configuration (No such file or directory)"
    assert complaint(path=path) == f"{path}: {reason}"
    over = tmp_path / "over.toml"
    over.write_text('extends = "none.toml"')
    assert complaint(path=over) == f"{path}: {reason}"
    assert complaint(path=tmp_path) == f"{tmp_path}: cannot read the configuration (Is a directory)"


def test_a_missing_value_is_named():
    assert complaint(cls=Required) == "size: Field required"


def test_sections_are_immutable():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        load(Settings).train.steps = 3  # type: ignore[misc]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(table):
    assert fingerprint(table) == fingerprint(dict(reversed(table.items())))


def test_fingerprints_tell_values_apart_and_never_change():
    values = [None, 0, 1, True, 1.5, "1", [1], [[1]], [1, 1], {"a": 1}, {"a": [1]}, {"b": 1}]
    assert len({fingerprint(value) for value in values}) == len(values)
    # run directories are found by these
    assert fingerprint({"b": [1, 2.5], "a": None}) == "e57f5d37865437a8"
    assert fingerprint(Settings()) == fingerprint(Settings().model_dump(mode="json"))
    assert fingerprint({"train": Train(steps=5, warmup=1)}) != fingerprint({"train": Train()})
    assert fingerprint({"root": Path("/a")}) == fingerprint({"root": "/a"})


NUMBERS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(NUMBERS | st.text(), lambda values: st.lists(values, max_size=3), max_leaves=5)
NAMES = st.from_regex("[a-z_]{1,3}", fullmatch=True)


@given(st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES))))
def test_a_table_is_read_again_from_its_toml(table):
    assert tomllib.loads(toml(table)) == table


def test_what_has_no_stable_text_has_no_fingerprint():
    with pytest.raises(TypeError, match="object has no canonical JSON"):
        fingerprint({"a": object()})


def test_a_value_may_be_a_text_or_a_section():
    class Choice(Config):
        model: str
        size: int = Field(default=1, ge=1)

    class Run(Config):
        policy: str | Choice = "tiny"

    assert load(Run, None, ["policy=big"]).policy == "big"
    for words in (["policy={model='x', size=2}"], ["policy.model=x", "policy.size=2"]):
        assert load(Run, None, words).policy == Choice(model="x", size=2)
    for words, said in (
        (["policy.model=x", "policy.sise=2"], 'unknown key "policy.sise" .*"policy.size"'),
        (["policy.size=2"], "policy.model: Field required"),
        (["policy.model=x", "policy.size=0"], r"policy.size = 0 \(from the command line\): Input should be greater"),
        (["policy=7"], r"policy = 7 \(from the command line\): Input should be a valid string"),
    ):
        with pytest.raises(UserError, match=said):
            load(Run, None, words)


@pytest.mark.parametrize("mistake", ["trian.steps=5", "train.steps=0"])
def test_the_command_line_answers_without_jax(mistake):
    root = Path(__file__).resolve().parents[1]
    program = """
import sys
from jprm.cli import sweep_main
code = sweep_main(sys.argv[1:])
assert "jax" not in sys.modules
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program, mistake], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "train.steps" in done.stderr
