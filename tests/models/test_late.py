"""Checkpoints are read and written by names of the room, which cost nothing until they are used."""

import subprocess
import sys

import pytest

import jprm.models
from jprm.models import from_hf, hf_export, hf_weights, to_hf


def test_the_late_names_are_the_functions():
    assert (from_hf, to_hf) == (hf_weights.from_hf, hf_export.to_hf)
    with pytest.raises(AttributeError, match="'jprm.models' has no attribute 'of_hf'"):
        jprm.models.of_hf  # noqa: B018


def test_the_room_does_not_load_them():
    program = """
import sys, jprm.models
assert not [name for name in sys.modules if name.startswith("jprm.models.hf") or "safetensors" in name]
jprm.models.from_hf
assert "jprm.models.hf_weights" in sys.modules and "jprm.models.hf_export" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=120)
    assert done.returncode == 0
