"""The house rules that a reviewer would otherwise have to remember. Each test reports all violations at once.

Imports point down the levels of the rooms and form no cycle; rooms that need no JAX do not load it; files are short and
say what they are; public classes have names of their own; every public function is reached.
"""

import ast
import graphlib
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from jprm.registry import DECORATORS

ROOT = Path(__file__).resolve().parents[1]
LEVELS = (
    {"errors", "chips", "digests", "paths", "strict_json", "ties", "quoting", "signals"},
    {"terminal", "records", "config", "seeds", "sampling", "registry", "compile_cache", "mesh", "tokenizer", "http"},
    {"prompt"},
    {"jobs", "execute", "chat", "formats"},
    {"grade", "models", "data", "doctor"},
    {"worlds", "train", "sample", "openai"},
    {"verify"},
    {"label", "score"},
    {"evaluate"},
    {"scaling"},
    {"search", "rl", "report"},
    {"tasks", "aot"},
    {"experiments"},
    {"api"},
    {"cli", "__main__", "catalogue"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
TOP = {"": len(LEVELS)}  # the package itself, which hands out names of all rooms
SIDEWAYS = {  # rooms of one level know each other only here
    "compile_cache": {"terminal"},
    "cli": {"catalogue"},
    "__main__": {"cli"},
}
WITHOUT_JAX = (
    *(
        "errors",
        "chips",
        "http",
        "terminal",
        "ties",
        "paths",
        "strict_json",
        "digests",
        "records",
        "config",
        "registry",
    ),
    *("compile_cache", "jobs", "signals", "seeds", "sampling", "execute", "tokenizer", "quoting", "chat"),
    *("openai", "grade"),
    *("worlds", "formats", "models.locate", "verify", "label", "score", "evaluate", "search", "scaling", "report"),
    *("rl", "experiments.credit"),
    *("tasks.settings", "experiments.sweep.config", "experiments.sweep.cells", "experiments.applications.config"),
    *(
        "experiments.applications.search_choices",
        "experiments.benchmark.config",
        "experiments.benchmark.run",
        "tasks.samplers",
    ),
    *("api.verifier", "api.judges", "api.runs", "api.computing", "doctor", "cli"),
)
MAX_LINES = 400
# Words that once named a thing of this code, which has a term of the field by now.
OLD_WORDS = r"lanes?|Lab|sittings?|mishaps?|tapes?|ledgers?|fleets?|hindsight|sweep_up|served_?model_lanes"
KEPT = {"jprm/tasks/delayed_evidence.py": {"hindsight"}}  # in seeds, which decide what is drawn
# What users call from Python, and what other programs call (docs/architecture.md names these extension points).
ENTRIES = {
    *("rollouts_needed", "relative_progress", "hard_labels", "first_error_f1", "pass_at_k", "maj_at_k", "best_of_k"),
    *("weighted_vote_at_k", "confusion", "first_error", "fit_chinchilla", "Pool", "main"),
    *("protocol_for", "conversation_pieces"),
    *("aggregate", "policy_loss", "judged_row"),
}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


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


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    texts = {module_of(path): path.read_text() for path in sources("jprm")}
    return {module: imports(text, texts) for module, text in texts.items()}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def forbidden(graph: dict[str, set[str]]) -> list[str]:
    """The arrows that point up, or sideways where that is not agreed."""
    wrong = []
    for module, targets in sorted(graph.items()):
        room = room_of(module)
        for other, target in sorted((room_of(target), target) for target in targets):
            agreed = other in SIDEWAYS.get(room, ()) or other == "errors"
            if other and room != other and not agreed and LEVEL[other] >= (LEVEL | TOP)[room]:
                wrong.append(f"{module} -> {target}")
    return wrong


def test_every_room_has_a_level():
    rooms = {path.relative_to(ROOT / "jprm").parts[0] for path in sources("jprm")}
    assert {room.removesuffix(".py") for room in rooms} == LEVEL.keys() | {"__init__"}


def test_imports_point_down(graph):
    assert forbidden(graph) == []


def test_arrows_that_point_up_are_seen():
    up = [
        ("jprm.records", "jprm.jobs"),
        ("jprm.models.config", "jprm.train.config"),
        ("jprm.sample.engine", "jprm.train"),
        ("jprm.jobs.task", "jprm.tasks.base"),
        ("jprm.verify.driver", "jprm.label"),
        ("jprm.experiments.sweep.run", "jprm.cli"),
    ]
    assert [forbidden({module: {target}}) for module, target in up] == [[f"{m} -> {t}"] for m, t in up]


def test_imports_are_found_wherever_they_stand():
    modules = {"jprm.sample", "jprm.sample.draw", "jprm.mesh", "jprm.jobs", "jprm.errors"}
    text = """
from typing import TYPE_CHECKING
import numpy, jprm.mesh
from jprm.sample import draw, Engine
if TYPE_CHECKING:
    from jprm.jobs import Stage
def late():
    from jprm.errors import UserError
"""
    assert imports(text, modules) == modules


def test_no_cycle(graph):
    assert set(graph) <= set(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the ring


def test_rooms_that_need_no_jax_do_not_load_it():
    program = f"""
import importlib, sys
for name in {WITHOUT_JAX}:
    importlib.import_module("jprm." + name)
    heavy = [m for m in ("jax", "jaxlib", "flax", "transformers", "torch") if m in sys.modules]
    assert not heavy, f"importing jprm.{{name}} loads {{heavy[0]}}"
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_files_are_short_and_modules_say_what_they_are():
    texts = {path: path.read_text() for path in sources("jprm", "tests", "experiments", "tools")}
    assert [shown(p) for p, text in texts.items() if text.count("\n") > MAX_LINES] == []
    own = {path: text for path, text in texts.items() if path.is_relative_to(ROOT / "jprm")}
    assert [shown(p) for p, text in own.items() if not ast.get_docstring(ast.parse(text))] == []


def definitions() -> Iterator[tuple[Path, ast.FunctionDef | ast.ClassDef]]:
    """Every function and class at the top of a module of jprm."""
    for path in sources("jprm"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield path, node


def test_no_two_public_classes_share_a_name():
    names = Counter(n.name for _, n in definitions() if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))
    assert [name for name, n in names.items() if n > 1] == []


def named_in(node: ast.AST) -> set[str]:
    """The identifiers that a piece of code mentions."""
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    found |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    aliases = (n for n in ast.walk(node) if isinstance(n, ast.ImportFrom))
    return found | {alias.name for n in aliases for alias in n.names}


def test_every_public_function_is_reached():
    """From a command, a script, a registered name or an entry that is documented; by the names that code mentions."""
    bodies: dict[str, list[ast.AST]] = defaultdict(list)
    waiting = set(ENTRIES)
    for path in sources("jprm", "experiments"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                bodies[node.name].append(node)
                if node.decorator_list and any(isinstance(d, ast.Call) for d in node.decorator_list):
                    registered = {ast.unparse(d).split("(")[0].split(".")[-1] for d in node.decorator_list}
                    if registered & {"command", "callback", *DECORATORS}:
                        waiting.add(node.name)
            elif not isinstance(node, ast.Import | ast.ImportFrom):
                waiting |= named_in(node)  # what a module does when it is loaded
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            for body in bodies.get(name, ()):
                waiting |= named_in(body)
    public = [(path, node) for path, node in definitions() if not node.name.startswith("_")]
    assert [f"{shown(path)}: {node.name}" for path, node in public if node.name not in reached] == []


def test_old_words_name_nothing():
    wrong = []
    for path in sources("jprm", "experiments"):
        found = set(re.findall(rf"\b(?:{OLD_WORDS})\b", path.read_text())) - KEPT.get(shown(path), set())
        wrong += [f"{shown(path)}: {word}" for word in sorted(found)]
    assert wrong == []


def test_the_architecture_names_places_that_are_there():
    """Each stop of a walk is `path.py: name`."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    stops = re.findall(r"`(jprm/[\w/]+\.py)`: `([\w.]+)`", text)
    wrong = []
    for file, name in stops:
        path = ROOT / file
        tree = ast.walk(ast.parse(path.read_text())) if path.is_file() else ()
        names = {n.name for n in tree if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        if not set(name.split(".")) <= names:
            wrong.append(f"{file}: {name}")
    assert wrong == [] and len(stops) > 40
