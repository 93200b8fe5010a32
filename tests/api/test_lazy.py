"""`import jprm` costs nothing, and hands out its names when they are asked for."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import jprm

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
import jprm
assert not [m for m in sys.modules if m.startswith("jprm.")], "importing the package imports nothing else"
from jprm import Verifier
slow = [m for m in ("jax", "numpy", "pydantic", "transformers", "scipy") if m in sys.modules]
assert not slow, f"from jprm import Verifier loads {slow[0]}"
from jprm import evaluate_checkpoint, open_run, sweep, scorer, strategy, world, label_rule, benchmark
assert callable(jprm.evaluate.first_error_f1), "the room keeps its name"
assert "jax" not in sys.modules
"""


def test_a_verifier_is_imported_without_jax():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_all_names_are_there_and_described():
    for name in jprm.__all__:
        found = getattr(jprm, name)
        assert name == "__version__" or found.__doc__, name
    assert {*jprm.__all__} <= {*dir(jprm)}
    with pytest.raises(AttributeError, match="module 'jprm' has no attribute 'Verifyer'"):
        jprm.Verifyer  # noqa: B018
    for name, home in jprm._HOMES.items():
        assert getattr(importlib.import_module(home), name) is getattr(jprm, name)
