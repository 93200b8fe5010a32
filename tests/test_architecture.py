"""The house rules that a reviewer would otherwise have to remember.

Imports point down the levels of the rooms and form no cycle; rooms that need no JAX do not load it;
files stay short and packages say what they are for.
"""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEVELS = (
    {"errors", "digests", "paths", "strict_json", "ties", "quoting", "signals"},
    {*("terminal", "records", "config", "runs", "leases", "progress", "preemption"), *("seeds", "execute", "http")},
    {"mesh", "tokenizer", "chat", "grade", "worlds", "doctor", "formats", "launch"},
    {"models", "data"},
    {"train", "sample", "served"},
    {"verify"},
    {"label", "score"},
    {"evaluate"},
    {"search"},
    {"scaling"},
    {"cli", "__main__", "pipeline", "judge", "catalogue", "uses"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
SIDEWAYS = {  # rooms of one level know each other only here; any may raise an error
    "runs": {"config", "digests"},
    "preemption": {"progress"},
    "execute": {"http"},
    "progress": {"terminal"},
    "grade": {"formats"},
    "worlds": {"tokenizer", "grade", "formats"},
    "cli": {"pipeline", "judge", "catalogue", "uses"},
    "uses": {"pipeline"},
    "__main__": {"cli"},
}
WITHOUT_JAX = (
    "jprm.errors",
    "jprm.http",
    "jprm.terminal",
    "jprm.ties",
    "jprm.paths",
    "jprm.strict_json",
    "jprm.digests",
    "jprm.records",
    "jprm.config",
    "jprm.runs",
    "jprm.progress",
    "jprm.leases",
    "jprm.preemption",
    "jprm.signals",
    "jprm.launch",
    "jprm.seeds",
    "jprm.execute",
    "jprm.tokenizer",
    "jprm.quoting",
    "jprm.chat",
    "jprm.served",
    "jprm.grade",
    "jprm.worlds",
    "jprm.formats",
    "jprm.models.locate",
    "jprm.verify",
    "jprm.label",
    "jprm.score",
    "jprm.evaluate",
    "jprm.search",
    "jprm.scaling",
    "jprm.scaling.laws",
    "jprm.pipeline.config",
    "jprm.uses.config",
    "jprm.uses.search_axes",
    "jprm.judge",
    "jprm.doctor",
    "jprm.cli",
)
MAX_LINES = 400


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(text: str, modules: Iterable[str]) -> set[str]:
    """The modules of jprm that a source names, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in inside}
    return {name for name in found if name.split(".")[0] == "jprm"}


def import_graph() -> dict[str, set[str]]:
    texts = {module_of(path): path.read_text() for path in sources("jprm")}
    return {module: imports(text, texts) for module, text in texts.items()}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def forbidden(graph: dict[str, set[str]]) -> list[str]:
    """The arrows that point up, or sideways where that is not agreed."""
    wrong = []
    for module, targets in sorted(graph.items()):
        room = room_of(module)
        for target in sorted(targets):
            other = room_of(target)
            agreed = other in SIDEWAYS.get(room, ()) or other == "errors"
            if not other or room == other or agreed:
                continue
            if LEVEL[other] >= LEVEL[room]:
                wrong.append(f"{module} -> {target}")
    return wrong


def test_every_room_has_a_level():
    rooms = {path.relative_to(ROOT / "jprm").parts[0] for path in sources("jprm")}
    assert {room.removesuffix(".py") for room in rooms} == LEVEL.keys() | {"__init__"}


def test_imports_point_down():
    assert forbidden(import_graph()) == []


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("jprm.records", "jprm.tokenizer"),
        ("jprm.models.config", "jprm.train.config"),
        ("jprm.train.fit", "jprm.sample"),
        ("jprm.sample.engine", "jprm.train"),
        ("jprm.config", "jprm.runs"),
        ("jprm.verify.driver", "jprm.label"),
        ("jprm.pipeline.sweep", "jprm.cli"),
    ],
)
def test_an_arrow_that_points_up_is_seen(module, target):
    assert forbidden({module: {target}}) == [f"{module} -> {target}"]


def test_imports_are_found_wherever_they_stand():
    modules = {"jprm.sample", "jprm.sample.draw", "jprm.mesh", "jprm.runs", "jprm.errors"}
    text = """
from typing import TYPE_CHECKING
import numpy, jprm.mesh
from jprm.sample import draw, Engine
if TYPE_CHECKING:
    from jprm.runs import Stage
def late():
    from jprm.errors import UserError
"""
    assert imports(text, modules) == modules


def test_no_cycle():
    graph = import_graph()
    order = list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the ring
    assert set(graph) <= set(order)


def test_rooms_that_need_no_jax_do_not_load_it():
    program = f"""
import importlib, sys
for name in {WITHOUT_JAX}:
    importlib.import_module(name)
    heavy = [m for m in ("jax", "jaxlib", "flax", "transformers", "torch") if m in sys.modules]
    assert not heavy, f"importing {{name}} loads {{heavy[0]}}"
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("path", sources("jprm"), ids=module_of)
def test_a_module_is_short_and_says_what_it_is(path):
    text = path.read_text()
    assert text.count("\n") <= MAX_LINES
    assert ast.get_docstring(ast.parse(text)), "no module docstring"


def test_other_files_are_short():
    others = sources("tests", "experiments", "tools")
    assert [str(path) for path in others if path.read_text().count("\n") > MAX_LINES] == []


@pytest.mark.parametrize("path", sorted((ROOT / "jprm").rglob("__init__.py")), ids=module_of)
def test_a_package_names_what_it_offers(path):
    body = ast.parse(path.read_text()).body
    assigned = [node.targets[0] for node in body if isinstance(node, ast.Assign)]
    assigned += [node.target for node in body if isinstance(node, ast.AnnAssign)]
    assert "__all__" in {target.id for target in assigned if isinstance(target, ast.Name)}
